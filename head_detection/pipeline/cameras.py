"""Cameras and streams as a source: the newest frame of each in turn, counting those dropped."""

import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from head_detection.pipeline.addresses import Address, distinct
from head_detection.pipeline.camera import Camera, CameraCounts
from head_detection.pipeline.sources import FrameOptions, Patience, SourceInfo
from head_detection.structures import Frame

CHECK_SECONDS: Final = 0.2
"""Time between two checks of the processes."""
ASK_AHEAD: Final = 4
"""Cameras whose frames are fetched from their processes at the same time."""
WAIT_SECONDS: Final = 1.0
"""Limit of one wait: on Windows, signals are only handled between waits."""


class Cameras:
    """Gives the newest frames of cameras as they come, each in turn.

    A missing camera is retried for ever, while the others continue. While the detector is busy, all
    frames of a camera but the newest are dropped, so that results are never old; files on web
    servers give every frame. A frame's index counts dropped frames too, and its seconds continue
    over reconnects, by the clock. Changes of state are logged under ``head_detection.pipeline``.

    A batch holds at most one frame per camera: those that are ready when it begins.

    Args:
        addresses: one per camera.
        options: which frames are taken.
        patience: how long to wait for a camera.
        name: of the source; None is the first camera's.
        are_files: the addresses are paths, played as if they were live.

    Attributes:
        cameras: one per address; ``counts`` of each says what became of its frames.
        skipped: empty: dropped frames are counted per camera.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        options: FrameOptions | None = None,
        patience: Patience | None = None,
        *,
        name: str | None = None,
        are_files: bool = False,
    ) -> None:
        options, self._patience = options or FrameOptions(), patience or Patience()
        self.skipped: Counter[str] = Counter()
        self._changed = threading.Condition()
        self.cameras = [
            Camera(address, options, self._patience, self._changed, is_file=are_files)
            for address in distinct(addresses)
        ]
        self._name = name or self.cameras[0].address.name
        self._turns = list(self.cameras)  # the one that gave a frame longest ago is first
        self._batch: dict[Camera, float | None] = {}  # when its last frame was captured
        self._is_batch_over = True
        self._has_started = False
        self._stopped = threading.Event()
        # Even if nobody closes it, no process is left when the interpreter ends.
        self._finalizer = weakref.finalize(self, _close, self.cameras, self._stopped)

    @property
    def info(self) -> SourceInfo:
        """What is known beforehand; waits for the answer of a web server, which may give a file."""
        self._start()
        deadline = time.monotonic() + self._patience.open_seconds
        asked = [camera for camera in self.cameras if camera.address.is_http]
        with self._changed:
            while any(c.is_finite is None and not c.is_lost for c in asked):
                if time.monotonic() > deadline:
                    break
                self._changed.wait(CHECK_SECONDS)
        is_live = any(not camera.is_finite or not camera.every_frame for camera in self.cameras)
        only = self.cameras[0] if len(self.cameras) == 1 else None
        return SourceInfo(
            self._name,
            fps=None if only is None else only.fps,
            size=None if only is None else only.size,
            is_live=is_live,
            unit="frames",
        )

    def __iter__(self) -> Iterator[Frame]:
        """Start; the cameras are closed when the iterator ends or is closed."""
        self._start()
        try:
            while (frame := self._next()) is not None:
                yield frame
        finally:
            self.close()

    def is_ready(self) -> bool:
        """Tell whether a frame of a camera that is not in the batch yet, or the end, is ready."""
        with self._changed:
            if self._is_batch_over:
                return False
            if all(camera.is_finite and camera.every_frame for camera in self.cameras):
                return True  # files: a full batch is worth the wait
            if any(map(self._may_give, self.cameras)) or self._is_over():
                return True
            self._is_batch_over = True
            return False

    def expected_count(self) -> int | None:
        """Return None: there is no end."""
        return None

    def close(self) -> None:
        """Close the cameras at once; no process is left."""
        self._finalizer()

    def states(self) -> list[str]:
        """Return the current state of each camera, in words."""
        with self._changed:
            return [_state_of(camera) for camera in self.cameras]

    def summary(self) -> list[str]:
        """Return what became of each camera's frames, in words."""
        with self._changed:
            return [_summary_of(camera) for camera in self.cameras]

    def measured(self) -> list[tuple[str, float, CameraCounts]]:
        """Return each camera's name, its frames per second now, and a copy of its counts."""
        with self._changed:
            return [(c.address.name, c.rate(), replace(c.counts)) for c in self.cameras]

    def names_with_sound(self) -> list[str]:
        """Return the cameras and files whose stream has sound, which frames do not tell."""
        with self._changed:
            return [camera.address.name for camera in self.cameras if camera.has_sound]

    def _start(self) -> None:
        if self._has_started:
            return
        self._has_started = True
        for camera in self.cameras:
            camera.start()
        watchdog = threading.Thread(
            target=_watch, args=(self.cameras, self._changed, self._stopped), daemon=True
        )
        watchdog.start()

    def _next(self) -> Frame | None:
        with self._changed:
            if self._is_batch_over:
                self._begin_batch()
            while True:
                camera = next(filter(self._may_give, self._turns), None)
                if camera is None:
                    if self._is_over():
                        return None
                    self._begin_batch()  # the caller takes frames one by one
                    if not any(camera.is_fresh for camera in self.cameras):
                        self._changed.wait(WAIT_SECONDS)
                    continue
                for other in [c for c in self._turns if self._may_give(c)][:ASK_AHEAD]:
                    other.ask()
                frame = camera.take()
                if frame is not None:
                    self._turns.remove(camera)
                    self._turns.append(camera)
                    self._measure(camera)  # if none is dropped, a batch has several
                    self._batch[camera] = frame.captured
                    return frame

    def _begin_batch(self) -> None:
        """Begin another batch: the results of all frames given before are there by now."""
        for camera in self._batch:
            self._measure(camera)
        self._batch.clear()
        self._is_batch_over = False

    def _measure(self, camera: Camera) -> None:
        captured = self._batch.get(camera)
        if captured is not None:
            camera.measure(captured)

    def _may_give(self, camera: Camera) -> bool:
        return camera.is_fresh and (camera.every_frame or camera not in self._batch)

    def _is_over(self) -> bool:
        return all(camera.is_over and not camera.is_fresh for camera in self.cameras)


