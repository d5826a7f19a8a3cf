"""The index beside the passages: made once, found again, made anew when it does not fit."""

import os
import shutil

import numpy as np
import pytest

from ernie_pipe.corpus import index
from ernie_pipe.corpus.index import FOLDER, open_index
from ernie_pipe.corpus.reader import Passages
from tests.corpus.test_reader import folder

__all__ = ["folder"]


def files(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / FOLDER).rglob("*") if path.is_file()}


def test_the_index_is_made_once(folder):
    first = Passages(str(folder))
    made = files(folder)
    assert len(made) == 1 + len(index._FILES)
    again = Passages(str(folder))
    assert files(folder) == made
    assert np.array_equal(again.tokens, first.tokens)


def test_no_array_lies_in_memory(folder):
    found = Passages(str(folder))
    for array in (found.tokens, found.sentences, found.source, found.first_passages, *found.get(3)):
        assert not array.flags.owndata
        assert not array.flags.writeable


@pytest.mark.parametrize("name", ["tokens", "documents", "index.json"])
@pytest.mark.parametrize("damage", [os.remove, lambda path: os.truncate(path, 3)])
def test_a_damaged_index_is_made_again(folder, name, damage):
    expected = Passages(str(folder)).tokens.tolist()
    (path,) = (folder / FOLDER).rglob(name)
    damage(path)
    assert Passages(str(folder)).tokens.tolist() == expected
    assert len(files(folder)) == 1 + len(index._FILES)


def test_an_index_of_other_shards_is_not_used_and_goes(folder):
    before = Passages(str(folder))
    shards = [{**shard, "digest": "0" * 32} for shard in before._shards]
    assert open_index(str(folder), "train", shards).tokens.tolist() == before.tokens.tolist()
    assert len(list((folder / FOLDER).iterdir())) == 1
    # What is mapped stays, also when its files are gone.
    assert before.tokens.sum() == 27


def test_a_folder_that_cannot_be_written_is_read_all_the_same(folder, monkeypatch, caplog):
    from pathlib import Path

    expected = Passages(str(folder)).tokens.tolist()
    shutil.rmtree(folder / FOLDER)
    mkdir = Path.mkdir

    def refuse(self, *args, **kwargs):
        if self.name == FOLDER and self.parent == folder:
            raise PermissionError(13, "no", str(self))
        return mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert Passages(str(folder)).tokens.tolist() == expected
    assert "cannot be written" in caplog.text
    assert not (folder / FOLDER).exists()


def test_released_pages_come_back(folder):
    found = Passages(str(folder))
    ids = found.get(6)[0]
    expected = ids.tolist()
    found.release()
    assert ids.tolist() == expected
    assert found.tokens.tolist() == [3, 1, 4, 1, 5, 2, 6, 1, 4]
