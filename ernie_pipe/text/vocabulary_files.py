"""Vocabularies and word lists as users have them → tokens and words, with errors that name file and line."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import SPECIAL_TOKENS, load_encoder
from ernie_pipe.text.vocabulary import backend

UNUSED = re.compile(r"\[unused\d+\]")


@dataclass(frozen=True)
class Given:
    """A given vocabulary: `tokens` in the order of their ids; what only a tokenizer folder says is else None."""

    tokens: list[str]
    lowercase: bool | None = None
    max_tokens: int | None = None


def read_given(path: str) -> Given:
    """Read a `vocab.txt`, or a transformers tokenizer folder of BERT's kind."""
    return _read_folder(path) if Path(path).is_dir() else Given(read_vocab(path))


def read_vocab(path: str) -> list[str]:
    """Read a `vocab.txt`: one token a line (BERT), or token and id with a tab between (ERNIE)."""
    lines = _lines(path, "vocabulary file")
    if not any(lines):
        raise InputError(f"{path}: an empty vocabulary; give one token a line")
    tokens: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        token, tab, given = line.partition("\t")
        if tab and given.strip() != str(number - 1):
            raise InputError(f"{path}, line {number}: id {given.strip()!r}, expected {number - 1}")
        if not token or token in seen:
            what = f"{token!r} stands in line {seen[token]} too" if token else "an empty token"
            raise InputError(f"{path}, line {number}: {what}; every line needs a token of its own")
        seen[token] = number
        tokens.append(token)
    _check_special(path, seen)
    return tokens


def read_words(paths: Iterable[str]) -> list[str]:
    """Read word lists: a word a line, columns after a tab ignored; empty lines and `# ` comments are no words."""
    words: list[str] = []
    for path in paths:
        lines = (line for line in _lines(path, "word list") if not line.startswith("# "))
        found = [word for line in lines if (word := line.partition("\t")[0].strip())]
        if not found:
            raise InputError(f"{path}: an empty word list; give one word a line")
        words += found
    return words


def _lines(path: str, what: str) -> list[str]:
    """Return the lines of a UTF-8 file without their ends (of any system); a last line that is empty is none."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}): save the {what} as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def _check_special(path: str, tokens: Iterable[str]) -> None:
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}: is it a vocabulary of BERT's or ERNIE's kind?")


def _read_folder(folder: str) -> Given:
    vocab = load_encoder(folder).vocab
    tokens = sorted(vocab, key=lambda token: vocab[token])
    if [vocab[token] for token in tokens] != list(range(len(tokens))):
        raise InputError(f"{folder}: its ids are not 0 to {len(tokens) - 1}, one a token; give a vocab.txt")
    found = Tokenizer.from_file(f"{folder}/tokenizer.json")
    lowercase = (_part(found, "normalizer") or {}).get("lowercase", True)
    ours = backend(vocab, lowercase=lowercase)
    differs = [name for name in ("normalizer", "pre_tokenizer", "model") if _part(found, name) != _part(ours, name)]
    extra = [token.content for token in found.get_added_tokens_decoder().values() if not token.special]
    if differs or extra:
        what = f"it has added tokens ({extra[0]!r}, …)" if extra else f"other: {', '.join(differs)}"
        raise InputError(f"{folder}: not a plain BERT tokenizer ({what}); give a vocab.txt")
    return Given(tokens, lowercase, _longest(Path(folder) / "tokenizer_config.json"))


def _part(tokenizer: Tokenizer, name: str) -> Any:
    return json.loads(tokenizer.to_str())[name]


def _longest(path: Path) -> int | None:
    """Return `model_max_length` of a tokenizer_config.json where it says one (transformers writes 10³⁰ for none)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("model_max_length")
    except FileNotFoundError:
        return None
    except ValueError:
        raise InputError(f"{path}: not JSON") from None
    return found if isinstance(found, int) and found < 1 << 20 else None
