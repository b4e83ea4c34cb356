"""Leaves out parts of Ray that a cluster for one job on one machine does not need.

Ray has no settings for these, so we replace internals of this version. If another version moves
them, it just starts everything. A cluster that we join is left as it is.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from typing import Any


@contextmanager
def without_watchers() -> Iterator[None]:
    """Do not start Ray's log monitor, which nobody reads, nor its autoscaler: the size is fixed.

    On two cores each takes 0.8 s of CPU time to start, and a hundredth of a core from then on.
    ``ray start`` has an option for each; ``ray.init`` has none.
    """

    def fewer(whole: Any) -> Callable[..., Any]:
        def parameters(*args: Any, **options: Any) -> Any:
            made = whole(*args, **options)
            made.include_log_monitor = False
            made.no_monitor = True
            return made

        return parameters

    with _replaced("ray._private.parameter", "RayParams", fewer):
        yield


@contextmanager
def without_actors() -> Iterator[None]:
    """Do not let Ray Data start an actor for statistics, which nobody reads, nor for resources.

    The second shares machines among several jobs, but here one job has them all. Each takes 0.9 s
    of CPU time to load Ray Data, some of it while the first pictures are processed.
    """
    autoscaler = "ray.data._internal.cluster_autoscaler.rate_based_cluster_autoscaler"
    with ExitStack() as stack:
        stack.enter_context(
            _replaced("ray.data._internal.stats", "get_or_create_stats_actor", lambda _: _Nobody)
        )
        stack.enter_context(_replaced(autoscaler, "DefaultAutoscalingCoordinator", _having_all))
        yield


class _Nobody:
    """Stands in for the actor that collects statistics."""

    def __getattr__(self, name: str) -> "_Nobody":
        return self

    def remote(self, *_words: object, **_named: object) -> None:
        """Do nothing."""


def _having_all(coordinator: Any) -> Any:
    """Return a resource coordinator without an actor, which gives all resources to this job.

    It inherits other methods from Ray's own, in case another version calls them.
    """

    @cache
    def reserved() -> dict[str, dict[str, float]]:
        nodes = import_module("ray").nodes()
        return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}

    def nothing(*_words: object, **_named: object) -> None:
        """Do nothing."""

    own = {
        "request_resources": nothing,
        "cancel_request": nothing,
        "get_reserved_resources": lambda _: reserved(),
    }
    return type("Coordinator", (coordinator,), own)


@contextmanager
def _replaced(module: str, name: str, replacement: Callable[[Any], Any]) -> Iterator[None]:
    """Replace a name in one of Ray's modules during the block, if this version has it."""
    try:
        names = vars(import_module(module))
        whole = names[name]
    except (ImportError, KeyError):
        yield
        return
    names[name] = replacement(whole)
    try:
        yield
    finally:
        names[name] = whole
