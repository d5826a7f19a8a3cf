"""Files → records: the same ones whatever the splits, and no bad record stops the others."""

import gzip
import itertools
import json

import inputs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.errors import InputError
from ernie_pipe.text.document import Record, Rejected, Split, format_of, plan_splits, read

BREAKS = ["\n", "\n\n", "\r\n", "\r\n\r\n", " \n", "\t\r\n", "\r", "\u3000\n"]
PIECES = [*BREAKS, "哈尔滨", "a", "😀", "é", '{"text": "好"}\n']
CONTENTS = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


class Direct:
    """Runs the counting tasks in this process."""

    @staticmethod
    def run_tasks(spark, tasks, work, title):
        return [work(task) for task in tasks]


def read_all(path, *, split_bytes=1 << 20, **options):
    planned = plan_splits(str(path), Split("", "s", options.pop("format", ""), **options), split_bytes=split_bytes)
    planned = inputs.with_line_numbers(Direct, None, planned)
    return [item for split, _ in planned for item in read(split)]


def texts(items):
    return [item.text for item in items]


def rejected(path, **options):
    """The only rejected record, which must stand between two good ones."""
    first, bad, last = read_all(path, **options)
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert isinstance(bad, Rejected)
    assert (bad.path, bad.line) == (str(path), 2)
    return bad


@pytest.mark.parametrize(
    ("name", "documents"), [("a.jsonl", "file"), ("a.txt", "line"), ("a.txt", "blank-line"), ("a.txt", "file")]
)
@given(content=CONTENTS, split_bytes=st.integers(1, 60))
def test_any_cut_of_a_file_gives_the_same_records(tmp_path, name, documents, content, split_bytes):
    path = tmp_path / name
    path.write_bytes(content.encode())
    whole = read_all(path, documents=documents)
    assert read_all(path, documents=documents, split_bytes=split_bytes) == whole


@given(content=CONTENTS)
def test_lines_are_numbered_as_an_editor_does(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode())
    lines = [(number, line.strip(" \t\r")) for number, line in enumerate(content.split("\n"), start=1)]
    expected = [number for number, line in lines if line]
    found = read_all(path, documents="line", split_bytes=7)
    assert [item.line if isinstance(item, Rejected) else int(item.doc_id.split("#")[1]) for item in found] == expected


@given(content=CONTENTS)
def test_blocks_end_at_blank_lines(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode())
    lines = content.encode().split(b"\n")
    groups = [
        b"\n".join(block) for filled, block in itertools.groupby(lines, lambda line: bool(line.strip())) if filled
    ]
    expected = [group.decode().rstrip("\r\n") for group in groups]
    found = read_all(path, documents="blank-line", split_bytes=9)
    plain = [text.replace("\r\n", "\n").replace("\r", "\n") for text in expected]
    assert [item.text.rstrip("\n") for item in found if isinstance(item, Record)] == [
        text.rstrip("\n") for text in plain if text.strip()
    ]


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        ('{"text": ', "not JSON", "column"),
        ("[" * 100_000, "not JSON", "recursion"),
        ('["好"]', "not a JSON object", "found a list"),
        (b'{"text": "\xff\xff"}', "does not decode", "tried utf-8-sig, gb18030"),
        ('{"body": "好"}', "no text", "the field `text` holds nothing; fields: body"),
        ('{"\\ud800": "好"}', "no text", "fields: \ufffd"),
        ('{"text": 3}', "no text", "holds a int"),
        ('{"text": " \\n\u3000"}', "empty", "white space"),
        ('{"turns": []}', "bad turns", "must be a list"),
        ('{"turns": ["好", {"role": "nobody", "text": "好"}]}', "bad turns", "turn 2 needs `text` and a `role` of"),
        ('{"turns": [{"role": "query"}]}', "bad turns", "turn 1 needs"),
        ('{"text": "好", "entities": [{"start": 0}]}', "bad entities", "start, end (characters) and type"),
        ('{"text": "好", "entities": [{"start": 0, "end": 2, "type": "LOC"}]}', "bad entities", "text of 1 characters"),
        ('{"text": "好", "entities": [{"start": 0, "end": 1, "type": "X"}]}', "bad entities", "unknown type 'X'"),
        ('{"text": "好", "entities": [{"start": 1, "end": 1, "type": "LOC"}]}', "bad entities", "outside"),
        ('{"text": "好", "entities": [{"start": 0, "end": Infinity, "type": "LOC"}]}', "bad entities", "each needs"),
        ('{"text": "好", "entities": 5}', "bad entities", "each needs"),
    ],
)
def test_a_bad_line_is_rejected_and_the_rest_goes_on(write, line, reason, detail):
    good = '{"text": "好"}'.encode()
    path = write("a.jsonl", b"\n".join([good, line if isinstance(line, bytes) else line.encode(), good]))
    bad = rejected(path)
    assert bad.reason == reason
    assert detail in bad.detail
    assert len(bad.raw) <= 200
    (bad.detail + bad.raw).encode()


