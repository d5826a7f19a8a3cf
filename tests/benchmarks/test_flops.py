import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import ErnieConfig, ErnieForMaskedLM

from ernie_pipe import resources
from ernie_pipe.model.encoder import Packing, build_encoder

BENCHMARKS = resources.folder("configs").parent / "benchmarks"


@pytest.fixture(scope="module")
def work():
    sys.path.insert(0, str(BENCHMARKS))
    from flops import work

    yield work
    sys.path.remove(str(BENCHMARKS))


def config():
    return ErnieConfig(
        vocab_size=90, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32, attn_implementation="eager",
    )  # fmt: skip


def counted(run):
    with FlopCounterMode(display=False) as counter:
        run().sum().backward()
    return counter.get_total_flops()


def test_full_blocks_cost_what_torch_counts(work):
    model = ErnieForMaskedLM(config())
    found = counted(lambda: model(input_ids=torch.ones(3, 32, dtype=torch.long)).logits)
    assert work(config(), share=0.15, mean=32, filled=1, longest=32).blocks == pytest.approx(found / 96, rel=0.02)


def test_our_encoder_costs_what_torch_counts_where_a_quarter_is_wanted(work):
    encoder = build_encoder(config(), pooler=False)
    packing = Packing(torch.tensor([0, 32, 64], dtype=torch.int32), 32)
    inputs = {"input_ids": torch.ones(1, 64, dtype=torch.long), "position_ids": torch.arange(64)[None] % 32}
    wanted = torch.arange(0, 64, 4)
    found = counted(lambda: encoder(**inputs, packing=packing, wanted=wanted).last_hidden_state)
    head = 6 * (16 * 16 + 16 * 90) * 0.25
    counts = work(config(), share=0.25, mean=32, filled=0.5, longest=32)
    # What the counter knows of CPU attention differs by release: the linear layers must be right.
    assert counts.ours - head - 12 * 2 * 16 * 32 == pytest.approx(linear(found, counts, head), rel=0.05)
    assert counts.padded == 2 * counts.blocks


def linear(found, counts, head):
    attention = 12 * 2 * 16 * 32
    plain = counts.ours - head - attention
    return min((found / 64, found / 64 - attention), key=lambda value: abs(value - plain))
