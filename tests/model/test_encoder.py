from itertools import accumulate

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import ErnieConfig, ErnieModel

from ernie_pipe.model.encoder import PACKED, Buckets, Packing, build_encoder

LENGTHS = [7, 1, 12, 5]
STARTS = torch.tensor([0, 7, 8, 20, 25], dtype=torch.int32)


def config():
    return ErnieConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=16, type_vocab_size=2, task_type_vocab_size=3, use_task_id=True,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.3,
    )  # fmt: skip


def inputs():
    generator = torch.Generator().manual_seed(0)
    total = sum(LENGTHS)
    return {
        "input_ids": torch.randint(5, 50, (1, total), generator=generator),
        "token_type_ids": torch.randint(0, 2, (1, total), generator=generator),
        "task_type_ids": torch.randint(0, 3, (1, total), generator=generator),
        "position_ids": torch.cat([torch.arange(length) for length in LENGTHS])[None],
    }


def run(encoder, batch):
    return encoder(**batch, packing=Packing(STARTS, max(LENGTHS))).last_hidden_state[0]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(1)
    return build_encoder(config(), pooler=False).eval()


def test_packed_equals_the_stock_model_on_padded_sequences(encoder):
    stock = ErnieModel(config(), add_pooling_layer=False).eval()
    stock.load_state_dict(encoder.state_dict())
    assert stock.config._attn_implementation != PACKED
    packed = run(encoder, inputs())
    for start, length in zip(STARTS.tolist(), LENGTHS, strict=False):
        padded = {name: torch.zeros(1, 16, dtype=torch.long) for name in inputs()}
        for name, value in inputs().items():
            padded[name][0, :length] = value[0, start : start + length]
        mask = (torch.arange(16) < length).long()[None]
        alone = stock(**padded, attention_mask=mask).last_hidden_state[0, :length]
        torch.testing.assert_close(packed[start : start + length], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("changed", range(4))
def test_packed_sequences_do_not_attend_to_their_neighbours(encoder, changed):
    before = run(encoder, inputs())
    given = inputs()
    mine = slice(int(STARTS[changed]), int(STARTS[changed + 1]))
    given["input_ids"][0, mine] = (given["input_ids"][0, mine] + 7) % 45 + 5
    after = run(encoder, given)
    others = torch.ones(sum(LENGTHS), dtype=torch.bool)
    others[mine] = False
    assert torch.equal(before[others], after[others])
    assert (before[mine] != after[mine]).any(dim=1).all()


def test_gradients_reach_every_parameter_and_stay_in_the_sequence(encoder):
    hidden = run(encoder, inputs())
    words = encoder.embeddings.word_embeddings.weight
    (gradient,) = torch.autograd.grad(hidden[7, 0], words, retain_graph=True)
    assert gradient.abs().sum(1).nonzero().flatten().tolist() == [int(inputs()["input_ids"][0, 7])]
    hidden.pow(2).sum().backward()
    still = [
        name for name, parameter in encoder.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    # A constant added to every key of a row moves no attention weight: its gradient is zero up to rounding.
    assert [name for name in still if not name.endswith("key.bias")] == []


def test_dropout_of_attention_is_drawn_only_in_training():
    torch.manual_seed(0)
    loud = config()
    loud.attention_probs_dropout_prob = 0.5
    encoder = build_encoder(loud, pooler=False)
    assert not torch.equal(run(encoder.train(), inputs()), run(encoder, inputs()))
    assert torch.equal(run(encoder.eval(), inputs()), run(encoder, inputs()))


def test_the_packed_name_is_not_written_to_an_exported_config(tmp_path, encoder):
    encoder.config.save_pretrained(tmp_path)
    assert PACKED not in (tmp_path / "config.json").read_text()


@given(st.lists(st.integers(1, 90), min_size=1, max_size=30))
def test_buckets_hold_every_token_once_and_pad_little(lengths):
    starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    buckets = Buckets.of(starts)
    total = sum(lengths)
    assert buckets.slots[buckets.back].tolist() == list(range(total))
    real = [
        torch.ones(number * longest, dtype=torch.bool) if filled is None else filled.flatten()
        for (number, longest), filled in zip(buckets.shapes, buckets.filled, strict=True)
    ]
    assert int(torch.cat(real).sum()) == total
    assert torch.equal(torch.cat(real).nonzero().flatten(), buckets.back.sort().values)
    pairs = sum(number * longest**2 for number, longest in buckets.shapes)
    assert pairs - sum(length**2 for length in lengths) <= 1024 * len(lengths)
    # A sequence lies in one row: no row holds tokens of two.
    rows = torch.cat([buckets.slots[:0]] + [part.flatten() for part in torch.split(buckets.slots, row_sizes(buckets))])
    owner = torch.searchsorted(starts[1:].long(), rows, right=True)
    assert all((part == part[0]).all() for part in owner.split(row_sizes(buckets)))


def row_sizes(buckets):
    return [longest for number, longest in buckets.shapes for _ in range(number)]


def test_the_last_layer_gives_wanted_tokens_the_same_hidden_states_and_gradients(encoder):
    wanted = torch.tensor([3, 7, 8, 24, 3])
    weights = list(encoder.parameters())
    whole = run(encoder, inputs())[wanted]
    expected = torch.autograd.grad(whole.pow(2).sum(), weights)
    layer = encoder.encoder.layer[-1]
    seen = []
    hook = layer.intermediate.register_forward_hook(lambda _, __, out: seen.append(out.shape[1]))
    some = encoder(**inputs(), packing=Packing(STARTS, max(LENGTHS)), wanted=wanted).last_hidden_state[0]
    hook.remove()
    assert seen == [len(wanted)]
    torch.testing.assert_close(some, whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.autograd.grad(some.pow(2).sum(), weights), expected, atol=1e-3, rtol=1e-4)


def test_compiled_it_keeps_its_names_and_is_not_compiled_again_for_other_lengths():
    torch.manual_seed(1)
    encoder = build_encoder(config(), pooler=False)
    names, expected = list(encoder.state_dict()), run(encoder, inputs())
    # The tracing is what could be done again and again; the backend that makes fast code takes a minute.
    encoder.compile(dynamic=True, backend="eager")
    assert list(encoder.state_dict()) == names
    torch.testing.assert_close(run(encoder, inputs()), expected, atol=1e-5, rtol=0)
    with torch._dynamo.config.patch(error_on_recompile=False):
        for lengths in ([5, 3, 9], [4] * 6):
            trained(encoder, lengths)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for lengths in ([3, 9, 2], [16, 2, 2, 3, 7], [11, 12], [2] * 12):
            trained(encoder, lengths)
    torch._dynamo.reset()


def trained(encoder, lengths):
    """A forward and a backward pass over sequences of these lengths, every third token wanted."""
    total = sum(lengths)
    given = {
        "input_ids": torch.arange(total)[None] % 45 + 5,
        "token_type_ids": torch.zeros(1, total, dtype=torch.long),
        "task_type_ids": torch.zeros(1, total, dtype=torch.long),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
    }
    starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    packing = Packing(starts, max(lengths))
    encoder(**given, packing=packing, wanted=torch.arange(0, total, 3)).last_hidden_state.sum().backward()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_variable_length_attention_on_cuda_equals_the_padded_view(encoder):
    on_cpu = run(encoder, inputs())
    cuda = build_encoder(config(), pooler=False).eval().cuda()
    cuda.load_state_dict(encoder.state_dict())
    given = {name: value.cuda() for name, value in inputs().items()}
    with torch.autocast("cuda", dtype=torch.bfloat16):
        hidden = cuda(**given, packing=Packing(STARTS.cuda(), max(LENGTHS))).last_hidden_state[0]
    torch.testing.assert_close(hidden.float().cpu(), on_cpu, atol=0.1, rtol=0.05)
