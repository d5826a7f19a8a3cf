import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import pipeline

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Tagger, inference
from ernie_pipe.finetune.encoder import encode, load_tokenizer
from ernie_pipe.finetune.entities import TaggedText
from ernie_pipe.finetune.tagger import IGNORED, align, to_characters
from ernie_pipe.text.tags import Span, to_spans, without_overlaps
from tests.finetune.toys import CHARACTERS, FAST, journeys

ODD = st.text(st.one_of(st.sampled_from(CHARACTERS + "北京[MASK] \u3000A😀\u0301\u200d한İß\x00"), st.characters()))


def places(answers):
    return [(answer["start"], answer["end"], answer["text"], answer["type"]) for answer in answers]


def tagged(text, *spans):
    return TaggedText(text, tuple(Span(*span) for span in spans), "x:1", ("x:1",) * len(spans))


def test_it_learns_and_answers_in_the_text_s_own_positions(tagger):
    assert tagger.metrics["dev"]["f1"] == 1.0
    text = " 她\u3000去过 哈尔滨。한"
    assert places(tagger.predict([text])[0]) == [(6, 9, "哈尔滨", "LOC")]
    assert tagger.predict(["", " "]) == [[], []]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ODD, min_size=1, max_size=4))
def test_answers_are_exact_and_apart_in_any_text(tagger, texts):
    for text, answers in zip(texts, tagger.predict(texts), strict=True):
        assert all(answer["text"] == text[answer["start"] : answer["end"]] != "" for answer in answers)
        edges = [edge for answer in answers for edge in (answer["start"], answer["end"])]
        assert edges == sorted(edges)
        assert all(0 < answer["score"] <= 1 for answer in answers)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ODD, st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5), st.sampled_from(["A", "B"]))))
def test_labels_on_tokens_mean_the_entities_of_the_text(encoder_folder, text, raw):
    inside = [Span(start, start + size, kind) for start, size, kind in raw if start + size <= len(text)]
    spans, _ = without_overlaps(inside)
    (tokens,) = encode(load_tokenizer(encoder_folder), [text])
    token_tags = align(tokens, tagged(text, *spans))
    assert to_spans([tag for tag in token_tags if tag])[1] == 0
    # An entity that tokens can hold, with a token that starts and one that ends with it, comes back exact.
    own = [offset for offset, leads in zip(tokens.offsets, tokens.leading, strict=True) if leads]
    starts, ends = {start for start, _ in own}, {end for _, end in own}
    if all(span.start in starts and span.end in ends for span in spans):
        assert to_characters(tokens, token_tags) == spans


def test_spaces_emoji_unknown_and_mixed_case_shift_nothing(encoder_folder):
    text = "囧 😀A1 在 Ab京"
    start = text.index("Ab")
    (tokens,) = encode(load_tokenizer(encoder_folder), [text])
    token_tags = align(tokens, tagged(text, (start, start + 3, "LOC")))
    assert to_characters(tokens, token_tags) == [(start, start + 3, "LOC")]


def test_a_long_text_loses_nothing(tagger):
    text = "他去过北京。" * 12 + "她住在哈尔滨。"
    answers = tagger.predict([text])[0]
    expected = [(i * 6 + 3, i * 6 + 5) for i in range(12)] + [(75, 78)]
    assert [(answer["start"], answer["end"]) for answer in answers] == expected
    entities = [{"start": start, "end": end, "type": "LOC"} for start, end in expected]
    assert tagger.evaluate([{"text": text, "entities": entities}])["f1"] == 1.0


def test_prediction_windows_overlap_as_the_setting_says(tagger, monkeypatch):
    sizes = []
    run = inference.logits
    monkeypatch.setattr(inference, "logits", lambda *args: sizes.append(len(args[2])) or run(*args))
    for overlap in (0, 10, 99):
        monkeypatch.setattr(tagger, "settings", tagger.settings.model_copy(update={"overlap": overlap}))
        tagger.predict(["他" * 90])
    # 90 tokens by 30 a window, each 30, 20 and 15 after the one before: an overlap is half a window at most.
    assert sizes == [3, 4, 5]


