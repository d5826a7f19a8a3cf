"""Vocabularies: counting what a text needs, choosing characters and wordpieces, writing a tokenizer folder.

The folder is what transformers' `AutoTokenizer` loads as a `BertTokenizer`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import WordPiece

from ernie_pipe.corpus.storage import write_atomic
from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import SPECIAL_TOKENS

# Runs of letters, digits and marks that are no CJK ideograph: what WordPiece has to cut.
_RUNS = re.compile(r"[^\W_㐀-䶿一-鿿豈-﫿\U00020000-\U0002fa1f]+")
_ALWAYS = "abcdefghijklmnopqrstuvwxyz0123456789"
TRAINING_WORDS = 2_000_000
LETTERS = 1000


def count_text(text: str, counts: Counter[str]) -> None:
    """Add the characters of `text`, and its runs of other scripts as whole strings, to `counts`."""
    counts.update(_RUNS.sub(" ", text))
    counts.update(_RUNS.findall(text))


def backend(vocab: dict[str, int], *, lowercase: bool) -> Tokenizer:
    """Return BERT's tokenizer over `vocab` (token → id)."""
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, vocab[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def choose(counts: Iterable[tuple[str, int]], *, size: int, coverage: float, lowercase: bool) -> list[str]:
    """Choose at most `size` tokens from (string, count): special tokens, characters, wordpieces.

    Characters come by frequency until they cover the share `coverage` of the text, with at most nine tenths of
    the places; WordPiece (trained on the runs of other scripts) gets the rest. Letters and digits are always in.
    """
    characters, words = normalised(counts, lowercase=lowercase)
    if not characters and not words:
        raise InputError("no vocabulary can be made: the corpus has no characters")
    always = [*_ALWAYS, *(f"##{letter}" for letter in _ALWAYS)]
    places = size - len(SPECIAL_TOKENS) - len(always)
    if places < 1:
        raise InputError(f"--size {size} is too small: {size - places} tokens are always in")
    chosen = _by_coverage(characters, coverage, places if not words else max(1, places * 9 // 10))
    fixed = [*SPECIAL_TOKENS, *chosen, *(token for token in always if token not in set(chosen))]
    known = set(fixed)
    pieces = [piece for piece in _train_pieces(words, size) if piece not in known]
    return [*fixed, *pieces][:size]


def normalised(counts: Iterable[tuple[str, int]], *, lowercase: bool) -> tuple[Counter[str], Counter[str]]:
    """Split counted strings into single characters and words, as BERT's normalizer leaves them."""
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    split = pre_tokenizers.BertPreTokenizer()
    characters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for string, count in counts:
        for piece, _ in split.pre_tokenize_str(normalizer.normalize_str(string)):
            (characters if len(piece) == 1 and not _RUNS.fullmatch(piece) else words)[piece] += count
    return characters, words


def _by_coverage(characters: Counter[str], coverage: float, places: int) -> list[str]:
    wanted = coverage * sum(characters.values())
    chosen: list[str] = []
    covered = 0
    for character, count in sorted(characters.items(), key=lambda pair: (-pair[1], pair[0]))[:places]:
        if covered >= wanted:
            break
        chosen.append(character)
        covered += count
    return chosen


def _train_pieces(words: Counter[str], size: int) -> list[str]:
    """Train WordPiece on counted words (scaled down to about `TRAINING_WORDS` in all) and list its pieces.

    The trainer numbers letters as a hash table hands them out and breaks ties by number, so that every run would
    give other pieces: the letters are numbered here, as an alphabet and as special tokens.
    """
    if not words:
        return []
    scale = max(1, sum(words.values()) // TRAINING_WORDS)
    tokenizer = Tokenizer(WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters: Counter[str] = Counter()
    for word, count in words.items():
        letters.update(dict.fromkeys(word, count))
    alphabet = [letter for letter, _ in sorted(letters.items(), key=lambda pair: (-pair[1], pair[0]))[:LETTERS]]
    inner = {letter for word in words for letter in word[1:]}
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        show_progress=False,
        special_tokens=["[UNK]", *(f"##{letter}" for letter in alphabet if letter in inner)],
    )
    ordered = sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))
    tokenizer.train_from_iterator((" ".join([word] * -(-count // scale)) for word, count in ordered), trainer)
    vocab = tokenizer.get_vocab()
    return [piece for piece in sorted(vocab, key=lambda piece: vocab[piece]) if piece != "[UNK]"]


def read_vocab(path: str) -> list[str]:
    """Read a `vocab.txt`: one token a line (BERT), or token and id with a tab between (ERNIE)."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such vocabulary file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    tokens: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        token, tab, given = line.rstrip("\r").partition("\t")
        if not token and number == len(lines):
            break
        if tab and given.strip() != str(number - 1):
            raise InputError(f"{path}, line {number}: id {given.strip()!r}, expected {number - 1}")
        if not token or token in seen:
            what = f"{token!r} stands in line {seen[token]} too" if token else "an empty token"
            raise InputError(f"{path}, line {number}: {what}; every line needs a token of its own")
        seen[token] = number
        tokens.append(token)
    missing = [token for token in SPECIAL_TOKENS if token not in seen]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}: is it a vocabulary of BERT's or ERNIE's kind?")
    return tokens


def save(tokens: list[str], folder: str, *, lowercase: bool, max_tokens: int = 512) -> Tokenizer:
    """Write `tokenizer.json`, `tokenizer_config.json` and `vocab.txt` to `folder`."""
    tokenizer = backend({token: number for number, token in enumerate(tokens)}, lowercase=lowercase)
    config = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": lowercase,
        "tokenize_chinese_chars": True,
        "strip_accents": None,
        "model_max_length": max_tokens,
        **{f"{name.strip('[]').lower()}_token": name for name in SPECIAL_TOKENS},
    }
    write_atomic(f"{folder}/vocab.txt", ("\n".join(tokens) + "\n").encode())
    write_atomic(f"{folder}/tokenizer_config.json", (json.dumps(config, indent=1) + "\n").encode())
    write_atomic(f"{folder}/tokenizer.json", tokenizer.to_str(pretty=True).encode())
    return tokenizer
