"""The import job: lines of ERNIE 1.0 → passages that training reads, everything accounted for."""

import gzip
import os
from collections import Counter
from pathlib import Path

import import_ernie1
import pyarrow.parquet as pq
import pytest
import session

from ernie_pipe.corpus.manifest import read
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.prepare import prepare
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.text import vocabulary
from ernie_pipe.text.passages import UNIT_BITS, WORD_START
from tests.corpus.test_ernie1 import A, B, line_of
from tests.pretrain.building import MICRO

TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", *"哈尔滨是省会的城市黑龙江北方", "[UNK]"]


@pytest.fixture
def tokenizer(tmp_path):
    vocabulary.save(TOKENS, str(tmp_path / "tokenizer"), lowercase=True)
    return str(tmp_path / "tokenizer")


def run(tokenizer, output, *arguments):
    given = ["--tokenizer", tokenizer, "--output", str(output), *map(str, arguments)]
    assert import_ernie1.main(given) == 0
    return read(str(output), "passages")


def test_lines_become_passages_that_the_reader_opens(spark, tokenizer, write, tmp_path, capsys):
    first = write("in/one.gz", gzip.compress("\n".join([line_of(A, B), line_of(B, A, follows=0)]).encode()))
    second = write("in/two.txt", line_of(A, A) + "\r\n")
    made = run(tokenizer, tmp_path / "out", "--input", first, second)
    assert {name: made.counts[name] for name in ("in", "kept", "rejected", "duplicate", "followed", "random")} == {
        "in": 3, "kept": 3, "rejected": 0, "duplicate": 0, "followed": 2, "random": 1,
    }  # fmt: skip
    passages = Passages(str(tmp_path / "out"))
    assert [passages.get(number)[0].tolist() for number in range(4)] == [
        [4, 5, 6, 7, 8, 9, 10], [7, 8, 9, 10], [4, 5, 6], [4, 5, 6, 4, 5, 6],
    ]  # fmt: skip
    assert passages.get(0)[1].tolist() == [1, 0, 1, 1, 1, 0, 0]
    assert [passages.sentence_starts(number).tolist() for number in range(4)] == [[0, 3], [0], [0], [0, 3]]
    assert (passages.documents, passages.source_names) == (4, ["one", "two"])
    assert (tmp_path / "out" / "tokenizer" / "vocab.txt").read_text(encoding="utf-8").split() == TOKENS
    assert "2 pairs that follow each other, 1 random ones" in capsys.readouterr().out


def test_the_manifest_has_what_encoding_writes(spark, prepared, tokenizer, write, tmp_path):
    made = run(tokenizer, tmp_path / "out", "--input", write("a.txt", line_of(A, B)))
    encoded = read(prepared.passages, "passages")
    assert set(made.details) == set(encoded.details)
    assert set(made.counts) >= set(encoded.counts)
    assert set(made.shards[0]) == set(encoded.shards[0])
    assert (made.details["unit_bits"], made.details["vocab_size"]) == (UNIT_BITS, len(TOKENS))


def test_malformed_lines_are_kept_aside_with_reason_file_and_line(spark, tokenizer, write, tmp_path, capsys):
    good = line_of(A, B)
    lines = [good, "no numbers", good, line_of(A, [[99]]), good, "", good]
    path = write("a.txt", "\n".join(lines).encode() + b"\n\xff;1;1;1;1\n")
    made = run(tokenizer, tmp_path / "out", "--input", path)
    assert [made.counts[name] for name in ("in", "kept", "rejected")] == [8, 4, 4]
    wanted = {"not five fields": 2, "id outside the vocabulary": 1, "not whole numbers": 1}
    assert made.counts["reasons"] == wanted
    rows = pq.read_table(tmp_path / "out" / "_rejected" / made.rejected_shards[0]["name"]).to_pylist()
    assert [(row["line"], row["path"]) for row in rows] == [(line, str(path)) for line in (2, 4, 6, 8)]
    assert rows[1]["detail"] == "99, the vocabulary has 0 to 18"
    assert "4 of 8 lines rejected (2 not five fields" in capsys.readouterr().out


