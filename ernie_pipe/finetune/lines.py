"""The lines of the files that users bring: bytes → text in its encoding, told by content and said aloud → lines.

Line ends are `\\n` and `\\r\\n` alone: `str.splitlines` also cuts at U+2028, U+0085 and others, which real texts
contain.
"""

import codecs
import logging
from pathlib import Path

from ernie_pipe.errors import InputError

log = logging.getLogger(__name__)

_ARCHIVES = {
    b"\x1f\x8b": "packed by gzip: unpack it",
    b"PK\x03\x04": "a zip archive or a workbook: unpack it, or save its sheet as CSV in UTF-8",
    b"PAR1": "a Parquet file: read it by `datasets` or pandas, in Python, and give that",
    b"ARROW1": "an Arrow file: read it by `datasets` or pandas, in Python, and give that",
}
"""What files that hold no plain text begin with."""
_USUAL = 0.7
"""The share of characters in GB2312, which simplified text has nearly all of, below which bytes may be Big5."""
Line = tuple[int, str]


def read_lines(path: str | Path) -> list[Line]:
    """Return the numbered lines of a file in UTF-8, GB18030, Big5, or UTF-16 with its mark.

    `InputError`: no such file, nothing in it, none of these encodings, something packed.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: not readable: {error.strerror}") from None
    text = _decode(data, path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    if "\n" not in text and "\r" in text.strip():
        raise InputError(f"{path}: its lines end with carriage returns alone: convert them to line feeds")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return list(enumerate(lines[:-1] if lines[-1] == "" else lines, start=1))


def _decode(data: bytes, path: str | Path) -> str:
    for start, what in _ARCHIVES.items():
        if data.startswith(start):
            raise InputError(f"{path}: {what}")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            text = data.decode("utf-16")
        except UnicodeDecodeError:
            raise InputError(f"{path}: marked as UTF-16, but it does not decode: convert the file to UTF-8") from None
        log.info("%s: read as UTF-16", path)
        return text
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf8 = error
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        line = data.count(b"\n", 0, utf8.start) + 1
        raise InputError(f"{path}:{line}: neither UTF-8 nor GB18030: convert the file to UTF-8") from None
    encoding = "Big5" if _is_big5(data, text) else "GB18030"
    log.info("%s: read as %s", path, encoding)
    return data.decode("big5") if encoding == "Big5" else text


def _is_big5(data: bytes, text: str) -> bool:
    """Tell Big5 from the GB18030 `text` that the same bytes are too: that one is full of rare characters."""
    count = sum(character > "\x7f" for character in text)
    usual = len("".join(filter(lambda character: character > "\x7f", text)).encode("gb2312", "ignore")) // 2
    if usual >= _USUAL * count:
        return False
    try:
        data.decode("big5")
    except UnicodeDecodeError:
        return False
    return True
