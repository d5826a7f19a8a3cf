"""Tokens added to a given vocabulary: words of a list, and what a corpus needs. Ids that exist never move."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tokenizers import normalizers, pre_tokenizers

from ernie_pipe.text.unknown import lacking
from ernie_pipe.text.vocabulary import IDEOGRAPHS, LONGEST_WORD, is_character
from ernie_pipe.text.vocabulary_files import UNUSED

_IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")
KINDS = {
    "added_whole": "added whole",
    "already_there": "already there",
    "several_characters": "of several Chinese characters",
    "several_parts": "with spaces or punctuation inside",
    "too_long": f"longer than {LONGEST_WORD} characters",
    "nothing_left": "without a visible character",
    "duplicate": "given twice",
}


@dataclass
class Additions:
    """New tokens in order with their kind (`word`, `character`, `part`), and what became of every word given.

    `kinds` counts the words by the names in `KINDS`; `samples` has up to five of each.
    """

    tokens: dict[str, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)


def add_words(words: Iterable[str], vocab: Collection[str], *, lowercase: bool) -> Additions:
    """Return the tokens that `words` need beyond `vocab`.

    BERT's splitter isolates ideographs and punctuation, so only a word without them can be a token: it is used at
    once, WordPiece being greedy longest-match. Of all others the parts that are missing are added.
    """
    normalizer, split = normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer()
    found = Additions()
    seen: set[tuple[str, ...]] = set()
    for word in words:
        parts = tuple(part for part, _ in split.pre_tokenize_str(normalizer.normalize_str(word)))
        fitting = [part for part in parts if len(part) <= LONGEST_WORD]
        new = [part for part in dict.fromkeys(fitting) if part not in vocab and part not in found.tokens]
        kind = "duplicate" if parts in seen else _kind(parts, new)
        seen.add(parts)
        for part in new:
            found.tokens[part] = "character" if is_character(part) else "word" if len(parts) == 1 else "part"
        found.kinds[kind] += 1
        if len(found.samples.setdefault(kind, [])) < 5:
            found.samples[kind].append(word)
    return found


def _kind(parts: tuple[str, ...], new: list[str]) -> str:
    if not parts:
        return "nothing_left"
    if any(len(part) > LONGEST_WORD for part in parts):
        return "too_long"
    if len(parts) > 1:
        return "several_characters" if any(_IDEOGRAPH.fullmatch(part) for part in parts) else "several_parts"
    return "added_whole" if new else "already_there"


def describe(kinds: Mapping[str, int], samples: Mapping[str, list[str]]) -> Iterator[str]:
    """Say in lines what became of the words that were given (see `Additions`)."""
    yield f"{sum(kinds.values())} words given: " + "; ".join(
        f"{kinds[kind]} {name} ({', '.join(word[:30] for word in samples[kind])}{', …' * (kinds[kind] > 5)})"
        for kind, name in KINDS.items()
        if kinds.get(kind)
    )
    if kinds.get("several_characters"):
        yield (
            "a word of several Chinese characters can be no token of BERT's: only its missing characters were added; "
            "put such words in a lexicon (`ernie-pipe segment --lexicon`), which masks them whole"
        )


def grow(unknown: Mapping[str, int], vocab: Collection[str], *, limit: int, coverage: float, tokens: int) -> list[str]:
    """Return at most `limit` one-letter wordpieces that mend most of the `unknown` pieces (piece → count).

    By the occurrences that each helps to mend; they end when the share `coverage` of the `tokens` is known.
    """
    needs = {piece: set(missing) for piece in unknown if (missing := lacking(piece, vocab))}
    helped: Counter[str] = Counter()
    waiting: dict[str, list[str]] = {}
    for piece, letters in needs.items():
        for letter in letters:
            helped[letter] += unknown[piece]
            waiting.setdefault(letter, []).append(piece)
    left = sum(unknown.values())
    chosen: list[str] = []
    for letter, _ in sorted(helped.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]:
        if left <= (1 - coverage) * tokens:
            break
        chosen.append(letter)
        for piece in waiting[letter]:
            needs[piece].discard(letter)
            left -= 0 if needs[piece] else unknown[piece]
    return chosen


def place(tokens: list[str], new: Iterable[str]) -> tuple[list[str], int]:
    """Return `tokens` with `new` ones in the rows of `[unused…]` first, then behind; and how many stand behind."""
    made = list(tokens)
    free = (number for number, token in enumerate(tokens) if UNUSED.fullmatch(token))
    appended = 0
    for token in new:
        number = next(free, None)
        if number is None:
            made.append(token)
            appended += 1
        else:
            made[number] = token
    return made, appended
