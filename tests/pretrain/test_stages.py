"""Schedules as pure functions, as settings, and as `ernie-pipe plan` shows them."""

import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe import cli
from ernie_pipe.config import validate
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain import stages
from ernie_pipe.pretrain.preview import task_steps
from ernie_pipe.pretrain.settings import MASKING, PretrainSettings

THREE = {MASKING: {}, "sentence_reordering": {}, "sentence_distance": {}}
NAMES = st.integers(1, 12).map(lambda count: [f"task {number}" for number in range(count)])


def settings(schedule=None, tasks=THREE, **more):
    given = {"tasks": tasks, "schedule": schedule} | more
    return validate(PretrainSettings, {name: value for name, value in given.items() if value is not None}, where="x")


def test_four_tasks_of_50k_steps_give_the_table_of_ernie_2():
    found = [list(stage.values()) for stage in stages.continual("abcd", 50_000)]
    assert found == [[20_000], [10_000, 30_000], [10_000, 10_000, 40_000], [10_000, 10_000, 10_000, 50_000]]


@given(names=NAMES, steps=st.integers(1, 10**6), kind=st.sampled_from(sorted(stages.KINDS)))
def test_every_task_has_its_steps_to_the_last_one(names, steps, kind):
    if kind == "continual" and steps <= len(names):
        with pytest.raises(ValueError, match="older tasks would get no steps"):
            stages.continual(names, steps)
        return
    table = stages.KINDS[kind](names, steps)
    assert {name: sum(stage.get(name, 0) for stage in table) for name in names} == dict.fromkeys(names, steps)
    assert all(count > 0 for stage in table for count in stage.values())
    assert len(table) == (1 if kind == "multi_task" else len(names))


@given(names=NAMES, unit=st.integers(1, 10**5))
def test_a_task_that_is_added_gets_the_stage_that_the_rule_gives_to_one_more(names, unit):
    steps = unit * (len(names) + 1)
    assert stages.unit_of(names, steps) == unit
    assert stages.added(names, unit, "new") == stages.continual([*names, "new"], steps + unit)[-1]
    with pytest.raises(ValueError, match="a task of the run already"):
        stages.added(names, unit, names[-1])


@given(names=NAMES, steps=st.integers(20, 10**6), share=st.floats(0.01, 0.99))
def test_shares_follow_steps_beside_what_is_fixed(names, steps, share):
    for stage, counts in zip(
        stages.expand("continual", names, steps, {MASKING: share}), stages.continual(names, steps), strict=True
    ):
        assert stage.steps == sum(counts.values())
        assert stage.tasks[MASKING] == share
        assert sum(stage.tasks.values()) == pytest.approx(1)
        for name, count in counts.items():
            assert stage.tasks[name] / (1 - share) * stage.steps == pytest.approx(count)


def test_masking_stays_in_every_stage_or_is_staged_itself():
    beside = settings({"task_steps": 300, "masking_share": 0.7})
    assert [stage.tasks[MASKING] for stage in beside.stages] == [0.7, 0.7]
    assert task_steps(beside) == [{"sentence_reordering": 200}, {"sentence_reordering": 100, "sentence_distance": 300}]
    staged = settings({"task_steps": 400, "masking": "staged", "tasks": ["sentence_distance", MASKING]})
    assert task_steps(staged) == [{"sentence_distance": 267}, {"sentence_distance": 133, MASKING: 400}]
    assert [stage.name for stage in staged.stages] == ["sentence_distance", f"+ {MASKING}"]


def test_the_steps_of_tasks_in_an_explicit_stage_sum_to_it():
    shares = dict(zip(THREE, (0.7, 0.15, 0.15), strict=True))
    found = task_steps(settings(stages=[{"steps": 4, "tasks": shares}]))
    assert found == [{MASKING: 2, "sentence_reordering": 1, "sentence_distance": 1}]


def test_the_kinds_that_are_compared_cost_the_same_steps():
    kinds = {kind: settings({"kind": kind, "task_steps": 300}).stages for kind in stages.KINDS}
    assert {sum(stage.steps for stage in found) for found in kinds.values()} == {600}
    assert [set(stage.tasks) - {MASKING} for stage in kinds["sequential"]] == [
        {"sentence_reordering"},
        {"sentence_distance"},
    ]


def test_a_run_s_own_record_is_read_again():
    found = settings({"task_steps": 300})
    assert validate(PretrainSettings, json.loads(found.model_dump_json()), where="run.json") == found


