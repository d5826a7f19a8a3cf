"""Sentence spans of Chinese text; quotes and brackets stay together with their sentence."""

import re

# Ends, opening and closing marks; everything else is skipped by the scanner at C speed.
_MARKS = re.compile(
    r"(?P<end>[。！？!?…]+[”’」』）)】》〉\"']*|；|\.(?=\s|$))"
    r"|(?P<line>\n\s*)|(?P<open>[“‘「『（(【《〈])|(?P<close>[”’」』）)】》〉])"
)
_CLOSING = "”’」』）)】》〉"
LONGEST_NESTING = 256


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Return (start, end) character spans of the sentences of `text`, in order, without white space at the rims.

    A sentence ends after 。！？!?… and ； (with the closing quotes that follow) or at a newline. Inside an open
    quote or bracket it goes on, for at most `LONGEST_NESTING` characters: an unpaired mark swallows nothing.
    """
    spans: list[tuple[int, int]] = []
    start, depth, opened = 0, 0, 0
    for match in _MARKS.finditer(text):
        kind = match.lastgroup
        if kind == "open":
            opened = match.start() if depth == 0 else opened
            depth += 1
        elif kind == "close":
            depth = max(0, depth - 1)
        else:
            if kind == "end":
                depth = max(0, depth - sum(map(match.group().count, _CLOSING)))
            if kind == "line" or depth == 0 or match.end() - opened > LONGEST_NESTING:
                _append(spans, text, start, match.end())
                start, depth = match.end(), 0
    _append(spans, text, start, len(text))
    return spans


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        start += len(piece) - len(piece.lstrip())
        spans.append((start, start + len(stripped)))
