"""Vocabularies and word lists: read as they are, refused by file and line."""

import pytest
from tokenizers import normalizers
from transformers import AutoTokenizer

from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import SPECIAL_TOKENS
from ernie_pipe.text.vocabulary import backend, save
from ernie_pipe.text.vocabulary_files import Given, read_given, read_vocab, read_words

SPECIAL = "\n".join(SPECIAL_TOKENS)
TOKENS = [*SPECIAL_TOKENS, "哈", "##a"]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_vocabularies_of_bert_and_ernie_are_read(write, ending, mark):
    breaks = ending or "\n"
    assert read_vocab(str(write("bert.txt", mark + breaks.join(TOKENS) + ending))) == TOKENS
    numbered = breaks.join(f"{token}\t{number}" for number, token in enumerate(TOKENS))
    assert read_vocab(str(write("ernie.txt", mark + numbered + ending))) == TOKENS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{SPECIAL}\n哈\n尔\n哈\n", r"v\.txt, line 8: '哈' stands in line 6 too"),
        (f"{SPECIAL}\n\n哈\n", r"v\.txt, line 6: an empty token"),
        ("[PAD]\n哈\n", r"v\.txt: lacks \[UNK\], \[CLS\], \[SEP\], \[MASK\]"),
        ("[PAD]\t0\n[UNK]\t2\n", r"v\.txt, line 2: id '2', expected 1"),
        ("哈".encode("gb18030"), r"v\.txt: not UTF-8 \(byte 0\): save the vocabulary file as UTF-8"),
        (b"[PAD]\n\xff", r"v\.txt: not UTF-8 \(byte 6\)"),
        ("", r"v\.txt: an empty vocabulary"),
        ("\n\n", r"v\.txt: an empty vocabulary"),
    ],
)
def test_a_bad_vocabulary_is_refused_by_line(write, content, message):
    with pytest.raises(InputError, match=message):
        read_given(str(write("v.txt", content)))


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt: no such vocabulary file"):
        read_given(str(tmp_path / "gone.txt"))
    with pytest.raises(InputError, match="cannot be read"):
        read_vocab(str(tmp_path))
    with pytest.raises(InputError, match=r"no tokenizer\.json there"):
        read_given(str(tmp_path))


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_tokenizer_folder_is_read_with_its_own_case_and_length(tmp_path, lowercase):
    save(TOKENS, str(tmp_path / "ours"), lowercase=lowercase, max_tokens=77)
    AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    for name in ("ours", "theirs"):
        assert read_given(str(tmp_path / name)) == Given(TOKENS, lowercase, 77)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    def refused(change, message):
        tokenizer = backend({token: number for number, token in enumerate(TOKENS)}, lowercase=True)
        change(tokenizer)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        with pytest.raises(InputError, match=message):
            read_given(str(tmp_path))

    refused(lambda made: setattr(made, "normalizer", normalizers.NFKC()), "other: normalizer")
    refused(lambda made: made.add_tokens(["加的"]), "added tokens .'加的'")
    refused(lambda made: setattr(made.model, "max_input_chars_per_word", 9), "other: model")


def test_a_word_list_is_words_in_the_first_column(write):
    first = write("a.tsv", "\ufeff# words of ours\n区块链\t12\n\n C++ \r\n#1\n")
    second = write("b.txt", "甲\t 3\r乙\t 2\r")
    assert read_words([str(first), str(second)]) == ["区块链", "C++", "#1", "甲", "乙"]
    assert read_words([]) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"w\.txt: an empty word list"),
        ("# nothing\n\n\t3\n", r"w\.txt: an empty word list"),
        (b"ab" + "哈".encode("gb18030"), r"w\.txt: not UTF-8 \(byte 2\): save the word list as UTF-8"),
    ],
)
def test_a_bad_word_list_is_refused(write, content, message):
    with pytest.raises(InputError, match=message):
        read_words([str(write("w.txt", content))])
