"""Token–document relation: does this token occur in another passage of its document?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from ernie_pipe.config import Settings
from ernie_pipe.tasks.marked import MarkedTokens
from ernie_pipe.text.encode import SpecialIds
from ernie_pipe.text.passages import ELSEWHERE

# They stand in every passage: whoever is asked about them learns nothing about the document.
_SKIP = (
    "的 地 得 了 着 过 们 是 和 与 及 或 而 但 且 也 都 就 还 又 却 则 才 很 太 更 最 再 已 并 因 所 我 你 他 她 它 您 "
    "这 那 其 之 个 些 以 在 被 把 将 给 让 使 由 于 为 对 从 向 到 有 没 不 会 要 能 可 说 时 后 前 当 等 一 上 下 中 "
    "里 a an the of and or to in on at for by with is are was were be it as that this"
)


class TokenDocumentSettings(Settings):
    """Settings of `token_document`."""

    skip: str = Field(_SKIP, description="tokens that are not asked, with spaces between; empty: ask about all words")


class TokenDocument(MarkedTokens):
    """Tell of every token whether it occurs in another passage of its document (1) or in this one alone (0).

    Teaches: what a document is about: its key words come back.
    Input: a passage, `[CLS] A [SEP]`, of a document of several; labels (M): 0 or 1 at every token but punctuation,
    `[UNK]` and the function words in `skip`: those occur everywhere. (The paper asks about every token and says
    nothing of these.) A token that masking hides is asked too, of what it was.
    Honest labels: the bit is set over the whole document when it is encoded; the rest of the document is not shown.
    Documents of one passage cannot anchor an example: there the answer is always 0. Long documents have more 1 than
    short ones; `majority/token_document` in the log is what always answering the commoner class would reach.
    Source: Sun et al. 2020 (ERNIE 2.0), section 4.1 (token-document relation prediction task).
    Neighbours: `capitalization`, `sentence_distance`.
    """

    name: ClassVar[str] = "token_document"
    mark: ClassVar[int] = ELSEWHERE
    Settings: ClassVar[type[Settings]] = TokenDocumentSettings
    needs: ClassVar[str] = "documents of two or more passages (longer documents, or a smaller `encode --max-tokens`)"

    def prepare(self, special: SpecialIds) -> None:
        """Learn which tokens are words, or parts of words, and not to be skipped."""
        skipped = {*self.settings.skip.split(), *(token for token, n in special.vocab.items() if n in special.all)}
        words = [n for token, n in special.vocab.items() if token not in skipped and token.removeprefix("##").isalnum()]
        self.asked = np.zeros(special.size, dtype=bool)
        self.asked[words] = True
