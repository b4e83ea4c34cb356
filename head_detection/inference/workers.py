"""Threads that detect batches side by side, each with its share of the cores."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

import torch

MAX_WORKERS: Final = 4
"""Each holds the maps of a batch, and Python runs in one of them at a time."""

P = ParamSpec("P")
R = TypeVar("R")


def suitable_workers() -> int:
    """Return how many batches at once suit the CPU, by the threads that torch has here.

    Some parts of a detection are work for one thread; while they last, the other cores have another
    batch, and no thread waits at the end of each operation for one that a decoder held up.
    """
    return min(MAX_WORKERS, torch.get_num_threads())


class Workers:
    """A few threads that share what torch computes with in the thread that makes them.

    Args:
        count: of the threads; torch's are divided by it.
    """

    def __init__(self, count: int) -> None:
        threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="detector")
        all_there = threading.Barrier(count)

        def begin() -> None:
            # Asked for the first time, a thread takes the number that was set last anywhere.
            torch.get_num_threads()
            # Of this thread alone, and of those that begin later: that is put right below.
            torch.set_num_threads(max(1, threads // count))
            all_there.wait()

        for begun in [self._pool.submit(begin) for _ in range(count)]:
            begun.result()
        torch.set_num_threads(threads)

    def submit(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Let the next free thread do it."""
        return self._pool.submit(work, *args, **kwargs)

    def close(self, *, waits: bool = False) -> None:
        """Begin nothing more; what has begun comes to its end, meanwhile or before this returns."""
        self._pool.shutdown(wait=waits, cancel_futures=not waits)
