"""The vocabulary job: a folder for transformers, the same for the same text."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import build_vocab
import encode_corpus
import pyarrow.parquet as pq
import pytest
import segment_corpus
import session
from transformers import AutoTokenizer

from ernie_pipe.corpus.manifest import commit, read
from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import SPECIAL_TOKENS


def run(output, *arguments):
    assert build_vocab.main(["--output", str(output), *map(str, arguments)]) == 0
    return read(str(output), "tokenizer")


def test_the_vocabulary_covers_the_corpus(prepared):
    counts = read(prepared.tokenizer, "tokenizer").counts
    tokens = Path(prepared.tokenizer, "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert counts["tokens"] == len(tokens) == len(set(tokens))
    assert counts["covered_characters"] / counts["characters"] >= 0.9999
    assert not set(counts["most_frequent_unknown"]) & set(tokens)
    assert {"哈", "。", "的"} <= set(tokens)


def test_the_same_corpus_gives_the_same_folder(prepared, tmp_path, capsys):
    run(tmp_path / "again", "--input", prepared.segmented)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == Path(prepared.tokenizer, name).read_bytes()
    assert "Chinese characters and punctuation marks covered" in capsys.readouterr().out


def test_size_and_case_are_settings(prepared, tmp_path, capsys):
    made = run(tmp_path, "--input", prepared.segmented, "--size", 500, "--no-lowercase", "--coverage", 0.8)
    assert made.counts["tokens"] <= 500
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["do_lower_case"] is False
    with pytest.raises(InputError, match=r"differs: size"):
        run(tmp_path, "--input", prepared.segmented, "--size", 600, "--no-lowercase", "--coverage", 0.8)
    again = run(tmp_path, "--input", prepared.segmented, "--size", 500, "--no-lowercase", "--coverage", 0.8)
    assert again == made
    assert "already done" in capsys.readouterr().err


def test_a_given_vocabulary_is_taken(write, tmp_path):
    tokens = [*SPECIAL_TOKENS, "哈", "尔", "滨"]
    path = write("vocab.txt", "".join(f"{token}\t{number}\n" for number, token in enumerate(tokens)))
    assert run(tmp_path / "out", "--vocab", path).counts == {"tokens": 8}
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("哈尔滨")["input_ids"] == [2, 5, 6, 7, 3]
    write("vocab.txt", "\n".join([*tokens, "省"]))
    with pytest.raises(InputError, match="differs: vocab"):
        run(tmp_path / "out", "--vocab", path)
    assert run(tmp_path / "out", "--vocab", path, "--overwrite").counts == {"tokens": 9}


@pytest.fixture
def few(prepared, tmp_path):
    """A vocabulary file with a part of the sample's characters, two unused rows among them."""
    tokens = Path(prepared.tokenizer, "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    kept = [*tokens[:300], "[unused1]", "[unused2]", *tokens[300:500], *(t for t in tokens if t.startswith("##"))]
    path = tmp_path / "few.txt"
    path.write_text("\n".join(dict.fromkeys(kept)), encoding="utf-8")
    return path


def table(folder):
    lines = (folder / "unknown.tsv").read_text(encoding="utf-8").splitlines()
    return [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]


def test_a_given_vocabulary_is_kept_and_measured_as_it_encodes(prepared, few, tmp_path, capsys):
    made = run(tmp_path / "out", "--vocab", few, "--input", prepared.segmented)
    assert (tmp_path / "out" / "vocab.txt").read_text(encoding="utf-8").splitlines() == few.read_text().splitlines()
    encode_corpus.encode(
        encode_corpus.EncodeSettings(
            input=prepared.segmented, tokenizer=str(tmp_path / "out"), output=str(tmp_path / "passages")
        )
    )
    encoded = read(str(tmp_path / "passages"), "passages")
    assert (made.counts["corpus_tokens"], made.counts["unknown"]) == (
        encoded.counts["tokens"], encoded.counts["unknown"],
    )  # fmt: skip
    assert made.counts["covered_characters"] < made.counts["characters"]
    rows = table(tmp_path / "out")
    assert [int(row["count"]) for row in rows] == sorted((int(row["count"]) for row in rows), reverse=True)
    assert all(row["text"] in row["example"].lower() for row in rows if len(row["text"]) == 1)
    worst = {row["text"]: int(row["count"]) for row in rows[:50]}
    assert worst == made.counts["most_frequent_unknown"]
    assert "% of" in (said := capsys.readouterr().out)
    assert f"{rows[0]['text']} ({rows[0]['count']})" in said


def test_words_and_needs_are_added_and_no_id_moves(prepared, few, write, tmp_path, capsys):
    before = few.read_text(encoding="utf-8").splitlines()
    words = write("words.tsv", "Heilongjiang\t3\n# a comment\n哈尔滨龘\nC++\n")
    made = run(tmp_path / "out", "--vocab", few, "--input", prepared.segmented, "--add", words, "--grow", 30)
    after = (tmp_path / "out" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert [token for token in before if after[before.index(token)] != token] == ["[unused1]", "[unused2]"]
    assert after[before.index("[unused1]")] == "heilongjiang"
    counts = made.counts
    assert counts["appended"] == len(after) - len(before) == counts["added"] - 2
    assert counts["words"] == {"added_whole": 1, "several_characters": 1, "several_parts": 1}
    assert sum(counts["added_by_kind"].values()) == counts["added"]
    assert {**made.details["added"]}.items() <= {token: number for number, token in enumerate(after)}.items()
    assert 0 < counts["unknown"] < counts["unknown_before"]
    said = capsys.readouterr().out
    assert "3 words given: 1 added whole (Heilongjiang); 1 of several Chinese characters (哈尔滨龘)" in said
    assert "put such words in a lexicon" in said
    assert f"2 take [unused] rows, {counts['appended']} are appended" in said


def test_a_tokenizer_folder_can_be_extended(prepared, write, tmp_path):
    words = write("words.txt", "龘\n")
    made = run(tmp_path / "out", "--vocab", prepared.tokenizer, "--add", words)
    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (prepared.tokenizer, tmp_path / "out"))
    assert after.get_vocab() == {**before.get_vocab(), "龘": len(before)}
    assert made.counts["appended"] == 1
    assert not (tmp_path / "out" / "unknown.tsv").exists()


def test_an_old_report_does_not_outlive_its_corpus(prepared, few, tmp_path):
    run(tmp_path / "out", "--vocab", few, "--input", prepared.segmented)
    run(tmp_path / "out", "--vocab", few, "--overwrite")
    assert not (tmp_path / "out" / "unknown.tsv").exists()


def test_the_split_of_the_corpus_changes_nothing(few, write, tmp_path):
    lines = "".join(f'{{"text": "㗎{chr(0x4E00 + i % 40)} 3×4 x{i % 7}÷ 文本第{i}号㗎啦"}}\n' for i in range(300))
    write("corpus/a.jsonl", lines)
    for name, files in (("one", 1), ("many", 3)):
        folder = tmp_path / name
        settings = segment_corpus.SegmentSettings(input=[str(tmp_path / "corpus")], output=str(folder / "segmented"))
        segment_corpus.segment(settings)
        _cut(folder / "segmented", files)
        run(folder / "out", "--vocab", few, "--input", folder / "segmented", "--grow", 5)
    for name in ("vocab.txt", "unknown.tsv"):
        assert (tmp_path / "one" / "out" / name).read_bytes() == (tmp_path / "many" / "out" / name).read_bytes()
    assert "3×4" in (tmp_path / "one" / "out" / "unknown.tsv").read_text(encoding="utf-8")


def _cut(folder, files):
    """Deal the rows of a one-shard result to so many shards, the last row first."""
    made = read(str(folder), "segmented")
    (shard,) = made.shards
    rows = pq.read_table(folder / shard["name"])
    shards = []
    for number in range(files):
        name = f"part-{number:05d}-0000000{number}.parquet"
        part = rows.take([i for i in reversed(range(rows.num_rows)) if i % files == number])
        pq.write_table(part, folder / name)
        size = (folder / name).stat().st_size
        shards.append({"name": name, "rows": part.num_rows, "bytes": size, "digest": str(number)})
    commit(str(folder), replace(made, shards=shards))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"give --input SEGMENTED to build from, --vocab vocab\.txt to take, or both to measure"),
        (["--input", "x", "--add", "words.txt"], "--add extends a given vocabulary"),
        (["--input", "x", "--grow", "3"], "--grow extends a given vocabulary"),
        (["--vocab", "vocab.txt", "--grow", "3"], "--grow adds what a corpus needs"),
        (["--vocab", "vocab.txt", "--size", "300"], "--size is for building"),
        (["--vocab", "vocab.txt", "--add", "empty.txt"], r"empty\.txt: an empty word list"),
        (["--vocab", "empty.txt"], r"empty\.txt: an empty vocabulary"),
        (["--vocab", "vocab.txt", "--add", "gb.txt"], r"gb\.txt: not UTF-8 \(byte 0\)"),
        (["--vocab", "vocab.txt", "--input", "nowhere"], r"nowhere: no manifest\.json"),
    ],
)
def test_what_does_not_go_together_is_refused_before_spark(arguments, message, write, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "start", None)
    monkeypatch.chdir(tmp_path)
    write("vocab.txt", "\n".join(SPECIAL_TOKENS))
    write("words.txt", "词")
    write("empty.txt", "\n")
    write("gb.txt", "词".encode("gb18030"))
    with pytest.raises(InputError, match=message):
        build_vocab.main(["--output", "out", *arguments])
    assert not (tmp_path / "out").exists()


