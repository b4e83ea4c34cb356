"""Items made ahead in a thread: order, bounds, errors, and the end of the thread."""

import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from head_detection.pipeline.prefetch import FEWEST, run_ahead


def wait_until(condition: object) -> None:
    for _ in range(500):
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def threads_ahead() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(run_ahead(iter(range(100)), lambda _: 1)) == list(range(100))
    assert list(run_ahead(iter([]), len)) == []
    assert threads_ahead() == []


@pytest.mark.parametrize(("size", "held"), [(1, 10), (3, 4), (1000, FEWEST)])
def test_what_waits_is_bounded(size: int, held: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in count():
            made.append(number)
            yield number

    ahead = run_ahead(items(), lambda _: size, max_bytes=10)
    assert next(ahead) == 0
    # One is taken, ``held`` wait, and one more is made that has no room yet.
    wait_until(lambda: len(made) == held + 2)
    time.sleep(0.05)
    assert len(made) == held + 2
    ahead.close()
    assert threads_ahead() == []


def test_an_error_comes_behind_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("it broke")

    ahead = run_ahead(items(), lambda _: 1)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="it broke"):
        next(ahead)


def test_items_are_closed_in_their_thread_when_nobody_wants_more() -> None:
    closed: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield from count()
        finally:
            closed.append(threading.current_thread().name)

    ahead = run_ahead(items(), lambda _: 1, max_bytes=3)
    assert next(ahead) == 0
    ahead.close()
    assert closed == ["read-ahead"]
