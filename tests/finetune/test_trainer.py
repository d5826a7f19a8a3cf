"""Each option does what it says, on a toy encoder without dropout unless said."""

import pytest
import torch
import transformers

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Chooser, Classifier, Reader, Tagger, objective
from ernie_pipe.finetune.layers import depth
from ernie_pipe.finetune.trainer import DivergedError, HeadTrainer, length
from ernie_pipe.finetune.training import _arguments, train
from tests.finetune.toys import build_encoder, choices, journeys, opinions, questions

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """An encoder of two layers without dropout."""
    return build_encoder(tmp_path_factory.mktemp("still"), num_hidden_layers=2, **STILL)


def fresh(folder, head=Classifier, rows=None, **changes):
    """A head with new weights, and features to train it on."""
    head = head.from_pretrained(folder, device="cpu", max_tokens=32, **{"batch_size": 6, "epochs": 1, **changes})
    examples = head.read(rows or (opinions() if isinstance(head, Classifier) else journeys()), "train")
    transformers.set_seed(0)
    head.model = head.start(head.labels_of(examples))
    return head, head.features(examples)


def fitted(folder, head=Classifier, rows=None, **changes):
    """The weights before and after training."""
    head, features = fresh(folder, head, rows, **changes)
    before = {name: p.detach().clone() for name, p in head.model.named_parameters()}
    train(head.model, features, collator=head.collator(), settings=head.settings, seed=1)
    return head.model, before, dict(head.model.named_parameters())


def trainer_of(head, features, tmp_path):
    return HeadTrainer(
        head.model,
        features,
        arguments=_arguments(head.settings, 1, str(tmp_path), len(features)),
        collator=head.collator(),
        settings=head.settings,
    )


