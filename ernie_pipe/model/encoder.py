"""transformers' `ErnieModel` on packed sequences: block-diagonal attention through the attention interface.

Shapes: `T` packed tokens, `B` sequences, `L` the longest of them, `A` heads, `D` head size, `H` hidden.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, ErnieConfig, ErnieModel

PACKED = "ernie_pipe_packed"


@dataclass(frozen=True)
class Packing:
    """Where the sequences lie: `starts` (B + 1, int32), `longest` a Python int (a tensor would recompile).

    `slots` (B × L) are the tokens of each sequence, padded with 0; `filled` (B × L) tells which are real.
    """

    starts: Tensor
    longest: int
    slots: Tensor
    filled: Tensor

    @staticmethod
    def of(starts: Tensor, longest: int) -> "Packing":
        """Lay out the padded view of sequences that begin at `starts`."""
        first, lengths = starts[:-1, None].long(), (starts[1:] - starts[:-1])[:, None]
        columns = torch.arange(longest, device=starts.device)[None, :]
        filled = columns < lengths
        return Packing(starts, longest, (first + columns) * filled, filled)


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

    On CUDA in half precision PyTorch's variable-length attention; elsewhere SDPA on a padded view.
    """
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return _variable_length(query, key, value, packing, scaling, dropout), None
    q, k, v = (part[0][:, packing.slots].transpose(0, 1) for part in (query, key, value))
    mask = packing.filled[:, None, None, :]
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout, scale=scaling)
    return out.transpose(1, 2)[packing.filled][None], None


def _variable_length(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None, dropout: float
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    if scaling is not None and not math.isclose(scaling, query.shape[-1] ** -0.5):
        raise ValueError("variable-length attention scales by 1/sqrt(head size) alone")
    if dropout > 0:
        raise ValueError("variable-length attention has no dropout: set model.attention_dropout to 0 on CUDA")
    q, k, v = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))
    starts, longest = packing.starts, packing.longest
    # Its own scale is the one we want; older releases take no other.
    out = varlen_attn(q, k, v, starts, starts, longest, longest)
    assert isinstance(out, Tensor)
    return out[None]


def _no_mask(*_: object, **__: object) -> None:
    """Build no mask: `packed_attention` knows the borders."""


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, _no_mask)


def build_encoder(config: ErnieConfig, *, pooler: bool) -> ErnieModel:
    """Build an `ErnieModel` that attends within packed sequences."""
    config._attn_implementation = PACKED
    return ErnieModel(config, add_pooling_layer=pooler)
