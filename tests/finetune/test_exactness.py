"""Every span that a tagger answers is in the text as given, whatever the text and whatever the model thinks."""

import os
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizer, ErnieConfig, ErnieForTokenClassification

from ernie_pipe.finetune import Tagger
from ernie_pipe.text import tags
from tests.finetune.toys import CHARACTERS, build_encoder

NASTY = [
    *["ＡＢｃ１２３", "％＆（）", "ﬁ", "㎏", "①", "Ⅳ", "½", "😀", "👨\u200d👩\u200d👧", "🇨🇳", "👍🏽", "𠮷"],
    *["[UNK]", "[MASK]", "[SEP]", "iPhone15 Pro", "ÀÉé", "e\u0301", "İstanbul", "ẞß", "한국", "\u3000", "  ", "\t"],
    *["\u00a0", "\u200b", "\ufeff", "\x00", "\ud800", "\u2028", "…——", "3.14%", "http://a.b/c?d=e", "##北", "ⓐ", "ﷺ"],
]
TEXTS = st.lists(st.one_of(st.sampled_from(NASTY), st.sampled_from(CHARACTERS), st.characters()), max_size=60).map(
    "".join
)


def wild(folder: Path) -> Tagger:
    """A tagger that sees entities everywhere: a new head of large random weights."""
    head = Tagger.from_pretrained(folder, device="cpu", max_tokens=32, overlap=8)
    torch.manual_seed(3)
    head.model = head.start(tags.bio_labels({"LOC", "PER"}))
    torch.nn.init.normal_(head.model.classifier.weight, std=3.0)
    return head


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory):
    return wild(build_encoder(tmp_path_factory.mktemp("wild")))


def check(text, answers):
    """Assert that spans are exact, apart and in order; return how many there are."""
    edges = [edge for answer in answers for edge in (answer["start"], answer["end"])]
    assert edges == sorted(edges)
    assert all(0 <= a["start"] < a["end"] <= len(text) for a in answers)
    assert all(text[a["start"] : a["end"]] == a["text"] for a in answers)
    return len(answers)


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_spans_are_exact_in_nasty_sentences(everywhere, texts):
    for text, answers in zip(texts, everywhere.predict(texts), strict=True):
        check(text, answers)


def test_spans_are_found_in_all_of_the_nasty_pieces_that_have_tokens(everywhere):
    text = "他在".join(NASTY)
    answers = everywhere.predict([text])[0]
    assert check(text, answers) > 20
    assert len({text[a["start"] : a["end"]] for a in answers}) > 15


@pytest.mark.skipif("ERNIE_PIPE_DATA" not in os.environ, reason="needs real text ($ERNIE_PIPE_DATA)")
@pytest.mark.parametrize("vocabulary", [None, "vocab/bert_base_chinese_vocab.txt"])
def test_spans_are_exact_in_five_thousand_real_sentences(vocabulary, everywhere, tmp_path):
    data = Path(os.environ["ERNIE_PIPE_DATA"])
    lines = []
    for path in sorted((data / "raw").rglob("*.txt")):
        lines += [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").split("\n")]
    rng = random.Random(1)
    chosen = rng.sample(sorted({line[:120] for line in lines if len(line) > 5}), 5000)
    # A third get something nasty in the middle: what little there is in edited text.
    texts = [t[: len(t) // 2] + rng.choice(NASTY) + t[len(t) // 2 :] if n % 3 == 0 else t for n, t in enumerate(chosen)]
    head = everywhere if vocabulary is None else wild(with_vocabulary(tmp_path, data / vocabulary))
    found = sum(check(text, answers) for text, answers in zip(texts, head.predict(texts), strict=True))
    assert found > 5000


def with_vocabulary(folder, path):
    tokens = path.read_text(encoding="utf-8").split("\n")
    vocabulary = {token: i for i, token in enumerate(token for token in tokens if token)}
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    ErnieForTokenClassification(ErnieConfig(vocab_size=len(vocabulary), **shape)).base_model.save_pretrained(folder)
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    return folder
