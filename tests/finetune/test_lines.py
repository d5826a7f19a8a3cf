import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.files import read_records
from ernie_pipe.finetune.lines import read_lines


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings_are_told_apart(write, said, encoding):
    path = write("a.tsv", "text\tlabel\r\n服务很好\t1\r\n".encode(encoding))
    assert read_records(path).rows[0].values == {"text": "服务很好", "label": "1"}
    assert ("GB18030" in said()) == (encoding == "gb18030")
    assert ("UTF-16" in said()) == (encoding == "utf-16")


def test_only_line_feeds_end_lines(write):
    odd = "a\u2028b\x85c\x0bd\x1ce"
    assert read_lines(write("a.txt", f"{odd}\r\n二\n")) == [(1, odd), (2, "二")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"ok\n\xff\xff\n", "a.txt:2: neither UTF-8"),
        (b"\xff\xfea", "marked as UTF-16"),
    ],
)
def test_unreadable_files_say_why(write, content, message):
    with pytest.raises(InputError, match=message):
        read_lines(write("a.txt", content))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.tsv: no such file"):
        read_lines(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="not readable"):
        read_lines(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\x00", "a.txt: packed by gzip: unpack it"),
        (b"PK\x03\x04\x14", "a.txt: a zip archive or a workbook"),
        (b"PAR1\x15", "a.txt: a Parquet file"),
        (b"text\tlabel\ra\t1\r", "a.txt: its lines end with carriage returns alone"),
    ],
)
def test_what_is_no_plain_text_says_what_it_is(write, content, message):
    with pytest.raises(InputError, match=message):
        read_lines(write("a.txt", content))


def test_big5_and_the_traditional_characters_of_gb18030_are_told_apart(write, said):
    text = "這間書店的服務很好，可惜離車站太遠，還會再來買書。"
    assert read_lines(write("a.txt", text.encode("big5"))) == [(1, text)]
    assert "read as Big5" in said()
    assert read_lines(write("b.txt", text.encode("gb18030"))) == [(1, text)]
    assert "b.txt: read as GB18030" in said()
