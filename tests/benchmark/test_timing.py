from collections.abc import Callable

import pytest

from head_detection.benchmark.timing import Measurement, paired_ratio, time_in_turn


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
