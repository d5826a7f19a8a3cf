"""User dictionaries: jieba's form, errors that name file and line, frequencies and tags that leave nothing open."""

import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.text.user_dictionary import entries, merge


def merged(*files):
    return [tuple(line.split("\t")) for line in merge([str(file) for file in files]).decode().splitlines()]


def test_a_word_may_have_a_frequency_and_a_tag(write):
    file = write("a.txt", "\ufeff# mine\n云端算力 20 n\r\n石墨烯 nz\n\n省会的 7\n  云计 \t 5\tv\n")
    assert merged(file) == [
        ("云端算力", "20", "n"), ("石墨烯", "1", "nz"), ("省会的", "7", "x"), ("云计", "5", "v")
    ]  # fmt: skip


def test_a_missing_frequency_is_just_enough_and_a_missing_tag_the_engines_own(write):
    (word, frequency, tag), (_, other, _) = merged(write("a.txt", "哈尔滨\n是的\n"))
    assert (word, tag) == ("哈尔滨", "ns")
    assert int(frequency) > 100
    assert int(other) > 1000


def test_the_last_line_of_a_word_holds(write, caplog):
    caplog.set_level("INFO", "ernie_pipe")
    assert merged(write("a.txt", "云计 5 n\n石墨烯 2\n"), write("b.txt", "云计 9 v\n")) == [
        ("石墨烯", "2", "x"), ("云计", "9", "v")
    ]  # fmt: skip
    assert "1 of 3 words given again" in caplog.text


def test_words_that_no_engine_can_find_are_told(write, caplog):
    caplog.set_level("INFO", "ernie_pipe")
    merge([str(write("a.txt", "卡尔·马克思\n石墨烯\n"))])
    assert "1 of 2 words hold a character at which" in caplog.text


def test_what_was_merged_is_read_again(write):
    path = write("merged", merge([str(write("a.txt", "云计 5 n\n石墨烯 2 nz\n"))]))
    assert list(entries(str(path))) == [("云计", 5, "n"), ("石墨烯", 2, "nz")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("石墨烯 2\n云 计 5 n\n", r"a\.txt, line 2: expected `word \[frequency\] \[tag\]`.*'云 计 5 n'"),
        ("云计 n 5\n", r"a\.txt, line 1: expected"),
        ("云计 0 n\n", r"a\.txt, line 1: expected.*whole frequency of 1"),
        ("云计 1.5\n", r"a\.txt, line 1: expected"),
        ("云计 -3\n", r"a\.txt, line 1: expected"),
        (f"云计 {10**13}\n", r"a\.txt, line 1: expected.*12 digits"),
        ("云计 5 n\n石墨烯\n".encode("gb18030"), r"a\.txt, line 1: not UTF-8 \(byte 0\); it looks like GB18030"),
        ("云\0计\n", r"a\.txt, line 1: a NUL"),
        ("# none\n", r"a\.txt: holds no words"),
    ],
)
def test_errors_name_file_and_line(write, content, message):
    with pytest.raises(InputError, match=message):
        merge([str(write("a.txt", content))])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt: no such file"):
        merge([str(tmp_path / "gone.txt")])
