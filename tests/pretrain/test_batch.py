import numpy as np
import pytest
import torch

from ernie_pipe import draws
from ernie_pipe.pretrain.batch import BatchBuilder, pack, to_tensors
from ernie_pipe.pretrain.plan import Slots
from ernie_pipe.tasks import Example
from ernie_pipe.tasks.sentence_reordering import SentenceReordering
from ernie_pipe.text.encode import SpecialIds
from tests.pretrain.building import MICRO, batches

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4, size=100)


def part(*ids):
    return np.array(ids, np.uint16), np.ones(len(ids), np.uint8)


@pytest.fixture(scope="module")
def packed():
    examples = [
        Example([part(10, 11)], 5),
        Example([part(20, 21, 22), part(30)], 1),
        Example([part(40), part(50), part(60)]),
    ]
    return pack(examples, Slots(np.array([0, 2, 1]), np.arange(3), draws.key(np.arange(3))), SPECIAL)


def test_layout_is_cls_a_sep_b_sep(packed):
    assert packed.input_ids.tolist() == [2, 10, 11, 3, 2, 20, 21, 22, 3, 30, 3, 2, 40, 3, 50, 3, 60, 3]
    assert packed.starts.tolist() == [0, 4, 11, 18]
    assert packed.sequence.tolist() == [0] * 4 + [1] * 7 + [2] * 7


def test_token_types_follow_the_parts_and_positions_restart(packed):
    assert packed.token_types.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 2, 2]
    assert packed.positions.tolist() == [*range(4), *range(7), *range(7)]


def test_only_text_may_be_masked(packed):
    assert np.array_equal(packed.maskable, ~np.isin(packed.input_ids, SPECIAL.all))
    assert packed.unit_bits[~packed.maskable].tolist() == [0] * 9


def test_a_special_id_in_the_text_is_text():
    packed = pack(
        [Example([part(SPECIAL.unk, 7)])], Slots(np.zeros(1, int), np.zeros(1, int), draws.key(np.arange(1))), SPECIAL
    )
    assert packed.maskable.tolist() == [False, True, True, False]


def test_every_slot_has_its_own_example(builder):
    tasks = list(builder.tasks.values())
    for slots, built in zip(builder.plan.step(6), builder.step(6, range(4)), strict=True):
        rows = zip(slots.task.tolist(), slots.passage.tolist(), slots.key, strict=True)
        alone = pack(
            [tasks[task].example(builder.passages, anchor, key) for task, anchor, key in rows], slots, builder.special
        )
        alone.input_ids[built.targets["knowledge_masking"].positions] = -1
        built.packed.input_ids[built.targets["knowledge_masking"].positions] = -1
        for name in ("input_ids", "unit_bits", "token_types", "starts", "labels"):
            assert np.array_equal(getattr(alone, name), getattr(built.packed, name))


def test_sequence_labels_stand_at_their_cls(builder):
    for built in builder.step(6, range(4)):
        for number, name in enumerate(builder.tasks):
            if name != "knowledge_masking":
                targets = built.targets[name]
                mine = built.packed.task == number
                assert np.array_equal(targets.positions, built.packed.starts[:-1][mine])
                assert np.array_equal(targets.labels, built.packed.labels[mine])
                assert (built.packed.input_ids[targets.positions] == builder.special.cls).all()


def test_masked_labels_are_the_ids_of_the_passages(builder):
    for built in builder.step(0, range(4)):
        restored = built.packed.input_ids.copy()
        targets = built.targets["knowledge_masking"]
        restored[targets.positions] = targets.labels
        slots = builder.plan.step(0)
        texts = {tuple(builder.passages.get(i)[0].tolist()) for part in slots for i in part.passage.tolist()}
        for start, end in zip(built.packed.starts[:-1], built.packed.starts[1:], strict=True):
            assert tuple(restored[start + 1 : end - 1].tolist()) in texts


@pytest.mark.parametrize("other_tasks", [True, False])
def test_sequences_of_other_tasks_are_masked_by_a_setting(data, other_tasks):
    tasks = MICRO["tasks"] | {"knowledge_masking": {"other_tasks": other_tasks}}
    built = batches(data, tasks=tasks).step(8, range(4))
    served = np.concatenate([b.packed.task[b.packed.sequence[b.targets["knowledge_masking"].positions]] for b in built])
    assert set(served.tolist()) == ({0, 1, 2} if other_tasks else {0})


def test_a_stage_s_levels_win_over_the_task_s(data):
    stage = {"steps": 1, "levels": {"word": 1.0}}
    (built, *_) = batches(data, stages=[stage]).step(0, [0])
    assert set(built.packed.levels.tolist()) == {1}


def test_a_micro_batch_is_the_same_whoever_builds_it(builder, data):
    whole = builder.step(7, range(4))
    other = batches(data)
    for number in (3, 1):
        (alone,) = other.step(7, [number])
        assert np.array_equal(alone.packed.input_ids, whole[number].packed.input_ids)
        assert np.array_equal(alone.packed.labels, whole[number].packed.labels)


def test_tensors_have_the_types_that_the_model_takes(builder):
    batch = to_tensors(builder.step(6, [0])[0])
    assert isinstance(batch["longest"], int)
    assert batch["starts"].dtype == torch.int32
    assert all(
        batch[name].dtype == torch.int64 for name in ("input_ids", "position_ids", "token_type_ids", "task_type_ids")
    )
    assert (
        batch["task_type_ids"].tolist()
        == np.repeat(builder.plan.step(6)[0].task, np.diff(batch["starts"].numpy())).tolist()
    )


class Reads(SentenceReordering):
    """Keeps the tokens that it is shown."""

    def targets(self, batch, number, levels=None):
        self.shown = batch.input_ids.copy()
        return super().targets(batch, number, levels)


def test_a_task_that_reads_is_shown_the_text_before_it_is_masked(builder):
    reader = Reads(builder.tasks["sentence_reordering"].settings)
    # Its task id comes after that of masking.
    mixed = BatchBuilder(builder.plan, builder.passages, builder.tasks | {"reads": reader}, builder.special)
    built = mixed.build(builder.plan.step(0)[0])
    masked = built.targets["knowledge_masking"]
    assert reader.shown[masked.positions].tolist() == masked.labels.tolist()
    assert (built.packed.input_ids != reader.shown).any()
