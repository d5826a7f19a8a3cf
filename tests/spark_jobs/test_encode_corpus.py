"""The encoding job: passages that training maps into memory, every document accounted for."""

from collections import Counter
from pathlib import Path

import encode_corpus
import numpy as np
import pytest
import segment_corpus

from ernie_pipe.corpus.manifest import read
from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.text import vocabulary
from ernie_pipe.text.encode import SPECIAL_TOKENS, load_encoder
from ernie_pipe.text.passages import UNIT_BITS


def run(prepared, output, *arguments):
    argv = ["--input", prepared.segmented, "--tokenizer", prepared.tokenizer, "--output", str(output)]
    assert encode_corpus.main([*argv, *map(str, arguments)]) == 0
    return read(str(output), "passages")


def test_every_document_is_accounted_for(prepared):
    made, corpus = read(prepared.passages, "passages"), read(prepared.segmented, "segmented")
    counts = made.counts
    assert counts["in"] == corpus.counts["kept"] == counts["kept"] + counts["rejected"] + counts["duplicate"]
    assert counts["passages"] == sum(shard["rows"] for shard in made.shards)
    assert counts["sentences"] == corpus.counts["units"]["sentence"]
    for level in ("word", "phrase", "entity"):
        assert counts["units"][level] + counts["units_without_token"][level] == corpus.counts["units"][level]


def test_the_manifest_tells_what_training_needs(prepared):
    details = read(prepared.passages, "passages").details
    encoder = load_encoder(f"{prepared.passages}/tokenizer")
    assert (details["tokenizer"], details["vocab_size"]) == (encoder.fingerprint, encoder.size)
    assert details["unit_bits"] == UNIT_BITS
    assert details["entity_types"]["PER"] == 1
    assert details["roles"] == ["text", "query", "response", "title", "arg1", "arg2"]
    assert details["segmented"]["lexicon"].endswith(read(prepared.segmented, "segmented").config["lexicon"][-16:])


def test_units_of_the_sample_reach_the_passages(prepared):
    passages = Passages(prepared.passages)
    counts = passages.manifest.counts
    bits = np.concatenate([passages.get(number)[1] for number in range(len(passages))])
    for level in ("phrase", "entity"):
        assert (bits & UNIT_BITS[f"{level}_start"] > 0).sum() == counts["units"][level]
    types = np.concatenate([passages.get(number)[2] for number in range(len(passages))])
    assert ((types > 0) == (bits & UNIT_BITS["in_entity"] > 0)).all()


def test_held_out_documents_are_apart_and_stay_so(prepared, tmp_path):
    shares = {}
    for share in (0.1, 0.3):
        made = run(prepared, tmp_path / str(share), "--held-out", share, "--max-tokens", 128)
        assert made.counts["train_passages"] + made.counts["held_out_passages"] == made.counts["passages"]
        folder = str(tmp_path / str(share))
        shares[share] = documents(folder, "held_out")
        assert not shares[share] & documents(folder, "train")
        held, kept = len(shares[share]), made.counts["kept"]
        assert abs(held / kept - share) < 0.06
    assert shares[0.1] < shares[0.3]


def documents(folder, split):
    found = Passages(folder, split)
    return {name for reader in found.readers() for name in reader.read_all()["doc_id"].to_pylist()}


def test_offsets_are_kept_on_demand(prepared, tmp_path):
    run(prepared, tmp_path, "--offsets", "--max-tokens", 64)
    (reader,) = Passages(str(tmp_path)).readers()
    row = reader.get_batch(0).slice(0, 1).to_pylist()[0]
    starts, ends = row["offsets"][::2], row["offsets"][1::2]
    assert len(starts) == len(row["input_ids"]) <= 62
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    (plain,) = Passages(prepared.passages).readers()
    assert plain.get_batch(0).column("offsets").null_count == plain.get_batch(0).num_rows


def test_a_finished_result_stays_until_it_is_overwritten(prepared, tmp_path, capsys):
    made = run(prepared, tmp_path, "--max-tokens", 128)
    assert run(prepared, tmp_path, "--max-tokens", 128) == made
    assert "already done" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"\(differs: max_tokens\)"):
        run(prepared, tmp_path, "--max-tokens", 64)
    (tmp_path / "part-00007-0000dead.arrow").write_bytes(b"half")
    again = run(prepared, tmp_path, "--max-tokens", 64, "--overwrite")
    assert {path.name for path in tmp_path.glob("part-*")} == {shard["name"] for shard in again.shards}


def test_the_same_configuration_gives_the_same_bytes(prepared, tmp_path):
    made = run(prepared, tmp_path, "--max-tokens", 128)
    assert made.data_fingerprint == read(prepared.passages, "passages").data_fingerprint


def test_an_output_may_be_an_address(prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(prepared, f"file://{tmp_path}/out")
    assert load_encoder(f"{tmp_path}/out/tokenizer").size == load_encoder(prepared.tokenizer).size
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_vocabulary_that_does_not_fit_is_warned_of(prepared, tmp_path, capsys):
    vocabulary.save([*SPECIAL_TOKENS, "，"], str(tmp_path / "few"), lowercase=True)
    made = run(prepared, tmp_path / "out", "--tokenizer", tmp_path / "few")
    assert "warning: the vocabulary does not fit this text well; most frequent [UNK]: 的" in capsys.readouterr().err
    assert made.counts["unknown"] > made.counts["tokens"] / 2
    assert Counter(made.details["most_frequent_unknown"]).most_common(1)[0][0] == "的"


def test_documents_without_a_token_are_counted(spark, prepared, write, tmp_path):
    raw = write("a.jsonl", '{"text": "\\u200b"}\n{"text": "哈尔滨"}')
    segment_corpus.main(["--input", str(raw), "--output", str(tmp_path / "segmented")])
    made = run(prepared, tmp_path / "out", "--input", tmp_path / "segmented")
    assert (made.counts["in"], made.counts["kept"], made.counts["rejected"]) == (2, 1, 1)
    raw.write_text('{"text": "\\u200b"}')
    segment_corpus.main(["--input", str(raw), "--output", str(tmp_path / "blank")])
    with pytest.raises(InputError, match="nothing to encode: 0 passages of 1 documents"):
        run(prepared, tmp_path / "none", "--input", tmp_path / "blank")


def test_a_tokenizer_is_needed(prepared, tmp_path):
    with pytest.raises(InputError, match=r"no tokenizer\.json there; make a tokenizer with `ernie-pipe vocab`"):
        run(prepared, tmp_path / "out", "--tokenizer", tmp_path)
    with pytest.raises(InputError, match="not a finished result of `ernie-pipe segment`"):
        run(prepared, tmp_path / "out", "--input", tmp_path)


def test_shards_lie_beside_their_tokenizer(prepared):
    # Whoever opened the folder first left its index there.
    names = {path.name for path in Path(prepared.passages).iterdir()} - {"_index"}
    shards = {shard["name"] for shard in read(prepared.passages, "passages").shards}
    assert names == {"manifest.json", "tokenizer", *shards}