@pytest.mark.parametrize("head", [Classifier, Tagger])
def test_a_step_is_the_stock_trainer_s(still, head, tmp_path):
    # One step holds all the data, so that the order of examples says nothing.
    changes = {"batch_size": 24, "epochs": 3, "learning_rate": 1e-2}
    _, _, ours = fitted(still, head, **changes)
    other, features = fresh(still, head, **changes)
    stock = transformers.Trainer(
        other.model,
        args=_arguments(other.settings, 1, str(tmp_path), len(features)),
        train_dataset=features,
        data_collator=other.collator(),
    )
    stock.remove_callback(transformers.PrinterCallback)
    stock.train()
    for name, parameter in other.model.named_parameters():
        torch.testing.assert_close(ours[name], parameter, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", [Classifier, Tagger])
def test_a_step_in_parts_is_the_same_step(still, head):
    rows = (opinions()[::2] if head is Classifier else journeys())[:11]
    # AdamW divides by the size of gradients: where they are almost nothing, the last bits decide.
    changes = {"batch_size": 8, "epochs": 3, "learning_rate": 1e-3, "rows": rows}
    _, _, whole = fitted(still, head, **changes)
    _, _, parts = fitted(still, head, **changes, accumulate=4)
    for name, parameter in whole.items():
        torch.testing.assert_close(parts[name], parameter, atol=2e-5, rtol=1e-3)


GRADED = [{"text": row["text"], "label": f"{number / 4}"} for number, row in enumerate(opinions())]
# The loss of a reader counts padding among the places where an answer may begin: parts have to be as wide as the whole.
ALIKE = [row for row in questions() if len(row["context"]) == 6]


@pytest.mark.parametrize(
    ("head", "rows"),
    [(Classifier, opinions()), (Tagger, journeys()), (Classifier, GRADED), (Reader, ALIKE), (Chooser, choices())],
)
def test_uneven_parts_of_a_step_count_by_what_they_hold(still, tmp_path, head, rows):
    head, features = fresh(still, head, rows)
    trainer, model = trainer_of(head, features, tmp_path), head.model
    trainer.create_optimizer()

    def gradients(*sizes):
        model.zero_grad()
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        given = [head.collator()(features[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
        parts, items = trainer.get_batch_samples(iter(given), len(given), torch.device("cpu"))
        trainer.current_gradient_accumulation_steps = len(parts)
        total = sum(trainer.training_step(model, part, items) for part in parts)
        return [total, *(parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None)]

    for one, other in zip(gradients(5), gradients(2, 2, 1), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("most", "steps", "epoch"), [(0, 8, 2), (3, 3, 1), (5, 5, 2), (99, 8, 2)])
def test_steps_are_limited(still, monkeypatch, most, steps, epoch):
    done = []
    step = HeadTrainer.training_step
    monkeypatch.setattr(HeadTrainer, "training_step", lambda *args: done.append(1) or step(*args))
    head, features = fresh(still, epochs=2, max_steps=most)
    assert train(head.model, features, collator=head.collator(), settings=head.settings, seed=1) == epoch
    assert len(done) == steps


def test_frozen_layers_stay_as_they_are(still):
    model, before, after = fitted(still, frozen_layers=1, learning_rate=1e-2)
    moved = {depth(name, model) for name in after if not torch.equal(before[name], after[name])}
    assert moved == {2, 3}
    assert all(p.requires_grad for p in model.parameters())


def test_lower_layers_learn_more_slowly(still):
    # AdamW's first step is as long as the learning rate, whatever the gradient.
    changes = {"max_steps": 1, "warmup_ratio": 0.0, "weight_decay": 0.0, "learning_rate": 1e-3}
    model, before, after = fitted(still, layer_decay=0.5, **changes)
    longest = dict.fromkeys(range(4), 0.0)
    for name, parameter in after.items():
        level = depth(name, model)
        longest[level] = max(longest[level], (parameter - before[name]).abs().max().item())
    assert [longest[level] / 1e-3 for level in range(4)] == pytest.approx([1 / 8, 1 / 4, 1 / 2, 1.0], rel=0.02)


def test_rare_classes_count_more_where_they_are_weighted(still, tmp_path):
    rows = opinions()[:10] + opinions()[-2:]
    for weights, expected in [("balanced", (0.6, 3.0)), ({"bad": 4.0}, (12 / 18, 4 * 12 / 18)), (None, None)]:
        head, features = fresh(still, rows=rows, class_weights=weights, batch_size=12)
        trainer = trainer_of(head, features, tmp_path)
        batch = head.collator()(features)
        each = torch.nn.functional.cross_entropy(head.model(**batch).logits, batch["labels"], reduction="none")
        # The labels are bad and good, in this order.
        factors = torch.ones(12) if expected is None else torch.tensor(expected).flip(0)[batch["labels"]]
        assert torch.allclose(trainer.compute_loss(head.model, batch), (each * factors).mean(), atol=1e-6)


def test_smoothing_reaches_the_loss(still, tmp_path):
    head, features = fresh(still, label_smoothing=0.3)
    batch = head.collator()(features)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=0.3)(head.model(**batch).logits, batch["labels"])
    assert torch.allclose(trainer_of(head, features, tmp_path).compute_loss(head.model, batch), expected)


@pytest.mark.parametrize("head", [Classifier, Tagger])
def test_r_drop_adds_the_divergence_of_two_passes(encoder_folder, head, tmp_path):
    head, features = fresh(encoder_folder, head, r_drop=4.0)
    batch, trainer = head.collator()(features), trainer_of(head, features, tmp_path)
    head.model.train()
    torch.manual_seed(5)
    found = trainer.compute_loss(head.model, batch)
    torch.manual_seed(5)
    one, other = head.model(**batch), head.model(**batch)
    apart = objective.divergence(one.logits, other.logits)[batch["labels"] != -100].mean()
    assert apart > 0
    assert torch.allclose(found, (one.loss + other.loss) / 2 + 4 * apart)


def test_fgm_adds_the_gradient_of_what_it_perturbs(still, tmp_path):
    head, features = fresh(still, fgm=0.5, r_drop=1.0)
    batch, trainer, model = head.collator()(features), trainer_of(head, features, tmp_path), head.model
    trainer.create_optimizer()
    losses = []
    compute = trainer.compute_loss

    def seen(*args, **kwargs):
        losses.append(compute(*args, **kwargs))
        return losses[-1]

    trainer.compute_loss = seen
    trainer.current_gradient_accumulation_steps = 1
    returned = trainer.training_step(model, batch)
    clean, moved = (value.item() for value in losses)
    assert returned.item() == clean < moved
    gradient = model.classifier.weight.grad.clone()
    model.zero_grad()
    compute(model, batch).backward()
    assert not torch.allclose(gradient, model.classifier.weight.grad)
    assert not model.get_input_embeddings()._forward_hooks


def test_options_that_a_head_cannot_have_are_refused(still, tmp_path):
    for key, value in [("class_weights", "balanced"), ("label_smoothing", 0.1)]:
        head, features = fresh(still, **{key: value})
        head.model.config.problem_type = "regression"
        with pytest.raises(InputError, match=f"{key}: only for heads that choose one label"):
            trainer_of(head, features, tmp_path)
    head, features = fresh(still, class_weights={"so-so": 2.0})
    with pytest.raises(InputError, match="unknown label `so-so`: the training data has bad, good"):
        trainer_of(head, features, tmp_path)


def test_a_loss_that_is_no_number_stops_with_its_step(still):
    head, features = fresh(still, learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"the loss is \w+ at step \d: lower learning_rate \(1e\+30\)"):
        train(head.model, features, collator=head.collator(), settings=head.settings, seed=1)


def test_the_order_is_by_length_and_differs_by_epoch_and_seed(still, tmp_path, monkeypatch):
    rows = [{"text": "好" * n, "label": "good" if n % 3 else "bad"} for n in range(1, 25)] * 4
    step, orders = HeadTrainer.training_step, []

    def seen(self, model, inputs, items=None):
        orders[-1].append(inputs["input_ids"].tolist())
        return step(self, model, inputs, items)

    monkeypatch.setattr(HeadTrainer, "training_step", seen)
    for seed in (1, 1, 2):
        orders.append([])
        head, features = fresh(still, rows=rows, epochs=2, batch_size=4)
        train(head.model, features, collator=head.collator(), settings=head.settings, seed=seed)
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:24] != orders[0][24:]
    padding = sum(ids.count(0) for step in orders[0] for ids in step) / sum(len(ids) for s in orders[0] for ids in s)
    assert padding < 0.15


def test_a_feature_of_several_sequences_is_as_long_as_the_longest():
    assert length({"input_ids": [[1, 2], [1, 2, 3]]}) == length({"input_ids": [4, 5, 6]}) == 3
