"""The stages of a detection by name, for profilers and stopwatches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final

from torch.profiler import record_function

STAGES: Final = ("transform", "dense", "proposals", "pool", "score", "views", "suppress")
"""From pixels to heads, in order; ``views`` holds the first five of each further view."""

Observer = Callable[[str], AbstractContextManager[object]]
"""Gives what surrounds a stage, by its name: a stopwatch, say."""

_OBSERVER: Final[ContextVar[Observer | None]] = ContextVar("observer", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Name what is within, one of ``STAGES``, for ``torch.profiler`` and who observes.

    Args:
        name: an observer is told of stages within a stage as part of that one.
    """
    observer = _OBSERVER.get()
    if observer is None:
        with record_function(name):
            yield
        return
    token = _OBSERVER.set(None)
    try:
        with record_function(name), observer(name):
            yield
    finally:
        _OBSERVER.reset(token)


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Surround each stage within with what the observer gives, in this thread.

    Example:
        >>> from contextlib import nullcontext
        >>> seen = []
        >>> with observed(lambda name: nullcontext(seen.append(name))), stage("views"):
        ...     with stage("dense"):
        ...         pass
        >>> seen
        ['views']
    """
    token = _OBSERVER.set(observer)
    try:
        yield
    finally:
        _OBSERVER.reset(token)


def is_observed() -> bool:
    """Tell whether someone in this thread observes the stages."""
    return _OBSERVER.get() is not None
