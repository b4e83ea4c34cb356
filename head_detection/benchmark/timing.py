"""Measurements that keep their samples, and timers for tasks in turn and for stages."""

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
"""The report's stage for each part that the model's forward pass marks."""
MODEL_STAGES: Final = tuple(dict.fromkeys(STAGE_OF_MARK.values()))
"""From pixels to heads, in the order of the tables."""
Clock = Callable[[], float]
"""Returns seconds."""
T = TypeVar("T")


@dataclass(frozen=True)
class Measurement:
    """Samples of one quantity, in the order they were taken.

    Attributes:
        unit: of a sample.
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
        """The median; with an even number of samples, the mean of the middle two."""
        return statistics.median(self.samples)

    @property
    def minimum(self) -> float:
        """The smallest sample."""
        return min(self.samples)

    @property
    def maximum(self) -> float:
        """The largest sample."""
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
    """Return the ratios of samples taken in the same runs, run by run.

    Example:
        >>> paired_ratio("times", [30.0, 44.0], [10.0, 11.0]).samples
        (3.0, 4.0)
    """
    return Measurement(unit, tuple(a / b for a, b in zip(over, under, strict=True)))


def in_turn(works: Mapping[str, T], run: int) -> list[tuple[str, T]]:
    """Return the works in order, reversed in every other run, so that neighbours swap.

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

    All works take turns in every run, so that a machine whose speed drifts treats them alike:
    compare samples of the same run. A work that uses a GPU must synchronise before it returns.

    Args:
        works: by name.
        num_runs: measured runs.
        warm_up: whether a run that is not measured comes first.
        clock: returns seconds.
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
    """Wait until a device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def observe_stages(surround: Observer) -> AbstractContextManager[None]:
    """Return a context in which ``surround`` wraps each stage of a model, by its report name."""
    return observed(lambda name: surround(STAGE_OF_MARK[name]))


class StageStopwatch:
    """Measures seconds by the name of a stage.

    torch's own profiler knows the stages too, but it also records every operator, thousands per
    picture, which costs most if kernels are short. On a GPU, it ends stages when their kernels are
    launched, while this waits for the device.

    Args:
        synchronise: waits for the device, at the beginning and end of a stage.
        clock: returns seconds.

    Attributes:
        seconds: of each stage, in the order of their first occurrence.
    """

    def __init__(self, synchronise: Callable[[], object], clock: Clock = time.perf_counter) -> None:
        self._synchronise, self._clock = synchronise, clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time of the block to the stage of this name, even if it raises."""
        self._synchronise()
        start = self._clock()
        try:
            yield
        finally:
            self._synchronise()
            self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - start
