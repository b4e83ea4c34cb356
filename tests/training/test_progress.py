import pytest

from head_detection.training import progress
from head_detection.training.progress import Pace, TrainingProgress


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_log_file_gets_a_line_now_and_then(clock, capsys):
    show = TrainingProgress(100, 0, is_shown=True)
    for step in range(1, 7):
        clock.now = 10.0 * step
        show.update(step, "epoch 1/4", {"loss": float(step)}, {"lr": "1e-3"})
    lines = capsys.readouterr().err.splitlines()
    # After 30 s the mean of losses 1 to 3; 97 steps at 10 s are left.
    assert lines == [
        "epoch 1/4, step 3/100, loss 2.000, lr 1e-3, 16:10 left",
        "epoch 1/4, step 6/100, loss 3.500, lr 1e-3, 15:40 left",
    ]


def test_the_last_step_is_always_told_and_a_resumed_run_knows_its_own_pace(clock, capsys):
    show = TrainingProgress(12, 10, is_shown=True)
    clock.now = 31.0
    show.update(11, "epoch 1/1", {"loss": 1.0}, {})
    clock.now = 32.0
    show.update(12, "epoch 1/1", {"loss": 1.0}, {})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("step 11/12, loss 1.000, 00:31 left")
    assert lines[1].endswith("step 12/12, loss 1.000, 00:00 left")


def test_other_ranks_are_quiet(clock, capsys):
    show = TrainingProgress(1, 0, is_shown=False)
    show.update(1, "epoch 1/1", {"loss": 1.0}, {})
    show.validated("epoch 1", 1, 1)
    show.say("hello")
    show.close()
    assert capsys.readouterr() == ("", "")


def test_validation_is_told_now_and_then(clock, capsys):
    show = TrainingProgress(1, 0, is_shown=True)
    for second in (10, 31, 40):
        clock.now = float(second)
        show.validated("epoch 2", second, 50)
    assert capsys.readouterr().err == "epoch 2: validated 31 of 50 pictures\n"


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    show = TrainingProgress(4, 0, is_shown=True)
    show.update(4, "epoch 1/1", {"loss": 0.5, "loss_objectness": 0.25}, {"lr": "1e-3"})
    show.close()
    text = capsys.readouterr().err
    assert "epoch 1/1: 100%" in text
    assert "loss 0.500, objectness 0.250, lr 1e-3" in text


def test_pace_by_hand(clock):
    pace = Pace()
    assert (pace.images_per_second, pace.waiting_share) == (0.0, 0.0)
    for loaded, trained in ((1.0, 4.0), (4.0, 8.0)):
        pace.begin()
        clock.now = loaded
        pace.loaded()
        clock.now = trained
        pace.end(4)
    assert pace.images_per_second == 1.0  # 8 pictures in 8 s
    assert pace.waiting_share == 1 / 8
    assert pace.facts() == {"pictures/s": "1.0", "waiting": "12%"}
