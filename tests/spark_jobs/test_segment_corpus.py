"""The segmenting job: every record accounted for, finished work left alone, failed work no harm."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import segment_corpus
import session
from pyspark.errors import PythonException

from ernie_pipe.corpus.manifest import Manifest, commit, read
from ernie_pipe.errors import InputError

pytestmark = pytest.mark.usefixtures("spark")

GOOD = {"id": "g", "text": "哈尔滨是黑龙江的省会。", "entities": [{"start": 4, "end": 7, "type": "WORK"}]}


@pytest.fixture
def raw(write):
    """A folder of four kinds of files, with three good records and four bad ones."""
    write("raw/a.jsonl", json.dumps(GOOD) + "\n{\n" + '{"text": " "}\n' + '{"text": "长江很长。"}')
    write("raw/deep/b.txt", "黄河。".encode("gb18030"))
    write("raw/deep/c.docx", "x")
    write("raw/d.txt", "")
    return write("raw/_hidden.jsonl", "{").parent


def run(tmp_path, *arguments, name="segmented"):
    assert segment_corpus.main(["--output", str(tmp_path / name), *map(str, arguments)]) == 0
    return read(str(tmp_path / name), "segmented")


def rows(folder, *, rejected=False):
    """The rows that the manifest names, in order."""
    made = read(str(folder), "segmented")
    names = [f"_rejected/{shard['name']}" for shard in made.rejected_shards] if rejected else [
        shard["name"] for shard in made.shards
    ]  # fmt: skip
    return [row for name in names for row in pq.read_table(Path(folder) / name).to_pylist()]


def test_every_record_is_accounted_for(raw, tmp_path, capsys):
    counts = run(tmp_path, "--input", raw).counts
    assert (counts["in"], counts["kept"], counts["rejected"], counts["duplicate"]) == (7, 3, 4, 0)
    assert counts["rejected_reasons"] == {"not JSON": 1, "empty": 2, "unknown format": 1}
    assert counts["characters"] == sum(len(row["text"]) for row in rows(tmp_path / "segmented"))
    said = capsys.readouterr().out
    assert "3 documents, 19 characters" in said
    assert "4 of 7 records rejected, 1 not JSON" in said


def test_rejected_records_are_kept_with_their_reason(raw, tmp_path):
    run(tmp_path, "--input", raw)
    found = {
        (Path(row["path"]).name, row["line"], row["reason"]) for row in rows(tmp_path / "segmented", rejected=True)
    }
    assert found == {
        ("a.jsonl", 2, "not JSON"), ("a.jsonl", 3, "empty"), ("d.txt", 1, "empty"), ("c.docx", 1, "unknown format"),
    }  # fmt: skip


def test_a_user_dictionary_reaches_the_workers_and_the_manifest(write, tmp_path):
    path, words = write("a.txt", "要云端算力。"), write("words.txt", "云端算力 9 nz\n")
    plain = run(tmp_path, "--input", path, name="plain")
    made = run(tmp_path, "--input", path, "--user-dictionary", words)
    (row,) = rows(tmp_path / "segmented")
    ends = [*row["words"][1:], len(row["text"])]
    words = [row["text"][start:end] for start, end in zip(row["words"], ends, strict=True)]
    assert words == ["要", "云端算力", "。"]
    assert [entity["type"] for entity in row["entities"]] == ["MISC"]
    assert made.config["dictionary"] != plain.config["dictionary"]


def test_entities_come_from_document_lexicon_and_tagger(write, tmp_path):
    path = write("a.jsonl", json.dumps({**GOOD, "text": GOOD["text"] + "他去上海。"}))
    lexicon = write("l.tsv", "上海\tORG\n黑龙江\tORG\n省会\tPHRASE\n")
    counts = run(tmp_path, "--input", path, "--lexicon", lexicon).counts
    (row,) = rows(tmp_path / "segmented")
    assert [(row["text"][e["start"] : e["end"]], e["type"], e["source"]) for e in row["entities"]] == [
        ("哈尔滨", "LOC", "tagger"), ("黑龙江", "WORK", "document"), ("上海", "ORG", "lexicon"),
    ]  # fmt: skip
    assert [row["text"][span["start"] : span["end"]] for span in row["phrases"]] == ["省会"]
    assert (counts["units"]["entity"], counts["units"]["phrase"], counts["units"]["sentence"]) == (3, 1, 2)


def test_a_finished_result_stays_until_it_is_overwritten(raw, tmp_path, capsys):
    run(tmp_path, "--input", raw)
    manifest = tmp_path / "segmented" / "manifest.json"
    before = manifest.read_bytes()
    run(tmp_path, "--input", raw)
    assert manifest.read_bytes() == before
    assert "already done" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"another configuration \(differs: hmm\).*--overwrite"):
        run(tmp_path, "--input", raw, "--hmm")
    assert manifest.read_bytes() == before
    made = run(tmp_path, "--input", raw, "--hmm", "--overwrite")
    assert made.config["hmm"]
    assert {path.name for path in manifest.parent.glob("part-*")} == {shard["name"] for shard in made.shards}


def test_a_changed_input_is_another_configuration(raw, write, tmp_path):
    run(tmp_path, "--input", raw)
    write("raw/e.jsonl", json.dumps(GOOD))
    with pytest.raises(InputError, match="differs: input"):
        run(tmp_path, "--input", raw)


def test_a_failed_attempt_leaves_no_result_and_does_no_harm(raw, tmp_path, monkeypatch):
    def work(task, *, output, **_):
        folder = Path(output)
        folder.mkdir(exist_ok=True)
        (folder / "part-00000-0000dead.parquet").write_bytes(b"half")
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(segment_corpus, "segment_task", work)
        with pytest.raises(PythonException, match="killed"):
            run(tmp_path, "--input", raw)
    assert [path.name for path in (tmp_path / "segmented").iterdir()] == ["part-00000-0000dead.parquet"]
    assert run(tmp_path, "--input", raw).counts["kept"] == 3
    assert not list(tmp_path.glob("segmented/*dead*"))


def test_an_empty_file_among_others_does_no_harm(write, tmp_path):
    write("raw/b.jsonl", json.dumps(GOOD))
    assert run(tmp_path, "--input", write("raw/a.jsonl", "").parent).counts["in"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"nothing to segment: 0 usable records of 0 in the input \(empty\)"),
        ("{\n[]\n", r"0 usable records of 2 in the input \(1 not JSON, 1 not a JSON object\)"),
    ],
)
def test_an_empty_corpus_is_a_clear_error(write, tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, "--input", write("a.jsonl", content))
    assert not (tmp_path / "segmented" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no input: give --input PATH"),
        (["--input", "{tmp}/gone"], "gone: no such file or folder"),
        (["--input", "{tmp}/empty"], "nothing to read: no file in"),
        (["--input", __file__, __file__], r"test_segment_corpus\.py: given twice"),
        (["--input", "{tmp}"], r"--output .*/out lies in the input .*: choose another place"),
        (["--input", __file__, "--encoding", "gbk8"], "`encoding`: unknown encoding 'gbk8'"),
        (["--input", __file__, "--engine", "pkuseg"], "unknown word engine `pkuseg`"),
        (["--input", __file__, "--lexicon", "{tmp}/gone.tsv"], r"gone\.tsv: no such file"),
        (
            ["--input", "{tmp}", "--set", "entity_types=[PER]"],
            "entity_types lacks LOC, MISC, ORG, which tagged_entities finds",
        ),
        (["--input", "{tmp}", "--split-mib", "0"], "`split_mib`: Input should be greater than or equal to 1"),
        (["--input", "{tmp}", "--set", "sources=[{{pth: a}}]"], "unknown key `sources.0.pth`; did you mean `path`"),
    ],
)
def test_mistakes_are_named_before_anything_runs(tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        segment_corpus.main(["--output", str(tmp_path / "out"), *(word.format(tmp=tmp_path) for word in arguments)])


def test_the_split_size_changes_the_shards_only(write, tmp_path):
    line = json.dumps({"text": "哈尔滨是黑龙江的省会，很冷。" * 20}, ensure_ascii=False)
    path = write("a.jsonl", "\r\n".join(line if number % 50 else "{" for number in range(1400)))
    for size in (1, 32):
        run(tmp_path, "--input", path, "--split-mib", size, name=f"by-{size}")
    assert len(read(str(tmp_path / "by-1"), "segmented").shards) == 2
    assert rows(tmp_path / "by-1") == rows(tmp_path / "by-32")
    assert rows(tmp_path / "by-1", rejected=True) == rows(tmp_path / "by-32", rejected=True)


def test_entity_types_of_documents_must_be_known(write, tmp_path):
    entity = {"start": 0, "end": 3, "type": "CITY"}
    path = write("a.jsonl", "\n".join(json.dumps({**GOOD, "entities": found}) for found in ([entity], [])))
    assert run(tmp_path, "--input", path).counts["rejected_reasons"] == {"bad entities": 1}
    types = "entity_types=[PER, LOC, ORG, MISC, CITY]"
    made = run(tmp_path, "--input", path, "--set", types, name="more")
    assert (made.counts["kept"], made.details["entity_types"]) == (2, ["PER", "LOC", "ORG", "MISC", "CITY"])


def test_sources_have_names_and_options_of_their_own(write, tmp_path):
    write("lines.txt", "一行。\n两行。\n")
    write("novel.txt", "東京。".encode("shift_jis"))
    config = write(
        "c.yaml",
        f"sources:\n- {{path: {tmp_path}/lines.txt, name: web, documents: line}}\n"
        f"- {{path: {tmp_path}/novel.txt, encoding: shift_jis}}\n",
    )
    run(tmp_path, "--config", config)
    assert [(row["source"], row["text"].strip()) for row in rows(tmp_path / "segmented")] == [
        ("web", "一行。"), ("web", "两行。"), ("novel", "東京。"),
    ]  # fmt: skip


def test_of_a_finished_folder_only_named_files_are_read(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for number, text in enumerate(["长江。", "黄河。"]):
        pq.write_table(pa.table({"text": [text]}), folder / f"part-0000{number}-00000000.parquet")
    size = (folder / "part-00000-00000000.parquet").stat().st_size
    shards = [{"name": "part-00000-00000000.parquet", "rows": 1, "bytes": size, "digest": "d"}]
    manifest = commit(str(folder), Manifest("segmented", {}, {}, shards=shards))
    pq.write_table(pa.table({"text": ["黄河。"]}), folder / "part-00001-00000000.parquet")
    assert manifest.shards == shards
    assert run(tmp_path, "--input", folder).counts["in"] == 1
    (folder / "part-00000-00000000.parquet").unlink()
    with pytest.raises(InputError, match=r"part-00000-00000000\.parquet: named by the manifest but missing"):
        run(tmp_path, "--input", folder, name="again")


def test_an_output_that_cannot_be_written_is_named_before_spark(write, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "start", None)
    path = write("a.txt", "长江。")
    with pytest.raises(InputError, match=r"a\.txt/out: cannot be written to: Not a directory"):
        segment_corpus.main(["--input", str(path), "--output", str(write("b/a.txt", "x") / "out")])


def test_a_users_mistake_is_one_line_and_code_two(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["segment_corpus.py", "--output", str(tmp_path), "--input", str(tmp_path / "gone")])
    assert session.run_job(segment_corpus.main) == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {tmp_path}/gone: no such file or folder"]


def test_help_names_what_is_needed(capsys):
    with pytest.raises(SystemExit):
        segment_corpus.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "folder for the segmented documents (needed)" in said
    assert "Undefined" not in said
