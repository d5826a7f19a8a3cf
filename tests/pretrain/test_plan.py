import json
import re

import numpy as np
import pytest

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.plan import SPAN, Plan
from ernie_pipe.pretrain.settings import MASKING
from ernie_pipe.tasks.sentence_reordering import SentenceReordering
from tests.pretrain.building import batches, sample_texts, settings, write_passages

SHARES = {"knowledge_masking": 0.53, "sentence_reordering": 0.17, "sentence_distance": 0.3}


def plan_of(data, **changes):
    wanted = settings(**changes)
    return Plan(wanted, Passages(data), wanted.build_tasks())


@pytest.fixture(scope="module")
def plan(data):
    return plan_of(data)


@pytest.fixture(scope="module")
def uneven(data):
    return plan_of(data, stages=[{"steps": 400, "tasks": SHARES}])


def rows(slots):
    """Every example of some micro-batches as a set of (task, passage, key)."""
    return {
        row for part in slots for row in zip(part.task.tolist(), part.passage.tolist(), part.key.tolist(), strict=True)
    }


def test_quotas_follow_the_floors_and_sum_to_k(uneven):
    (k,) = uneven.examples
    for step in range(400):
        quotas = uneven.quotas(step)
        assert sum(quotas.values()) == k
        for name in ("sentence_reordering", "sentence_distance"):
            floors = [int(np.floor(round(s * k * SHARES[name], 6))) for s in (step, step + 1)]
            assert quotas[name] == floors[1] - floors[0]


def test_every_step_holds_its_quotas(uneven):
    for step in range(10):
        tasks = np.concatenate([part.task for part in uneven.step(step)])
        assert np.bincount(tasks, minlength=3).tolist() == list(uneven.quotas(step).values())


def test_what_was_served_is_the_sum_of_the_quotas(plan):
    served = dict.fromkeys(plan.quotas(9), 0)
    for step in range(plan.steps):
        assert plan.served(step) == served
        for name, count in plan.quotas(step).items():
            served[name] += count
    assert plan.served(plan.steps) == served
    assert plan.epochs(plan.steps)["knowledge_masking"] == pytest.approx(
        served["knowledge_masking"] / len(plan.passages)
    )


def test_stages_begin_and_end_where_they_should(plan):
    assert [plan.stage(step)[0] for step in range(plan.steps)] == [0] * 4 + [1] * 6
    assert set(plan.quotas(3)) == {"knowledge_masking"}
    assert set(plan.quotas(4)) == {"knowledge_masking", "sentence_reordering", "sentence_distance"}


@pytest.mark.parametrize("parts", [1, 4, 16])
def test_micro_batches_hold_equal_numbers_and_near_equal_tokens(data, parts):
    builder = batches(data, batch={"tokens_per_step": 16384, "micro_batches": parts})
    for step in (0, 5):
        assert len({len(part) for part in builder.plan.step(step)}) == 1
        sums = np.array([len(built.packed.input_ids) for built in builder.step(step, range(parts))])
        # A pair's own length is known by its mean alone.
        assert np.ptp(sums) <= (0.02 if step == 0 else 0.05 if parts < 16 else 0.12) * sums.mean()


PAIRS = {"knowledge_masking": 0.5, "sentence_distance": 0.5}


def test_every_step_has_the_tokens_that_were_asked_for(data):
    """Pairs of sentences are shorter than their anchors: K counts what examples really have."""
    wanted = {"tokens_per_step": 16384, "micro_batches": 2}
    builder = batches(data, stages=[{"steps": 40, "tasks": PAIRS}], batch=wanted)
    tokens = [sum(len(b.packed.input_ids) for b in builder.step(step, range(2))) for step in range(40)]
    assert np.mean(tokens) == pytest.approx(16384, rel=0.02)
    assert max(tokens) - min(tokens) <= 0.04 * 16384
    assert sum(builder.passages.tokens[part.passage].sum() for part in builder.plan.step(0)) > 1.05 * 16384


