"""Pictures loaded ahead of the network, in threads or processes."""

import multiprocessing
import os
import signal
import weakref
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from typing import Final

import cv2
import torch

from head_detection.data.dataset import Arrays, HeadDataset, Sample, to_sample
from head_detection.errors import PictureError

NUM_THREADS: Final = max(1, min(4, (os.cpu_count() or 1) // 2))
"""A 512-px crop takes about 12 ms of one core, so one thread keeps up with a network on a CPU."""
Job = tuple[int, int]
"""Index of a picture, seed of its changes."""


class Prefetcher:
    """Threads, or processes that each hold the data set; they are kept from epoch to epoch.

    Args:
        dataset: what the jobs load from.
        workers: number of processes; 0 takes ``NUM_THREADS`` threads.
    """

    def __init__(self, dataset: HeadDataset, workers: int) -> None:
        executor: Executor
        self._submit: Callable[[Job], Future[Arrays]]
        if workers == 0:
            # OpenCV's own threads would spin against the network's.
            cv2.setNumThreads(1)
            executor = ThreadPoolExecutor(NUM_THREADS, "loader")
            self._submit = lambda job: executor.submit(_load, dataset, job)
        else:
            # A fork of a process with threads may hang; a spawned one starts clean.
            context = multiprocessing.get_context("spawn")
            executor = ProcessPoolExecutor(workers, context, _start_worker, (dataset,))
            self._submit = lambda job: executor.submit(_load_in_worker, job)
        self._num_at_once = workers or NUM_THREADS
        weakref.finalize(self, executor.shutdown, wait=False, cancel_futures=True)

    def samples(self, jobs: Sequence[Job], num_ahead: int) -> Generator[Sample]:
        """Load in the order of the jobs.

        Args:
            jobs: what to load.
            num_ahead: how many are begun or wait at most, but enough to keep all busy.

        Raises:
            PictureError: a file cannot be read.
            RuntimeError: anything else went wrong with a picture; the text names it.
        """
        num_ahead = max(num_ahead, 2 * self._num_at_once)
        waiting: deque[Future[Arrays]] = deque()
        try:
            for job in jobs:
                waiting.append(self._submit(job))
                if len(waiting) > num_ahead:
                    yield to_sample(*waiting.popleft().result())
            while waiting:
                yield to_sample(*waiting.popleft().result())
        except BrokenExecutor as error:
            raise RuntimeError(
                "a loader process ended abruptly, perhaps for want of memory; "
                "data.workers: 0 loads in threads"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


_worker_dataset: HeadDataset | None = None


def _start_worker(dataset: HeadDataset) -> None:
    global _worker_dataset  # noqa: PLW0603 - a pool's processes have no other place for it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to answer
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _worker_dataset = dataset


def _load_in_worker(job: Job) -> Arrays:
    if _worker_dataset is None:
        raise RuntimeError("the loader's process was not started")
    return _load(_worker_dataset, job)


def _load(dataset: HeadDataset, job: Job) -> Arrays:
    index, generator_seed = job
    try:
        return dataset.load_arrays(index, generator_seed)
    except PictureError:
        raise
    except Exception as error:
        path = dataset.images[index].path
        raise RuntimeError(f"{path}: {type(error).__name__}: {error}") from error
