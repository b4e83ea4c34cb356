"""Clocks: of contestants that take turns, and of the stages of one."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

Clock = Callable[[], float]
T = TypeVar("T")


def in_turn(contestants: Mapping[str, T], run: int) -> list[tuple[str, T]]:
    """Return them in order, and in reverse every other run, so that each follows each.

    Example:
        >>> [name for name, _ in in_turn({"a": 1, "b": 2}, 1)]
        ['b', 'a']
    """
    return list(contestants.items())[:: -1 if run % 2 else 1]


def time_in_turn(
    works: Mapping[str, Callable[[], object]],
    num_runs: int,
    *,
    warm_up: bool = True,
    clock: Clock = time.perf_counter,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Return the seconds of each work in each run.

    All take their turn in every run, so that a machine that drifts treats them alike: compare
    samples of the same run. What a work starts on a GPU it must wait for.

    Args:
        works: by name.
        num_runs: that are counted.
        warm_up: a run that is not counted comes before them.
        clock: of seconds.
        advance: called after each work, for a progress bar.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for run in range(0 if warm_up else 1, num_runs + 1):
        for name, work in in_turn(works, run):
            start = clock()
            work()
            elapsed = clock() - start
            if run:
                seconds[name].append(elapsed)
            advance()
    return seconds


class StageStopwatch:
    """Seconds by the name of a stage; ``models.stages.observed`` takes it.

    Args:
        synchronise: waits for what the device was given.
        clock: of seconds.

    Attributes:
        seconds: of each stage since the last ``reset``, in the order they came.
    """

    def __init__(self, synchronise: Callable[[], object], clock: Clock = time.perf_counter) -> None:
        self._synchronise, self._clock = synchronise, clock
        self.seconds: dict[str, float] = {}

    def reset(self) -> None:
        """Forget what was measured."""
        self.seconds = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add what is within to the stage of this name."""
        self._synchronise()
        start = self._clock()
        yield
        self._synchronise()
        self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - start
