"""Every shipped config: of pretraining, on the passages that docs/configs.md makes of the sample; of fine-tuning."""

import math
import signal
from pathlib import Path

import pytest

from ernie_pipe import cli
from ernie_pipe.config import apply_overrides, load_yaml, validate
from ernie_pipe.finetune import HEADS, head_class
from ernie_pipe.pretrain.prepare import prepare
from ernie_pipe.pretrain.run import last_metrics
from ernie_pipe.pretrain.settings import PretrainSettings
from ernie_pipe.pretrain.trainer import Trainer
from tests.test_docs import blocks, command_lines

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
configs = pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
# Small enough for a step in a moment; everything else is as shipped.
SMALL = (
    "model.hidden_size=32", "model.layers=1", "model.heads=2", "model.intermediate_size=64",
    "batch.tokens_per_step=2048", "batch.micro_batches=2", "batch.loader_workers=0", "trackers=[]", "log_every=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def passages(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("all")
    lines, _ = blocks(ROOT / "docs" / "configs.md")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for command, arguments in command_lines(lines):
            if command in ("relations", "segment", "vocab", "encode"):
                assert cli.run([command, *(word.replace("runs/all", str(folder)) for word in arguments)]) == 0
    return str(folder / "passages")


def settings(config, *changes):
    return validate(PretrainSettings, apply_overrides(load_yaml(str(config)), changes), where=config.name)


@configs
def test_it_trains(config, passages, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    wanted = settings(config, *SMALL)
    Trainer(wanted, passages, tmp_path).train(2)
    line = last_metrics(tmp_path)
    losses = {name.removeprefix("loss/"): value for name, value in line.items() if name.startswith("loss/")}
    assert losses.keys() == wanted.stages[0].tasks.keys()
    assert all(math.isfinite(loss) for loss in losses.values())


@configs
def test_every_stage_has_batches_of_all_its_tasks(config, passages, monkeypatch):
    monkeypatch.chdir(ROOT)
    prepared = prepare(settings(config, *SMALL), passages)
    first = 0
    for stage in prepared.plan.settings.stages:
        served = {name for step in range(first, first + 3) for name, n in prepared.plan.quotas(step).items() if n}
        assert served == stage.tasks.keys()
        built = prepared.builder.step(first, range(2))
        assert any(len(batch.targets["knowledge_masking"].positions) for batch in built)
        first += stage.steps


LARGE = [path for path in CONFIGS if not path.stem.startswith("tiny-")]


@pytest.mark.parametrize("config", LARGE, ids=lambda path: path.stem)
def test_it_has_a_tiny_sibling_of_the_same_tasks(config):
    page = (ROOT / "docs" / "configs.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("|") and f"`{config.stem}`" in line)
    tiny = next(word for word in row.split("`") if word.startswith("tiny-"))
    small = settings(ROOT / "configs" / f"{tiny}.yaml")
    assert small.task_names() == settings(config).task_names()
    assert [stage.tasks.keys() for stage in small.stages] == [stage.tasks.keys() for stage in settings(config).stages]


RECIPES = ROOT / "configs" / "finetune"
tasks = pytest.mark.parametrize("task", HEADS)


@tasks
def test_a_recipe_names_every_setting_of_its_head_with_the_default(task):
    recipe, cls = load_yaml(str(RECIPES / f"{task}.yaml")), head_class(task).settings_class
    assert validate(cls, recipe, where=task) == cls()
    assert recipe.keys() == cls.model_fields.keys()


@tasks
def test_a_tiny_recipe_learns_faster_and_stops_early(task):
    recipe, cls = load_yaml(str(RECIPES / f"tiny-{task}.yaml")), head_class(task).settings_class
    tiny, base = validate(cls, recipe, where=f"tiny-{task}"), cls()
    assert tiny.learning_rate > base.learning_rate
    assert 0 < tiny.early_stop < tiny.epochs
    # What an encoder that was pretrained on 128 positions takes.
    assert tiny.max_tokens <= 128


@pytest.mark.parametrize("name", [*HEADS, *(f"tiny-{task}" for task in HEADS)])
def test_the_command_at_the_head_of_a_recipe_is_its_own(name):
    lines = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    task = name.removeprefix("tiny-")
    assert lines[1].startswith(f"#   ernie-pipe finetune {task} --config configs/finetune/{name}.yaml --model HF ")
