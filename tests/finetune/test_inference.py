import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.finetune.inference import batches, logits, probabilities

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


@given(st.lists(st.integers(0, 60), max_size=80), st.integers(1, 200))
def test_batches_hold_their_tokens_with_the_padding_and_every_feature_once(lengths, tokens):
    found = list(batches(lengths, tokens))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[i] for i in batch) <= tokens for batch in found if len(batch) > 1)


def test_second_segments_reach_the_model(pair_head):
    one = {"input_ids": [2, 6, 7, 3, 8, 3], "token_type_ids": [0] * 6}
    other = one | {"token_type_ids": [0, 0, 0, 0, 1, 1]}
    first, second, plain = logits(pair_head.model, pair_head.tokenizer, [one, other], 2) + logits(
        pair_head.model, pair_head.tokenizer, [{"input_ids": one["input_ids"]}], 2
    )
    assert not np.allclose(first, second)
    np.testing.assert_allclose(first, plain, atol=1e-6)
