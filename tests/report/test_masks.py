import pytest

from ernie_pipe.report.masks import MaskedExample, examples, join, render


@pytest.fixture
def example():
    original = ["[CLS]", "他", "在", "哈", "尔", "滨", "读", "book", "##s", "ok", "[SEP]"]
    seen = ["[CLS]", "他", "山", "[MASK]", "[MASK]", "[MASK]", "读", "book", "##s", "ok", "[SEP]"]
    unit = [-1, -1, 1, 2, 2, 2, -1, 4, 4, -1, -1]
    return MaskedExample("knowledge_masking", "entity", seen, original, unit)


def test_each_unit_stands_in_its_own_brackets(example):
    assert render(example, colour=False) == "他[在→山][哈尔滨]读[books=]ok"
    assert example.longest_unit == 3


def test_a_unit_of_mixed_tokens_shows_what_stood_there():
    mixed = MaskedExample("t", "entity", ["[MASK]", "京", "好"], ["北", "京", "好"], [5, 5, -1])
    assert render(mixed, colour=False) == "[北京→[MASK]京]好"


def test_colour_tells_the_level(example):
    text = render(example, colour=True)
    assert "\033[1;35m[在" in text
    assert text.count("\033[0m") == 3


def test_tokens_join_to_readable_text():
    assert join(["[CLS]", "py", "##torch", "is", "好", "[SEP]", "a", "[PAD]"]) == "pytorch is好 ‖ a"


def test_examples_of_a_batch_show_the_original_under_the_masks(builder):
    tokens = {number: str(number) for number in range(builder.special.size)}
    built = builder.step(5, [0])[0]
    shown = list(examples(built, builder, tokens))
    slots = builder.plan.step(5)[0]
    assert [example.task for example in shown] == [list(builder.tasks)[task] for task in slots.task]
    assert sum(number >= 0 for example in shown for number in example.unit) == len(
        built.targets["knowledge_masking"].positions
    )
    first = next(example for example, task in zip(shown, slots.task, strict=True) if task == 0)
    passage = builder.passages.get(int(slots.passage[slots.task == 0][0]))[0]
    assert first.original[1:-1] == [str(token) for token in passage]
    assert {example.level for example in shown} <= {"basic", "word", "phrase", "entity"}
