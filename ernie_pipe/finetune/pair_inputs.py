"""Two token sequences as one input, `[CLS] first [SEP] second [SEP]`, as the tokenizer itself would put them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PairForm:
    """The special ids around two sequences, and the segment id of every part, None for models without segments.

    `segments` are those of `before`, first, `between`, second and `after`.
    """

    before: list[int]
    between: list[int]
    after: list[int]
    segments: tuple[int, int, int, int, int] | None

    @classmethod
    def of(cls, tokenizer: Any) -> "PairForm":
        """Read the form off what the tokenizer makes of two one-letter texts."""
        # Any text serves that has tokens: an unknown letter has [UNK].
        found = tokenizer("a", "a")
        ids, parts = found["input_ids"], found.sequence_ids(0)
        first, second = [parts.index(part) for part in (0, 1)]
        first_end, second_end = [len(parts) - parts[::-1].index(part) for part in (0, 1)]
        types = found.get("token_type_ids") if "token_type_ids" in tokenizer.model_input_names else None
        segments = None
        if types:
            segments = types[0], types[first], types[first_end], types[second], types[-1]
        return cls(ids[:first], ids[first_end:second], ids[second_end:], segments)

    @property
    def special(self) -> int:
        """How many special ids there are."""
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, first: Sequence[int], second: Sequence[int]) -> dict[str, list[int]]:
        """Return `input_ids`, and `token_type_ids` where the model has segments."""
        parts = (self.before, first, self.between, second, self.after)
        feature = {"input_ids": [i for part in parts for i in part]}
        if self.segments:
            pairs = zip(self.segments, parts, strict=True)
            feature["token_type_ids"] = [segment for segment, part in pairs for _ in part]
        return feature

    def second_start(self, first: Sequence[int]) -> int:
        """Return the position of the second sequence's first token."""
        return len(self.before) + len(first) + len(self.between)
