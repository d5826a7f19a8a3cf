"""Clauses of Chinese text, for finding connectives: where they begin and end, and what stands between them."""

import re

from ernie_pipe.text.spans import SEPARATOR

WEAK, STRONG, LINE = range(3)
_CLOSERS, _OPENERS = "”’」』）)】》〉", "“‘「『（(【《〈"
BORDER = re.compile(
    rf"(?:[。！？!?；;…\n，：—]|(?<![0-9A-Za-z])[,:]|[,:](?![0-9A-Za-z]))+[。！？!?；;…\n，：—,:\s{_CLOSERS}\"]*"
)
_IS_STRONG = re.compile("[。！？!?；;…]")
_BEFORE = re.compile(rf"[\s{_OPENERS}\"'·•、]*")
_MARK = re.compile(f"[{_OPENERS}{_CLOSERS}]")
# Marks at the rims of a clause; quotes and brackets go by `balanced`.
RIMS = " \t\u3000，,、：:；;。．.！!？?…—-~·•\"'"
# A line this long without an end mark goes on in the next one.
_WRAPPED = 20


class Clauses:
    """The clauses of a text: clause k is `text[starts[k]:ends[k]]`.

    A clause ends at ，：— (and at a comma or colon of ASCII that stands in no number or word), where a sentence ends
    (。！？；…) and at a newline, with the closing marks that follow.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        spans = [match.span() for match in BORDER.finditer(text)]
        self.starts = [0, *(end for _, end in spans)]
        self.ends = [*(start for start, _ in spans), len(text)]

    def first_word(self, clause: int) -> int:
        """Return where the words of a clause begin: behind white space and opening marks."""
        return _BEFORE.match(self.text, self.starts[clause]).end()  # type: ignore[union-attr]

    def kind(self, clause: int) -> int:
        """Return what stands before a clause: a comma (`WEAK`), the end of a sentence, or that of a line."""
        mark = self.text[self.ends[clause - 1] : self.starts[clause]] if clause else SEPARATOR
        return LINE if SEPARATOR in mark else STRONG if _IS_STRONG.search(mark) else WEAK

    def goes_on(self, clause: int) -> bool:
        """Return whether there is such a clause, in the same sentence as the one before it."""
        return clause < len(self.starts) and self.kind(clause) == WEAK

    def is_wrapped(self, clause: int) -> bool:
        """Return whether a clause only seems to begin: the line before it is a long one without an end mark."""
        if not 0 < clause < len(self.starts):
            return False
        end = self.ends[clause - 1]
        mark = self.text[end : self.starts[clause]]
        return SEPARATOR in mark and not _IS_STRONG.search(mark) and self.text.rfind(SEPARATOR, 0, end) < end - _WRAPPED


def balanced(text: str, *, keep_end: bool) -> str:
    """Return the end (or the beginning) of `text` up to a quote or bracket that is not closed (opened) in it."""
    if not _MARK.search(text):
        return text
    depth: list[int] = []
    cut_after, cut_before = 0, len(text)
    for at, mark in enumerate(text):
        if mark in _OPENERS:
            depth.append(at)
        elif mark in _CLOSERS:
            if depth:
                depth.pop()
            elif keep_end:
                cut_after = at + 1
            else:
                cut_before = min(cut_before, at)
    if depth and keep_end:
        cut_after = max(cut_after, depth[-1] + 1)
    elif depth and depth[0] < cut_before:
        cut_before = depth[0]
    return text[cut_after:] if keep_end else text[:cut_before]
