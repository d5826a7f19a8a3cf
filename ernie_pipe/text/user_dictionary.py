"""User dictionaries: words that a word engine knows besides its own.

In: files in jieba's form, `word [frequency] [tag]` a line, spaces between. Out: one file, `word`, frequency and tag
with tabs between, in which nothing is left to the engine, so that every engine cuts alike with it.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from importlib import resources

from ernie_pipe.errors import InputError
from ernie_pipe.text.lexicon_files import numbered_lines

log = logging.getLogger(__name__)
Entry = tuple[str, int, str]
# What jieba and rjieba ever take as one word; at any other character they always cut.
_WORD = re.compile(r"[\u4E00-\u9FD5a-zA-Z0-9+#&._%\-]+")
_TAG = re.compile("[A-Za-z]+")
_UNKNOWN_TAG = "x"
_MOST_DIGITS = 12


def merge(paths: Iterable[str]) -> bytes:
    """Read user dictionaries into one; of a word given twice the last line holds.

    A word without a frequency gets what jieba's `suggest_freq` gives it, just enough to be cut as one word; one
    without a tag keeps that of the engine's dictionary, or has `x`. `InputError` names file and line of what is
    no entry.
    """
    import rjieba

    engine = rjieba.Jieba()
    tags = own_tags()
    merged: dict[str, tuple[int, str]] = {}
    lines = unseen = 0
    for path in paths:
        before = lines
        for number, line in numbered_lines(path):
            lines += 1
            word, frequency, tag = _parse(line, path, number)
            frequency = frequency or engine.suggest_freq(word)
            tag = tag or tags.get(word, _UNKNOWN_TAG)
            engine.add_word(word, frequency, tag)
            unseen += _WORD.fullmatch(word) is None
            # Later lines of a word take its place at the end, as their frequency knows all words before.
            merged.pop(word, None)
            merged[word] = (frequency, tag)
        if lines == before:
            raise InputError(f"{path}: holds no words: it is empty or has only comments")
    if lines > len(merged):
        log.info("user dictionary: %s of %s words given again: the last line holds", lines - len(merged), lines)
    if unseen:
        log.info(
            "user dictionary: %s of %s words hold a character at which jieba and rjieba always cut (a point in a "
            "name, a sign): they are never found as words; a lexicon finds them",
            unseen, lines,
        )  # fmt: skip
    return "".join(f"{word}\t{frequency}\t{tag}\n" for word, (frequency, tag) in merged.items()).encode()


def entries(path: str) -> Iterator[Entry]:
    """Yield (word, frequency, tag) of a file that `merge` made."""
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            word, frequency, tag = line[:-1].split("\t")
            yield word, int(frequency), tag


def _parse(line: str, path: str, number: int) -> tuple[str, int, str]:
    """Return word, frequency (0: not given) and tag (empty: not given)."""
    word, *rest = line.split()
    frequency = rest.pop(0) if rest and rest[0].isdecimal() else ""
    tag = rest.pop(0) if rest and _TAG.fullmatch(rest[0]) else ""
    if rest or len(frequency) > _MOST_DIGITS or (frequency and not int(frequency)):
        raise InputError(
            f"{path}, line {number}: expected `word [frequency] [tag]` with spaces between, a whole frequency of 1 "
            f"to {_MOST_DIGITS} digits and no space in the word, found {line[:60]!r}"
        )
    return word, int(frequency or 0), tag


def own_tags() -> dict[str, str]:
    """Return word → tag of jieba's dictionary, which is rjieba's too."""
    with resources.files("jieba").joinpath("dict.txt").open(encoding="utf-8") as file:
        return {word: tag for word, _, tag in map(str.split, file)}
