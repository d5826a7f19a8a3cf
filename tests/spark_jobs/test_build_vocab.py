"""The vocabulary job: a folder for transformers, the same for the same text."""

import json
from pathlib import Path

import build_vocab
import pytest
from transformers import AutoTokenizer

from ernie_pipe.corpus.manifest import read
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


def test_one_source_is_needed(tmp_path):
    for arguments in ([], ["--input", tmp_path, "--vocab", tmp_path]):
        with pytest.raises(InputError, match=r"give either --input SEGMENTED or --vocab vocab\.txt"):
            run(tmp_path / "out", *arguments)


def test_the_input_must_be_segmented(tmp_path):
    with pytest.raises(InputError, match="not a finished result of `ernie-pipe segment`"):
        run(tmp_path / "out", "--input", tmp_path)
