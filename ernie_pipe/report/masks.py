"""Masked examples for people: what is hidden, at which level, in colour."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ernie_pipe.masking import LEVELS
from ernie_pipe.pretrain.batch import BatchBuilder, Built

_COLOURS = {"basic": 36, "word": 34, "phrase": 33, "entity": 35}


@dataclass(frozen=True)
class MaskedExample:
    """One sequence: tokens as the model sees them, what stood there, which positions are predicted."""

    task: str
    level: str
    seen: list[str]
    original: list[str]
    predicted: list[bool]


def examples(built: Built, builder: BatchBuilder, tokens: dict[int, str]) -> Iterator[MaskedExample]:
    """Yield the sequences of a micro-batch; `tokens` is id → token."""
    packed = built.packed
    original = packed.input_ids.copy()
    predicted = np.zeros(len(original), dtype=bool)
    masking = built.targets.get("knowledge_masking")
    if masking is not None:
        original[masking.positions] = masking.labels
        predicted[masking.positions] = True
    names = list(builder.tasks)
    for number, (start, end) in enumerate(zip(packed.starts[:-1].tolist(), packed.starts[1:].tolist(), strict=True)):
        yield MaskedExample(
            names[packed.task[number]],
            LEVELS[packed.levels[number]] if len(packed.levels) else "none",
            [tokens[token] for token in packed.input_ids[start:end].tolist()],
            [tokens[token] for token in original[start:end].tolist()],
            predicted[start:end].tolist(),
        )


def render(example: MaskedExample, *, colour: bool) -> str:
    """Write an example in one line: hidden runs as `[original]`, or as `[original→seen]` where not `[MASK]`."""
    pieces: list[str] = []
    position = 0
    while position < len(example.seen):
        end = position
        while end < len(example.seen) and example.predicted[end] == example.predicted[position]:
            end += 1
        pieces.append(_piece(example, position, end, colour))
        position = end
    return "".join(pieces)


def _piece(example: MaskedExample, start: int, end: int, colour: bool) -> str:
    original, seen = join(example.original[start:end]), join(example.seen[start:end])
    if not example.predicted[start]:
        return original
    hidden = all(token == "[MASK]" for token in example.seen[start:end])
    text = f"[{original}]" if hidden else f"[{original}→{seen}]"
    return f"\033[1;{_COLOURS.get(example.level, 31)}m{text}\033[0m" if colour else text


def join(tokens: list[str]) -> str:
    """Join tokens to text: `##` pieces without it, a space between Latin words, special tokens left out."""
    text = ""
    for token in tokens:
        if token in ("[CLS]", "[PAD]"):
            continue
        if token.startswith("##"):
            text += token[2:]
        elif token == "[SEP]":
            text += " ‖ "
        else:
            gap = text[-1:].isascii() and text[-1:].isalnum() and token.isascii() and token.isalnum()
            text += (" " if gap else "") + token
    return text
