"""Batches of pictures of equal padded shape; results keep the order of the pictures."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from head_detection.errors import DeviceMemoryError, PictureError
from head_detection.images.reading import MAX_PIXELS
from head_detection.inference.engine import Engine
from head_detection.inference.loading import ImageLike, LoadedPicture, load_pictures, path_of
from head_detection.inference.tiling import TiledEngine
from head_detection.inference.workers import Workers
from head_detection.structures import Detections

WINDOW_BATCHES: Final = 8
"""A picture waits for others of its shape until this many batches of pictures came after it. Of
pictures from the web, in some 200 padded shapes, batches of 32 then hold 5 on average; with half as
many, 3."""
WINDOW_BYTES: Final = 512 * 1024**2
"""Limit on the pixels of waiting pictures."""
Outcome: TypeAlias = Detections | DeviceMemoryError | PictureError
"""The detections of a picture, or why there are none."""


@dataclass(frozen=True)
class PictureResult:
    """The result of one picture: either ``detections`` or ``error``.

    Attributes:
        image: the picture as given by the caller.
        detections: heads in original pixels.
        error: why the picture could not be read, or does not fit in the device's memory.
        pixels: ``(H, W, 3)`` uint8 RGB, if requested.
    """

    image: ImageLike
    detections: Detections | None
    error: PictureError | None
    pixels: npt.NDArray[np.uint8] | None


class _Waiting:
    """A picture in the window, before or after detection."""

    def __init__(self, picture: LoadedPicture) -> None:
        self.picture = picture
        self.detections: Detections | None = None

    @property
    def is_done(self) -> bool:
        return self.picture.error is not None or self.detections is not None

    def take(self, found: Outcome, *, keep_pixels: bool) -> None:
        """Store the outcome of the picture, and drop its pixels unless they are requested."""
        picture = self.picture
        if isinstance(found, DeviceMemoryError):
            found = PictureError(f"{picture.name}: {found}")
        if isinstance(found, PictureError):
            error = found
            self.picture = LoadedPicture(picture.image, picture.name, None, error)
            return
        found = found.scaled_to(picture.image_size or found.image_size)
        notes = [note for note in (picture.note, found.note) if note is not None]
        self.detections = replace(found, note="; ".join(notes) or None)
        if not keep_pixels:
            self.picture = LoadedPicture(picture.image, picture.name, None)


class LikeShapeBatches:
    """Runs an engine on batches of pictures with equal padded sizes, within a bounded window.

    Args:
        engine: runs the batches.
        batch_size: most pictures per batch.
        keep_pixels: return the pixels with the results.
        max_pixels: larger files are refused.
        tiled: detects again in pictures whose heads are too small after the engine's downscaling;
            None: never.
        concurrency: number of batches that run at the same time, each in a thread. A single batch,
            such as a camera's frame, uses all cores.
    """

    def __init__(
        self,
        engine: Engine,
        batch_size: int,
        *,
        keep_pixels: bool,
        max_pixels: int = MAX_PIXELS,
        tiled: TiledEngine | None = None,
        concurrency: int = 1,
    ) -> None:
        self._engine, self._tiled = engine, tiled
        self._concurrency = concurrency
        self._batch_size = batch_size
        self._keep_pixels = keep_pixels
        self._max_pixels = max_pixels
        self._window: deque[_Waiting] = deque()
        self._window_bytes = 0
        self._groups: dict[tuple[tuple[int, int], ...], list[_Waiting]] = {}
        self._workers: Workers | None = None
        self._running: deque[tuple[list[_Waiting], Future[list[Outcome]]]] = deque()
        self._next: list[_Waiting] | None = None  # starts when another batch is complete
        # While `concurrency` batches run, the pictures of one more are gathered.
        self._max_waiting = batch_size * max(WINDOW_BATCHES, concurrency + 1)

    def run(self, pictures: Iterable[LoadedPicture | None]) -> Iterator[PictureResult]:
        """Yield one result per picture, in order.

        None means that the next picture may take long: it yields all results that are pending.
        """
        try:
            for picture in pictures:
                if picture is None:
                    yield from self._rest()
                    continue
                self._add(_Waiting(picture))
                while self._is_full():
                    self._run_oldest()
                    yield from self._finished()
                yield from self._finished()
            yield from self._rest()
        finally:
            if self._workers is not None:
                self._workers.close()

    def _rest(self) -> Iterator[PictureResult]:
        if self._running:
            self._begin_next()
        while self._window:
            self._run_oldest()
            yield from self._finished()

    def _add(self, waiting: _Waiting) -> None:
        self._window.append(waiting)
        self._window_bytes += waiting.picture.num_bytes
        tensor, file = waiting.picture.tensor, waiting.picture.file
        if file is not None:
            self._take([waiting], [self._detect_file(file)])
        if tensor is None:
            return
        key = self._engine.padded_sizes((tensor.shape[1], tensor.shape[2]))
        group = self._groups.setdefault(key, [])
        group.append(waiting)
        if len(group) == self._batch_size:
            self._run(key)

    def _is_full(self) -> bool:
        return self._window_bytes > WINDOW_BYTES or len(self._window) > self._max_waiting

    def _run_oldest(self) -> None:
        """Start the batch of the oldest picture, or wait for it if it has started."""
        key = next((key for key, group in self._groups.items() if self._window[0] in group), None)
        if key is not None:
            self._run(key)
        elif self._running:
            self._finish_oldest()
        elif self._next is not None:
            group, self._next = self._next, None
            self._take(group, self._see(group))

    def _run(self, key: tuple[tuple[int, int], ...]) -> None:
        group = self._groups.pop(key)
        if self._concurrency == 1:
            self._take(group, self._see(group))
            return
        self._begin_next()
        self._next = group
        while len(self._running) > self._concurrency:
            self._finish_oldest()

    def _begin_next(self) -> None:
        if self._next is None:
            return
        if self._workers is None:
            self._workers = Workers(self._concurrency, self._engine.device)
        group, self._next = self._next, None
        self._running.append((group, self._workers.submit(self._see, group)))

    def _finish_oldest(self) -> None:
        group, outcomes = self._running.popleft()
        self._take(group, outcomes.result())

    def _take(self, group: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
        for waiting, found in zip(group, outcomes, strict=True):
            before = waiting.picture.num_bytes
            waiting.take(found, keep_pixels=self._keep_pixels)
            self._window_bytes += waiting.picture.num_bytes - before

    def _see(self, group: Sequence[_Waiting]) -> list[Outcome]:
        """Detect in pictures of equal shape; thread-safe, since it changes no attribute."""
        pictures = [waiting.picture for waiting in group]
        tensors = [picture.tensor for picture in pictures if picture.tensor is not None]
        outcomes: list[Outcome] = []
        for picture, found in zip(pictures, self._detect(tensors), strict=True):
            if isinstance(found, Detections) and self._tiled is not None:
                outcomes.append(self._look_again(picture, found, self._tiled))
            else:
                outcomes.append(found)
        return outcomes

    def _look_again(self, picture: LoadedPicture, found: Detections, tiled: TiledEngine) -> Outcome:
        """Detect again in tiles if the heads are too small for a view of the whole picture.

        A picture that was decoded at a reduced size is read again in full.
        """
        found = found.scaled_to(picture.image_size or found.image_size)
        if not tiled.needs_tiles(found):
            return tiled.with_note(found)
        tensor, path = picture.tensor, path_of(picture.image)
        is_whole = tensor is not None and tuple(tensor.shape[1:]) == found.image_size
        try:
            if path is not None and not is_whole:
                return tiled.detect_file(path, self._max_pixels)
            if tensor is None or not is_whole:
                tensor = _tensor_of(picture.image, self._max_pixels)
            return tiled.detect_tiles(tensor)
        except DeviceMemoryError as error:
            return DeviceMemoryError(str(error))
        except PictureError as error:
            return error

    def _detect(self, tensors: list[Tensor]) -> list[Detections | DeviceMemoryError]:
        """Detect in each picture; one that does not fit in memory does not affect the others."""
        try:
            return [*self._engine.detect(tensors)]
        except DeviceMemoryError as error:
            if len(tensors) == 1:
                # A new error, because the traceback of this one keeps device memory alive.
                return [DeviceMemoryError(str(error))]
        return [result for tensor in tensors for result in self._detect([tensor])]

    def _detect_file(self, path: Path) -> Outcome:
        """Detect with the tiled engine in a file that is too large to be decoded whole."""
        if not isinstance(self._engine, TiledEngine):
            raise TypeError(f"engine: expected a TiledEngine; got {type(self._engine).__name__}")
        try:
            return self._engine.detect_file(path, self._max_pixels)
        except DeviceMemoryError as error:
            return DeviceMemoryError(str(error))
        except PictureError as error:
            return error

    def _finished(self) -> Iterator[PictureResult]:
        while self._running and self._running[0][1].done():
            self._finish_oldest()
        while self._window and self._window[0].is_done:
            waiting = self._window.popleft()
            picture = waiting.picture
            self._window_bytes -= picture.num_bytes
            yield PictureResult(picture.image, waiting.detections, picture.error, picture.pixels)


def _tensor_of(image: ImageLike, max_pixels: int) -> Tensor:
    """Read a picture again in full that was decoded at a reduced size."""
    for loaded in load_pictures([image], max_pixels=max_pixels):
        if loaded is not None and loaded.tensor is not None:
            return loaded.tensor
        if loaded is not None and loaded.error is not None:
            raise loaded.error
    raise PictureError("it could not be read again")