def _state_of(camera: Camera) -> str:
    counts = camera.counts
    if camera.is_lost:
        return f"{camera.address.name}: lost"
    now = f"{camera.rate():.1f} fps, {counts.latency:.2f} s late"
    return f"{camera.address.name}: {now}, {counts.dropped} dropped, {counts.reconnects} reconnects"


def _summary_of(camera: Camera) -> str:
    counts = camera.counts
    if counts.received == 0:
        reason = camera.lost_because or "not yet"
        return f"camera {camera.address.name}: no frame was received: {reason}"
    down = f" ({counts.down_seconds:.1f} s without)" if counts.reconnects else ""
    return (
        f"camera {camera.address.name}: received: {counts.received}, given: {counts.given}, "
        f"dropped: {counts.dropped}, damaged: {counts.damaged}, reconnects: {counts.reconnects}"
        f"{down}, longest latency: {counts.longest_latency:.2f} s"
        f"{f'; not there at the end: {camera.lost_because}' if camera.is_lost else ''}"
    )


def _watch(
    cameras: Sequence[Camera], changed: threading.Condition, stopped: threading.Event
) -> None:
    checked = time.monotonic()
    while not stopped.wait(CHECK_SECONDS):
        # Loading a library blocks the interpreter, and a process may be suspended (Ctrl-Z):
        # messages of the camera then wait to be read.
        with changed:
            now = time.monotonic()
            stood_still = max(now - checked - CHECK_SECONDS, 0.0)
            checked = now
            for camera in cameras:
                camera.check(stood_still)


def _close(cameras: Sequence[Camera], stopped: threading.Event) -> None:
    stopped.set()
    for camera in cameras:
        camera.close()
