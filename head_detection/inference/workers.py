"""Worker threads that detect in several batches at once, each with its share of the cores."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

import torch

MAX_WORKERS: Final = 4
"""Each holds the feature maps of a batch in memory, and only one at a time runs Python code."""

P = ParamSpec("P")
R = TypeVar("R")


def suitable_workers() -> int:
    """Return how many batches to run at once on the CPU, given torch's number of threads.

    Some parts of a detection use only one thread; meanwhile, the other cores work on another batch.
    Also, fewer threads wait at the end of each operation for one that decoding delays.
    """
    return min(MAX_WORKERS, torch.get_num_threads())


class Workers:
    """A pool of threads that divide torch's threads among them.

    Args:
        count: number of threads; each gets this part of torch's threads in the calling thread.
        device: where they detect. For a GPU, each gets one thread of torch: several that copy a
            picture to it wait for one another while all cores decode, and 0.05 ms become over 1 ms.
    """

    def __init__(self, count: int, device: str = "cpu") -> None:
        threads = torch.get_num_threads()
        share = max(1, threads // count) if device == "cpu" else 1
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="detector")
        all_there = threading.Barrier(count)

        def begin() -> None:
            # The first call in a thread sets it to the number that was last set in any thread.
            torch.get_num_threads()
            # This also applies to threads that start later, which is undone below.
            torch.set_num_threads(share)
            all_there.wait()

        for begun in [self._pool.submit(begin) for _ in range(count)]:
            begun.result()
        torch.set_num_threads(threads)

    def submit(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run the work in the next free thread."""
        return self._pool.submit(work, *args, **kwargs)

    def close(self, *, waits: bool = False) -> None:
        """Start no more work; running work finishes, before this returns if ``waits``."""
        self._pool.shutdown(wait=waits, cancel_futures=not waits)