def test_training_windows_hold_every_token_once(tagger, said):
    # The 30 tokens of a window would end inside the fifth entity.
    example = tagged("很很" + "他去过北京。" * 12, *((i * 6 + 5, i * 6 + 7, "LOC") for i in range(12)))
    features = tagger.features([example])
    labels = [label for item in features for label in item["labels"] if label != IGNORED]
    assert [tagger.labels[i] for i in labels] == ["O"] * 2 + ["O", "O", "O", "B-LOC", "I-LOC", "O"] * 12
    assert all(len(item["input_ids"]) == len(item["labels"]) <= 32 for item in features)
    assert not any(tagger.labels[item["labels"][1]].startswith("I-") for item in features)
    assert "1 text in 3 training windows" in said()


def test_entities_between_token_borders_are_counted(tagger, said):
    tagger.features([tagged("他한\x00", (1, 2, "LOC")), tagged("在e\u0301", (1, 3, "LOC"))])
    assert "1 entity not at the borders of tokens" in said()
    tagger.features([tagged("\x00")])
    assert "1 text without a token" in said()


def test_the_stock_pipeline_finds_the_same(tagger, tmp_path):
    tagger.save(tmp_path / "out")
    stock = pipeline("token-classification", model=str(tmp_path / "out"), aggregation_strategy="simple")
    text = "他出生在哈尔滨。她住在上海。"
    expected = [(item["start"], item["end"], item["entity_group"]) for item in stock(text)]
    assert [(start, end, kind) for start, end, _, kind in places(tagger.predict([text])[0])] == expected
    assert len(expected) == 2


def test_an_unknown_type_is_named_with_its_line(encoder_folder, write):
    train = write("train.txt", "他 O\n北 B-LOC\n京 I-LOC\n")
    dev = write("dev.txt", "北 B-LOC\n京 I-LOC\n她 B-PER\n")
    with pytest.raises(InputError, match=r"dev\.txt:3: unknown entity type `PER`: the training data has LOC"):
        Tagger.from_pretrained(encoder_folder, **FAST).fit(train, dev=dev)


def test_a_model_whose_labels_are_no_tags_is_refused(tagger, tmp_path):
    tagger.save(tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    path.write_text(path.read_text().replace("B-LOC", "NOUN"))
    with pytest.raises(InputError, match=r"tag 'NOUN' is none of.*does not tag entities"):
        Tagger.from_pretrained(tmp_path / "out")


def test_no_entity_is_nothing_to_learn(encoder_folder):
    rows = [{"text": "好", "entities": []}]
    with pytest.raises(InputError, match="has no entities"):
        Tagger.from_pretrained(encoder_folder).fit(rows)


def test_two_types_and_bmes_are_learnt(encoder_folder, write):
    lines = ["他 S-PER\n在 O\n哈 B-LOC\n尔 M-LOC\n滨 E-LOC\n", "她 S-PER\n在 O\n北 B-LOC\n京 E-LOC\n"] * 8
    head = Tagger.from_pretrained(encoder_folder, **FAST)
    path = write("train.txt", "\n".join(lines))
    assert head.fit(path, dev=path)["dev"]["per_type"].keys() == {"LOC", "PER"}
    assert head.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert head.metrics["dev"]["f1"] == 1.0


def test_a_report_counts_missed_and_false_entities(tagger):
    rows = [*journeys(), {"text": "他住在北京。", "entities": [{"start": 0, "end": 1, "type": "LOC"}]}]
    examples = tagger.read(rows, "data")
    found = tagger.report(examples, tagger.outputs(examples))
    assert found["worst"] == [
        {"where": "data[18]", "text": "他住在北京。", "gold": ["他 LOC"], "predicted": ["北京 LOC"], "loss": 2.0}
    ]
    low, high = found["intervals"]["f1"]
    assert low < found["metrics"]["f1"] < high == 1.0
    assert found["per_label"]["LOC"]["entities"] == 19


def test_a_segmenter_writes_its_words(encoder_folder, tagger):
    rows = [
        {"tokens": [who, verb, place, "。"], "tags": ["S"] * 4}
        for who in "他她"
        for verb in ("出生", "去过")
        for place in ("北京", "哈尔滨")
    ]
    segmenter = Tagger.from_pretrained(encoder_folder, **FAST)
    segmenter.fit(rows)
    (answer,) = segmenter.predict(["她去过北京。"])
    assert segmenter.row("她去过北京。", answer)["words"] == ["她", "去过", "北京", "。"]
    assert "words" not in tagger.row("她去过北京。", [])
