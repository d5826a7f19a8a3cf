import numpy as np
import pytest

from ernie_pipe import draws
from ernie_pipe.pretrain.batch import pack
from ernie_pipe.pretrain.plan import Slots
from ernie_pipe.tasks.dialogue import FAKE, REAL, Dialogue, DialogueSettings
from ernie_pipe.text.encode import SpecialIds
from tests.tasks.honesty import assert_form_tells_nothing
from tests.tasks.learning import Learner
from tests.tasks.spoken import Spoken, examples, sample

Q, R = "query", "response"


def talks(count, pattern=(Q, R, Q, R, Q), seed=0, longest=9):
    """Dialogues in which every id tells dialogue and turn."""
    rng = np.random.default_rng(seed)
    return Spoken(
        [
            (
                [
                    (role, [100 * number + turn + 100] * int(rng.integers(1, longest)))
                    for turn, role in enumerate(pattern)
                ],
                None,
            )
            for number in range(count)
        ]
    )


@pytest.fixture
def task():
    return Dialogue(DialogueSettings())


def places(example):
    """(dialogue, turn) of every part."""
    return [divmod(int(ids[0]) - 100, 100) for ids, _ in example.parts]


def test_real_windows_are_consecutive_turns_and_fakes_have_one_from_elsewhere(task):
    seen = set()
    for anchor, example in examples(task, talks(80), 20):
        found = places(example)
        other = [place for place in found if place[0] != anchor]
        assert len(other) == (example.label == FAKE)
        turns = [turn - number for number, (dialogue, turn) in enumerate(found) if dialogue == anchor]
        assert len(set(turns)) == 1
        seen |= {(number, example.label) for number, place in enumerate(found) if place in other}
    assert seen == {(0, FAKE), (1, FAKE), (2, FAKE)}


@pytest.mark.parametrize(
    ("pattern", "windows"),
    [
        ((Q, R, Q, R), {(0, 1, 0)}),
        ((Q, R, R), {(0, 1, 1)}),
        ((Q, Q, R, R), {(0, 0, 1), (0, 1, 1)}),
        ((R, Q, Q, Q), {(0, 1, 1)}),
    ],
)
def test_roles_are_those_of_the_window_s_first_speaker_and_the_other(task, pattern, windows):
    assert {tuple(example.roles) for _, example in examples(task, talks(20, pattern), 20)} == windows


def test_token_types_follow_the_roles(task):
    special = SpecialIds(0, 1, 2, 3, 4, 60_000)
    ((_, example),) = examples(task, talks(2), 1)[:1]
    packed = pack([example], Slots(np.zeros(1, int), np.zeros(1, int), draws.key(np.arange(1))), special)
    sizes = [len(ids) + 1 for ids, _ in example.parts]
    assert packed.token_types.tolist() == [0] * (1 + sizes[0]) + [1] * sizes[1] + [0] * sizes[2]


@pytest.mark.parametrize("fake", [0.5, 0.2])
def test_so_many_are_fakes(fake):
    labels = [example.label for _, example in examples(Dialogue(DialogueSettings(fake=fake)), talks(80), 40)]
    assert np.mean(labels) == pytest.approx(fake, abs=0.03)


def test_a_replacement_has_the_same_role(task):
    for _, example in examples(task, talks(80, (Q, R, Q, R)), 20):
        dialogues = [dialogue for dialogue, _ in places(example)]
        turns = [turn % 2 for _, turn in places(example)]
        assert len(dialogues) == 3
        assert turns[0] == turns[2] != turns[1]


@pytest.mark.parametrize(("longest", "pattern"), [(4, (Q, R, Q, R, Q)), (30, (Q, R, R, Q, Q, R))])
def test_a_classifier_that_sees_only_the_form_stays_at_chance(task, longest, pattern):
    assert_form_tells_nothing(task, talks(120, pattern, longest=longest), 8_000)


def test_lengths_are_the_same_were_the_window_real_or_fake():
    passages = talks(60, longest=20)
    real, fake = (examples(Dialogue(DialogueSettings(fake=share)), passages, 10) for share in (1e-9, 1 - 1e-9))
    assert [e.label for _, e in real] != [e.label for _, e in fake]
    assert [[len(ids) for ids, _ in e.parts] for _, e in real] == [[len(ids) for ids, _ in e.parts] for _, e in fake]


def test_no_example_is_longer_than_its_anchor_nor_empty(task):
    passages = talks(40, (Q, R, Q), longest=4)
    for anchor, example in examples(task, passages, 30):
        lengths = [len(ids) for ids, _ in example.parts]
        assert min(lengths) > 0
        assert sum(lengths) + 2 <= passages.tokens[anchor]


def test_what_stands_in_the_dialogue_too_is_no_replacement(task):
    copies = [([(Q, [1, 2, 3]), (R, [4, 5, 6]), (Q, [7, 8, 9])], None)] * 30
    near = [([(Q, [1, 2, 3, 90 + n]), (R, [4, 5, 6, 90 + n]), (Q, [7, 8, 9, 90 + n])], None) for n in range(3)]
    found = examples(task, Spoken([*copies, *near]), 10)
    assert {example.label for anchor, example in found if anchor < 30} == {REAL}
    others = [(segments, None) for segments in talks(40)._segments]
    found = examples(task, Spoken([*copies, *others]), 10)
    assert {example.label for anchor, example in found if anchor < 30} == {REAL, FAKE}


@pytest.mark.parametrize("pattern", [(Q, R), (Q, Q, Q), (Q, "text", R)])
def test_too_few_turns_or_one_speaker_cannot_serve(task, pattern):
    assert not task.eligible(talks(20, pattern, longest=12)).any()


def test_single_replies_serve_by_a_setting():
    task = Dialogue(DialogueSettings(turns=2))
    assert {tuple(example.roles) for _, example in examples(task, talks(20, (Q, R)), 5)} == {(0, 1)}
    assert task.parts == 2


def plain(count, seed):
    """A dialogue has one of four topics, each with words of its own."""
    words = np.random.default_rng(seed).integers(10, 30, (count, 3, 4))
    return Spoken(
        [(list(zip((Q, R, Q), mine + 20 * (number % 4), strict=True)), None) for number, mine in enumerate(words)]
    )


def test_a_plain_signal_is_learned_far_over_chance(task, soak):
    if not soak:
        pytest.skip("half a minute: which turn is out of place is found late")
    learner = Learner(task, SpecialIds(0, 1, 2, 3, 4, 100), longest=32)
    train, held_out = plain(600, 1), plain(120, 2)
    asked = learner.batches(held_out, np.resize(np.arange(120), 600), 1)
    _, commonest = learner.score(asked)
    learner.train((learner.batches(train, np.arange(600), seed) for seed in range(60)), rate=5e-4, until=0.75)
    assert learner.score(asked)[0] > commonest + 0.1


def test_the_sample_is_learned_by_heart(task, soak):
    passages, special = sample("dialogue.jsonl")
    learner = Learner(task, special, longest=128)
    anchors = np.arange(len(passages))
    batches = learner.batches(passages, np.resize(anchors, 512) if soak else anchors[:32], 1)
    assert learner.train((batches for _ in range(300)), until=0.95) >= 0.95
