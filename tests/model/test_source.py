"""Step 0 computes what the source did, whichever transformers class and file format it came in."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertModel,
    ErnieConfig,
    ErnieForMaskedLM,
    ErnieForPreTraining,
)

from ernie_pipe.errors import InputError
from ernie_pipe.model.convert import from_transformers
from ernie_pipe.model.settings import ModelSettings
from tests.model.test_convert import NAMES, batch, corpus, logits, tasks_of

__all__ = ["corpus"]
SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 40, "initializer_range": 0.2, "hidden_act": "relu",
}  # fmt: skip
ERNIE = {"use_task_id": True, "task_type_vocab_size": 3}
DROPLESS = ModelSettings(dropout=0.0, task_rows=5)


def write(kind, data, corpus, folder, **more):
    """A random model of class `kind` in `folder`, with its tokenizer; biases far from zero."""
    torch.manual_seed(4)
    config = ErnieConfig if kind.__name__.startswith("Ernie") else BertConfig
    source = kind(config(vocab_size=corpus.size, **SHAPE, **more)).eval()
    with torch.no_grad():
        for name, parameter in source.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    source.save_pretrained(folder)
    shutil.copytree(Path(data) / "tokenizer", folder, dirs_exist_ok=True)
    return source


@torch.no_grad()
def compute(source, given):
    """The logits of a source with a head, the hidden states of one without."""
    names = ("input_ids", "position_ids", "token_type_ids")
    output = source(**{name: given[name][None] for name in names})
    return output.last_hidden_state[0] if isinstance(source, BertModel) else output[0][0]


def begin(folder, corpus, settings=DROPLESS):
    return from_transformers(str(folder), settings, tasks_of(NAMES), corpus).eval()


def assert_same(model, source, corpus):
    given = batch(corpus)
    with torch.no_grad():
        hidden = model.hidden(given)
    ours = hidden if isinstance(source, BertModel) else logits(model, corpus)
    torch.testing.assert_close(ours, compute(source, given), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (BertForMaskedLM, {}),
        (BertForPreTraining, {}),
        (BertModel, {}),
        (ErnieForMaskedLM, {}),
        (ErnieForMaskedLM, ERNIE),
        (ErnieForPreTraining, ERNIE),
    ],
)
def test_step_zero_is_the_source_s(kind, more, data, corpus, tmp_path, caplog):
    caplog.set_level("INFO", logger="ernie_pipe")
    source = write(kind, data, corpus, tmp_path, **more)
    assert_same(begin(tmp_path, corpus), source, corpus)
    lacks = {BertModel: "knowledge_masking, ", BertForMaskedLM: "pooler, ", ErnieForMaskedLM: "pooler, "}
    assert caplog.messages[-1] == f"{tmp_path}: initialised anew: {lacks.get(kind, '')}sentence_distance"


def as_shards(source, folder):
    source.save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    assert len(list(folder.glob("model-*.safetensors"))) > 2


def as_pickle(source, folder):
    # As BERT's first releases name them.
    names = {".weight": ".gamma", ".bias": ".beta"}
    state = {
        f"{name.rpartition('.')[0]}{names['.' + name.rpartition('.')[2]]}" if "LayerNorm" in name else name: tensor
        for name, tensor in source.state_dict().items()
    }
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def as_halves(source, folder):
    source.half().save_pretrained(folder)
    source.float()


def with_vocab_txt_alone(_, folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


@pytest.mark.parametrize("change", [as_shards, as_pickle, as_halves, with_vocab_txt_alone])
def test_other_forms_of_a_folder_are_read(change, data, corpus, tmp_path):
    source = write(BertForPreTraining, data, corpus, tmp_path)
    change(source, tmp_path)
    assert_same(begin(tmp_path, corpus), source, corpus)


def test_more_positions_and_segments_repeat_the_old_ones_where_the_settings_say_so(data, corpus, tmp_path, caplog):
    caplog.set_level("INFO", logger="ernie_pipe")
    source = write(BertForMaskedLM, data, corpus, tmp_path)
    model = begin(tmp_path, corpus, ModelSettings(max_positions=100, segments=3, dropout=0.0))
    assert_same(model, source, corpus)
    assert (model.config.max_position_embeddings, model.config.type_vocab_size) == (100, 3)
    tables = model.encoder.embeddings
    old = source.bert.embeddings.position_embeddings.weight
    assert torch.equal(tables.position_embeddings.weight, torch.cat([old, old, old[:20]]))
    assert torch.equal(tables.token_type_embeddings.weight[2], tables.token_type_embeddings.weight[0])
    assert "position_embeddings grows from 40 to 100 rows: the old ones again" in caplog.messages
    # Where they say nothing, the defaults of a fresh model are no wish.
    assert begin(tmp_path, corpus).config.max_position_embeddings == 40


def test_a_projection_of_its_own_is_said(data, corpus, tmp_path, caplog):
    source = write(BertForMaskedLM, data, corpus, tmp_path, tie_word_embeddings=False)
    with torch.no_grad():
        source.cls.predictions.decoder.weight.normal_()
    source.save_pretrained(tmp_path)
    model = begin(tmp_path, corpus)
    assert "its vocabulary projection has weights of its own" in caplog.text
    assert model.config.tie_word_embeddings


def configure(folder, **changes):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 1}, r"has weights that config\.json does not describe \(bert\.encoder\.layer\.1\."),
        ({"num_hidden_layers": 3}, r"lacks 16 weights of the encoder .*bert\.encoder\.layer\.2\."),
        ({"hidden_size": 64}, r"they do not have the shapes of config\.json"),
        ({"model_type": None}, r"config\.json: Unrecognized model"),
        ({"model_type": "roberta"}, "is a roberta model"),
        ({"position_embedding_type": "relative_key"}, "is a model with relative_key positions"),
        ({"is_decoder": True}, "is a decoder"),
    ],
)
def test_a_folder_that_is_not_what_it_says_is_refused(changes, message, data, corpus, tmp_path):
    write(BertForMaskedLM, data, corpus, tmp_path)
    configure(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as raised:
        begin(tmp_path, corpus)
    assert "\n" not in str(raised.value)


def test_a_task_that_needs_more_segments_names_the_setting(data, corpus, tmp_path):
    source = write(BertForMaskedLM, data, corpus, tmp_path, type_vocab_size=1)
    with pytest.raises(InputError, match=r"has 1 segments, sentence_distance needs 2: set model\.segments to 2"):
        begin(tmp_path, corpus)
    assert_same(begin(tmp_path, corpus, ModelSettings(segments=2, dropout=0.0)), source, corpus)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_in_a_pickle_is_executed(data, corpus, tmp_path):
    source = write(BertForMaskedLM, data, corpus, tmp_path / "hf")
    as_pickle(source, tmp_path / "hf")
    torch.save(source.state_dict() | {"bomb": Bomb(str(tmp_path / "gone off"))}, tmp_path / "hf" / "pytorch_model.bin")
    with pytest.raises(InputError, match="holds more than tensors: give the weights as safetensors"):
        begin(tmp_path / "hf", corpus)
    assert not (tmp_path / "gone off").exists()


def test_a_lost_weight_of_the_encoder_is_refused(data, corpus, tmp_path):
    write(BertForMaskedLM, data, corpus, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["bert.encoder.layer.0.output.dense.bias"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 weights.*bert\.encoder\.layer\.0\.output\.dense\.bias"):
        begin(tmp_path, corpus)
