import numpy as np
import pytest

from ernie_pipe import resources
from ernie_pipe.config import apply_overrides, load_yaml, validate
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.corpus.typed import TypedPassages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain import run as runs
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.pretrain.trainer import Trainer
from ernie_pipe.tasks.knowledge_masking import KnowledgeMasking, KnowledgeMaskingSettings
from tests.pretrain.building import MICRO, batches, settings

TYPES = {"PER": 1, "LOC": 2, "ORG": 3}


def masking(**values):
    return MICRO["tasks"] | {"knowledge_masking": values}


def load(**values):
    return validate(KnowledgeMaskingSettings, values, where="tasks.knowledge_masking")


def rule(**values):
    return KnowledgeMasking(load(**values)).rule()


def test_pieces_are_of_words_where_no_level_is_named():
    assert rule().levels == {"basic": 0.2, "phrase": 0.4, "entity": 0.4}
    assert rule(strategy="ngram").levels == rule(strategy="span").levels == {"word": 1.0}
    assert rule(strategy="span", levels={"basic": 1.0}).levels == {"basic": 1.0}
    assert load(**load(strategy="span").model_dump()) == load(strategy="span")


def test_strategies_have_their_published_lengths():
    assert rule().lengths is None
    assert rule(strategy="ngram").lengths == (0.4, 0.3, 0.2, 0.1)
    assert np.arange(1, 11) @ rule(strategy="span").lengths == pytest.approx(3.797, abs=0.0005)
    assert len(rule(strategy="span", span_longest=5).lengths) == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"levels": {"basic": 0.5, "entity": 0.6}}, "sum to 1, they sum to 1.1"),
        ({"levels": {"words": 1.0}}, "unknown level words; known: basic, word"),
        ({"strategy": "ngram", "ngram": [0.5, 0.4]}, "ngram: the shares must be ≥ 0 and sum to 1, they sum to 0.9"),
        ({"strategy": "ngram", "ngram": [1.5, -0.5]}, "ngram: the shares"),
        ({"ngram": [1.0]}, "ngram is read with strategy: ngram alone, it is units"),
        ({"strategy": "ngram", "span_longest": 5}, "span_longest is read with strategy: span alone, it is ngram"),
        ({"strategy": "spans"}, "strategy.*'units', 'ngram' or 'span'"),
        ({"mask": 0.8, "random": 0.3}, "must not exceed 1, they are 1.1"),
        ({"type_weights": {"PER": 0.0}}, "the weight of PER must be a number above 0"),
        ({"similar": "t.tsv", "scope": "per_token"}, "similar words stand for whole words"),
        ({"similar_words": "t.tsv"}, "unknown key `similar_words`"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(values, message):
    with pytest.raises(InputError, match=message):
        load(**values)


def test_a_table_that_is_missing_stops_the_run_before_it_begins(tmp_path):
    content = MICRO | {"tasks": masking(similar=str(tmp_path / "none.tsv"))}
    with pytest.raises(InputError, match=r"`tasks`: .*none\.tsv: no such file"):
        validate(PretrainSettings, content, where="run.yaml")


def test_a_run_is_not_resumed_with_a_table_that_changed(tmp_path, data, write):
    table = write("similar.tsv", "城市\t都市\n首都\t省会\n")
    changes = {"tasks": masking(similar=str(table))}
    manifest = Passages(data).manifest
    runs.create(tmp_path / "run", settings(**changes), data, manifest)
    assert runs.check(tmp_path / "run", settings(**changes), manifest)
    table.write_text("城市\t乡村\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"was started with tasks\.knowledge_masking\.similar_hash"):
        runs.check(tmp_path / "run", settings(**changes), manifest)


def test_similar_words_stand_in_for_masks_and_fallbacks_reach_the_batch(data):
    table = str(resources.sample() / "similar.tsv")
    builder = batches(data, tasks=masking(strategy="ngram", similar=table))
    built = builder.step(0, range(4))
    asked, without = np.sum([one.packed.similar_words for one in built], axis=0)
    assert 0 < without < asked
    mask = builder.special.mask
    assert not any((one.packed.input_ids == mask).any() for one in built)
    plain = batches(data).step(0, range(4))
    assert any((one.packed.input_ids == mask).any() for one in plain)
    assert {one.packed.similar_words for one in plain} == {(0, 0)}


@pytest.fixture
def typed(data, monkeypatch):
    """The sample passages with the names of their types in the manifest; half of the tokens in two of them."""
    before = Passages.__init__, Passages.get

    def init(self, *args, **kwargs):
        before[0](self, *args, **kwargs)
        self.manifest.details["entity_types"] = TYPES

    def get(self, passage):
        ids, bits, _ = before[1](self, passage)
        return ids, bits, np.where(ids % 2, 0, 1 + ids % 4 // 2).astype(np.uint8)

    monkeypatch.setattr(Passages, "__init__", init)
    monkeypatch.setattr(Passages, "get", get)
    return data


def test_types_reach_the_batch_of_every_task_only_where_they_are_weighted(typed):
    builder = batches(typed, tasks=masking(type_weights={"LOC": 5.0, "PER": 2.0}))
    for built, plain in zip(builder.step(6, range(4)), batches(typed).step(6, range(4)), strict=True):
        packed = built.packed
        assert plain.packed.entity_types is None
        assert np.array_equal(packed.unit_bits, plain.packed.unit_bits)
        assert packed.unit_bits.dtype == packed.entity_types.dtype == np.uint8
        original = packed.input_ids.copy()
        original[built.targets["knowledge_masking"].positions] = built.targets["knowledge_masking"].labels
        expected = np.where(original % 2, 0, 2 - original % 4 // 2)
        assert np.array_equal(packed.entity_types[packed.maskable], expected[packed.maskable])
        assert not packed.entity_types[~packed.maskable].any()


def test_typed_passages_survive_the_way_to_a_loader_worker(typed):
    import pickle

    passages = pickle.loads(pickle.dumps(TypedPassages(typed, "train", ["ORG", "PER"])))
    _, bits, types = passages.get(3)
    assert (bits >> 8).tolist() == [{1: 2, 3: 1}.get(kind, 0) for kind in types.tolist()]


def test_a_type_that_the_passages_do_not_know_is_refused(data, typed):
    with pytest.raises(InputError, match=r"knows no entity type `PERS`; did you mean `PER`\?"):
        batches(typed, tasks=masking(type_weights={"PERS": 2.0}))


def test_passages_without_types_are_refused(data):
    with pytest.raises(InputError, match="knows no entity type `PER`, nor any other"):
        batches(data, tasks=masking(type_weights={"PER": 2.0}))


@pytest.mark.parametrize("name", ["bert-base", "bert-wwm", "macbert", "spanbert-style"])
def test_the_ready_configs_train(name, data, tmp_path):
    folder = resources.folder("configs")
    tiny = load_yaml(folder / f"tiny-{name}.yaml")
    for key in ("tasks", "stages"):
        whole = load_yaml(folder / f"{name}.yaml")[key]
        assert [*whole] == [*tiny[key]] if key == "tasks" else whole[0]["tasks"] == tiny[key][0]["tasks"]
    small = ["model.hidden_size=32", "model.heads=2", "batch.tokens_per_step=1024", "log_every=1", "trackers=[]"]
    if "similar" in tiny["tasks"]["knowledge_masking"]:
        small.append(f"tasks.knowledge_masking.similar={resources.sample() / 'similar.tsv'}")
    wanted = validate(PretrainSettings, apply_overrides(tiny, small), where=name)
    means = Trainer(wanted, data, tmp_path / "run").train(2)
    assert {key.removeprefix("loss/") for key in means if key.startswith("loss/")} == {*tiny["tasks"]}
    assert ("similar_fallback" in means) == (name == "macbert")
    if name == "macbert":
        assert 0.3 < means["similar_fallback"] < 1
