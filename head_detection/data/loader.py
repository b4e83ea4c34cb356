"""Training batches in an order that depends on nothing but the seed and the epoch."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from head_detection.data.dataset import HeadDataset, Sample

NUM_THREADS: Final = max(1, min(4, (os.cpu_count() or 1) // 2))
"""A 512-px crop takes about 12 ms of one core, so one thread keeps up with a network on a CPU."""
BATCHES_AHEAD: Final = 2
"""Batches being prepared while one is used."""
_ORDER, _MIX, _SAMPLE = range(3)
"""What a seed is for: streams that must not run alike."""

IntArray = npt.NDArray[np.int64]


class TrainingBatches:
    """The batches of one rank.

    A picture of a set with weight w is drawn w times an epoch on average: each set is an endless
    row of its own shuffles, and an epoch takes the next ``round(w * size)`` of it, so weight 0.5
    sees every picture once in two epochs. The sets are then mixed. The last batch is filled from
    the epoch's beginning.

    The global batch is the same for any number of ranks; a rank takes every ``world_size``-th
    picture of it, from its own number on, so shares differ by one picture at most where the batch
    cannot be divided evenly.

    Args:
        dataset: pictures of one or several sets.
        weights: one a set.
        batch_size: pictures a step over all ranks.
        seed: of the order and of every augmentation.
        rank: of this process.
        world_size: number of processes.
        workers: loader processes; 0 prepares batches in threads.

    Raises:
        ValueError: no pictures, a weight too many or too few, or fewer pictures a step than ranks.
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
        if len(dataset) == 0:
            raise ValueError("training data: expected at least one picture; got none")
        if len(weights) != len(dataset.set_sizes):
            raise ValueError(
                f"weights: expected one a set, {len(dataset.set_sizes)}; got {len(weights)}"
            )
        if not 0 <= rank < world_size <= batch_size:
            raise ValueError(
                f"batch_size: expected at least one picture a rank; got {batch_size} "
                f"pictures for {world_size} ranks (this one is {rank})"
            )
        self._dataset = dataset
        self._draws = [
            max(1, round(weight * size)) if size else 0
            for weight, size in zip(weights, dataset.set_sizes, strict=True)
        ]
        self._batch_size = batch_size
        self._seed = seed
        self._rank, self._world_size = rank, world_size
        self._workers = workers

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches an epoch, at least 1."""
        return -(-sum(self._draws) // self._batch_size)

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[list[Sample]]:
        """Yield this rank's share of each batch from ``start_step`` on; nothing before it is read.

        Raises:
            PictureError: a file cannot be read.
            RuntimeError: anything else went wrong with a picture; the text names it.
        """
        order = self.order(epoch)
        positions = [
            position
            for step in range(start_step, self.steps_per_epoch)
            for position in self._positions(step)
        ]
        jobs = [(int(order[p]), self._sample_seed(epoch, p)) for p in positions]
        share = len(self._positions(0))
        executor, load = _start(self._dataset, self._workers)
        try:
            ordered = _in_order(executor, load, jobs, share * BATCHES_AHEAD)
            for _ in range(len(jobs) // share):
                yield [next(ordered) for _ in range(share)]
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def file_names(self, epoch: int, step: int) -> list[str]:
        """Return the file names of a whole batch, all ranks' shares together."""
        first = step * self._batch_size
        indices = self.order(epoch)[first : first + self._batch_size]
        return [self._dataset.images[index].file_name for index in indices]

    def order(self, epoch: int) -> IntArray:
        """Return the epoch's pictures: ``(steps_per_epoch * batch_size,)`` indices."""
        parts, first = [], 0
        for number, (size, draws) in enumerate(
            zip(self._dataset.set_sizes, self._draws, strict=True)
        ):
            parts.append(first + self._drawn(number, size, draws, epoch))
            first += size
        mixed = self._generator(_MIX, epoch).permutation(np.concatenate(parts))
        return np.resize(mixed, self.steps_per_epoch * self._batch_size)

    def _drawn(self, number: int, size: int, draws: int, epoch: int) -> IntArray:
        """Take the epoch's part of a set's endless row of shuffles."""
        start, stop = epoch * draws, (epoch + 1) * draws
        if size == 0:
            return np.zeros(0, np.int64)
        shuffles = range(start // size, -(-stop // size))
        row = np.concatenate(
            [self._generator(_ORDER, number, shuffle).permutation(size) for shuffle in shuffles]
        )
        offset = shuffles.start * size
        return row[start - offset : stop - offset].astype(np.int64)

    def _positions(self, step: int) -> list[int]:
        first = step * self._batch_size
        return list(range(first + self._rank, first + self._batch_size, self._world_size))

    def _sample_seed(self, epoch: int, position: int) -> int:
        sequence = np.random.SeedSequence([self._seed, _SAMPLE, epoch, position])
        return int(sequence.generate_state(1, np.uint64)[0])

    def _generator(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *stream])


def _in_order(
    executor: Executor,
    load: Callable[[int, int], Sample],
    jobs: Sequence[tuple[int, int]],
    num_ahead: int,
) -> Iterator[Sample]:
    """Run the jobs with a bounded number begun or waiting, and yield in their order."""
    waiting: deque[Future[Sample]] = deque()
    for job in jobs:
        waiting.append(executor.submit(load, *job))
        if len(waiting) > num_ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _start(dataset: HeadDataset, workers: int) -> tuple[Executor, Callable[[int, int], Sample]]:
    if workers == 0:
        # OpenCV's own threads would spin against the network's.
        cv2.setNumThreads(1)
        return ThreadPoolExecutor(NUM_THREADS, "loader"), dataset.load
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, _start_worker, (dataset,))
    return executor, _load_in_worker


_worker_dataset: HeadDataset | None = None


def _start_worker(dataset: HeadDataset) -> None:
    global _worker_dataset  # noqa: PLW0603 - a pool's processes have no other place for it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _worker_dataset = dataset


def _load_in_worker(index: int, generator_seed: int) -> Sample:
    if _worker_dataset is None:
        raise RuntimeError("the loader's process was not started")
    return _worker_dataset.load(index, generator_seed)
