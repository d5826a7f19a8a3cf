import json

import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.commands import evaluate, finetune, open_head, predict
from tests.finetune.toys import opinions

FLAGS = ["--epochs", "2", "--learning-rate", "5e-3", "--set", "batch_size=8", "--set", "max_tokens=32"]


@pytest.fixture
def data(write):
    rows = "".join(f"{row['text']}\t{row['label']}\n" for row in opinions())
    return str(write("data.tsv", "text\tlabel\n" + rows))


def test_the_three_commands_work_together(encoder_folder, data, tmp_path, capsys, write):
    out = str(tmp_path / "out")
    argv = ["classifier", "--model", str(encoder_folder), "--train", data, "--dev", data, "--test", data]
    assert finetune([*argv, "--output", out, "--seeds", "2", *FLAGS]) == 0
    printed = capsys.readouterr().out
    assert "dev, 2 seeds" in printed
    assert printed.splitlines()[-1] == f"model: {out}"
    record = json.loads((tmp_path / "out" / "ernie_pipe.json").read_text(encoding="utf-8"))
    assert record["settings"]["batch_size"] == 8
    assert record["metrics"].keys() == {"dev", "test"}
    assert [run["seed"] for run in record["seeds"]["runs"]] == [1, 2]
    assert record["kept"]["seed"] in (1, 2)
    assert record["command"].startswith("ernie-pipe finetune classifier --model")

    assert evaluate(["--model", out, "--data", data]) == 0
    assert f"{record['metrics']['dev']['accuracy']:.4f}" in capsys.readouterr().out

    texts = write("texts.txt", "书很坏。\n\n菜真好。\n")
    assert predict(["--model", out, "--input", str(texts), "--output", str(tmp_path / "new" / "a.jsonl")]) == 0
    lines = (tmp_path / "new" / "a.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["text"] for row in rows] == ["书很坏。", "", "菜真好。"]
    assert [row.keys() for row in rows] == [{"text", "label", "score"}, {"text"}, {"text", "label", "score"}]


def test_a_tagger_is_scored_by_type_and_writes_entities(tagger, tmp_path, capsys, write):
    tagger.save(tmp_path / "out")
    evaluate(["--model", str(tmp_path / "out"), "--data", str(write("a.txt", "在 O\n北 B-LOC\n京 I-LOC\n"))])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()][:3] == ["precision", "all", "LOC"]
    texts = write("a.jsonl", '{"text": "她去过上海。\\ud800"}\n')
    predict(["--model", str(tmp_path / "out"), "--input", str(texts), "--output", str(tmp_path / "b.jsonl")])
    row = json.loads((tmp_path / "b.jsonl").read_text(encoding="utf-8"))
    assert row["text"] == "她去过上海。\ud800"
    assert [entity["text"] for entity in row["entities"]] == ["上海"]


def test_the_task_is_found_without_a_record(tagger, tmp_path, encoder_folder):
    tagger.save(tmp_path / "out")
    (tmp_path / "out" / "ernie_pipe.json").unlink()
    assert open_head(tmp_path / "out").task == "tagger"
    with pytest.raises(InputError, match=r"not fine-tuned for any of classifier, .*tagger"):
        open_head(encoder_folder)


def test_the_place_of_the_result_is_checked_before_the_training(encoder_folder, data):
    argv = ["classifier", "--model", str(encoder_folder), "--train", data]
    with pytest.raises(InputError, match="is the model to start from"):
        finetune([*argv, "--output", str(encoder_folder)])


@pytest.mark.parametrize(("command", "argv"), [(finetune, ["tagger"]), (evaluate, []), (predict, [])])
def test_help_names_the_flags(command, argv, capsys):
    with pytest.raises(SystemExit) as stop:
        command([*argv, "--help"])
    assert stop.value.code == 0
    assert "--model" in capsys.readouterr().out
