"""Files by path or address: whole or not at all."""

import os

import pytest

from ernie_pipe.corpus.storage import (
    digest,
    list_files,
    open_stream,
    prepare_folder,
    remove_except,
    resolve,
    write_atomic,
)
from ernie_pipe.errors import InputError


def test_a_write_replaces_whole_and_leaves_no_other_file(tmp_path):
    path = tmp_path / "deep" / "a.json"
    for data in (b"old and long", b"new"):
        write_atomic(str(path), data)
        assert path.read_bytes() == data
    assert os.listdir(path.parent) == ["a.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomic(str(path), b"old")

    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr("ernie_pipe.corpus.storage.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(str(path), b"new")
    assert path.read_bytes() == b"old"


def test_only_unnamed_shards_are_removed(write, tmp_path):
    keep, gone = "part-00000-00000000.arrow", "part-00000-00000001.arrow"
    for name in (keep, gone, "mine.arrow", f"below/{gone}"):
        write(name, "x")
    assert remove_except(str(tmp_path), [keep]) == 1
    assert sorted(os.listdir(tmp_path)) == ["below", "mine.arrow", keep]
    assert os.listdir(tmp_path / "below") == [gone]
    assert remove_except(str(tmp_path / "missing"), []) == 0


def test_addresses_and_paths_are_the_same_files(write, tmp_path):
    path = write("in/a.txt", "哈尔滨")
    address = f"file://{tmp_path}/in"
    assert list_files(str(path.parent)) == [(str(path), 9)]
    ((found, size),) = list_files(address)
    assert (found, size) == (f"file://{path}", 9)
    assert open_stream(found, 3).read().decode() == "尔滨"
    assert digest(found) == digest(str(path))


def test_an_unknown_scheme_is_refused():
    with pytest.raises(InputError, match=r"nowhere://a: no file system for this address"):
        resolve("nowhere://a")


def test_a_folder_to_write_to_is_made_or_refused(write, tmp_path, monkeypatch):
    prepare_folder(str(tmp_path / "deep" / "er"))
    assert os.listdir(tmp_path / "deep" / "er") == []
    with pytest.raises(InputError, match=r"a\.txt: cannot be written to"):
        prepare_folder(str(write("a.txt", "x")))

    def refuse(dir):
        raise PermissionError(13, "Permission denied", dir)

    monkeypatch.setattr("ernie_pipe.corpus.storage.tempfile.TemporaryFile", refuse)
    with pytest.raises(InputError, match="deep: cannot be written to: Permission denied: choose another place"):
        prepare_folder(str(tmp_path / "deep"))
