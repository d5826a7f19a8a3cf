import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForMaskedLM,
    DistilBertConfig,
)

from ernie_pipe.errors import InputError
from ernie_pipe.model.convert import from_transformers, new_config, write_folder
from ernie_pipe.model.multitask import MultiTaskModel
from ernie_pipe.model.settings import ModelSettings
from ernie_pipe.tasks import find
from ernie_pipe.text import vocabulary
from ernie_pipe.text.encode import SPECIAL_TOKENS, SpecialIds, load_encoder
from tests.pretrain.building import MICRO, write_tokenizer

TEXT = "哈尔滨是黑龙江的省会，1898年因中东铁路而兴起。"
NAMES = ["knowledge_masking", "sentence_distance"]
SHAPE = ModelSettings.model_validate(MICRO["model"] | {"initializer_range": 0.2})


def tasks_of(names):
    return {name: find(name)(find(name).Settings()) for name in names}


@pytest.fixture(scope="module")
def corpus(data):
    return load_encoder(f"{data}/tokenizer")


@pytest.fixture(scope="module")
def model(corpus):
    torch.manual_seed(0)
    made = MultiTaskModel(new_config(SHAPE, SpecialIds.of(corpus), NAMES), tasks_of(NAMES)).eval()
    with torch.no_grad():
        # Biases far from their zeros, so that one that is lost shows.
        for name, parameter in made.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return made


@pytest.fixture(scope="module")
def folders(model, data, tmp_path_factory):
    base = tmp_path_factory.mktemp("exported")
    for format in ("ernie", "bert"):
        write_folder(model, Path(data) / "tokenizer", base / format, format=format, row=1 if format == "bert" else 0)
    return base


def batch(corpus, task=0):
    ids = [corpus.vocab["[CLS]"], *corpus.encode(TEXT).ids.tolist(), corpus.vocab["[SEP]"]]
    length = len(ids)
    return {
        "input_ids": torch.tensor(ids),
        "position_ids": torch.arange(length),
        "token_type_ids": torch.zeros(length, dtype=torch.long),
        "task_type_ids": torch.full((length,), task),
        "starts": torch.tensor([0, length], dtype=torch.int32),
        "longest": length,
    }


@torch.no_grad()
def logits(model, corpus, task=0):
    given = batch(corpus, task)
    return model.logits("knowledge_masking", model.hidden(given), torch.arange(given["longest"]))


@torch.no_grad()
def exported_logits(folder, **more):
    inputs = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")
    more = {name: torch.full_like(inputs["input_ids"], value) for name, value in more.items()}
    return AutoModelForMaskedLM.from_pretrained(folder)(**inputs, **more).logits[0]


def test_an_exported_folder_computes_what_the_training_model_did(model, corpus, folders):
    torch.testing.assert_close(exported_logits(folders / "ernie"), logits(model, corpus), atol=1e-5, rtol=0)


def test_the_task_embedding_survives_the_export(model, corpus, folders):
    other = exported_logits(folders / "ernie", task_type_ids=1)
    torch.testing.assert_close(other, logits(model, corpus, task=1), atol=1e-5, rtol=0)
    assert (other - logits(model, corpus)).abs().max() > 0.1
    assert json.loads((folders / "ernie" / "config.json").read_text())["task_names"] == NAMES


def test_bert_format_is_the_model_of_one_task(model, corpus, folders):
    assert isinstance(AutoModelForMaskedLM.from_pretrained(folders / "bert"), BertForMaskedLM)
    torch.testing.assert_close(exported_logits(folders / "bert"), logits(model, corpus, task=1), atol=1e-5, rtol=0)
    assert "task" not in (folders / "bert" / "config.json").read_text()


def test_the_tokenizer_beside_the_model_makes_the_ids_of_the_corpus(corpus, folders):
    ids = AutoTokenizer.from_pretrained(folders / "ernie")(TEXT)["input_ids"]
    assert ids == batch(corpus)["input_ids"].tolist()


