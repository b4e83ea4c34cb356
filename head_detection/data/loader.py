"""Training batches that depend on nothing but the seed, the epoch and the step."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

import numpy as np

from head_detection.data.dataset import HeadDataset, Sample
from head_detection.data.prefetch import Prefetcher
from head_detection.data.sampling import EpochOrder, IntArray

BATCHES_AHEAD: Final = 2
"""Batches being prepared while one is used."""


class TrainingBatches:
    """The batches of one rank.

    ``EpochOrder`` says how often each picture is drawn; the last batch of an epoch is filled from
    the epoch's beginning. The global batch is the same for any number of ranks; a rank takes every
    ``world_size``-th picture of it, from its own number on, so shares differ by one picture at most
    where the batch cannot be divided evenly.

    Args:
        dataset: pictures of one or several sets.
        weights: draws of each picture an epoch; one a set.
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
        """Return the number of batches an epoch, at least 1."""
        return -(-len(self._order) // self._batch_size)

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[list[Sample]]:
        """Yield this rank's share of each batch from ``start_step`` on; nothing before it is read.

        Raises:
            PictureError: a file cannot be read.
            RuntimeError: anything else went wrong with a picture; the text names it.
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
        """Return the file names of a whole batch, all ranks' shares together."""
        first = step * self._batch_size
        indices = self._indices(epoch)[first : first + self._batch_size]
        return [self._dataset.images[index].file_name for index in indices]

    def _indices(self, epoch: int) -> IntArray:
        return np.resize(self._order.indices(epoch), self.steps_per_epoch * self._batch_size)

    def _positions(self, step: int) -> list[int]:
        first = step * self._batch_size
        return list(range(first + self._rank, first + self._batch_size, self._world_size))
