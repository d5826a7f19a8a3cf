"""transformers' `ErnieModel` on packed sequences: block-diagonal attention through the attention interface.

Shapes: `T` packed tokens, `B` sequences, `N` sequences of a bucket, `L` the longest of it, `M` wanted tokens,
`A` heads, `D` head size, `H` hidden.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, ErnieConfig, ErnieModel
from transformers.models.ernie.modeling_ernie import ErnieLayer

PACKED = "ernie_pipe_packed"
# A sequence joins a bucket when padding it costs fewer pairs of tokens than a call of its own (about 0.1 ms).
_SPARE_PAIRS = 1024
# Variable-length attention is told the longest sequence in such steps: few values, so nothing is compiled again.
_LONGEST_STEP = 128


@dataclass(frozen=True)
class Buckets:
    """Sequences by length, padded to the longest of their bucket.

    `slots` are the tokens of all buckets one after another, each N × L, padding pointing at the sequence's first token;
    `shapes` their (N, L); `filled` (N × 1 × 1 × L) tells which are real, None where all are. `back` (T) leads from
    the buckets to the packed tokens.
    """

    slots: Tensor
    shapes: list[tuple[int, int]]
    filled: list[Tensor | None]
    back: Tensor

    @staticmethod
    def of(starts: Tensor) -> "Buckets":
        """Sort sequences that begin at `starts` into buckets (made on the host: one copy each way)."""
        ends = starts.cpu().numpy().astype(np.int64)
        lengths = np.diff(ends)
        order = np.argsort(-lengths, kind="stable")
        first, lengths = ends[:-1][order, None], lengths[order, None]
        slots, filled, places, shapes, at = [], [], [], [], 0
        for begin, end, longest in _cut(lengths[:, 0].tolist()):
            columns = np.arange(longest)
            real = columns < lengths[begin:end]
            slots.append((first[begin:end] + columns * real).ravel())
            filled.append(None if real.all() else torch.from_numpy(real[:, None, None]).to(starts.device))
            places.append(at + np.flatnonzero(real))
            shapes.append((end - begin, longest))
            at += (end - begin) * longest
        flat, real_places = np.concatenate(slots), np.concatenate(places)
        back = np.empty_like(real_places)
        back[flat[real_places]] = real_places
        return Buckets(
            torch.from_numpy(flat).to(starts.device), shapes, filled, torch.from_numpy(back).to(starts.device)
        )


def _cut(lengths: list[int]) -> list[tuple[int, int, int]]:
    """Cut falling lengths into buckets (begin, end, longest) in which padding a sequence spares a call."""
    cuts, begin = [], 0
    for number, length in enumerate(lengths):
        if lengths[begin] ** 2 - length**2 > _SPARE_PAIRS:
            cuts.append((begin, number, lengths[begin]))
            begin = number
    return [*cuts, (begin, len(lengths), lengths[begin])]


@dataclass(frozen=True)
class Packing:
    """Where the sequences lie: `starts` (B + 1, int32), `longest` a Python int (a tensor would recompile)."""

    starts: Tensor
    longest: int

    @cached_property
    def buckets(self) -> Buckets:
        """The padded view, made once for all layers, where some layer asks for it."""
        return Buckets.of(self.starts)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """Attend within each sequence only: (1, A, T, D) → (1, T, A, D).

    On CUDA in half precision PyTorch's variable-length attention; elsewhere SDPA on sequences padded by buckets.
    """
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return _variable_length(query, key, value, packing, scaling, dropout), None
    return _bucketed(query, key, value, packing, scaling, dropout), None


# Buckets differ from batch to batch: compiled code would be made anew for each.
@torch.compiler.disable
def _bucketed(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None, dropout: float
) -> Tensor:
    buckets = packing.buckets
    heads, _, size = query.shape[1:]
    sizes = [number * longest for number, longest in buckets.shapes]
    # Rows of H: gathered and given back in whole lines of memory.
    rows = [
        part[0].transpose(0, 1).reshape(-1, heads * size).index_select(0, buckets.slots).split(sizes)
        for part in (query, key, value)
    ]
    outs = []
    for number, (shape, filled) in enumerate(zip(buckets.shapes, buckets.filled, strict=True)):
        q, k, v = (part[number].view(*shape, heads, size).transpose(1, 2) for part in rows)
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, filled, dropout_p=dropout, scale=scaling)
        outs.append(out.transpose(1, 2).reshape(-1, heads * size))
    return torch.cat(outs).index_select(0, buckets.back).view(1, -1, heads, size)


def _variable_length(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None, dropout: float
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    if scaling is not None and not math.isclose(scaling, query.shape[-1] ** -0.5):
        raise ValueError("variable-length attention scales by 1/sqrt(head size) alone")
    if dropout > 0:
        raise ValueError("variable-length attention has no dropout: set model.attention_dropout to 0 on CUDA")
    q, k, v = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))
    starts, longest = packing.starts, -(-packing.longest // _LONGEST_STEP) * _LONGEST_STEP
    # Its own scale is the one we want; older releases take no other.
    out = varlen_attn(q, k, v, starts, starts, longest, longest)
    assert isinstance(out, Tensor)
    return out[None]


def _no_mask(*_: object, **__: object) -> None:
    """Build no mask: `packed_attention` knows the borders."""


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, _no_mask)


class LastLayer(ErnieLayer):
    """The last layer: what follows its attention is computed for the wanted tokens alone.

    No other token's output is read: the same numbers, for about 15 % of the tokens.
    """

    def forward(self, hidden_states: Tensor, *given: Any, wanted: Tensor | None = None, **named: Any) -> Tensor:
        """(1, T, H) → (1, M, H), or (1, T, H) when nothing is said about `wanted` (M, indices into T)."""
        if wanted is None:
            return super().forward(hidden_states, *given, **named)
        attended, _ = self.attention.self(hidden_states, **named)
        attended, before = attended.index_select(1, wanted), hidden_states.index_select(1, wanted)
        return self.feed_forward_chunk(self.attention.output(attended, before))


def build_encoder(config: ErnieConfig, *, pooler: bool) -> ErnieModel:
    """Build an `ErnieModel` that attends within packed sequences.

    Its `forward` takes `packing`, and `wanted` where the hidden states of some tokens are enough.
    """
    config._attn_implementation = PACKED
    model = ErnieModel(config, add_pooling_layer=pooler)
    layers: Any = model.encoder.layer
    # The same parameters under the same names, none of them drawn again.
    with torch.device("meta"):
        last = LastLayer(config, layer_idx=len(layers) - 1)
    last.load_state_dict(layers[-1].state_dict(keep_vars=True), assign=True)
    layers[-1] = last
    return model
