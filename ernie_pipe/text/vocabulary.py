"""Vocabularies: counting what a text needs, choosing characters and wordpieces, writing a tokenizer folder.

The folder is what transformers' `AutoTokenizer` loads as a `BertTokenizer`.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import WordPiece

from ernie_pipe.corpus.storage import write_atomic
from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import SPECIAL_TOKENS

# CJK ideographs that BERT's normalizer isolates, as the inside of a regular expression's class.
IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002f800-\U0002fa1f"
_LETTER = re.compile(rf"[^\W_{IDEOGRAPHS}]")
_ALWAYS = "abcdefghijklmnopqrstuvwxyz0123456789"
# BERT's WordPiece gives up on longer words; of longer runs only so much is counted (marks that fall away included).
LONGEST_WORD, LONGEST_RUN = 100, 512
TRAINING_WORDS = 2_000_000
LETTERS = 1000
# A piece that comes up less often is hardly learned; its letters, which are always in, do as well.
MIN_PIECE = 5


@cache
def runs() -> re.Pattern[str]:
    """What stands between white space, punctuation and ideographs: BERT's words, before they are normalised.

    A separator that is missing here does no harm: every run goes through BERT's own normalizer and splitter later.
    """
    normalizer, split = normalizers.BertNormalizer(lowercase=False), pre_tokenizers.BertPreTokenizer()
    candidates = [chr(code) for code in range(0x10000) if unicodedata.category(chr(code))[0] in "PZ"]
    candidates += [chr(code) for code in range(0x21, 0x7F) if not chr(code).isalnum()]
    # The tokenizer's Unicode version is older than Python's: its own answer counts.
    found = {c for c in candidates if len(split.pre_tokenize_str(normalizer.normalize_str(f"a{c}a"))) > 1}
    return re.compile(f"[^{re.escape(''.join(sorted(found)))}\t\n\r{IDEOGRAPHS}]+")


def count_text(text: str, counts: Counter[str]) -> None:
    """Add to `counts` what BERT's tokenizer keeps apart: ideographs and punctuation, and the runs between them.

    The runs are whole and as they stand in the text, so that the counted strings give the tokens of the text.
    """
    counts.update(runs().sub(" ", text))
    counts.update(run[:LONGEST_RUN] for run in runs().findall(text))


def backend(vocab: dict[str, int], *, lowercase: bool) -> Tokenizer:
    """Return BERT's tokenizer over `vocab` (token → id)."""
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD))
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


def pieces(counts: Iterable[tuple[str, int]], *, lowercase: bool) -> Counter[str]:
    """Return the counted strings as BERT's normalizer and splitter leave them: what WordPiece is given."""
    normalizer, split = normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer()
    found: Counter[str] = Counter()
    for string, count in counts:
        for piece, _ in split.pre_tokenize_str(normalizer.normalize_str(string)):
            found[piece] += count
    return found


def is_character(piece: str) -> bool:
    """Return whether a piece is one ideograph, punctuation mark or symbol: no letter, digit or longer word."""
    return len(piece) == 1 and not _LETTER.fullmatch(piece)


def normalised(counts: Iterable[tuple[str, int]], *, lowercase: bool) -> tuple[Counter[str], Counter[str]]:
    """Split counted strings into characters (see `is_character`) and words."""
    found = pieces(counts, lowercase=lowercase)
    characters = Counter({piece: count for piece, count in found.items() if is_character(piece)})
    return characters, found - characters


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
        min_frequency=MIN_PIECE,
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        show_progress=False,
        special_tokens=["[UNK]", *(f"##{letter}" for letter in alphabet if letter in inner)],
    )
    # Of rows of symbols (◆◆◆◆) only the letters are wanted, not pieces.
    spelled = {word: count for word, count in words.items() if any(letter.isalnum() for letter in word)}
    ordered = sorted(spelled.items(), key=lambda pair: (-pair[1], pair[0]))
    tokenizer.train_from_iterator((" ".join([word] * -(-count // scale)) for word, count in ordered), trainer)
    vocab = tokenizer.get_vocab()
    return [piece for piece in sorted(vocab, key=lambda piece: vocab[piece]) if piece != "[UNK]"]


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
