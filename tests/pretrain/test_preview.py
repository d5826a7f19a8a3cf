"""`ernie-pipe plan`: figures that add up, and mistakes in one line."""

import json

import pytest
import yaml

from ernie_pipe import cli
from ernie_pipe.errors import InputError
from tests.pretrain.building import MICRO


def plan(data, write, *more, **changes):
    path = write("run.yaml", yaml.safe_dump(MICRO | changes))
    return cli.run(["plan", "--config", str(path), "--data", data, *more])


def test_figures_add_up(data, write, capsys, builder):
    assert plan(data, write, "--json", "--tokens-per-second", "1,000") == 0
    found = json.loads(capsys.readouterr().out)
    assert [stage["steps"] for stage in found["stages"]] == [4, 6]
    assert found["steps"] == 10
    for name, row in found["tasks"].items():
        assert row["examples"] == sum(stage["examples"].get(name, 0) for stage in found["stages"])
        assert row["epochs"] == pytest.approx(row["examples"] / row["passages"])
    served = sum(stage["steps"] * stage["examples_per_step"] for stage in found["stages"])
    assert sum(row["examples"] for row in found["sources"].values()) == pytest.approx(served)
    # The first stage has as many steps as are tried: its tokens are exact.
    first = sum(len(built.packed.input_ids) for step in range(4) for built in builder.step(step, range(4)))
    assert found["stages"][0]["tokens"] == first
    assert found["seconds"] == pytest.approx(found["tokens"] / 1000)


def test_the_number_of_weights_is_that_of_the_model(data, write, capsys, builder):
    from ernie_pipe.model.convert import new_config
    from ernie_pipe.model.multitask import MultiTaskModel

    model = MultiTaskModel(new_config(builder.plan.settings.model, builder.special, list(builder.tasks)), builder.tasks)
    plan(data, write, "--json")
    assert json.loads(capsys.readouterr().out)["parameters"] == sum(p.numel() for p in model.parameters())


def test_people_read_stages_tasks_sources_and_time(data, write, capsys):
    assert plan(data, write, "--tokens-per-second", "10") == 0
    shown = capsys.readouterr().out
    for text in ("words: 4 steps", "sentence_distance (can serve)", "sample (source)", "padding", "MiB", " min "):
        assert text in shown


def test_wrong_settings_are_one_line(data, write):
    with pytest.raises(InputError, match="unknown key `stagess`; did you mean `stages`"):
        plan(data, write, stagess=[])
    with pytest.raises(InputError, match=r"`sample` .* has no weight"):
        plan(data, write, sources={"web": 1.0})


@pytest.mark.parametrize("rate", ["0", "-3", "nan", "inf", "fast"])
def test_a_rate_that_is_none_is_refused(data, write, rate, capsys):
    with pytest.raises(SystemExit) as stopped:
        plan(data, write, "--tokens-per-second", rate)
    assert stopped.value.code == 2
    assert "is not a number above 0" in capsys.readouterr().err
