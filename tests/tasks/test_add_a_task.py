"""The task on the page docs/add_a_task.md, exactly as it stands there, trains."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.pretrain.__main__ import main
from ernie_pipe.tasks import find
from ernie_pipe.text.encode import SpecialIds, load_encoder
from tests.pretrain.building import MICRO
from tests.tasks.honesty import assert_form_tells_nothing
from tests.tasks.learning import Learner

PAGE = (Path(__file__).parents[2] / "docs" / "add_a_task.md").read_text(encoding="utf-8")
NAME = "inverse_cloze:InverseCloze"


def block(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[0]


@pytest.fixture
def written(write, monkeypatch):
    """The page's file, where Python finds it."""
    path = write("inverse_cloze.py", block("python"))
    monkeypatch.syspath_prepend(path.parent)
    return find(NAME)


def test_it_trains_by_the_page_s_config(written, write, data, tmp_path, capsys):
    page = yaml.safe_load(block("yaml"))
    page["stages"][0]["steps"] = 3
    config = write("run.yaml", yaml.safe_dump({**MICRO, **page}, allow_unicode=True))
    run = ["--config", str(config), "--data", data, "--output", str(tmp_path / "run")]
    assert main([*run, "--set", f"tasks.{NAME}.least=2"]) == 0, capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sum(line.get(f"positions/{NAME}", 0) for line in lines) > 5


def test_a_wrong_setting_of_it_is_told(written, write, data, tmp_path, capsys):
    config = write("run.yaml", yaml.safe_dump({**MICRO, **yaml.safe_load(block("yaml"))}))
    run = ["--config", str(config), "--data", data, "--output", str(tmp_path / "run")]
    assert main([*run, "--set", f"tasks.{NAME}.leest=2"]) == 2
    assert f"tasks.{NAME}: unknown key `leest`; did you mean `least`?" in capsys.readouterr().err
    assert main([*run, "--set", f"tasks.{NAME}.least=90"]) == 2
    assert "inverse_cloze:InverseCloze needs passages of `least` sentences or more" in capsys.readouterr().err


def test_it_is_learned_and_its_form_tells_nothing(written, data):
    passages, task = Passages(data), written(written.Settings())
    assert_form_tells_nothing(task, passages, 6000)
    learner = Learner(task, SpecialIds.of(load_encoder(f"{data}/tokenizer")), longest=64)
    batches = learner.batches(passages, np.flatnonzero(task.eligible(passages))[:32], 1)
    assert learner.train((batches for _ in range(200)), until=0.95) >= 0.95
