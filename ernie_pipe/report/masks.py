"""Masked examples for people: what is hidden, at which level, in colour."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from ernie_pipe.masking import LEVELS
from ernie_pipe.pretrain.batch import BatchBuilder, Built

_COLOURS = {"basic": 36, "word": 34, "phrase": 33, "entity": 35}


@dataclass(frozen=True)
class MaskedExample:
    """One sequence: tokens as the model sees them, what stood there, and the number of the unit that each predicted
    token belongs to (−1 where nothing is predicted).
    """

    task: str
    level: str
    seen: list[str]
    original: list[str]
    unit: list[int]

    @property
    def longest_unit(self) -> int:
        """Tokens of the longest predicted unit."""
        return max(Counter(number for number in self.unit if number >= 0).values(), default=0)


def examples(built: Built, builder: BatchBuilder, tokens: dict[int, str]) -> Iterator[MaskedExample]:
    """Yield the sequences of a micro-batch; `tokens` is id → token."""
    packed = built.packed
    original = packed.input_ids.copy()
    units = np.full(len(original), -1)
    masking = built.targets.get("knowledge_masking")
    if masking is not None:
        original[masking.positions] = masking.labels
        units[masking.positions] = packed.masked_units
    names = list(builder.tasks)
    for number, (start, end) in enumerate(pairwise(packed.starts.tolist())):
        yield MaskedExample(
            names[packed.task[number]],
            LEVELS[packed.levels[number]] if len(packed.levels) else "none",
            [tokens[token] for token in packed.input_ids[start:end].tolist()],
            [tokens[token] for token in original[start:end].tolist()],
            units[start:end].tolist(),
        )


def render(example: MaskedExample, *, colour: bool) -> str:
    """Write an example in one line, each predicted unit in brackets.

    `[哈尔滨]` stood as `[MASK]`s, `[湿地→强河]` as other tokens, `[鹤=]` as itself.
    """
    pieces = []
    for number, group in groupby(range(len(example.seen)), key=lambda position: example.unit[position]):
        positions = list(group)
        original = join([example.original[position] for position in positions])
        pieces.append(original if number < 0 else _unit(example, positions, original, colour))
    return "".join(pieces).removesuffix(" ‖ ")


def _unit(example: MaskedExample, positions: list[int], original: str, colour: bool) -> str:
    seen = [example.seen[position] for position in positions]
    if all(token == "[MASK]" for token in seen):
        text = f"[{original}]"
    elif seen == [example.original[position] for position in positions]:
        text = f"[{original}=]"
    else:
        text = f"[{original}→{join(seen)}]"
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
