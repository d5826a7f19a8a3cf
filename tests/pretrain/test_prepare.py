"""Stages on passages of their own: short ones first, long ones later, as BERT was trained (two data sets)."""

import json
import shutil
import signal

import numpy as np
import pytest
import yaml

from ernie_pipe import cli
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain import __main__ as command
from ernie_pipe.pretrain import run as runs
from ernie_pipe.pretrain.prepare import prepare
from ernie_pipe.pretrain.settings import MASKING
from ernie_pipe.pretrain.trainer import Trainer
from ernie_pipe.report.inspect import of_step
from tests.pretrain.building import MICRO, sample_texts, settings, write_passages
from tests.pretrain.test_trainer import farthest, metrics, weights

MIXED = {MASKING: 0.6, "sentence_reordering": 0.4}


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The sample corpus once more, at most 24 tokens a passage."""
    return write_passages(tmp_path_factory.mktemp("short"), sample_texts(), max_tokens=24)


def stages_on(*folders, steps=4):
    return [{"steps": steps, "tasks": MIXED} | ({"data": folder} if folder else {}) for folder in folders]


def test_each_stage_takes_its_passages_and_its_k_from_its_own_data(data, short):
    prepared = prepare(settings(stages=stages_on(short, None, short)), data)
    plan, builder = prepared.plan, prepared.builder
    assert [passages.folder for passages in plan.data] == [data, short]
    assert plan.examples[0] == plan.examples[2] > 1.5 * plan.examples[1]
    assert prepared.longest == prepared.passages.longest > plan.data[1].longest
    for step, folder in ((0, 1), (5, 0), (9, 1)):
        passages = plan.passages_of(step)
        assert passages is plan.data[folder]
        for slots, built in zip(plan.step(step), builder.step(step, range(4)), strict=True):
            assert np.array_equal(np.diff(built.packed.starts), passages.tokens[slots.passage].astype(int) + 2)
            assert (plan.anchors_of[folder]["sentence_reordering"].per_source > 0).all()
        tokens = sum(len(built.packed.input_ids) for built in builder.step(step, range(4)))
        assert tokens == pytest.approx(1024, rel=0.07)


def test_epochs_count_by_data_and_go_on_in_a_later_stage(data, short):
    plan = prepare(settings(stages=stages_on(short, None, short, steps=40)), data).plan
    for number in (0, 1):
        served = plan.served_by_source(plan.steps, number)
        slots = [part for step in range(plan.steps) if plan.passages_of(step) is plan.data[number]
                 for part in plan.step(step)]  # fmt: skip
        passage = np.concatenate([part.passage[part.task == 0] for part in slots])
        assert served[MASKING].sum() == len(passage)
        times = np.bincount(passage, minlength=len(plan.data[number]))
        assert np.ptp(times) <= 1
        assert plan.epochs(plan.steps, number)[MASKING] == pytest.approx(times.mean())
    assert sum(plan.served(plan.steps).values()) == sum(40 * count for count in plan.examples)


def test_the_folder_of_the_run_named_again_is_the_same_data(data):
    named, plain = (prepare(settings(stages=stages_on(None, folder)), data).plan for folder in (f"{data}/.", None))
    assert len(named.data) == 1
    for step in (0, 6):
        for one, other in zip(named.step(step), plain.step(step), strict=True):
            assert np.array_equal(one.key, other.key)


def test_what_does_not_fit_is_named_before_anything_starts(data, short, tmp_path):
    other = write_passages(tmp_path / "other", sample_texts(20), max_tokens=24)
    with pytest.raises(InputError, match=r"stages\.1\.data: .*/other was made with another tokenizer"):
        prepare(settings(stages=stages_on(None, other)), data)
    with pytest.raises(InputError, match=r"stages\.0\.data: .*/nothing: no manifest\.json there"):
        prepare(settings(stages=stages_on(str(tmp_path / "nothing"))), data)
    small = MICRO["model"] | {"max_positions": 26}
    with pytest.raises(InputError, match=r"up to \d\d tokens, model.max_positions is 26"):
        prepare(settings(stages=stages_on(None, data), model=small), short)


@pytest.mark.parametrize("name", ["sources", "stages.1.sources"])
def test_a_source_that_is_not_there_is_no_weight(name, data):
    weights = {"sample": 1.0, "sampel": 1.0}
    changed = (
        {"sources": weights} if name == "sources" else {"stages": [{"steps": 1}, {"steps": 1, "sources": weights}]}
    )
    with pytest.raises(InputError, match=rf"^{name}: no passage in .* comes from `sampel`; did you mean `sample`"):
        prepare(settings(**changed), data)
    prepare(settings(sources={"sample": 1.0, "sampel": 0.0}), data)


def test_a_task_in_no_stage_is_named(data, caplog):
    tasks = {MASKING: {}, "sentence_order": {}, "sentence_distance": {}}
    with caplog.at_level("WARNING", "ernie_pipe"):
        prepare(settings(tasks=tasks, stages=[{"steps": 2, "tasks": {"sentence_distance": 1.0}}]), data)
        assert caplog.messages == ["sentence_order: among `tasks`, but in no stage: not trained"]


@pytest.mark.parametrize(("restart", "said"), [(False, []), (True, ["of 4 steps: the rate never reaches its peak"])])
def test_a_warm_up_without_end_is_named(restart, said, data, caplog):
    stages = [{"steps": 6}, {"steps": 4, "restart": restart}]
    with caplog.at_level("WARNING", "ernie_pipe"):
        prepare(settings(tasks={MASKING: {}}, stages=stages, optimizer={"warmup_steps": 5}), data)
    assert [message.split("5, ")[1] for message in caplog.messages] == said


def test_a_run_over_two_data_sets_resumes_to_the_bit_and_keeps_their_fingerprints(data, short, tmp_path):
    wanted = settings(stages=stages_on(short, None))
    Trainer(wanted, data, tmp_path / "whole").train()
    for stop in (3, 6, None):
        Trainer(wanted, data, tmp_path / "parts").train(stop)
    assert farthest(weights(tmp_path / "whole", 8), weights(tmp_path / "parts", 8)) == 0
    found = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert len(set(found["stage_fingerprints"])) == 2
    assert found["stage_fingerprints"][1] == found["data_fingerprint"]
    shown = [example.original for step in (0, 7) for example in of_step(str(tmp_path / "whole"), step)]
    assert len(shown) == sum(prepare(wanted, data).plan.examples)

    moved = shutil.copytree(short, tmp_path / "moved")
    Trainer(settings(stages=stages_on(str(moved), None)), data, tmp_path / "whole")
    assert runs.read(tmp_path / "whole").settings.stages[0].data == str(moved)
    changed = write_passages(tmp_path / "changed", sample_texts()[::-1], max_tokens=24)
    with pytest.raises(InputError, match=r"stage 1 was started on other data .*; choose another --output"):
        Trainer(settings(stages=stages_on(changed, None)), data, tmp_path / "whole")


def test_a_rule_and_the_stages_that_it_makes_are_one_run(data, tmp_path):
    ruled = settings(stages=[], schedule={"task_steps": 3})
    manifest = prepare(ruled, data).passages.manifest
    runs.create(tmp_path, ruled, data, manifest)
    assert runs.check(tmp_path, settings(stages=[stage.model_dump() for stage in ruled.stages]), manifest)
    with pytest.raises(InputError, match=r"stages\.0\."):
        runs.check(tmp_path, settings(stages=[], schedule={"task_steps": 6}), manifest)


def test_a_task_that_only_a_stage_s_own_passages_can_serve_is_not_evaluated(data, tmp_path, caplog):
    made = write_passages(tmp_path / "single", [text[:20] for text in sample_texts()], max_tokens=64)
    shutil.rmtree(f"{made}/tokenizer")
    shutil.copytree(f"{data}/tokenizer", f"{made}/tokenizer")
    manifest = json.loads((tmp_path / "single" / "manifest.json").read_text())
    manifest["details"]["tokenizer"] = prepare(settings(), data).corpus.fingerprint
    manifest["shards"][1]["split"] = "held_out"
    (tmp_path / "single" / "manifest.json").write_text(json.dumps(manifest))
    stages = [{"steps": 1}, {"steps": 1, "data": data, "tasks": {MASKING: 0.5, "sentence_distance": 0.5}}]
    wanted = settings(stages=stages, evaluate={"every": 1, "batches": 1})
    with caplog.at_level("INFO", "ernie_pipe"):
        trainer = Trainer(wanted, made, tmp_path / "run")
        trainer.train()
    assert trainer.held_out.left_out == ["sentence_distance"]
    assert "sentence_distance: is not evaluated" in caplog.text


def test_a_stage_s_own_peak_is_what_the_optimiser_gets(data, tmp_path):
    stages = [{"steps": 4, "learning_rate": 1e-3}, {"steps": 4}]
    flat = {"learning_rate": 5e-3, "schedule": "constant"}
    Trainer(settings(stages=stages, optimizer=flat), data, tmp_path).train()
    assert [line["learning_rate"] for line in metrics(tmp_path)] == [1e-3] * 4 + [5e-3] * 4


def test_the_plan_shows_every_data_set(data, short, write, capsys):
    path = write("run.yaml", yaml.safe_dump(MICRO | {"stages": stages_on(short, None)}))
    assert cli.run(["plan", "--config", str(path), "--data", data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found["data"], *(other["data"] for other in found["others"])] == [data, short]
    assert [stage["data"] for stage in found["stages"]] == [short, data]
    for number, sets in ((0, found["others"][0]), (1, found)):
        examples = {name: row["examples"] for name, row in sets["tasks"].items()}
        assert examples == found["stages"][number]["examples"]
    cli.run(["plan", "--config", str(path), "--data", data])
    assert f"stage 1 on {short}: 4 steps" in capsys.readouterr().out


def test_a_stage_s_folder_is_found_again_from_any_place(write, monkeypatch):
    path = write("run.yaml", yaml.safe_dump(MICRO | {"stages": stages_on("short", None)}))
    monkeypatch.chdir(path.parent)
    args = command.parser().parse_args(["--config", "run.yaml", "--data", "d", "--output", "o"])
    assert command.load_settings(args).stages[0].data == str(path.parent / "short")
