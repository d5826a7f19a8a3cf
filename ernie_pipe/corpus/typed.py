"""Passages whose unit bits carry the types of entities along, for the runs that weight them.

Tasks pass unit bits on without a look at the high ones, so the types reach the packed batch through all of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ernie_pipe.corpus.reader import Passages

SHIFT = 8


class TypedPassages(Passages):
    """The rows of a passages folder; bits are uint16, with 1 + the index into `names` of a token's type above them."""

    def __init__(self, folder: str, split: str, names: Sequence[str]) -> None:
        super().__init__(folder, split)
        self.names = list(names)
        known = self.manifest.details.get("entity_types", {})
        self._codes = np.zeros(256, np.uint16)
        for number, name in enumerate(self.names, start=1):
            if name in known:
                self._codes[known[name]] = number << SHIFT

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "names": self.names}

    def get(self, passage: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids, bits with types above them, and the types as they are numbered in the folder."""
        ids, bits, types = super().get(passage)
        return ids, bits | self._codes[types], types
