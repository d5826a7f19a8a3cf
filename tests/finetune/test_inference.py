import numpy as np
import pytest

from ernie_pipe.finetune.inference import logits, probabilities

FEATURES = [{"input_ids": [2, *range(5, 5 + n), 3]} for n in (1, 9, 0, 4)]


@pytest.mark.parametrize("head", ["classifier", "tagger"])
def test_results_keep_the_order_and_know_no_neighbours(head, request):
    head = request.getfixturevalue(head)
    alone = [logits(head.model, head.tokenizer, [item], 1)[0] for item in FEATURES]
    together = logits(head.model, head.tokenizer, FEATURES, 3)
    for one, other in zip(alone, together, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_token_head_answers_for_each_token(tagger):
    rows = logits(tagger.model, tagger.tokenizer, FEATURES, 2)
    assert [row.shape for row in rows] == [(len(item["input_ids"]), 3) for item in FEATURES]


def test_the_mode_of_the_model_is_left_alone(tagger):
    tagger.model.train()
    first = logits(tagger.model, tagger.tokenizer, FEATURES[:1], 1)[0]
    assert tagger.model.training
    np.testing.assert_array_equal(first, logits(tagger.model, tagger.tokenizer, FEATURES[:1], 1)[0])
    tagger.model.eval()


def test_probabilities_sum_to_one_and_do_not_overflow():
    shares = probabilities(np.array([[1000.0, 1000.0], [0.0, -1000.0]]))
    np.testing.assert_allclose(shares, [[0.5, 0.5], [1.0, 0.0]])
