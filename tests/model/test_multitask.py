import pytest
import torch

from ernie_pipe.model.convert import new_config
from ernie_pipe.model.multitask import MultiTaskModel
from ernie_pipe.pretrain.batch import to_tensors
from tests.pretrain.building import batches


@pytest.fixture(scope="module")
def builder(data):
    """Whole steps in one micro-batch: every task has examples."""
    return batches(data, batch={"tokens_per_step": 1024, "micro_batches": 1})


@pytest.fixture
def model(builder):
    torch.manual_seed(0)
    config = new_config(builder.plan.settings.model, builder.special, list(builder.tasks))
    return MultiTaskModel(config, builder.tasks).eval()


def batch(builder, step=6):
    return to_tensors(builder.step(step, [0])[0])


def without(given, *names):
    """The batch with no position left for some tasks."""
    nothing = torch.zeros(0, dtype=torch.long)
    return given | {"targets": given["targets"] | dict.fromkeys(names, (nothing, nothing))}


def total(outputs):
    return torch.stack([output.loss for output in outputs.values()]).sum()


def test_every_task_reports_its_sums(model, builder):
    given = batch(builder)
    for name, output in model(given).items():
        positions, labels = given["targets"][name]
        logits = model.logits(name, model.hidden(given), positions)
        assert output.positions == len(positions) > 0
        expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        torch.testing.assert_close(output.loss, expected)
        assert output.correct == (logits.argmax(-1) == labels).sum()


@pytest.mark.parametrize("missing", ["knowledge_masking", "sentence_distance"])
def test_a_task_without_examples_gets_zero_gradients_not_none(model, builder, missing):
    outputs = model(without(batch(builder), missing))
    assert outputs[missing].positions == 0
    total(outputs).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert None not in gradients.values()
    own = [gradient for name, gradient in gradients.items() if name.startswith(f"heads.{missing}.")]
    assert len(own) > 0
    assert not any(gradient.any() for gradient in own if gradient.shape[0] != model.config.vocab_size)


def test_a_micro_batch_without_any_position_still_reaches_every_parameter(model, builder):
    loss = total(model(without(batch(builder), *builder.tasks)))
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_the_projection_shares_the_word_embeddings(model):
    head = model.heads["knowledge_masking"]
    assert head.decoder.weight is model.encoder.embeddings.word_embeddings.weight
    assert head.decoder.bias is head.bias
    pointers = [tensor.data_ptr() for tensor in model.state().values()]
    assert len(set(pointers)) == len(pointers)


def test_the_task_embedding_tells_the_tasks_apart(model, builder):
    with torch.no_grad():
        model.encoder.embeddings.task_type_embeddings.weight.normal_()
    given = batch(builder)
    other = given | {"task_type_ids": torch.full_like(given["task_type_ids"], 3)}
    assert (model.hidden(given) - model.hidden(other)).abs().max() > 1e-3