def test_a_text_that_does_not_decode_is_rejected(write):
    assert rejected(write("a.txt", b"a\n\xff\xff\xff\nb"), documents="line").reason == "does not decode"


def test_damaged_utf8_is_not_taken_for_gb18030(write):
    text = "哈尔滨是黑龙江的省会。" * 20
    bad = rejected(write("a.txt", b"a\n" + text.encode() + b"\xe5\xe5\nb"), documents="line")
    assert bad.reason == "does not decode"
    assert f"byte {len(text.encode())}" in bad.detail


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings_are_found(write, encoding):
    path = write("a.txt", "哈尔滨是黑龙江的省会。\r\n很冷。".encode(encoding))
    assert texts(read_all(path)) == ["哈尔滨是黑龙江的省会。\n很冷。"]


@pytest.mark.parametrize("encoding", ["auto", "utf-16"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_utf16_is_not_cut_into_lines_of_bytes(write, name, encoding):
    path = str(write(name, "长江\nabc\n\n黄河\n".encode("utf-16")))
    template = Split(path, "s", format_of(name), documents="line", encoding=encoding)
    (found,) = [item for split, _ in plan_splits(path, template, split_bytes=5) for item in read(split)]
    assert isinstance(found, Rejected)
    assert (found.reason, found.line) == ("does not decode", 1)
    assert "iconv -f UTF-16" in found.detail


def test_a_named_encoding_is_used(write):
    path = write("a.txt", "東京".encode("shift_jis"))
    assert texts(read_all(path, encoding="shift_jis")) == ["東京"]


def test_lone_surrogates_become_replacement_characters(write):
    path = write("a.jsonl", '{"text": "好\\ud800a\\udfff", "label": "\\ud800", "title": "\\ud800", "id": "\\ud800"}')
    (record,) = read_all(path)
    assert (record.text, record.repaired) == ("好\ufffda\ufffd", 2)
    assert (record.label, record.title, record.doc_id) == ("\ufffd", "\ufffd", "\ufffd")


def test_a_pair_of_surrogates_is_one_character(write):
    (record,) = read_all(write("a.jsonl", '{"text": "\\ud83d\\ude00"}'))
    assert (record.text, record.repaired) == ("😀", 0)


@pytest.mark.parametrize("ending", ["gz", "zst", "GZ"])
def test_compressed_files_are_read_whole(write, ending):
    data = "\n".join(json.dumps({"text": f"第{number}行"}) for number in range(50)).encode()
    packed = pa.compress(data, codec="zstd", asbytes=True) if ending == "zst" else gzip.compress(data)
    path = write(f"a.jsonl.{ending}", packed)
    found = read_all(path, split_bytes=10)
    assert texts(found) == [f"第{number}行" for number in range(50)]


def test_a_damaged_compressed_file_keeps_what_came_before(write):
    lines = [json.dumps({"text": f"第{number}行", "noise": str(hash(str(number)))}) for number in range(50_000)]
    packed = gzip.compress("\n".join(lines).encode())
    *records, bad = read_all(write("a.jsonl.gz", packed[: len(packed) * 9 // 10]))
    assert records
    assert texts(records) == [f"第{number}行" for number in range(len(records))]
    assert (bad.reason, bad.line) == ("damaged file", len(records) + 1)


def test_a_network_error_is_no_damaged_file(write, monkeypatch):
    def broken(*args):
        raise OSError("connection reset by peer")

    monkeypatch.setattr("ernie_pipe.text.document.open_stream", broken)
    with pytest.raises(OSError, match="connection reset"):
        read_all(write("a.jsonl", '{"text": "好"}'))


@pytest.mark.parametrize("split_bytes", [1, 200, 1 << 20])
def test_parquet_is_split_by_row_groups(tmp_path, split_bytes):
    rows = [{"text": f"第{number}行", "label": number} for number in range(10)]
    pq.write_table(
        pa.Table.from_pylist([*rows, {"text": None, "label": None}]), tmp_path / "a.parquet", row_group_size=3
    )
    *records, bad = read_all(tmp_path, split_bytes=split_bytes)
    assert [(record.text, record.label, record.doc_id) for record in records] == [
        (f"第{number}行", str(number), f"a.parquet#{number + 1}") for number in range(10)
    ]
    assert (bad.reason, bad.line) == ("no text", 11)


def test_a_broken_parquet_file_is_named(write):
    with pytest.raises(InputError, match=r"a\.parquet: not a readable Parquet file"):
        read_all(write("a.parquet", "nothing"))


def test_turns_become_segments(write):
    (record,) = read_all(write("a.jsonl", json.dumps({"turns": ["你好\n吗", {"role": "title", "text": "很好"}]})))
    assert record.text == "你好 吗\n很好"
    assert record.segments == ((0, "query"), (5, "title"))


def test_given_entities_keep_their_offsets_over_crlf(write):
    row = {"text": "很冷。\r\n哈尔滨", "entities": [{"start": 5, "end": 8, "type": "LOC"}]}
    (record,) = read_all(write("a.jsonl", json.dumps(row)))
    start, end, _ = record.entities[0]
    assert record.text[start:end] == "哈尔滨"


def test_given_entities_come_longest_first(write):
    entities = [{"start": 0, "end": end, "type": "LOC"} for end in (1, 3, 2)]
    (record,) = read_all(write("a.jsonl", json.dumps({"text": "哈尔滨", "entities": entities})))
    assert [end for _, end, _ in record.entities] == [3, 2, 1]


def test_ids_are_taken_or_made(write):
    path = write("a.jsonl", '{"text": "好", "id": 7}\n{"text": "好", "id": null, "doc_id": "x"}\n{"text": "好"}')
    assert [record.doc_id for record in read_all(path)] == ["7", "x", "a.jsonl#3"]


def test_an_unknown_format_is_rejected(write):
    write("in/a.jsonl", '{"text": "好"}')
    write("in/b.docx", "x")
    good, bad = read_all(write("in/c", "x").parent)[:2]
    assert good.text == "好"
    assert (bad.reason, bad.detail) == (
        "unknown format",
        "known endings: .json, .jsonl, .ndjson, .parquet, .text, .txt, .yaml, .yml",
    )


def test_hidden_files_and_missing_paths(write):
    folder = write("in/_rejected/a.jsonl", '{"text": "好"}').parent.parent
    write("in/.git/a.jsonl", '{"text": "好"}')
    assert read_all(folder) == []
    with pytest.raises(InputError, match="no such file or folder"):
        read_all(folder / "missing")


@pytest.mark.parametrize(("name", "kind"), [("A.JSONL.GZ", "jsonl"), ("a.txt.zst", "text"), ("a.tar", "unknown")])
def test_formats_go_by_name(name, kind):
    assert format_of(name) == kind


def test_jsonl_in_gb18030_is_read(write):
    path = write("a.jsonl", '{"text": "哈尔滨在黑龙江。"}\n'.encode("gb18030"))
    assert texts(read_all(path)) == texts(read_all(path, encoding="gb18030")) == ["哈尔滨在黑龙江。"]


@pytest.mark.parametrize("content", ['[\n{"text": "好"},\n{"text": "坏"}\n]\n', '[{"text": "好"}]'])
def test_a_json_array_is_one_rejection_however_it_is_cut(write, content):
    (bad,) = read_all(write("a.json", content), split_bytes=8)
    assert (bad.reason, bad.line) == ("a JSON array", 1)


def test_chat_roles_are_query_and_response(write):
    path = write("a.jsonl", '{"turns": [{"role": "user", "text": "好"}, {"role": "assistant", "text": "是"}]}')
    (record,) = read_all(path)
    assert record.segments == ((0, "query"), (2, "response"))


def test_ids_tell_files_of_one_name_apart(write, tmp_path):
    write("a/1.txt", "好")
    write("b/1.txt", "坏")
    assert [item.doc_id for item in read_all(tmp_path)] == ["a/1.txt", "b/1.txt"]