def test_an_epoch_takes_every_passage_once_and_the_next_another_order(data):
    plan = plan_of(data, stages=[{"steps": 200}], batch={"tokens_per_step": 2048, "micro_batches": 1})
    size = len(plan.passages)
    ordinals = np.arange(2 * size)
    first, second = np.split(plan._passages(0, MASKING, ordinals)[0], 2)
    assert np.array_equal(np.sort(first), np.arange(size))
    assert np.array_equal(np.sort(second), np.arange(size))
    assert (first == second).mean() < 0.02
    # Steps share out what is next in that order, block by block.
    for block in (0, 3):
        steps = range(block * SPAN, (block + 1) * SPAN)
        served = np.concatenate([plan.step(step)[0].passage for step in steps])
        wanted = np.arange(steps.start * plan.examples[0], steps.stop * plan.examples[0])
        assert sorted(served) == sorted(plan._passages(0, MASKING, wanted)[0])


def test_only_eligible_passages_serve_a_task(plan, data):
    eligible = SentenceReordering(SentenceReordering.Settings(max_segments=2)).eligible(Passages(data))
    for step in range(4, 10):
        for part in plan.step(step):
            assert eligible[part.passage[part.task == 1]].all()


@pytest.mark.parametrize("world", [2, 4])
def test_the_global_batch_is_the_same_on_any_number_of_ranks(plan, world):
    for step in (0, 7):
        slots = plan.step(step)
        ranks = [[slots[i] for i in plan.micro_batches_of(rank, world)] for rank in range(world)]
        assert sum(len(part) for part in slots) == len(rows(slots))
        assert sorted(row for rank in ranks for row in rows(rank)) == sorted(rows(slots))


def test_any_step_asked_for_directly_equals_the_one_reached_in_order(plan, data):
    reached = [rows(plan.step(step)) for step in range(plan.steps)]
    fresh = plan_of(data)
    assert rows(fresh.step(7)) == reached[7]
    assert [rows(fresh.step(step)) for step in (9, 2)] == [reached[9], reached[2]]
    assert len(set(map(frozenset, reached))) == plan.steps


def test_another_seed_is_another_plan(plan, data):
    assert rows(plan_of(data, seed=4).step(0)).isdisjoint(rows(plan.step(0)))


def test_a_passage_that_repeats_in_a_step_gets_other_draws(tmp_path):
    folder = write_passages(tmp_path / "two", ["哈尔滨是黑龙江的省会。", "长春是吉林的省会。"], max_tokens=32)
    (slots,) = plan_of(folder, stages=[{"steps": 1}], batch={"tokens_per_step": 400, "micro_batches": 1}).step(0)
    assert len(slots) > 20
    assert len(np.unique(slots.key)) == len(slots)


def test_no_passages_are_nothing_to_train_on(data):
    wanted = settings()
    with pytest.raises(InputError, match="nothing to train on: 0 passages of the split 'held_out'"):
        Plan(wanted, Passages(data, "held_out"), wanted.build_tasks())


def test_a_task_that_no_passage_can_serve_is_named(data):
    tasks = {"sentence_reordering": {"max_segments": 5}}
    stages = [{"steps": 1, "tasks": {"sentence_reordering": 1.0}}]
    short = settings(tasks=tasks, stages=stages)
    passages = Passages(data)
    passages.sentences = np.minimum(passages.sentences, 2)
    with pytest.raises(InputError, match=rf"sentence_reordering needs .*: 0 of the {len(passages)} passages"):
        Plan(short, passages, short.build_tasks())


def test_micro_batches_that_no_rank_could_share_are_refused(plan):
    with pytest.raises(
        InputError, match=re.escape("(4) must be a multiple of the number of processes (3): set it to 6")
    ):
        plan.micro_batches_of(0, 3)


def test_a_step_too_small_for_its_tasks_is_refused(data):
    tasks = {name: {} for name in ("knowledge_masking", "sentence_distance", "sentence_reordering")}
    shares = {"knowledge_masking": 0.34, "sentence_distance": 0.33, "sentence_reordering": 0.33}
    batch = {"tokens_per_step": 40, "micro_batches": 1}
    with pytest.raises(InputError, match="tokens_per_step"):
        plan_of(data, tasks=tasks, stages=[{"steps": 9, "tasks": shares}], batch=batch)


