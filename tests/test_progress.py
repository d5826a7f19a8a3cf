import pytest

from ernie_pipe.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (725, "12:05 min"),
        (3599.9, "1:00:00 h"),
        (108_000, "30:00:00 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def lines(capsys, monkeypatch, at, steps, **given):
    """What a run without a terminal prints when step i ends at second at[i]."""
    clock = iter([0.0, *at])
    monkeypatch.setattr("ernie_pipe.progress.is_terminal", lambda: False)
    monkeypatch.setattr("ernie_pipe.progress.time.monotonic", lambda: next(clock))
    progress = Progress("pretrain", 100, **given)
    for step in steps:
        progress.advance(step, "masking 2.5")
    progress.close()
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_a_line_comes_at_an_interval_and_at_the_end(capsys, monkeypatch):
    found = lines(capsys, monkeypatch, [10, 20, 30, 200], [5, 10, 15, 100])
    assert found == [
        "pretrain: 10/100 steps, 0.50/s, 3:00 min left  masking 2.5",
        "pretrain: 100/100 steps, 0.50/s, 0 s left  masking 2.5",
    ]


def test_no_time_is_promised_before_something_is_done(capsys, monkeypatch):
    assert lines(capsys, monkeypatch, [20], [40], initial=40) == ["pretrain: 40/100 steps  masking 2.5"]


def test_a_terminal_without_a_width_gets_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr("ernie_pipe.progress.is_terminal", lambda: True)
    monkeypatch.setattr("ernie_pipe.progress._has_width", lambda: False)
    progress = Progress("pretrain", 1)
    progress.advance(1)
    assert capsys.readouterr().err.startswith("pretrain: 1/1 steps")
