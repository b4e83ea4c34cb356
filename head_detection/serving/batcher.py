"""Batches pictures of many requests, by shape, for one detector, with a bounded queue.

A pool of threads decodes pictures, which then wait for others of the same shape. One thread takes
batches: a full one, or an incomplete one once its oldest picture has waited long enough. It runs a
batch that is alone itself, on all cores; if the engine supports it, several batches run side by
side. Pictures whose client has gone are left out. If the network fails on a batch, its pictures are
tried one by one, so that one bad picture does not cost the others their answers.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from head_detection.cores import num_cores
from head_detection.errors import PictureError, PictureSizeError
from head_detection.images.reading import Picture, read_picture_size
from head_detection.images.video_start import begins_as_video
from head_detection.inference.batching import PictureResult
from head_detection.inference.detector import HeadDetector
from head_detection.inference.loading import LoadedPicture
from head_detection.inference.workers import Workers
from head_detection.serving.metrics import Metrics
from head_detection.serving.problems import (
    detector_failed,
    not_ready,
    queue_full,
    too_large,
    unreadable,
    video_for_track,
)
from head_detection.structures import Detections

DECODED_BYTES: Final = 512 * 1024**2
"""Limit of decoded pictures in memory at once; a larger picture is decoded alone."""
BYTES_PER_PIXEL: Final = 3
PROMPT_BATCH: Final = 8
"""Pictures of a batch that is answered promptly; folders take larger ones."""
WARM_SIZE: Final = (480, 640)
"""Height and width of the grey picture that warms up the network."""
FAULTS_IN_A_ROW: Final = 5
"""Consecutive failures, on single pictures, after which the detector counts as broken."""
_MEMORY: Final = 0.8
"""Weight of the old value in the running mean of seconds per picture."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectedPicture:
    """The heads of one picture.

    Attributes:
        detections: heads in original pixels, down to the detector's lowest score.
        pixels: ``(H, W, 3)`` uint8 RGB; None unless requested.
    """

    detections: Detections
    pixels: Picture | None


@dataclass(eq=False)
class _Job:
    """A decoded picture that waits for the network."""

    picture: LoadedPicture
    arrived: float
    future: "Future[PictureResult]" = field(default_factory=Future)


class Room:
    """A budget of bytes that the tasks of one event loop share, first come, first served."""

    def __init__(self, num_bytes: int) -> None:
        self._size = self._free = num_bytes
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def taking(self, num_bytes: int) -> AsyncIterator[None]:
        """Wait until so many bytes are free, at most the whole budget; hold them in the block."""
        num_bytes = min(num_bytes, self._size)
        async with self._turn:  # else small ones would pass a large one as long as they come
            while self._free < num_bytes:
                self._freed.clear()
                await self._freed.wait()
            self._free -= num_bytes
        try:
            yield
        finally:
            self._free += num_bytes
            self._freed.set()