def test_exports_load_where_the_package_is_unknown(folders):
    for format in ("ernie", "bert"):
        assert "ernie_pipe" not in (folders / format / "config.json").read_text()


def test_no_tied_weight_is_lost_or_stored_twice(folders, model):
    state = load_file(folders / "ernie" / "model.safetensors")
    assert sum(tensor.shape == (model.config.vocab_size, 32) for tensor in state.values()) == 1
    loaded, info = AutoModelForMaskedLM.from_pretrained(folders / "ernie", output_loading_info=True)
    assert not info["missing_keys"]
    head = model.heads["knowledge_masking"]
    assert torch.equal(loaded.cls.predictions.decoder.weight, head.decoder.weight)
    assert torch.equal(loaded.cls.predictions.decoder.bias, head.bias)


def test_the_pooler_is_found_by_a_classifier(folders, model):
    loaded, info = AutoModelForSequenceClassification.from_pretrained(folders / "ernie", output_loading_info=True)
    assert {name.split(".")[0] for name in info["missing_keys"]} == {"classifier"}
    assert torch.equal(loaded.ernie.pooler.dense.weight, model.encoder.pooler.dense.weight)


@pytest.mark.parametrize(("format", "task"), [("ernie", 0), ("bert", 1)])
def test_step_zero_computes_what_the_source_did(format, task, folders, corpus, model):
    again = from_transformers(str(folders / format), SHAPE, tasks_of(NAMES), corpus).eval()
    torch.testing.assert_close(logits(again, corpus), logits(model, corpus, task=task), atol=1e-5, rtol=0)


def test_the_shape_of_the_source_wins_aloud_and_dropout_is_ours(folders, corpus, caplog):
    caplog.set_level("INFO", logger="ernie_pipe")
    wanted = ModelSettings(hidden_size=64, layers=5, heads=2, dropout=0.3, max_positions=48, task_rows=9)
    config = from_transformers(str(folders / "ernie"), wanted, tasks_of(NAMES), corpus).config
    assert (config.hidden_size, config.num_hidden_layers, config.max_position_embeddings) == (32, 2, 64)
    assert (config.hidden_dropout_prob, config.task_type_vocab_size) == (0.3, 9)
    told = "its own shape is used: hidden_size 32 (not 64), layers 2 (not 5), max_positions 64 (not 48)"
    assert f"{folders / 'ernie'}: {told}" in caplog.messages


def test_rows_of_known_tasks_follow_their_names_and_new_tasks_copy_row_zero(folders, corpus, model):
    names = ["knowledge_masking", "sentence_reordering", "sentence_distance"]
    again = from_transformers(str(folders / "ernie"), SHAPE, tasks_of(names), corpus)
    rows, before = (m.encoder.embeddings.task_type_embeddings.weight for m in (again, model))
    assert torch.equal(rows[0], before[0])
    assert torch.equal(rows[1], before[0])
    assert torch.equal(rows[2], before[1])


def test_a_bert_folder_gets_task_rows_of_zeros(folders, corpus):
    again = from_transformers(str(folders / "bert"), SHAPE, tasks_of(NAMES), corpus)
    assert not again.encoder.embeddings.task_type_embeddings.weight.any()


def test_what_is_initialised_anew_is_said(folders, corpus, caplog):
    caplog.set_level("INFO", logger="ernie_pipe")
    from_transformers(str(folders / "ernie"), SHAPE, tasks_of(NAMES), corpus)
    assert caplog.messages[-1] == f"{folders / 'ernie'}: initialised anew: sentence_distance"


def test_weights_that_the_source_lacks_are_not_taken_for_its_own(folders, corpus, tmp_path, caplog):
    caplog.set_level("INFO", logger="ernie_pipe")
    shutil.copytree(folders / "ernie", tmp_path / "bare")
    AutoModel.from_pretrained(folders / "ernie", add_pooling_layer=False).save_pretrained(tmp_path / "bare")
    from_transformers(str(tmp_path / "bare"), SHAPE, tasks_of(NAMES), corpus)
    assert caplog.messages[-1].endswith("initialised anew: knowledge_masking, pooler, sentence_distance")


