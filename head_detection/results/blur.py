"""``blur/``: each picture and each video with its heads made unrecognisable."""

import errno
import os
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Final

import cv2
import numpy as np

from head_detection.files import naming
from head_detection.images.hiding import check_boxes, hide_heads
from head_detection.images.reading import Picture
from head_detection.images.styles import Hiding
from head_detection.results.encoding import Encoding, VideoWriter
from head_detection.results.gap_filler import (
    BRIDGE_SECONDS,
    LONGEST_BRIDGE_SECONDS,
    CoveredFrame,
    GapFiller,
)
from head_detection.results.images import PictureSink
from head_detection.results.record import Failure, Origin, Record
from head_detection.results.video import VideoFiles, VideoJob, VideoPlace
from head_detection.structures import Detections

PLAIN_BYTES: Final = 1024**3
"""Limit for frames that wait uncompressed for later detections: ten seconds of 1280x720. Further
frames wait as JPEG, which takes ten times as long."""
PLAIN_SHARE: Final = 8
"""Uncompressed frames take at most one part in this many of the free disk space."""
WAITING_QUALITY: Final = 95
"""JPEG quality of the frames that wait compressed."""
FILE_BYTES: Final = 32 * 1024**2
"""Size of the files that frames wait in; up to twice this much is on the disk in addition to the
waiting frames."""


class BlurSink(PictureSink):
    """``blur/``: each picture and video with its heads made unrecognisable, and nothing drawn.

    The files are made from the pixels alone: without the picture's metadata, and opaque. In a
    video, heads are also hidden on frames in which the detector missed them, see ``GapFiller``; a
    frame that failed repeats the hidden one before.

    Args:
        folder: as in ``FolderSink``.
        origin: its score threshold decides which heads stay hidden in a video around a detection.
        hiding: None is solid black.
        encoding: how videos are written; None is the default.
    """

    folder_name = "blur"

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        hiding: Hiding | None = None,
        encoding: Encoding | None = None,
    ) -> None:
        super().__init__(folder, origin)
        self._hiding = hiding
        usual = encoding or Encoding()
        self._filled = FilledFrames()
        self._videos = VideoFiles(
            self._files,
            lambda place: HiddenVideo(place, usual, hiding, origin.score_threshold, self._filled),
        )

    @property
    def notes(self) -> list[str]:
        """What the user should know about the videos."""
        return [*self._filled.described(), *self._videos.notes]

    def write(self, record: Record) -> None:
        """Queue a picture to be written, or a frame to be added to its video.

        Raises:
            OutputError: as in ``FolderSink`` or ``VideoFiles``.
            OSError: likewise.
        """
        if record.seconds is None:
            super().write(record)
        else:
            self._videos.take(record)

    def fail(self, failure: Failure) -> None:
        """Mark a frame as missing."""
        self._videos.take(failure)

    def take_failures(self) -> list[Failure]:
        """Return what could not be written since the last call."""
        return [*super().take_failures(), *self._videos.take_failures()]

    def close(self) -> None:
        """Wait until everything is written.

        Raises:
            OSError: as in ``FolderSink``, or a video could not be written.
        """
        with ExitStack() as stack:
            stack.callback(super().close)
            self._videos.close()

    def _pictures(self, record: Record, pixels: Picture) -> Iterator[Picture]:
        yield hide_heads(pixels, _to_hide(record), self._hiding)