def test_a_finished_import_is_left_and_another_refused(spark, tokenizer, write, tmp_path, capsys):
    path = write("a.txt", "\n".join([line_of(A, B), line_of(A, B, follows=0)] * 20))
    made = run(tokenizer, tmp_path / "out", "--input", path, "--held-out", 0.3)
    assert made.counts["held_out_passages"] + made.counts["train_passages"] == made.counts["passages"] == 60
    assert 0 < made.counts["held_out_passages"] < 60
    assert len(Passages(str(tmp_path / "out"), "held_out")) == made.counts["held_out_passages"]
    assert run(tokenizer, tmp_path / "out", "--input", path, "--held-out", 0.3) == made
    assert "already done" in capsys.readouterr().err
    with pytest.raises(InputError, match="differs: held_out"):
        run(tokenizer, tmp_path / "out", "--input", path)


def test_training_is_prepared_from_imported_passages(spark, tokenizer, write, tmp_path):
    path = write("a.txt", "\n".join([line_of(A * 3, B * 3), line_of(A, B * 2, follows=0)] * 20))
    run(tokenizer, tmp_path / "out", "--input", path)
    with pytest.raises(InputError, match=r"sentence_distance needs .*: 0 of the 60 passages"):
        prepare(PretrainSettings.model_validate(MICRO), str(tmp_path / "out"))
    tasks = {"knowledge_masking": {}, "sentence_reordering": {"max_segments": 2}}
    settings = MICRO | {"tasks": tasks, "stages": [{"name": "all", "steps": 2, "tasks": dict.fromkeys(tasks, 0.5)}]}
    ready = prepare(PretrainSettings.model_validate(settings), str(tmp_path / "out"))
    assert ready.passages.documents == 60
    assert ready.corpus.vocab["哈"] == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", line_of(A, B).replace("1 4", "7 4", 1), r"a\.txt: the ids are not of the vocabulary of .*tokenizer "),
        ("a.txt", line_of(A, [[400]]), r"id outside the vocabulary: 400, the vocabulary has 0 to 18"),
        ("a.txt", "x\ny\n", r"a\.txt, line 1: not five fields: .*: not ERNIE 1.0's pretraining format"),
        ("a.txt", "", r"a\.txt, line 1: no line there"),
        ("a.gz", b"no gzip", r"a\.gz: cannot be read beyond line 0"),
        ("a.gz", gzip.compress(os.urandom(99_999))[:-9000], r"a\.gz: cannot be read beyond line \d"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_spark(tokenizer, write, tmp_path, monkeypatch, name, content, message):
    monkeypatch.setattr(session, "start", None)
    with pytest.raises(InputError, match=message):
        run(tokenizer, tmp_path / "out", "--input", write(name, content))
    assert not (tmp_path / "out").exists()


def test_inputs_and_tokenizer_are_named_when_they_are_missing(tokenizer, write, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "start", None)
    path = write("a.txt", line_of(A, B))
    with pytest.raises(InputError, match=r"gone: no such file"):
        run(tokenizer, tmp_path / "out", "--input", tmp_path / "gone")
    with pytest.raises(InputError, match=r"no tokenizer\.json there"):
        run(str(tmp_path), tmp_path / "out", "--input", path)
    with pytest.raises(InputError, match=r"a\.txt: given twice"):
        run(tokenizer, tmp_path / "out", "--input", path, tmp_path / "a.txt")


@pytest.mark.skipif("ERNIE_PIPE_DATA" not in os.environ, reason="needs the released sample ($ERNIE_PIPE_DATA)")
def test_the_released_sample_is_imported_whole(spark, tmp_path):
    data = Path(os.environ["ERNIE_PIPE_DATA"])
    lines = (data / "vocab" / "ernie1_vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary.save([line.split("\t")[0] for line in lines], str(tmp_path / "tokenizer"), lowercase=True)
    sample = data / "ernie1_pretrain_demo" / "demo_train_set.gz"
    made = run(str(tmp_path / "tokenizer"), tmp_path / "out", "--input", sample)
    fields = [line.split(";") for line in gzip.decompress(sample.read_bytes()).decode().splitlines()]
    labels = Counter(label for field in fields for label in field[3].split())
    assert (made.counts["kept"], made.counts["rejected"]) == (len(fields), 0) == (10_000, 0)
    assert made.counts["tokens"] == labels["0"] + labels["1"]
    assert made.counts["units"]["word"] == labels["0"]
    assert made.counts["passages"] == sum(2 - int(field[4]) for field in fields)
    passages = Passages(str(tmp_path / "out"))
    starts = sum(int(((passages.get(number)[1] & WORD_START) > 0).sum()) for number in range(len(passages)))
    assert starts == labels["0"]
