import hashlib

import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import record


def test_a_file_is_known_by_its_bytes(write):
    path = write("a.tsv", "好\t1\n")
    expected = hashlib.sha256("好\t1\n".encode()).hexdigest()
    assert record.fingerprint(path, [1, 2]) == {"path": str(path), "sha256": expected, "examples": 2}


def test_examples_in_memory_are_known_by_their_content():
    one, same, other = (record.fingerprint([], [text])["sha256"] for text in ("\ud800a", "\ud800a", "b"))
    assert one == same != other


def test_versions_name_what_decides():
    assert {"ernie_pipe", "torch", "transformers"} <= record.versions().keys()


def test_a_result_replaces_an_earlier_one_in_one_step(tmp_path):
    folder = tmp_path / "deep" / "out"
    record.write_folder(folder, lambda draft: (draft / "old").touch(), {"task": "x"})
    record.write_folder(folder, lambda draft: (draft / "new").touch(), {"task": "y"})
    assert sorted(path.name for path in folder.iterdir()) == ["ernie_pipe.json", "new"]
    assert record.read(folder) == {"schema": 1, "task": "y"}
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failed_write_leaves_the_earlier_result(tmp_path):
    record.write_folder(tmp_path / "out", lambda draft: None, {"task": "x"})
    with pytest.raises(OSError, match="full"):
        record.write_folder(tmp_path / "out", fail, {})
    assert record.read(tmp_path / "out")["task"] == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def fail(_):
    raise OSError("disk full")


def test_only_earlier_results_may_be_overwritten(tmp_path, write):
    write("mine.txt", "好")
    with pytest.raises(InputError, match="is no earlier fine-tuning result"):
        record.check_output(tmp_path, model="elsewhere")
    with pytest.raises(InputError, match="is the model to start from"):
        record.check_output(tmp_path, model=tmp_path)
    record.check_output(tmp_path / "new", model=tmp_path)


def test_a_damaged_record_is_refused(write, tmp_path):
    write("ernie_pipe.json", "{")
    with pytest.raises(InputError, match="not JSON"):
        record.read(tmp_path)
    write("ernie_pipe.json", '{"schema": 9}')
    with pytest.raises(InputError, match="schema 1"):
        record.read(tmp_path)
    assert record.read(tmp_path / "none") == {}


def test_a_place_that_cannot_be_written_is_refused_before_the_training(write, tmp_path):
    with pytest.raises(InputError, match="below: cannot be written"):
        record.check_output(write("file", "x") / "below", model="model")
    record.check_output(tmp_path / "new" / "out", model="model")
    assert list((tmp_path / "new").iterdir()) == []