class FilledFrames:
    """Counts the frames on which heads were hidden that were not found there; thread-safe."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def add(self, frame: CoveredFrame) -> None:
        """Count a frame."""
        is_between = frame.is_missing_in(frame.between)
        is_around = frame.is_missing_in(frame.around)
        with self._lock:
            self._counts["frames"] += 1
            self._counts["between"] += is_between
            self._counts["around"] += is_around and not is_between

    def described(self) -> list[str]:
        """Return the counts as one line, or nothing without frames."""
        if not self._counts["frames"]:
            return []
        between, around = self._counts["between"], self._counts["around"]
        return [
            f"blur: heads were filled in on {between} of {self._counts['frames']} frames, found "
            f"before and after; on {around} more a head is held before it is first found, or after"
        ]


@dataclass(frozen=True)
class _Waiting:
    """Where a frame waits on the disk.

    Attributes:
        file: the file that holds it, among other frames.
        place: offset of its first byte.
        length: number of bytes.
        shape: shape of its uncompressed pixels; None for a JPEG.
    """

    file: IO[bytes]
    place: int
    length: int
    shape: tuple[int, ...] | None


class WaitingPictures:
    """A first-in, first-out queue on the disk for frames that wait for later detections.

    Args:
        folder: folder of the queue's files, which have no name.
        plain_bytes: limit for uncompressed pixels; once this much waits, or an eighth of the disk
            space that was free, further frames wait as JPEG.
    """

    def __init__(self, folder: Path, plain_bytes: int = PLAIN_BYTES) -> None:
        self._folder, self._plain_bytes = folder, plain_bytes
        self._has_begun = False
        self._files: deque[IO[bytes]] = deque()
        self._end = 0
        self._spare: IO[bytes] | None = None  # reused, so the disk need not allocate again
        self._waiting: deque[_Waiting | None] = deque()

    def add(self, pixels: Picture | None) -> None:
        """Append a frame; None stands for a frame without pixels.

        Raises:
            OSError: it cannot be written; names the folder.
        """
        if pixels is None:
            self._waiting.append(None)
            return
        with naming(self._folder):
            self._begin()
            is_plain = pixels.nbytes <= self._plain_bytes
            content = (np.ascontiguousarray(pixels) if is_plain else _as_jpeg(pixels)).data
            if not self._files or self._end > FILE_BYTES:
                self._files.append(self._next_file())
                self._end = 0
            file, place = self._files[-1], self._end
            file.seek(place)
            if file.write(content) < content.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += content.nbytes
        self._plain_bytes -= content.nbytes if is_plain else 0
        shape = pixels.shape if is_plain else None
        self._waiting.append(_Waiting(file, place, content.nbytes, shape))

    def take(self) -> Picture | None:
        """Remove and return the oldest frame."""
        entry = self._waiting.popleft()
        if entry is None:
            return None
        while self._files[0] is not entry.file:  # all its frames were taken
            self._set_aside(self._files.popleft())
        entry.file.seek(entry.place)
        content = np.frombuffer(entry.file.read(entry.length), np.uint8)
        if entry.shape is not None:
            self._plain_bytes += entry.length
            return content.reshape(entry.shape)
        bgr = cv2.imdecode(content, cv2.IMREAD_COLOR)
        if bgr is None:
            raise AssertionError("encoded here, yet no picture")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    def _begin(self) -> None:
        """Create the folder, and limit the uncompressed frames to what the disk has room for."""
        if not self._has_begun:
            self._folder.mkdir(parents=True, exist_ok=True)
            free_bytes = shutil.disk_usage(self._folder).free
            self._plain_bytes = min(self._plain_bytes, free_bytes // PLAIN_SHARE)
            self._has_begun = True

    def _next_file(self) -> IO[bytes]:
        file, self._spare = self._spare, None
        return file or tempfile.TemporaryFile(dir=self._folder, buffering=0)

    def _set_aside(self, file: IO[bytes]) -> None:
        """Keep one file for reuse."""
        if self._spare is not None:
            self._spare.close()
        self._spare = file

    def close(self) -> None:
        """Remove all files."""
        for file in self._files:
            file.close()
        self._files.clear()
        if self._spare is not None:
            self._spare.close()


class HiddenVideo(VideoJob):
    """A video with its heads hidden; it lags behind the detector by two seconds, for files by ten.

    Args:
        place: where the video is written.
        encoding: how it is written.
        hiding: how heads are hidden; None is solid black.
        score_threshold: as in ``GapFiller``.
        filled: counts the frames on which heads were filled in.
    """

    def __init__(
        self,
        place: VideoPlace,
        encoding: Encoding,
        hiding: Hiding | None,
        score_threshold: float,
        filled: FilledFrames,
    ) -> None:
        self._writer = VideoWriter(place.path, encoding, place.source, is_cut=place.is_cut)
        self._hiding, self._filled = hiding, filled
        is_file = place.source is not None
        bridge_seconds = LONGEST_BRIDGE_SECONDS if is_file else BRIDGE_SECONDS
        self._filler = GapFiller(score_threshold, bridge_seconds)
        self._waiting = WaitingPictures(place.path.parent)

    def take(self, record: Record) -> None:
        """Add a frame."""
        if record.pixels is None or record.seconds is None:
            raise ValueError("pixels: expected in the record; got none")
        found = _to_hide(record)
        check_boxes(record.pixels, found)  # here, where the frame's name is known
        self._add(record.seconds, found, record.pixels)

    def fail(self, seconds: float) -> None:
        """Repeat the previous hidden frame for a missing one."""
        self._add(seconds, Detections.empty((1, 1)), None)

    def close(self) -> list[str]:
        """Write the waiting frames and end the video."""
        with ExitStack() as stack:
            stack.callback(self._waiting.close)
            stack.callback(self._writer.close)
            self._write(self._filler.rest())
        return self._writer.notes

    def _add(self, seconds: float, found: Detections, pixels: Picture | None) -> None:
        self._waiting.add(pixels)
        self._filler.add(seconds, found)
        self._write(self._filler.ready())

    def _write(self, frames: Iterable[CoveredFrame]) -> None:
        for frame in frames:
            pixels = self._waiting.take()
            if pixels is None:
                self._writer.repeat(frame.seconds)
                continue
            ones = np.ones(len(frame.boxes), np.float32)
            heads = Detections(frame.boxes, ones, (pixels.shape[0], pixels.shape[1]))
            self._writer.add(frame.seconds, hide_heads(pixels, heads, self._hiding))
            self._filled.add(frame)


def _as_jpeg(pixels: Picture) -> Picture:
    """Return the ``(N,)`` bytes of a JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, WAITING_QUALITY]
    content = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1]
    return np.asarray(content, np.uint8)


def _to_hide(record: Record) -> Detections:
    return record.detections if record.to_hide is None else record.to_hide
