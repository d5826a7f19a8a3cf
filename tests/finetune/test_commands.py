import json
import re

import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.commands import evaluate, finetune, open_head, predict
from tests.finetune.toys import FAST, opinions

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
    report = "report.json: intervals, scores by label, confusions"
    assert printed.splitlines()[-1].startswith(f"model: {out} ({report}")
    assert printed.split()[0] == "macro_f1"
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
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()][:3] == ["f1", "all", "LOC"]
    assert "by label" not in printed
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


@pytest.fixture(scope="module")
def saved(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "out"
    classifier.save(folder)
    return str(folder)


def test_an_evaluation_is_printed_with_intervals_and_written(saved, data, tmp_path, capsys):
    out = tmp_path / "new" / "scores.json"
    flags = ["--batch-size", "3", "--set", "max_tokens=16", "--output", str(out)]
    assert evaluate(["--model", saved, "--data", data, *flags]) == 0
    printed = capsys.readouterr().out
    assert "data, 95 % intervals: accuracy" in printed
    assert printed.splitlines()[-1] == f"scores: {out}"
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["model"], found["task"], found["settings"]["batch_size"]) == (saved, "classifier", 3)
    assert found["settings"]["max_tokens"] == 16
    assert found["data"]["examples"] == found["metrics"]["examples"] == len(opinions())
    assert found["report"]["intervals"].keys() == {"accuracy", "macro_f1", "mcc"}


def test_settings_of_the_answers_change_them(reader, tmp_path, write):
    reader.save(tmp_path / "out")
    inputs = str(write("in.jsonl", '{"question": "在书", "context": "她去过哈尔滨。"}\n'))
    argv = ["--model", str(tmp_path / "out"), "--input", inputs, "--output", str(tmp_path / "a.jsonl")]
    for flags, best in [([], 5), (["--n-best", "2"], 2), (["--config", str(write("a.yaml", "n_best: 3\n"))], 3)]:
        predict([*argv, *flags])
        (row,) = (json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines())
        assert len(row["nbest"]) == best
    predict([*argv, "--max-answer", "1", "--set", "overlap=0"])
    assert len(json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))["answer"]) == 1


def test_a_batch_may_be_smaller_than_the_parts_of_a_step_were(encoder_folder, data, tmp_path):
    out, accumulate = str(tmp_path / "out"), ["--set", "accumulate=4", "--max-steps", "1"]
    finetune(["classifier", "--model", str(encoder_folder), "--train", data, "--output", out, *FLAGS, *accumulate])
    assert evaluate(["--model", out, "--data", data, "--batch-size", "3"]) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set", "epochs=3"], r"command line: `epochs` is a matter of training, .* can be set now: batch_size, max_"),
        (["--learning-rate=1"], r"command line: `learning_rate` is a matter of training"),
        (["--no-bf16"], r"`bf16` is a matter of training"),
        (["--set", "pooling=cls"], r"command line: unknown key `pooling`"),
        (["--set", "threshhold=0.3"], r"unknown key `threshhold`; did you mean `threshold`"),
        (["--threshold", "2"], r"`threshold`: 2 is no probability above 0 and below 1"),
        (["--threshold", "often"], r"`threshold`: 'often' is neither a number nor auto"),
        (["--batch-size", "0"], r"`batch_size`: Input should be greater than or equal to 1"),
        (["--config", "a.yaml"], r"a\.yaml: `seed` is a matter of training"),
    ],
)
def test_settings_that_came_too_late_or_are_none_are_refused(saved, data, flags, message, write, monkeypatch):
    monkeypatch.chdir(write("a.yaml", "seed: 3\n").parent)
    with pytest.raises(InputError, match=message):
        evaluate(["--model", saved, "--data", data, *flags])


