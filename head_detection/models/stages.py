"""The stages of a detection by name, for profilers and stopwatches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final

from torch.profiler import record_function

STAGES: Final = ("transform", "dense", "proposals", "pool", "score", "views", "suppress")
"""From pixels to heads, in order; ``views`` contains the first five stages of each further view."""

Observer = Callable[[str], AbstractContextManager[object]]
"""Returns the context manager to run a stage in, by its name, for example a stopwatch."""

_OBSERVER: Final[ContextVar[Observer | None]] = ContextVar("observer", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Name the enclosed code as a stage for ``torch.profiler`` and the observer.

    Args:
        name: one of ``STAGES``. The observer sees only the outermost of nested stages.
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
    """Run each enclosed stage of this thread in the observer's context manager.

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
