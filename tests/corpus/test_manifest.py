"""Manifests: the commit of a stage."""

import itertools
import json

import pytest

from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus.manifest import NAME, Manifest, add_up, commit, is_done, read
from ernie_pipe.errors import InputError

CONFIG = {"input": "a", "size": 3, "types": ["LOC"]}


def made(folder, *, names=(), kind="segmented", config=None):
    shards = [{"name": name, "rows": 1, "bytes": 1, "digest": name} for name in names]
    return commit(str(folder), Manifest(kind, config or CONFIG, {"in": 1}, shards=shards))


def damage(folder, **changes):
    path = folder / NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_committed_is_read(tmp_path):
    written = made(tmp_path, names=["part-00000-00000000.parquet"])
    assert read(str(tmp_path), "segmented") == written
    assert written.created
    assert written.config_hash


def test_a_finished_result_of_the_same_configuration_is_done(tmp_path):
    assert not is_done(str(tmp_path), "segmented", CONFIG)
    made(tmp_path)
    assert is_done(str(tmp_path), "segmented", dict(reversed(CONFIG.items())))
    assert not is_done(str(tmp_path), "segmented", CONFIG, overwrite=True)


def test_a_result_that_lost_a_shard_is_made_again(tmp_path):
    (tmp_path / "part-00000-00000000.parquet").write_bytes(b"x")
    made(tmp_path, names=["part-00000-00000000.parquet"])
    assert is_done(str(tmp_path), "segmented", CONFIG)
    (tmp_path / "part-00000-00000000.parquet").unlink()
    assert not is_done(str(tmp_path), "segmented", CONFIG)


@pytest.mark.parametrize(
    ("config", "differs"),
    [
        ({**CONFIG, "size": 4, "input": "b"}, r"\(differs: input, size\)"),
        ({**CONFIG, "types": ["PER"]}, r"\(differs: types\)"),
        ({**CONFIG, "new": 1}, r"\(differs: new\)"),
    ],
)
def test_another_configuration_is_refused_by_its_keys(tmp_path, config, differs):
    made(tmp_path)
    with pytest.raises(InputError, match=differs + "; choose another --output or add --overwrite"):
        is_done(str(tmp_path), "segmented", config)
    assert not is_done(str(tmp_path), "segmented", config, overwrite=True)


def test_the_result_of_another_stage_is_never_overwritten(tmp_path):
    made(tmp_path, kind="segmented")
    with pytest.raises(InputError, match="holds segmented already; choose another --output for passages"):
        is_done(str(tmp_path), "passages", CONFIG, overwrite=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"kind": "segm', "damaged"),
        ("[]", "damaged"),
        ('{"kind": "segmented", "unknown": 1}', "damaged"),
        ("\x00\x01", "damaged"),
    ],
)
def test_a_damaged_manifest_is_named(write, content, message):
    path = write(NAME, content)
    with pytest.raises(InputError, match=rf"manifest\.json: {message} .*: make the folder again"):
        read(str(path.parent), "segmented")


def test_another_schema_version_is_refused(tmp_path):
    made(tmp_path)
    damage(tmp_path, schema_version=99)
    with pytest.raises(InputError, match="schema version 99, this version reads 1"):
        read(str(tmp_path), "segmented")


@pytest.mark.parametrize("shard", [{"name": "../part-00000-00000000.parquet"}, {"name": "/etc/passwd"}, {}])
def test_a_manifest_names_files_of_its_own_folder_only(tmp_path, shard):
    made(tmp_path)
    damage(tmp_path, shards=[shard])
    with pytest.raises(InputError, match="damaged"):
        read(str(tmp_path), "segmented")


def test_the_command_that_makes_a_folder_is_told(tmp_path):
    with pytest.raises(InputError, match="not a finished result of `ernie-pipe encode`"):
        read(str(tmp_path), "passages")
    made(tmp_path, kind="tokenizer")
    with pytest.raises(InputError, match=r"holds tokenizer, expected passages \(made by `ernie-pipe encode`\)"):
        read(str(tmp_path), "passages")


def test_a_commit_sweeps_shards_of_failed_attempts_and_nothing_else(write, tmp_path):
    kept = "part-00000-0123abcd.parquet"
    leftovers = ["part-00000-ffffffff.parquet", "part-00001-ffffffff.arrow", "_rejected/part-00000-ffffffff.parquet"]
    others = ["raw.jsonl", "part-1.parquet", "part-00000-0123abcd.parquet.bak", "notes/part-00000-ffffffff.parquet"]
    for name in [kept, *leftovers, *others]:
        write(name, "x")
    made(tmp_path, names=[kept])
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {kept, NAME, *others}


def test_the_fingerprint_is_of_the_content_not_the_names():
    def fingerprint(*digests):
        shards = [{"name": str(next(names)), "digest": digest} for digest in digests]
        return Manifest("segmented", {}, {}, shards=shards).data_fingerprint

    names = itertools.count()
    assert fingerprint("a", "b") == fingerprint("a", "b") != fingerprint("b", "a")


def test_counts_add_up():
    parts = [{"in": 1, "reasons": {"empty": 1}}, {"in": 2, "reasons": {"empty": 2, "not JSON": 1}}, {"in": 0}]
    assert add_up(parts) == {"in": 3, "reasons": {"empty": 3, "not JSON": 1}}
    assert add_up([]) == {}
    assert parts[0] == {"in": 1, "reasons": {"empty": 1}}


def test_hashes_do_not_depend_on_the_order_of_keys():
    assert manifests.content_hash({"a": 1, "b": "哈"}) == manifests.content_hash({"b": "哈", "a": 1})