def test_a_place_that_cannot_be_written_is_refused_before_the_work(saved, data, tmp_path, capsys):
    with pytest.raises(InputError, match="is a folder: give a file"):
        evaluate(["--model", saved, "--data", data, "--output", str(tmp_path)])
    with pytest.raises(InputError, match="is what is read"):
        predict(["--model", saved, "--input", data, "--output", data])
    with pytest.raises(InputError, match=r"data\.tsv is a file, not a folder"):
        predict(["--model", saved, "--input", data, "--output", f"{data}/x/a.jsonl"])
    assert capsys.readouterr().out == ""


def test_the_help_of_a_model_names_its_own_settings_alone(saved, capsys):
    for argv, named in [(["--model", saved], True), ([], False)]:
        with pytest.raises(SystemExit):
            evaluate([*argv, "--help"])
        printed = capsys.readouterr().out
        assert ("--threshold" in printed) == named
        assert "--batch-size" in printed
        assert "--epochs" not in printed
    with pytest.raises(InputError, match="unknown flag `--batch-sise`; did you mean `--batch-size`"):
        evaluate(["--model", saved, "--data", "a", "--batch-sise", "3"])


def test_the_help_of_a_model_shows_what_it_was_trained_with(saved, tagger, tmp_path, capsys):
    tagger.save(tmp_path / "out")
    for folder, settings in [(saved, FAST), (str(tmp_path / "out"), FAST)]:
        with pytest.raises(SystemExit):
            evaluate(["--model", folder, "--help"])
        printed = " ".join(capsys.readouterr().out.split())
        for name in ("batch_size", "max_tokens", "device"):
            assert f"(default: {settings[name]})" in printed


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["classifer", "--model", "none"], "unknown task `classifer`; did you mean `classifier`"),
        (
            ["tagger", "--learning_rat", "5"],
            "command line: unknown flag `--learning_rat`; did you mean `--learning-rate`",
        ),
        (["tagger", "--trian=a"], "unknown flag `--trian`; did you mean `--train`"),
        (["tagger", "--no-early-stop"], "unknown flag `--no-early-stop`; did you mean `--early-stop`"),
    ],
)
def test_a_typing_error_gets_the_nearest_right_name(argv, message):
    with pytest.raises(InputError, match=re.escape(message)):
        finetune(argv)


def test_what_is_no_typing_error_is_left_to_argparse(capsys):
    for argv in ([], ["tagger"], ["tagger", "--frozen-e", "--no-bf16", "--train=--x"]):
        with pytest.raises(SystemExit) as stop:
            finetune(argv)
        assert stop.value.code == 2
        assert "required" in capsys.readouterr().err


def test_without_dev_and_test_it_is_said_that_nothing_was_scored(encoder_folder, data, tmp_path, capsys, said):
    out = str(tmp_path / "out")
    argv = ["classifier", "--model", str(encoder_folder), "--train", data, "--output", out, *FLAGS]
    finetune([*argv, "--max-steps", "2"])
    assert capsys.readouterr().out.splitlines() == [
        "nothing was scored: neither --dev nor --test was given",
        "kept: seed 1, epoch 1",
        f"model: {out}",
    ]
    assert "seed 1: 24 examples, 2 steps at most" in said()
    finetune([*argv, "--max-steps", "100", "--epochs", "1"])
    assert "seed 1: 24 examples, 1 epoch at most" in said()


def test_inputs_are_called_what_they_are(pair_head, reader, embedder, tmp_path, write, capsys, said):
    pairs = "书好\t书坏\n书好\t \n"
    question = '{"question": "在书", "context": "她去过哈尔滨。"}\n'
    for head, content, words in [
        (pair_head, pairs, "2 pairs"),
        (embedder, pairs, "2 pairs"),
        (embedder, "书好\n", "1 text"),
        (reader, question, "1 question"),
    ]:
        head.save(tmp_path / "out")
        target = str(tmp_path / "a.jsonl")
        predict(["--model", str(tmp_path / "out"), "--input", str(write("in", content)), "--output", target])
        assert capsys.readouterr().out == f"{words}: {target}\n"
    assert "1 pair without an answer: empty" in said()
