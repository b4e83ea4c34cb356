"""Measurements that keep their samples, and clocks: of works that take turns, and of stages."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch

from head_detection.models.stages import Observer, observed

DENSE: Final = "dense"
STAGE_OF_MARK: Final = {
    "transform": "resize",
    "dense": DENSE,
    "proposals": "proposals",
    "pool": "roi",
    "score": "roi",
    "views": "views",
    "suppress": "nms",
}
"""What the model's forward pass names, and the stage of the report that it belongs to."""
MODEL_STAGES: Final = tuple(dict.fromkeys(STAGE_OF_MARK.values()))
"""From pixels to heads, in the order of the tables."""
Clock = Callable[[], float]
"""Gives seconds."""
T = TypeVar("T")


@dataclass(frozen=True)
class Measurement:
    """Samples of one quantity, in the order they were taken.

    Attributes:
        unit: what a sample counts.
        samples: at least one.

    Example:
        >>> measured = Measurement("ms", (4.0, 2.0, 9.0))
        >>> measured.median, measured.minimum, measured.maximum
        (4.0, 2.0, 9.0)
    """

    unit: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one, or the mean of the two."""
        return statistics.median(self.samples)

    @property
    def minimum(self) -> float:
        """The smallest."""
        return min(self.samples)

    @property
    def maximum(self) -> float:
        """The largest."""
        return max(self.samples)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "unit": self.unit,
            "median": self.median,
            "min": self.minimum,
            "max": self.maximum,
            "samples": list(self.samples),
        }


def paired_ratio(unit: str, over: Sequence[float], under: Sequence[float]) -> Measurement:
    """Return the ratios of samples that were taken in the same runs, run by run.

    Example:
        >>> paired_ratio("times", [30.0, 44.0], [10.0, 11.0]).samples
        (3.0, 4.0)
    """
    return Measurement(unit, tuple(a / b for a, b in zip(over, under, strict=True)))


def in_turn(works: Mapping[str, T], run: int) -> list[tuple[str, T]]:
    """Return them in order, and in reverse every other run, so that each follows each.

    Example:
        >>> [name for name, _ in in_turn({"a": 1, "b": 2}, 1)]
        ['b', 'a']
    """
    return list(works.items())[:: -1 if run % 2 else 1]


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


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def observe_stages(surround: Observer) -> AbstractContextManager[None]:
    """While this lasts, surround each stage of a model, by its name in the report."""
    return observed(lambda name: surround(STAGE_OF_MARK[name]))


class StageStopwatch:
    """Seconds by the name of a stage.

    torch's own profiler knows the stages too, but it records every operator with them, thousands a
    picture, which costs most where kernels are short; and on a GPU it has them end when the kernels
    are launched, where this waits for the device.

    Args:
        synchronise: waits for what the device was given, at both borders of a stage.
        clock: of seconds.

    Attributes:
        seconds: of each stage, in the order they came.
    """

    def __init__(self, synchronise: Callable[[], object], clock: Clock = time.perf_counter) -> None:
        self._synchronise, self._clock = synchronise, clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add what is within to the stage of this name, also where it ends in an error."""
        self._synchronise()
        start = self._clock()
        try:
            yield
        finally:
            self._synchronise()
            self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - start