def test_the_pooler_of_the_source_is_kept(folders, corpus, model):
    again = from_transformers(str(folders / "ernie"), SHAPE, tasks_of(NAMES), corpus)
    assert torch.equal(again.encoder.pooler.dense.weight, model.encoder.pooler.dense.weight)


@pytest.fixture
def grow(folders, tmp_path):
    """The exported folder with `[unused1]` as its last token; a corpus with `new` tokens in its place and behind."""

    def made(new):
        tokens = (folders / "ernie" / "vocab.txt").read_text(encoding="utf-8").split()
        source = shutil.copytree(folders / "ernie", tmp_path / "source")
        vocabulary.save([*tokens[:-1], "[unused1]"], str(source), lowercase=True)
        vocabulary.save([*tokens[:-1], *new], str(tmp_path / "grown"), lowercase=True)
        return str(source), load_encoder(str(tmp_path / "grown"))

    return made


def test_tokens_that_the_source_lacks_start_at_the_mean_of_their_pieces_or_of_all(grow, model, corpus):
    folder, grown = grow(["哈a", "ab", "龘"])
    again = from_transformers(folder, SHAPE, tasks_of(NAMES), grown).eval()
    assert again.config.vocab_size == grown.size == corpus.size + 2
    head = again.heads["knowledge_masking"]
    assert head.decoder.weight is again.encoder.embeddings.word_embeddings.weight
    for before, after in (
        (model.encoder.embeddings.word_embeddings.weight, again.encoder.embeddings.word_embeddings.weight),
        (model.heads["knowledge_masking"].bias, head.bias),
    ):
        known = range(len(SPECIAL_TOKENS), corpus.size - 1)
        pieces = [grown.vocab["a"], grown.vocab["##b"]]
        assert torch.equal(after[: corpus.size - 1], before[:-1])
        torch.testing.assert_close(after[corpus.size], before[pieces].mean(0))
        torch.testing.assert_close(after[corpus.size + 1], before[known].mean(0))
    assert logits(again, grown).shape[1] == grown.size
    torch.testing.assert_close(
        logits(again, grown)[:, : corpus.size - 1], logits(model, corpus)[:, :-1], atol=1e-5, rtol=0
    )


def test_a_grown_model_is_exported_and_starts_again(grow, tmp_path):
    folder, grown = grow(["ab", "龘"])
    write_folder(
        from_transformers(folder, SHAPE, tasks_of(NAMES), grown), tmp_path / "grown", tmp_path / "out", format="ernie"
    )
    assert len(load_file(tmp_path / "out" / "model.safetensors")["cls.predictions.bias"]) == grown.size
    from_transformers(str(tmp_path / "out"), SHAPE, tasks_of(NAMES), grown)


def test_a_vocabulary_that_does_not_fit_is_refused(folders, tmp_path):
    other = load_encoder(str(write_tokenizer(tmp_path, ["别的文字"])))
    with pytest.raises(InputError, match="does not fit the encoded corpus"):
        from_transformers(str(folders / "ernie"), SHAPE, tasks_of(NAMES), other)


def test_folders_that_hold_no_usable_model_are_refused(folders, corpus, tmp_path):
    def start(folder):
        from_transformers(str(folder), SHAPE, tasks_of(NAMES), corpus)

    with pytest.raises(InputError, match=r"no config\.json"):
        start(tmp_path)
    DistilBertConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="is a distilbert model"):
        start(tmp_path)
    shutil.copytree(folders / "ernie", tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="bare"):
        start(tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="bare"):
        start(tmp_path / "bare")
    for name in ("tokenizer.json", "vocab.txt"):
        (tmp_path / "bare" / name).unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        start(tmp_path / "bare")