class Batcher:
    """Runs one detector for many requests of one event loop.

    Args:
        detector: only this object's threads may detect with it once ``start`` is called.
        metrics: counts batches and seconds.
        max_batch: most pictures in a batch; None for what suits the engine.
        max_delay: seconds that a picture waits for others of its shape.
        queue: most pictures that are admitted and not answered yet.

    Attributes:
        waiting: number of pictures that are admitted and not answered yet.
        max_batch: as given, or the engine's.
    """

    def __init__(
        self,
        detector: HeadDetector,
        metrics: Metrics,
        *,
        max_batch: int | None = None,
        max_delay: float = 0.01,
        queue: int = 64,
    ) -> None:
        self.detector, self._metrics = detector, metrics
        suitable = min(detector.engine.batch_size, PROMPT_BATCH)
        self.max_batch = suitable if max_batch is None else max_batch
        self._max_delay, self._queue = max_delay, queue
        self.waiting = 0
        self._room = Room(DECODED_BYTES)
        self._decoders = ThreadPoolExecutor(num_cores(), thread_name_prefix="decode")
        self._arrival = threading.Condition()
        self._groups: dict[tuple[tuple[int, int], ...], deque[_Job]] = {}
        self._is_closing = False
        self._warming: Future[None] = Future()
        self._faults = 0
        self._seconds_each = 0.0
        self._concurrency = detector.engine.concurrency
        self._free = threading.Semaphore(self._concurrency)
        self._running = 0  # side by side
        self._thread = threading.Thread(target=self._work, name="detector", daemon=True)

    def start(self) -> None:
        """Start the thread, which warms up the network; do nothing if it was started before."""
        if self._thread.ident is None:
            self._thread.start()

    def warm_up(self) -> None:
        """Start, and wait until the network is warm.

        Raises:
            HeadDetectionError: the network does not fit on the device, or cannot be compiled; in
                one line.
        """
        self.start()
        self._warming.result()

    @property
    def is_ready(self) -> bool:
        """Whether pictures are accepted."""
        is_warm = self._warming.done() and self._warming.exception() is None
        return is_warm and not self._is_closing and self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether the detector works, as far as we know."""
        return self._thread.is_alive() and self._faults < FAULTS_IN_A_ROW

    @contextmanager
    def admitting(self, count: int) -> Iterator[None]:
        """Reserve places in the queue for so many pictures, for the block.

        Raises:
            ServiceError: the queue has no room for them, or the service is starting or stopping.
        """
        if not self.is_ready:
            raise not_ready()
        if self.waiting + count > self._queue:
            raise queue_full(max(1, math.ceil(self.waiting * self._seconds_each)))
        self.waiting += count
        self._metrics.waiting.inc(count)
        try:
            yield
        finally:
            self.waiting -= count
            self._metrics.waiting.dec(count)

    async def detect(self, data: bytes, *, keep_pixels: bool = False) -> DetectedPicture:
        """Find the heads of one picture, whose place ``admitting`` has reserved.

        Cancelling the call takes the picture out of the queue.

        Args:
            data: a picture file.
            keep_pixels: decode at full resolution and return the pixels, for drawing.

        Raises:
            ServiceError: it cannot be read, is too large, or the detector failed on it.
        """
        loop = asyncio.get_running_loop()
        size = await loop.run_in_executor(self._decoders, self._size_of, data)
        async with self._room.taking(BYTES_PER_PIXEL * size[0] * size[1]):
            with self._metrics.timing("decode"):
                picture = await loop.run_in_executor(self._decoders, self._load, data, keep_pixels)
            pixels = picture.pixels if keep_pixels else None
            with self.waiting_for(picture) as future:
                result = await asyncio.wrap_future(future)
        if result.detections is None:
            error = result.error or PictureError("picture: the detector gave no result")
            raise unreadable(_reason(error))
        self._metrics.pictures.inc()
        return DetectedPicture(result.detections, pixels)

    @contextmanager
    def waiting_for(self, picture: LoadedPicture) -> "Iterator[Future[PictureResult]]":
        """Queue a decoded picture for the network and give its future; callable from any thread.

        A picture that still waits at the end of the block is taken out again.
        """
        job = _Job(picture, time.monotonic())
        self._add(job)
        try:
            yield job.future
        finally:
            self._remove(job)

    def close(self, seconds: float) -> bool:
        """Accept no more pictures and finish the queued ones; return whether that was in time."""
        with self._arrival:
            self._is_closing = True
            self._arrival.notify()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _size_of(self, data: bytes) -> tuple[int, int]:
        """Return a picture's (height, width), from its header if possible."""
        try:
            return read_picture_size(data, self.detector.max_pixels)
        except PictureSizeError as error:
            raise too_large(_reason(error)) from error
        except PictureError as error:
            raise (
                video_for_track() if begins_as_video(data) else unreadable(_reason(error))
            ) from error

    def _load(self, data: bytes, keep_pixels: bool) -> LoadedPicture:
        picture = self.detector.load(data, keep_pixels=keep_pixels)
        if picture.error is None:
            return picture
        reason = _reason(picture.error)
        del picture  # else a reference cycle: its error holds this frame, which holds the picture
        raise unreadable(reason)

    def _add(self, job: _Job) -> None:
        tensor = job.picture.tensor
        if tensor is None:
            raise ValueError("picture: expected a decoded one")
        shape = self.detector.engine.padded_sizes((tensor.shape[1], tensor.shape[2]))
        with self._arrival:
            self._groups.setdefault(shape, deque()).append(job)
            self._arrival.notify()

    def _remove(self, job: _Job) -> None:
        """Take a job out if it still waits: nobody wants its answer any more."""
        with self._arrival:
            for shape, group in list(self._groups.items()):
                if job in group:
                    group.remove(job)
                if not group:
                    del self._groups[shape]

    def _work(self) -> None:
        """Warm up, then run batches until the end: the body of the detector's thread."""
        grey = np.full((*WARM_SIZE, BYTES_PER_PIXEL), 128, np.uint8)
        try:
            (result,) = self.detector.detect_loaded([self.detector.load(grey)])
        except Exception as error:  # noqa: BLE001 - any error goes to whoever waits for the network
            self._warming.set_exception(error)
            return
        if result.error is not None:
            self._warming.set_exception(result.error)
            return
        device, count = self.detector.engine.device, self._concurrency
        workers = Workers(count, device) if count > 1 else None
        self._warming.set_result(None)
        while (jobs := self._next_batch()) is not None:
            if workers is None or self._is_alone():
                self._run(jobs)
                continue
            self._free.acquire()
            with self._arrival:
                self._running += 1
            workers.submit(self._run_beside, jobs)
        if workers is not None:
            workers.close(waits=True)

    def _is_alone(self) -> bool:
        """Return whether no other batch runs or waits beside the one just taken."""
        with self._arrival:
            return not self._running and not self._groups

    def _run_beside(self, jobs: Sequence[_Job]) -> None:
        try:
            self._run(jobs)
        finally:
            with self._arrival:
                self._running -= 1
            self._free.release()

    def _next_batch(self) -> list[_Job] | None:
        """Wait for a batch and take it; return None at the end."""
        with self._arrival:
            while True:
                if not self._groups:
                    if self._is_closing:
                        return None
                    self._arrival.wait()
                    continue
                oldest = min(self._groups, key=lambda shape: self._groups[shape][0].arrived)
                left = self._groups[oldest][0].arrived + self._max_delay - time.monotonic()
                groups = self._groups.items()
                full = (shape for shape, jobs in groups if len(jobs) >= self.max_batch)
                shape = oldest if left <= 0 or self._is_closing else next(full, None)
                if shape is None:
                    self._arrival.wait(left)
                elif jobs := self._take(shape):
                    return jobs

    def _take(self, shape: tuple[tuple[int, int], ...]) -> list[_Job]:
        """Take a batch of one shape, without pictures that nobody waits for any more."""
        group = self._groups[shape]
        jobs: list[_Job] = []
        while group and len(jobs) < self.max_batch:
            job = group.popleft()
            if job.future.set_running_or_notify_cancel():
                jobs.append(job)
        if not group:
            del self._groups[shape]
        return jobs

    def _run(self, jobs: Sequence[_Job]) -> None:
        start = time.monotonic()
        try:
            results = self.detector.detect_loaded(
                [job.picture for job in jobs], self.detector.lowest_score
            )
        except Exception as error:  # noqa: BLE001 - the others are still answered, and the service goes on
            if len(jobs) == 1:
                _log.error("the detector failed on a picture", exc_info=error)
                self._faults += 1
                jobs[0].future.set_exception(detector_failed())
                return
        else:
            self._faults = 0
            self._note(jobs, start, time.monotonic() - start)
            for job, result in zip(jobs, results, strict=True):
                job.future.set_result(result)
            return
        # Outside the handler: the error keeps the batch in device memory, which a retry may need.
        for job in jobs:
            self._run([job])

    def _note(self, jobs: Sequence[_Job], start: float, seconds: float) -> None:
        with self._arrival:
            each = seconds / len(jobs) / max(1, self._running)
            self._seconds_each = _MEMORY * (self._seconds_each or each) + (1 - _MEMORY) * each
        self._metrics.batch_sizes.observe(len(jobs))
        self._metrics.took("network", seconds)
        for job in jobs:
            self._metrics.took("queue", start - job.arrived)


def _reason(error: PictureError) -> str:
    """Return the text of an error without the picture's name."""
    return str(error).partition(": ")[2] or str(error)
