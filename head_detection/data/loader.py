"""Training batches, loaded ahead, that depend only on the seed, the epoch and the step."""

import multiprocessing
import os
import signal
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import closing
from multiprocessing.context import BaseContext
from typing import Final

import cv2
import numpy as np
import torch

from head_detection.data.dataset import Arrays, HeadDataset, Sample, to_sample
from head_detection.data.sampling import EpochOrder, IntArray
from head_detection.errors import PictureError, TrainingError

BATCHES_AHEAD: Final = 2
"""Batches that are prepared while one is used."""
NUM_THREADS: Final = max(1, min(4, (os.cpu_count() or 1) // 2))
"""A 512-px crop takes about 12 ms of one core, so one thread keeps up with a network on a CPU."""
Job = tuple[int, int]
"""Index of a picture, seed of its augmentation."""


class TrainingBatches:
    """The batches of one rank.

    ``EpochOrder`` decides how often each picture is drawn; the last batch of an epoch is filled up
    from the epoch's beginning. The global batch is the same for any number of ranks. A rank takes
    every ``world_size``-th picture of it, starting at its own number, so shares differ by at most
    one picture.

    Args:
        dataset: pictures of one or several sets.
        weights: draws of each picture per epoch; one per set.
        batch_size: pictures per step over all ranks.
        seed: seed of the order and of every augmentation.
        rank: rank of this process.
        world_size: number of processes.
        workers: loader processes; 0 prepares batches in threads.

    Raises:
        ValueError: no pictures, too many or too few weights, or fewer pictures per step than ranks.
    """

    def __init__(
        self,
        dataset: HeadDataset,
        weights: Sequence[float],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
    ) -> None:
        if not 0 <= rank < world_size <= batch_size:
            raise ValueError(
                f"batch_size: expected at least one picture a rank; got {batch_size} "
                f"pictures for {world_size} ranks (this one is {rank})"
            )
        self._dataset = dataset
        self._order = EpochOrder(dataset.set_sizes, tuple(weights), seed)
        self._batch_size = batch_size
        self._rank, self._world_size = rank, world_size
        self._workers = workers
        self._prefetcher: Prefetcher | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches per epoch, at least 1."""
        return -(-len(self._order) // self._batch_size)

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[list[Sample]]:
        """Yield this rank's share of each batch, reading nothing before ``start_step``.

        Raises:
            PictureError: a file cannot be read.
            TrainingError: a loader process ended.
            RuntimeError: any other problem with a picture, which the text names.
        """
        indices = self._indices(epoch)
        positions = [
            position
            for step in range(start_step, self.steps_per_epoch)
            for position in self._positions(step)
        ]
        jobs = [(int(indices[p]), self._order.sample_seed(epoch, p)) for p in positions]
        share = len(self._positions(0))
        if self._prefetcher is None:
            self._prefetcher = Prefetcher(self._dataset, self._workers)
        with closing(self._prefetcher.samples(jobs, share * BATCHES_AHEAD)) as samples:
            for _ in range(len(jobs) // share):
                yield [next(samples) for _ in range(share)]

    def file_names(self, epoch: int, step: int) -> list[str]:
        """Return the file names of a whole batch, over all ranks."""
        first = step * self._batch_size
        indices = self._indices(epoch)[first : first + self._batch_size]
        return [self._dataset.images[index].file_name for index in indices]

    def _indices(self, epoch: int) -> IntArray:
        return np.resize(self._order.indices(epoch), self.steps_per_epoch * self._batch_size)

    def _positions(self, step: int) -> list[int]:
        first = step * self._batch_size
        return list(range(first + self._rank, first + self._batch_size, self._world_size))


class Prefetcher:
    """Loads samples ahead in threads, or in processes that each hold the data set.

    They are kept from epoch to epoch.

    Args:
        dataset: the data set to load from.
        workers: number of processes; 0 uses ``NUM_THREADS`` threads.
    """

    def __init__(self, dataset: HeadDataset, workers: int) -> None:
        executor: Executor
        self._submit: Callable[[Job], Future[Arrays]]
        if workers == 0:
            # OpenCV's own threads would compete with the network's.
            cv2.setNumThreads(1)
            executor = ThreadPoolExecutor(NUM_THREADS, "loader")
            self._submit = lambda job: executor.submit(_load, dataset, job)
        else:
            executor = ProcessPoolExecutor(workers, _clean_start(), _start_worker, (dataset,))
            self._submit = lambda job: executor.submit(_load_in_worker, job)
        self._num_at_once = workers or NUM_THREADS
        # Waits for processes, because a pool that ends by itself may report closed pipes.
        weakref.finalize(self, executor.shutdown, wait=workers > 0, cancel_futures=True)

    def samples(self, jobs: Sequence[Job], num_ahead: int) -> Generator[Sample]:
        """Load and yield samples in the order of the jobs.

        Args:
            jobs: what to load.
            num_ahead: most jobs in progress or waiting; raised if too few to keep all workers busy.

        Raises:
            PictureError: a file cannot be read.
            TrainingError: a loader process ended.
            RuntimeError: any other problem with a picture, which the text names.
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
            raise TrainingError(
                "data.workers: a loader process ended abruptly, perhaps for want of memory; the "
                "run goes on with --resume, and with data.workers=0 it loads in threads"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _clean_start() -> BaseContext:
    """Return how processes are started, since forking this one, which has threads, may hang.

    If the system can fork, a server that has imported everything once is forked for each process.
    Spawned processes would import one after the other, because each waits for the data set in a
    pipe.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


_worker_dataset: HeadDataset | None = None


def _start_worker(dataset: HeadDataset) -> None:
    global _worker_dataset  # noqa: PLW0603 - the only place for it in a pool's processes
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
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
