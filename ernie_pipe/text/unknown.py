"""What becomes [UNK]: counted strings through the tokenizer, what would mend them, examples, a table for people."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer

from ernie_pipe.text.vocabulary import LONGEST_RUN, LONGEST_WORD, is_character, runs

CONTEXT = 20
COLUMNS = ("text", "count", "share", "note", "example")


@dataclass(frozen=True)
class Measured:
    """A corpus in tokens: how many, which pieces become `[UNK]` (piece → count), what of it are characters.

    `characters` and `covered` count ideographs, punctuation and symbols, those of them in the vocabulary.
    """

    tokens: int
    unknown: Counter[str]
    characters: int
    covered: int

    @property
    def most_frequent(self) -> list[tuple[str, int]]:
        """The unknown pieces, the most frequent first."""
        return sorted(self.unknown.items(), key=lambda pair: (-pair[1], pair[0]))


def measure(pieces: Mapping[str, int], tokenizer: Tokenizer) -> Measured:
    """Give every counted piece to the WordPiece model: a piece that it cannot cut is one `[UNK]`."""
    vocab, cut = tokenizer.get_vocab(), tokenizer.model.tokenize
    unknown: Counter[str] = Counter()
    tokens = characters = covered = 0
    for piece, count in pieces.items():
        found = [piece] if piece in vocab and len(piece) == 1 else [token.value for token in cut(piece)]
        tokens += count * len(found)
        if found == ["[UNK]"]:
            unknown[piece] = count
        if is_character(piece):
            characters += count
            covered += count if piece in vocab else 0
    return Measured(tokens, unknown, characters, covered)


def lacking(piece: str, vocab: Collection[str]) -> list[str]:
    """Return the one-letter wordpieces without which greedy longest-match cannot cut `piece`.

    Empty for a piece that can be cut, and for one that is too long for any vocabulary.
    """
    missing: list[str] = []
    position = 0 if len(piece) <= LONGEST_WORD else len(piece)
    while position < len(piece):
        prefix = "##" if position else ""
        ends = range(len(piece), position, -1)
        end = next((end for end in ends if prefix + piece[position:end] in vocab), None)
        if end is None:
            missing.append(prefix + piece[position])
            end = position + 1
        position = end
    return missing


def forms(strings: Iterable[str], wanted: Collection[str], tokenizer: Tokenizer) -> dict[str, list[str]]:
    """Return counted string → the `wanted` pieces in it: how they are written in the text."""
    normalize, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    found: dict[str, list[str]] = {}
    for string in strings:
        inside = [piece for piece, _ in split(normalize(string)) if piece in wanted]
        if inside:
            found[string] = inside
    return found


def examples(text: str, written: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield (piece, example) for the first place of each string of `written` (see `forms`) in `text`."""
    for character in written.keys() & set(text):
        if not runs().fullmatch(character):
            yield from _example(text, text.index(character), 1, written[character])
    left = written.keys() & {run[:LONGEST_RUN] for run in runs().findall(text)}
    for match in runs().finditer(text) if left else ():
        run = match.group()[:LONGEST_RUN]
        if run in left:
            left = left - {run}
            yield from _example(text, match.start(), len(run), written[run])


def _example(text: str, start: int, length: int, inside: list[str]) -> Iterator[tuple[str, str]]:
    end = start + min(length, LONGEST_WORD)
    context = " ".join(text[max(0, start - CONTEXT) : end + CONTEXT].split())
    return ((piece, context) for piece in inside)


def table(measured: Measured, found: Mapping[str, str], vocab: Collection[str], *, rows: int) -> str:
    """Return the `rows` most frequent unknown pieces as a TSV with a header; share is of all tokens."""
    lines = ["\t".join(COLUMNS)]
    for piece, count in measured.most_frequent[:rows]:
        shown = piece if len(piece) <= LONGEST_WORD else piece[:LONGEST_WORD] + "…"
        share = f"{count / measured.tokens:.3g}"
        lines.append("\t".join((shown, str(count), share, _note(piece, vocab), found.get(piece, ""))))
    return "\n".join(lines) + "\n"


def _note(piece: str, vocab: Collection[str]) -> str:
    if len(piece) == 1:
        return f"U+{ord(piece):04X} {unicodedata.name(piece, 'unnamed')}"
    missing = list(dict.fromkeys(lacking(piece, vocab)))
    return f"lacks {' '.join(missing)}" if missing else f"longer than {LONGEST_WORD} characters"
