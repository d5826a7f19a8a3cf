import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.objective import Adversary, class_weights, cross_entropy, divergence


def test_the_loss_is_the_field_s_mean_and_leaves_out_what_is_ignored():
    logits, labels = torch.randn(2, 3, 4, generator=torch.manual_seed(0)), torch.tensor([[1, -100, 3], [0, 2, -100]])
    expected = nn.CrossEntropyLoss(label_smoothing=0.1)(logits.view(-1, 4), labels.view(-1))
    assert torch.allclose(cross_entropy(logits, labels, items=4, smoothing=0.1), expected)


def test_smoothing_spreads_a_label():
    logits = torch.tensor([[0.0, 2.0]])
    shares = torch.log_softmax(logits, dim=-1)[0]
    found = cross_entropy(logits, torch.tensor([1]), items=1, smoothing=0.2)
    assert torch.allclose(found, -(0.9 * shares[1] + 0.1 * shares[0]))


def test_weights_of_classes_are_of_mean_one_over_the_data():
    labels = [0, 0, 0, 1]
    assert class_weights("balanced", ["a", "b", "c"], labels).tolist() == pytest.approx([2 / 3, 2.0, 0.0])
    assert class_weights({"b": 3}, ["a", "b"], labels).tolist() == pytest.approx([4 / 6, 12 / 6])
    assert class_weights("balanced", ["O", "B"], [[-100, 0, 0, -100], [0, 1]]).tolist() == pytest.approx([2 / 3, 2.0])
    assert class_weights(None, ["a"], labels) is None
    with pytest.raises(InputError, match="class_weights: unknown label `x`: the training data has a, b"):
        class_weights({"x": 2}, ["a", "b"], labels)


def test_a_weighted_loss_counts_rare_classes_as_much_as_frequent_ones():
    logits, labels = torch.zeros(4, 2, requires_grad=True), torch.tensor([0, 0, 0, 1])
    cross_entropy(logits, labels, items=4, weights=class_weights("balanced", ["a", "b"], labels.tolist())).backward()
    assert torch.allclose(logits.grad[:3, 0].sum(), logits.grad[3, 1])


ROWS = st.lists(st.floats(-20, 20), min_size=3, max_size=3)


@given(ROWS, ROWS)
def test_the_divergence_is_the_mean_of_both_directions(one, other):
    one, other = torch.tensor([one]), torch.tensor([other])
    p, q = torch.log_softmax(one, dim=-1), torch.log_softmax(other, dim=-1)
    both = nn.functional.kl_div(p, q, log_target=True, reduction="sum") + nn.functional.kl_div(
        q, p, log_target=True, reduction="sum"
    )
    assert math.isclose(divergence(one, other).item(), both.item() / 2, abs_tol=1e-3, rel_tol=1e-3)
    assert divergence(one, one).item() == 0


def test_labels_that_stand_alone_have_a_distribution_each():
    found = divergence(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, -1.0]]), "multi_label_classification")
    p, q = torch.sigmoid(torch.tensor(1.0)), torch.sigmoid(torch.tensor(-1.0))
    expected = (p - q) * torch.log(p / q) + (q - p) * torch.log((1 - p) / (1 - q))
    assert torch.allclose(found, torch.stack([torch.zeros(()), expected / 2])[None])
    assert divergence(torch.tensor([[3.0]]), torch.tensor([[1.0]]), "regression").tolist() == [[4.0]]


@pytest.mark.parametrize("frozen", [False, True])
def test_the_adversary_moves_each_sequence_where_its_loss_rises_most(frozen):
    torch.manual_seed(0)
    embedding, top = nn.Embedding(9, 4), nn.Linear(4, 2)
    embedding.weight.requires_grad_(not frozen)
    ids, labels = torch.tensor([[1, 2, 3], [4, 5, 5]]), torch.tensor([0, 1])

    def loss():
        return nn.functional.cross_entropy(top(embedding(ids).mean(dim=1)), labels)

    adversary, plain = Adversary(embedding, 0.5), embedding(ids).detach()
    with adversary.watching():
        before = loss()
        before.backward()
    with adversary.perturbing():
        moved, after = embedding(ids).detach(), loss()
    assert torch.allclose((moved - plain).flatten(1).norm(dim=1), torch.full((2,), 0.5))
    assert after > before
    assert torch.equal(embedding(ids), plain)
