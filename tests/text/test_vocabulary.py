"""Vocabularies: what is chosen, what is written, what is refused."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import SPECIAL_TOKENS, load_encoder
from ernie_pipe.text.vocabulary import backend, choose, count_text, pieces, save

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


AWKWARD = (
    "a\u200bb 3×4 café cafe\u0301 10℃ 😀😀 Ａ＿b ガ 한글 \u037e a\u00a0b\u0085c 哈\u0301 "
    "𠀀\U0002f800 x.y 🏳️‍🌈\ufeff\x00ß 0\ua000"
)


def given_to_wordpiece(text, lowercase):
    tokenizer = backend({token: number for number, token in enumerate(SPECIAL_TOKENS)}, lowercase=lowercase)
    return Counter(p for p, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)))


@pytest.mark.parametrize("lowercase", [True, False])
@given(text=st.text() | st.text(alphabet=AWKWARD))
@example(text=AWKWARD)
def test_counted_strings_give_what_the_tokenizer_gives_to_wordpiece(text, lowercase):
    assert pieces(counted(text), lowercase=lowercase) == given_to_wordpiece(text, lowercase)


def test_a_run_without_an_end_does_not_fill_the_memory():
    assert max(map(len, dict(counted("x" * 1_000_000)))) == 512


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


def test_rare_words_and_rows_of_symbols_are_no_pieces_their_letters_are():
    tokens = chosen("hapax legomenon " + "frequent " * 20 + "◆◆◆◆ " * 20 + "ж " * 3, size=400)
    assert {"frequent", "◆", "##◆", "ж"} <= set(tokens)
    assert not {"hapax", "legomenon", "◆◆◆◆"} & set(tokens)


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