def two_sources(tmp_path):
    """The sample in two sources, a shard each, the second with three times the documents."""
    parts = [write_passages(tmp_path / name, sample_texts(count), max_tokens=64, shards=1, source=name)
             for name, count in (("few", 40), ("many", 120))]  # fmt: skip
    first, second = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("few", "many"))
    for shard in first["shards"]:
        (tmp_path / "few" / shard["name"]).rename(tmp_path / "many" / shard["name"].replace("part-00000", "part-00009"))
        shard["name"] = shard["name"].replace("part-00000", "part-00009")
    second["shards"] += first["shards"]
    (tmp_path / "many" / "manifest.json").write_text(json.dumps(second))
    return parts[1]


def test_sources_are_mixed_by_weight_and_each_goes_through_its_own_epochs(tmp_path):
    data = two_sources(tmp_path)
    stages = [{"steps": 60, "tasks": {"knowledge_masking": 0.6, "sentence_reordering": 0.4}}]
    plan = plan_of(data, stages=stages, sources={"few": 3.0, "many": 1.0})
    passages = plan.passages
    (few,) = (number for number, name in enumerate(passages.source_names) if name == "few")
    slots = [part for step in range(60) for part in plan.step(step)]
    task, passage = (np.concatenate([getattr(part, name) for part in slots]) for name in ("task", "passage"))
    for number, name in ((0, "knowledge_masking"), (1, "sentence_reordering")):
        mine = passage[task == number]
        served = np.bincount(passages.source[mine], minlength=2)
        assert served[few] == pytest.approx(0.75 * len(mine), abs=2)
        assert served.tolist() == plan.served_by_source(60)[name].tolist()
        # Every passage of a source has served as often as any other of it, or once more.
        times = np.bincount(mine[passages.source[mine] == few], minlength=len(passages))
        able = np.flatnonzero(times)
        assert len(able) == plan.anchors[name].per_source[few]
        assert np.ptp(times[able]) <= 1
    assert rows(plan.step(31)) == rows(plan_of(data, stages=stages, sources={"few": 3.0, "many": 1.0}).step(31))


def test_a_source_without_weight_is_left_out_or_asked_for(tmp_path):
    data = two_sources(tmp_path)
    plan = plan_of(data, stages=[{"steps": 3}], sources={"few": 0, "many": 1})
    chosen = np.concatenate([part.passage for step in range(3) for part in plan.step(step)])
    assert {plan.passages.source_names[code] for code in plan.passages.source[chosen]} == {"many"}
    with pytest.raises(InputError, match=r"sources: `many` \(\d+ passages\) has no weight"):
        plan_of(data, sources={"few": 1})


def test_memory_of_the_plan_is_counts_alone(data):
    plan = plan_of(data)
    assert plan.anchors["knowledge_masking"]._before.nbytes <= 16


def test_a_stage_may_have_weights_of_its_own(tmp_path):
    data = two_sources(tmp_path)
    stages = [{"steps": 20, "sources": {"few": 3.0, "many": 1.0}}, {"steps": 20}, {"steps": 20, "sources": {}}]
    plan = plan_of(data, stages=stages, sources={"few": 0, "many": 1})
    passages, (few,) = plan.passages, (n for n, name in enumerate(plan.passages.source_names) if name == "few")
    chosen = [
        np.concatenate([part.passage for step in range(a, a + 20) for part in plan.step(step)]) for a in (0, 20, 40)
    ]
    shares = [np.mean(passages.source[passage] == few) for passage in chosen]
    assert shares[0] == pytest.approx(0.75, abs=0.01)
    assert shares[1] == 0
    assert 0 < shares[2] < 0.5
    # A source's order goes on where the stage before left it.
    times = np.bincount(np.concatenate(chosen[:2]), minlength=len(passages))[passages.source != few]
    assert np.ptp(times) <= 1
    assert plan.served_by_source(40)[MASKING].sum() == 40 * plan.examples[0]
    with pytest.raises(InputError, match=r"stages\.1\.sources: `many` \(\d+ passages\) has no weight"):
        plan_of(data, stages=[{"steps": 1}, {"steps": 1, "sources": {"few": 1}}])
