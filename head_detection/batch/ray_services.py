"""What of Ray a cluster for one job on one machine does without.

Ray has settings for none of it, so its parts are replaced where this version has them; where
another has them elsewhere one day, it starts what it starts. A cluster that is joined is as whoever
started it wants it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from typing import Any


@contextmanager
def without_watchers() -> Iterator[None]:
    """Start no watcher of the cluster's logs, which nobody is told, nor of its size, which stays.

    On two cores they take .8 s each of the processor as they start, and a hundredth of a core from
    then on. ``ray start`` has an option for each, ``ray.init`` has none.
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
    """Let Ray Data start no actor for its statistics, which nobody reads, nor for its resources.

    The second shares machines among several jobs; here one job has all there is. Each takes .9 s of
    the processor to load Ray Data, part of it while the first pictures are looked at.
    """
    autoscaler = "ray.data._internal.cluster_autoscaler.rate_based_cluster_autoscaler"
    with ExitStack() as stack:
        stack.enter_context(
            _replaced("ray.data._internal.stats", "get_or_create_stats_actor", lambda _: _Nobody)
        )
        stack.enter_context(_replaced(autoscaler, "DefaultAutoscalingCoordinator", _having_all))
        yield


class _Nobody:
    """In place of an actor that is told what is done."""

    def __getattr__(self, name: str) -> "_Nobody":
        return self

    def remote(self, *_words: object, **_named: object) -> None:
        """Tell nobody."""


def _having_all(coordinator: Any) -> Any:
    """Return a coordinator of resources that asks no actor: all that machines have is this job's.

    What it is asked beyond that, as another version may, it answers as Ray's own.
    """

    @cache
    def reserved() -> dict[str, dict[str, float]]:
        nodes = import_module("ray").nodes()
        return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}

    def nothing(*_words: object, **_named: object) -> None:
        """Ask nobody."""

    own = {
        "request_resources": nothing,
        "cancel_request": nothing,
        "get_reserved_resources": lambda _: reserved(),
    }
    return type("Coordinator", (coordinator,), own)


@contextmanager
def _replaced(module: str, name: str, replacement: Callable[[Any], Any]) -> Iterator[None]:
    """Put what is made of it in the place of a part of Ray."""
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
