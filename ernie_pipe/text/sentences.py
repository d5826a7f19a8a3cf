"""Sentence spans of Chinese text; quotes and brackets stay together with their sentence."""

import numpy as np

from ernie_pipe.text.spans import IS_SPACE, code_points, table_of

LONGEST_NESTING = 256
_END, _WEAK, _OPEN, _CLOSE, _QUOTE, _LINE = 1, 2, 3, 4, 5, 6
_KINDS = {
    _END: "。！？!?…",
    _WEAK: "；.",
    _OPEN: "“‘「『（(【《〈",
    _CLOSE: "”’」』）)】》〉",
    _QUOTE: "\"'",
    _LINE: "\n",
}
_KIND = np.zeros(0x110000, dtype=np.uint8)
for _kind, _marks in _KINDS.items():
    _KIND[[ord(mark) for mark in _marks]] = _kind
# After these a half-width ? or ! stands inside an address or a formula (a.cn/?id=1) and ends nothing.
_GOES_ON = table_of([code for code in range(0x80) if chr(code).isalnum() or chr(code) in "=&/%#_-"])


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Return (start, end) character spans of the sentences of `text`, in order, without white space at the rims.

    A sentence ends after 。！？!?… (with the closing marks that follow), after ； and a full stop before white
    space (but for the number of an item, 1. at the head of a line), or at a newline. Inside an open quote or bracket
    it goes on, for at most `LONGEST_NESTING` characters: an unpaired mark swallows nothing.
    """
    starts, ends = sentence_spans(code_points(text))
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def sentence_spans(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the starts and ends of the sentences of a text given as code points."""
    borders = np.array([0, *_borders(codes), len(codes)], dtype=np.int64)
    visible = np.flatnonzero(~IS_SPACE[codes])
    rank = np.searchsorted(visible, borders)
    filled = rank[:-1] < rank[1:]
    return visible[rank[:-1][filled]], visible[rank[1:][filled] - 1] + 1


def _numbers_an_item(codes: np.ndarray, point: int) -> bool:
    """Return whether a point ends a number of one to three digits at the head of a line (1. 总则)."""
    first = point
    while point - first < 3 and first and ord("0") <= codes[first - 1] <= ord("9"):
        first -= 1
    head = first
    while head and codes[head - 1] != ord("\n") and IS_SPACE[codes[head - 1]]:
        head -= 1
    return first < point and (not head or bool(codes[head - 1] == ord("\n")))


def _borders(codes: np.ndarray) -> list[int]:
    """Return where sentences end (white space between them not looked at)."""
    marks = _KIND[codes]
    at = np.flatnonzero(marks)
    following = codes[np.minimum(at + 1, len(codes) - 1)]
    last = at == len(codes) - 1
    inside = (codes[at] == ord(".")) & ~IS_SPACE[following] & ~last
    alone = ((codes[at] == ord("?")) | (codes[at] == ord("!"))) & (marks[at - 1] != _END)
    inside |= alone & _GOES_ON[following] & ~last
    at = at[~inside]
    # Few points follow a digit and stand before white space.
    markers = [place for place in at[codes[at] == ord(".")].tolist() if _numbers_an_item(codes, place)]
    at = at[~np.isin(at, markers)]
    borders: list[int] = []
    depth = opened = ended = 0
    # `ended`: the end so far of a sentence whose closing marks may still follow.
    for place, kind in zip(at.tolist(), marks[at].tolist(), strict=True):
        if ended and place == ended and kind in (_END, _CLOSE, _QUOTE):
            ended = place + 1
            if kind == _CLOSE:
                depth = max(0, depth - 1)
            continue
        if ended:
            if depth == 0 or ended - opened > LONGEST_NESTING:
                borders.append(ended)
                depth = 0
            ended = 0
        if kind == _OPEN:
            opened = place if depth == 0 else opened
            depth += 1
        elif kind == _CLOSE:
            depth = max(0, depth - 1)
        elif kind == _END:
            ended = place + 1
        elif kind == _LINE or (kind == _WEAK and (depth == 0 or place + 1 - opened > LONGEST_NESTING)):
            borders.append(place + 1)
            depth = 0
    if ended and (depth == 0 or ended - opened > LONGEST_NESTING):
        borders.append(ended)
    return borders
