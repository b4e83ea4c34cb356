from collections.abc import Callable

from head_detection.benchmark.stopwatch import StageStopwatch, time_in_turn


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
    clock = FakeClock()
    pending = [0.0]

    def synchronise() -> None:
        clock.now += pending.pop() if pending else 0.0

    watch = StageStopwatch(synchronise, clock)
    with watch("dense"):  # what was pending before belongs to no stage
        clock.now += 1.0
        pending.append(4.0)
    with watch("suppress"):
        clock.now += 0.5
    with watch("dense"):
        clock.now += 2.0
    assert watch.seconds == {"dense": 7.0, "suppress": 0.5}
    watch.reset()
    assert watch.seconds == {}