def test_the_case_of_a_folder_is_its_own(prepared, tmp_path):
    with pytest.raises(InputError, match="this tokenizer lower-cases: leave out --no-lowercase"):
        run(tmp_path / "out", "--vocab", prepared.tokenizer, "--no-lowercase")


@pytest.mark.parametrize(
    ("damage", "message"), [(Path.unlink, "missing"), (lambda path: path.write_bytes(b"PAR1"), "dam")]
)
def test_a_lost_or_cut_shard_of_the_input_is_named_before_spark(prepared, tmp_path, monkeypatch, damage, message):
    monkeypatch.setattr(session, "start", None)
    folder = tmp_path / "segmented"
    shutil.copytree(prepared.segmented, folder)
    shard = next(folder.glob("part-*"))
    damage(shard)
    for job, words in ((build_vocab, []), (encode_corpus, ["--tokenizer", prepared.tokenizer])):
        with pytest.raises(
            InputError, match=f"{shard.name}: named by the manifest but {message}.*`ernie-pipe segment`"
        ):
            job.main(["--input", str(folder), "--output", str(tmp_path / "out"), *words])


def test_the_input_must_be_segmented(tmp_path):
    with pytest.raises(InputError, match="not a finished result of `ernie-pipe segment`"):
        run(tmp_path / "out", "--input", tmp_path)
