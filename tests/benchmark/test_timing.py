from collections.abc import Callable

import pytest
import torch

from head_detection.benchmark.timing import (
    MODEL_STAGES,
    STAGE_OF_MARK,
    Measurement,
    StageStopwatch,
    observe_stages,
    paired_ratio,
    time_in_turn,
)
from head_detection.models.stages import STAGES, stage


class FakeClock:
    """Shows the seconds that works say they took."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passing(self, seconds: float) -> Callable[[], None]:
        def work() -> None:
            self.now += seconds

        return work


def test_a_measurement_keeps_its_samples() -> None:
    assert Measurement("ms", (4.0, 1.0, 7.0, 2.0)).as_dict() == {
        "unit": "ms",
        "median": 3.0,
        "min": 1.0,
        "max": 7.0,
        "samples": [4.0, 1.0, 7.0, 2.0],
    }


def test_ratios_are_taken_run_by_run() -> None:
    # The machine took twice as long in the second run: the ratio does not see it.
    ratio = paired_ratio("times as fast", [30.0, 60.0], [10.0, 20.0])
    assert (ratio.minimum, ratio.maximum) == (3.0, 3.0)
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio("times as fast", [30.0, 60.0], [10.0])


def test_works_take_turns_and_the_first_run_does_not_count() -> None:
    clock, order = FakeClock(), []

    def work(name: str, seconds: list[float]) -> Callable[[], None]:
        def run() -> None:
            order.append(name)
            clock.now += seconds.pop(0)

        return run

    works = {"a": work("a", [99.0, 1.0, 3.0]), "b": work("b", [99.0, 2.0, 6.0])}
    assert time_in_turn(works, 2, clock=clock) == {"a": [1.0, 3.0], "b": [2.0, 6.0]}
    assert "".join(order) == "abbaab"


def test_without_a_warm_up_every_run_counts() -> None:
    clock, advanced = FakeClock(), []
    found = time_in_turn(
        {"a": clock.passing(2.0)},
        3,
        warm_up=False,
        clock=clock,
        advance=lambda: advanced.append(clock()),
    )
    assert found == {"a": [2.0, 2.0, 2.0]}
    assert advanced == [2.0, 4.0, 6.0]


def test_a_stage_lasts_until_the_device_is_done() -> None:
    clock, pending = FakeClock(), [0.0]

    def synchronise() -> None:
        clock.now += pending.pop() if pending else 0.0

    watch = StageStopwatch(synchronise, clock)
    with watch("dense"):  # what was pending before belongs to no stage
        clock.now += 1.0
        pending.append(4.0)
    with watch("nms"):
        clock.now += 0.5
    with watch("dense"):
        clock.now += 2.0
    assert watch.seconds == {"dense": 7.0, "nms": 0.5}


def test_stages_are_timed_by_their_name_in_the_report_the_outer_one_alone() -> None:
    clock = FakeClock()
    watch = StageStopwatch(lambda: None, clock)

    def last(name: str, seconds: float) -> None:
        with stage(name):
            clock.now += seconds

    with observe_stages(watch):
        last("transform", 1.0)
        last("dense", 2.0)
        clock.now += 0.25  # belongs to no stage
        with stage("views"):
            last("dense", 2.0)
            clock.now += 3.0
        last("pool", 0.5)
        last("score", 0.5)
    last("dense", 9.0)  # nobody observes it
    assert watch.seconds == {"resize": 1.0, "dense": 2.0, "views": 5.0, "roi": 1.0}


def test_a_batch_that_fails_took_time_and_the_next_is_timed() -> None:
    clock = FakeClock()
    watch = StageStopwatch(lambda: None, clock)

    def run(seconds: float, error: Exception | None) -> None:
        with stage("views"), stage("dense"):
            clock.now += seconds
            if error is not None:
                raise error

    with observe_stages(watch):
        with pytest.raises(torch.OutOfMemoryError):
            run(4.0, torch.OutOfMemoryError())
        run(1.0, None)
    assert watch.seconds == {"views": 5.0}


def test_torchs_profiler_sees_observed_stages_too() -> None:
    watch = StageStopwatch(lambda: None, FakeClock())
    with (
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
        observe_stages(watch),
        stage("views"),
        stage("dense"),
    ):
        torch.ones(1)
    seen = {event.key: event.count for event in profile.key_averages()}
    assert (seen["views"], seen["dense"]) == (1, 1)
    assert set(watch.seconds) == {"views"}


def test_torchs_profiler_sees_stages_that_nobody_observes() -> None:
    with (
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
        stage("dense"),
    ):
        torch.ones(1)
    assert {event.key: event.count for event in profile.key_averages()}["dense"] == 1


def test_every_stage_of_the_model_is_in_the_tables() -> None:
    assert set(STAGE_OF_MARK) == set(STAGES)
    assert MODEL_STAGES == ("resize", "dense", "proposals", "roi", "views", "nms")
