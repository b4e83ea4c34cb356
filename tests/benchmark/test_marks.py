import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from head_detection.benchmark.marks import (
    MODEL_STAGES,
    STAGE_OF_MARK,
    StageStopwatch,
    observe_marks,
)


class FakeClock:
    """Shows the seconds that have passed by decree."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Marked(nn.Module):
    """A forward pass with marks, from either module of torch, one within another, and a foreign."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self, images: Tensor) -> Tensor:
        with torch.profiler.record_function("transform"):
            self.clock.sleep(1)
        self.dense()
        self.clock.sleep(0.25)  # belongs to no stage
        with torch.autograd.profiler.record_function("views"):
            self.dense()
            self.clock.sleep(3)
        with torch.profiler.record_function("Optimizer.step"):
            self.clock.sleep(5)
        for name in ("pool", "score"):
            with torch.profiler.record_function(name):
                self.clock.sleep(0.5)
        return images * 2

    def dense(self) -> None:
        with torch.profiler.record_function("dense"):
            self.clock.sleep(2)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_marks_are_timed_by_stage_the_outer_one_alone(clock: FakeClock) -> None:
    model, watch = Marked(clock), StageStopwatch(lambda: None, clock)
    with observe_marks(watch), torch.inference_mode():
        assert model(torch.ones(2)).tolist() == [2.0, 2.0]
    # The second dense part, 2 s, is one of the views'; pool and score are the second stage.
    assert watch.seconds == {"resize": 1.0, "dense": 2.0, "views": 5.0, "roi": 1.0}


def test_marks_are_left_as_they_were(clock: FakeClock) -> None:
    kind = torch.profiler.record_function
    before = (kind.__enter__, kind.__exit__)
    watch = StageStopwatch(lambda: None, clock)

    def fail() -> None:
        with observe_marks(watch), kind("dense"):
            clock.sleep(2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (kind.__enter__, kind.__exit__) == before
    assert watch.seconds == {"dense": 2.0}  # what fails took time too
    with kind("dense"):
        clock.sleep(1)
    assert watch.seconds == {"dense": 2.0}


def test_after_a_failed_batch_the_next_is_timed(clock: FakeClock) -> None:
    watch = StageStopwatch(lambda: None, clock)

    def run(seconds: float, error: Exception | None) -> None:
        with torch.profiler.record_function("views"), torch.profiler.record_function("dense"):
            clock.sleep(seconds)
            if error is not None:
                raise error

    with observe_marks(watch):
        with pytest.raises(torch.OutOfMemoryError):
            run(4, torch.OutOfMemoryError())
        run(1, None)
    assert watch.seconds == {"views": 5.0}


def test_torchs_profiler_still_sees_the_marks(clock: FakeClock) -> None:
    watch = StageStopwatch(lambda: None, clock)
    with (
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
        observe_marks(watch),
    ):
        Marked(clock)(torch.ones(1))
    seen = {event.key: event.count for event in profile.key_averages()}
    assert seen["dense"] == 2
    assert set(watch.seconds) == {"resize", "dense", "views", "roi"}


def test_marks_of_other_threads_are_left_alone(clock: FakeClock) -> None:
    entered: list[str] = []

    @contextmanager
    def note(stage: str) -> Iterator[None]:
        entered.append(stage)
        yield

    with observe_marks(note):
        thread = threading.Thread(target=Marked(clock), args=(torch.ones(1),))
        thread.start()
        thread.join()
        assert entered == []
        Marked(clock)(torch.ones(1))
    assert entered == ["resize", "dense", "views", "roi", "roi"]


def test_a_stage_lasts_until_the_device_is_done(clock: FakeClock) -> None:
    pending = [0.0]

    def synchronise() -> None:
        clock.sleep(pending.pop() if pending else 0.0)

    watch = StageStopwatch(synchronise, clock)
    with watch("dense"):  # what was pending before belongs to no stage
        clock.sleep(1)
        pending.append(4.0)
    with watch("nms"):
        clock.sleep(0.5)
    with watch("dense"):
        clock.sleep(2)
    assert watch.seconds == {"dense": 7.0, "nms": 0.5}


def test_a_mark_waits_for_the_device(clock: FakeClock) -> None:
    pending = [8.0]  # launched before the first mark

    def synchronise() -> None:
        clock.sleep(sum(pending))
        pending.clear()

    watch = StageStopwatch(synchronise, clock)
    with observe_marks(watch):
        with torch.profiler.record_function("dense"):
            pending.append(3.0)  # a kernel of 3 s: launching it takes no time
        with torch.profiler.record_function("suppress"):
            clock.sleep(1)
    assert watch.seconds == {"dense": 3.0, "nms": 1.0}


def test_every_mark_has_a_stage_of_the_tables() -> None:
    assert set(STAGE_OF_MARK.values()) == set(MODEL_STAGES)
    assert MODEL_STAGES == ("resize", "dense", "proposals", "roi", "views", "nms")
