"""The stages that a model marks with ``torch.profiler.record_function``, and how they are timed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Final

from torch.profiler import record_function

from head_detection.benchmark.timing import Clock

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
"""The name of a mark in the model's forward pass, and the stage of the report it belongs to."""
MODEL_STAGES: Final = tuple(dict.fromkeys(STAGE_OF_MARK.values()))
"""From pixels to heads, in the order of the tables."""

Surround = Callable[[str], AbstractContextManager[object]]
"""Gives what surrounds a stage, by its name: a stopwatch, say."""


@contextmanager
def observe_marks(surround: Surround) -> Iterator[None]:
    """While this lasts, enter ``surround(stage)`` around each mark of a model in this thread.

    Marks of other names (torch's optimizers and loaders set some) are left alone. A mark within
    another belongs to the outer one, so that no second counts twice.

    Entering and leaving a ``record_function`` is replaced for that while: it is one class however
    a module imports it, so no mark is missed and no module is named here. torch's own profiler
    would find the marks too, but it records every operator with them, thousands a picture, which
    costs most where kernels are short; and on a GPU its marks end when the kernels are launched,
    where ``surround`` can wait for the device. A mark costs two Python calls more, microseconds.

    Args:
        surround: is given one of ``MODEL_STAGES``.
    """
    enter: Callable[[record_function], object] = record_function.__enter__
    leave = record_function.__exit__
    thread = threading.get_ident()
    outer: list[tuple[record_function, AbstractContextManager[object]]] = []

    def enter_observed(mark: record_function) -> record_function:
        enter(mark)
        stage = STAGE_OF_MARK.get(mark.name)
        if stage is not None and not outer and threading.get_ident() == thread:
            context = surround(stage)
            context.__enter__()
            outer.append((mark, context))
        return mark

    def leave_observed(
        mark: record_function,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if outer and outer[0][0] is mark:
            _, context = outer.pop()
            context.__exit__(kind, error, traceback)
        leave(mark, kind, error, traceback)

    try:
        record_function.__enter__ = enter_observed  # type: ignore[method-assign]
        record_function.__exit__ = leave_observed  # type: ignore[method-assign]
        yield
    finally:
        record_function.__enter__ = enter  # type: ignore[method-assign]
        record_function.__exit__ = leave  # type: ignore[method-assign]


class StageStopwatch:
    """Seconds by the name of a stage.

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


_MARK_OF_OLD_STAGE: Final = {
    "resize": "transform",
    "roi": "score",
    "more looks": "views",
    "nms": "suppress",
    "coarse look": "views",
}


def mark(name: str) -> record_function:
    """Mark a stage in place of the model, which does not mark its own yet.

    Once it does, this goes, and with it the dict above and the two uses as ``stage``.
    """
    return record_function(_MARK_OF_OLD_STAGE.get(name, name))
