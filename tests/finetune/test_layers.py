import pytest
from torch import nn
from transformers import (
    AlbertConfig,
    BertConfig,
    BertForTokenClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.layers import check, depth, dropout, frozen, parameter_groups
from ernie_pipe.finetune.settings import FinetuneSettings

SMALL = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.fixture(scope="module")
def model():
    return BertForTokenClassification(BertConfig(**SMALL))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert.embeddings.LayerNorm.weight", 0),
        ("bert.encoder.layer.0.output.dense.bias", 1),
        ("bert.encoder.layer.2.output.dense.bias", 3),
        ("classifier.weight", 4),
    ],
)
def test_depth_counts_from_the_embeddings_up(model, name, expected):
    assert name in dict(model.named_parameters())
    assert depth(name, model) == expected


def test_roberta_s_head_and_a_pooler_stand_on_top():
    roberta = RobertaForSequenceClassification(RobertaConfig(**SMALL))
    assert depth("classifier.dense.weight", roberta) == 4
    assert depth("roberta.encoder.layer.1.output.dense.weight", roberta) == 2
    assert depth("bert.pooler.dense.weight", BertForTokenClassification(BertConfig(**SMALL))) == 4


def test_rates_fall_by_layer_and_every_parameter_keeps_its_decay(model):
    names = {parameter: name for name, parameter in model.named_parameters()}
    decayed = [p for p, name in names.items() if "bias" not in name]
    plain = [p for p, name in names.items() if "bias" in name]
    groups = parameter_groups(
        model, [{"params": decayed, "lr": 1.0, "weight_decay": 0.1}, {"params": plain, "lr": 1.0}], 0.5
    )
    rates = {names[p]: group["lr"] for group in groups for p in group["params"]}
    assert rates.keys() == set(names.values())
    assert rates["classifier.weight"] == 1.0
    assert rates["bert.encoder.layer.2.output.dense.bias"] == 0.5
    assert rates["bert.embeddings.word_embeddings.weight"] == 0.5**4
    assert all(("weight_decay" in g) == ("bias" not in names[p]) for g in groups for p in g["params"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, set()), ({"frozen_embeddings": True}, {0}), ({"frozen_layers": 2}, {0, 1, 2})],
)
def test_lower_layers_are_frozen_for_a_while(model, settings, expected):
    with frozen(model, FinetuneSettings(**settings)):
        still = {depth(name, model) for name, p in model.named_parameters() if not p.requires_grad}
        moving = {depth(name, model) for name, p in model.named_parameters() if p.requires_grad}
    assert (still, moving) == (expected, {0, 1, 2, 3, 4} - expected)
    assert all(p.requires_grad for p in model.parameters())


def test_layers_that_are_not_there_are_refused():
    with pytest.raises(InputError, match="frozen_layers 4: the encoder has 3 layers"):
        check(BertConfig(**SMALL), FinetuneSettings(frozen_layers=4))
    with pytest.raises(InputError, match="ALBERT share their weights"):
        check(AlbertConfig(), FinetuneSettings(layer_decay=0.9))
    check(AlbertConfig(), FinetuneSettings())


def rates(model):
    return {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}


def test_dropout_is_that_of_hidden_states_and_of_training_alone(model):
    before = rates(model)
    with dropout(model, FinetuneSettings(dropout=0.3)):
        inside = rates(model)
    assert rates(model) == before
    assert {name for name, rate in inside.items() if rate == 0.3} == {name for name in before if ".self." not in name}
    assert inside["bert.encoder.layer.0.attention.self.dropout"] == 0.1
    with dropout(model, FinetuneSettings()):
        assert rates(model) == before


def test_r_drop_needs_a_dropout():
    still = BertForTokenClassification(BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    with (
        pytest.raises(InputError, match="r_drop: the encoder has no dropout"),
        dropout(still, FinetuneSettings(r_drop=1.0)),
    ):
        pass
    with dropout(still, FinetuneSettings(r_drop=1.0, dropout=0.1)):
        assert still.dropout.p == 0.1
