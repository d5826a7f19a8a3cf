"""Vocabularies: what is chosen, what is written, what is refused."""

from collections import Counter

import pytest
from transformers import AutoTokenizer

from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import SPECIAL_TOKENS, load_encoder
from ernie_pipe.text.vocabulary import choose, count_text, read_vocab, save

TEXT = "哈尔滨是黑龙江的省会。Harbin is the capital of Heilongjiang, café 2023年😀 harbin"


def counted(text):
    counts: Counter[str] = Counter()
    count_text(text, counts)
    return list(counts.items())


def chosen(text=TEXT * 5, **options):
    return choose(counted(text), **{"size": 300, "coverage": 1.0, "lowercase": True, **options})


def test_characters_and_runs_are_counted():
    counts = dict(counted("哈哈abc 12_café，カタ"))
    assert {key: counts[key] for key in ("哈", "abc", "12", "café", "，", "カタ")} == {
        "哈": 2, "abc": 1, "12": 1, "café": 1, "，": 1, "カタ": 1,
    }  # fmt: skip


@pytest.mark.parametrize("lowercase", [True, False])
def test_autotokenizer_gives_the_ids_of_our_encoder(tmp_path, lowercase):
    save(chosen(lowercase=lowercase), str(tmp_path), lowercase=lowercase, max_tokens=128)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = TEXT + "[MASK]从未见过的字"
    found = load_encoder(str(tmp_path)).encode(text).ids.tolist()
    assert found == tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(tokenizer("哈尔滨")["input_ids"]).replace(" ", "") == "[CLS]哈尔滨[SEP]"
    assert (tokenizer.model_max_length, tokenizer.mask_token) == (128, "[MASK]")
    assert tokenizer.tokenize("HARBIN") == (["harbin"] if lowercase else ["[UNK]"])


def test_the_choice_is_deterministic_whatever_the_order():
    letters = "".join(f"{chr(code)}{chr(code)} " for code in range(0xA000, 0xA48D))
    counts = counted(TEXT * 3 + letters * 2)
    first = choose(counts, size=4000, coverage=1.0, lowercase=True)
    assert len(first) > 1000
    assert all(choose(reversed(counts), size=4000, coverage=1.0, lowercase=True) == first for _ in range(3))


def test_special_tokens_come_first_and_nothing_twice():
    tokens = chosen()
    assert tuple(tokens[:5]) == SPECIAL_TOKENS
    assert len(tokens) == len(set(tokens)) <= 300
    assert {"哈", "。", "😀", "a", "##z", "0"} <= set(tokens)


def test_frequent_characters_come_first():
    text = "哈" * 900 + "尔" * 90 + "滨" * 10
    tokens = chosen(text, coverage=0.99)
    assert tokens[5:7] == ["哈", "尔"]
    assert "滨" not in tokens


def test_the_size_is_kept():
    assert len(chosen("".join(map(chr, range(0x4E00, 0x5000))), size=100)) == 100
    with pytest.raises(InputError, match=r"--size 50 is too small: 77 tokens are always in"):
        chosen(size=50)


def test_no_text_no_vocabulary():
    with pytest.raises(InputError, match="the corpus has no characters"):
        chosen(" \n")


SPECIAL = "\n".join(SPECIAL_TOKENS)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_vocabularies_of_bert_and_ernie_are_read(write, ending):
    tokens = [*SPECIAL_TOKENS, "哈", "##a"]
    breaks = ending or "\n"
    assert read_vocab(str(write("bert.txt", breaks.join(tokens) + ending))) == tokens
    numbered = breaks.join(f"{token}\t{number}" for number, token in enumerate(tokens))
    assert read_vocab(str(write("ernie.txt", numbered + ending))) == tokens


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{SPECIAL}\n哈\n尔\n哈\n", r"v\.txt, line 8: '哈' stands in line 6 too"),
        (f"{SPECIAL}\n\n哈\n", r"v\.txt, line 6: an empty token"),
        ("[PAD]\n哈\n", r"v\.txt: lacks \[UNK\], \[CLS\], \[SEP\], \[MASK\]"),
        ("[PAD]\t0\n[UNK]\t2\n", r"v\.txt, line 2: id '2', expected 1"),
        ("哈".encode("gb18030"), r"v\.txt: not UTF-8 \(byte 0\)"),
    ],
)
def test_a_bad_vocabulary_is_refused_by_line(write, content, message):
    with pytest.raises(InputError, match=message):
        read_vocab(str(write("v.txt", content)))


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt: no such vocabulary file"):
        read_vocab(str(tmp_path / "gone.txt"))
    with pytest.raises(InputError, match="cannot be read"):
        read_vocab(str(tmp_path))