WRONG = [
    ({}, "nothing to train: give `stages`, or a `schedule`"),
    ({"schedule": "continual"}, "`continual` needs task_steps"),
    ({"schedule": {"kind": "continuous", "task_steps": 5}}, "`schedule.kind`"),
    ({"schedule": {"task_step": 5}}, "unknown key `schedule.task_step`; did you mean `task_steps`"),
    ({"schedule": {"task_steps": 2}}, "must be at least 3, one more than the 2 tasks"),
    ({"schedule": {"task_steps": 5}, "stages": [{"steps": 5}]}, "leave `stages` out, or `schedule`"),
    ({"schedule": {"kind": "stages", "task_steps": 5}, "stages": [{"steps": 5}]}, "reads `stages` alone"),
    ({"schedule": {"task_steps": 5, "masking": "staged", "masking_share": 0.5}}, "belongs to masking: every_stage"),
    ({"schedule": {"task_steps": 5, "masking_share": 1.0}}, "`schedule.masking_share`"),
    ({"schedule": {"task_steps": 5, "tasks": ["sentence_distanc"]}}, "did you mean `sentence_distance`"),
    ({"schedule": {"task_steps": 5, "tasks": [MASKING]}}, "is in every stage already"),
    ({"schedule": {"task_steps": 5, "tasks": ["sentence_distance"] * 2}}, "`sentence_distance` is named twice"),
    ({"schedule": {"task_steps": 5, "tasks": []}}, "needs a task beside knowledge_masking"),
    ({"schedule": {"task_steps": 5}, "tasks": {"sentence_distance": {}}}, "every_stage needs knowledge_masking"),
    ({"stages": [{"steps": 0}]}, "`stages.0.steps`"),
    ({"stages": [{"name": "no steps"}]}, "`stages.0.steps`"),
    ({"stages": [{"steps": 1, "tasks": {MASKING: 0.5}}]}, "sum to 1, they sum to 0.5"),
    ({"stages": [{"steps": 1, "sources": {"web": -1}}]}, "weights of sources must be ≥ 0"),
    ({"stages": [{"steps": 1, "tasks": {MASKING: math.nan}}]}, "`stages.0.tasks.knowledge_masking`"),
    ({"stages": [{"steps": 1, "levels": {"basic": math.nan, "word": 1.0}}]}, "`stages.0.levels.basic`"),
    ({"stages": [{"steps": 1}], "sources": {"web": math.inf}}, "`sources.web`"),
    ({"stages": [{"steps": 1}], "loss_weights": {MASKING: -1.0}}, "the weight of `knowledge_masking` must be ≥ 0"),
    ({"stages": [{"steps": 1}], "seed": 2**63}, "`seed`"),
    (
        {"stages": [{"steps": 1, "learning_rate": 1e-6}], "optimizer": {"min_learning_rate": 1e-5}},
        "stages.0.learning_rate is below optimizer.min_learning_rate",
    ),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
def test_what_makes_no_schedule_is_one_line(given, message):
    with pytest.raises(InputError) as found:
        settings(**given)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_one_task_under_two_names_is_refused():
    twice = "ernie_pipe.tasks.sentence_distance:SentenceDistance"
    with pytest.raises(InputError, match=rf"tasks: `sentence_distance` and `{twice}` are the same task"):
        settings({"task_steps": 9}, tasks={"sentence_distance": {}, twice: {}, MASKING: {}}).build_tasks()


def plan(write, capsys, *more, **config):
    path = write("run.yaml", yaml.safe_dump({"tasks": THREE} | config, sort_keys=False))
    assert cli.run(["plan", "--config", str(path), *more]) == 0
    return capsys.readouterr().out


def test_the_table_needs_no_data(write, capsys):
    shown = plan(write, capsys, schedule={"task_steps": 300}).splitlines()
    assert [line.split() for line in shown[:4]] == [
        ["steps", "of", "a", "task", "stage", "1", "stage", "2", "in", "all"],
        ["sentence_reordering", "200", "100", "300"],
        ["sentence_distance", "300", "300"],
        ["all", "200", "400", "600"],
    ]
    found = json.loads(plan(write, capsys, "--json", schedule={"task_steps": 300}))
    assert found["steps"] == 600


def test_the_stages_of_a_schedule_can_be_written_out_and_changed(write, capsys):
    shown = yaml.safe_load(plan(write, capsys, "--stages", schedule={"task_steps": 300}))
    again = settings(stages=[stage | {"learning_rate": 1e-5} for stage in shown["stages"]])
    wanted = settings({"task_steps": 300}).stages
    assert [stage.model_copy(update={"learning_rate": None}) for stage in again.stages] == wanted
