"""``video/``: each video with its heads drawn."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from head_detection.errors import PictureError
from head_detection.images.heads import draw_heads
from head_detection.images.styles import Drawing
from head_detection.images.traces import Traces
from head_detection.results.encoding import Encoding, VideoWriter
from head_detection.results.file_names import ResultFolder
from head_detection.results.record import Failure, Origin, Outcome, Record
from head_detection.results.sink import Sink

SUFFIX: Final = ".mp4"
MAX_WAITING: Final = 8
"""Most frames of a video that wait for its encoder; their pixels are in memory."""
OVER_AFTER: Final = 256
"""After this many frames of other sources, more than are processed at a time, a file has ended."""


@dataclass(frozen=True)
class VideoPlace:
    """Where a video is written, and its source.

    Attributes:
        path: path of the result.
        source: the video file; None for a camera.
        is_cut: the first frame is not the source's first.
    """

    path: Path
    source: Path | None
    is_cut: bool


class VideoJob(ABC):
    """Makes one video from the frames of one source, in a thread of its own."""

    @abstractmethod
    def take(self, record: Record) -> None:
        """Add a frame.

        Raises:
            PictureError: the frame is left out. One line.
            OSError: the video cannot be written.
        """

    @abstractmethod
    def fail(self, seconds: float) -> None:
        """Mark the frame at this time as missing."""

    @abstractmethod
    def close(self) -> list[str]:
        """End the video, and return what the user should know about it, one line each."""


class VideoFiles:
    """The videos that one sink writes, each in its own thread.

    Args:
        files: the folder of the videos.
        start: function that starts a video.
    """

    def __init__(self, files: ResultFolder, start: Callable[[VideoPlace], VideoJob]) -> None:
        self._files, self._start = files, start
        self._open: dict[str, _OpenVideo] = {}
        self._count = 0
        self._failures: list[Failure] = []
        self.notes: list[str] = []

    def take(self, outcome: Outcome) -> None:
        """Pass a frame or a failure to its video.

        Raises:
            OutputError: the video would replace its source.
            DeviceError: its codec does not work on this machine.
            OSError: a video cannot be written.
        """
        if outcome.seconds is None:
            return
        self._count += 1
        for name, video in list(self._open.items()):
            if video.is_file and self._count - video.last > OVER_AFTER:
                self._end(self._open.pop(name))
        video = self._open.setdefault(outcome.file, _OpenVideo(outcome.index))
        video.last = self._count
        if isinstance(outcome, Record) and video.job is None:
            video.is_file = outcome.path is not None
            own = self._files.free_name(
                outcome.file, SUFFIX, outcome.index, outcome.path, is_stream=outcome.path is None
            )
            (path,) = self._files.note([own], outcome.path)
            is_cut = video.first_index > 0
            video.job = self._start(VideoPlace(path, outcome.path, is_cut))
        if video.job is not None:
            self._failures += video.submit(outcome)

    def take_failures(self) -> list[Failure]:
        """Return the frames that were left out of their video, since the last call."""
        failures, self._failures = self._failures, []
        return failures

    def close(self) -> None:
        """End all videos, even if one fails."""
        with ExitStack() as stack:
            for video in self._open.values():
                stack.callback(self._end, video)
            self._open = {}

    def _end(self, video: "_OpenVideo") -> None:
        failures, notes = video.close()
        self._failures += failures
        self.notes += notes


class _OpenVideo:
    """A video that is being written, and its thread."""

    def __init__(self, first_index: int) -> None:
        self.first_index, self.last = first_index, 0
        self.is_file = True
        self.job: VideoJob | None = None
        self._waiting: deque[Future[Failure | None]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="video")

    def submit(self, outcome: Outcome) -> list[Failure]:
        """Queue a frame for the thread; return those that failed meanwhile."""
        failures = []
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= MAX_WAITING):
            failures.append(self._waiting.popleft().result())
        self._waiting.append(self._thread.submit(self._take, outcome))
        return [failure for failure in failures if failure is not None]

    def close(self) -> tuple[list[Failure], list[str]]:
        """Wait for all frames and end the video."""
        with self._thread:
            if self.job is None:
                return [], []
            notes = self._thread.submit(self.job.close)
            failures = [future.result() for future in self._waiting]
            return [failure for failure in failures if failure is not None], notes.result()

    def _take(self, outcome: Outcome) -> Failure | None:
        if self.job is None or outcome.seconds is None:
            raise AssertionError("a frame, yet no video for it")
        if isinstance(outcome, Failure):
            self.job.fail(outcome.seconds)
            return None
        try:
            self.job.take(outcome)
        except PictureError as error:
            return Failure(outcome.index, outcome.file, str(error), error, outcome.seconds)
        return None


class DrawnVideo(VideoJob):
    """A video with its heads drawn; a missing frame repeats the previous one.

    Args:
        place: where it is written.
        encoding: how it is written.
        drawing: how heads are marked.
    """

    def __init__(self, place: VideoPlace, encoding: Encoding, drawing: Drawing) -> None:
        self._writer = VideoWriter(place.path, encoding, place.source, is_cut=place.is_cut)
        self._drawing, self._traces = drawing, Traces()

    def take(self, record: Record) -> None:
        """Add a frame."""
        if record.pixels is None or record.seconds is None:
            raise ValueError("pixels: expected in the record; got none")
        traces = self._traces.add(record.seconds, record.detections)
        drawn = draw_heads(
            record.pixels,
            record.detections,
            self._drawing,
            traces=traces,
            regions=record.regions or (),
        )
        self._writer.add(record.seconds, drawn)

    def fail(self, seconds: float) -> None:
        """Repeat the previous frame for a missing one."""
        self._writer.repeat(seconds)

    def close(self) -> list[str]:
        """End the video."""
        self._writer.close()
        return self._writer.notes


class VideoSink(Sink):
    """``video/<name>.mp4``: each video or camera with its heads drawn, its times and its sound.

    Pictures are ignored.

    Args:
        folder: the folder of all results; this sink creates its own in it.
        origin: not used: the files hold only their frames.
        drawing: how heads are marked; None is the default.
        encoding: how videos are written; None is the default.

    Raises:
        OutputError: its folder holds files that are not earlier results.
    """

    needs_pixels = True

    def __init__(
        self,
        folder: Path,
        origin: Origin,  # noqa: ARG002 - as in every sink
        drawing: Drawing | None = None,
        encoding: Encoding | None = None,
    ) -> None:
        drawing, encoding = drawing or Drawing(), encoding or Encoding()
        self._files = ResultFolder(folder / "video")
        self._videos = VideoFiles(self._files, lambda place: DrawnVideo(place, encoding, drawing))

    @property
    def output(self) -> str:
        """The folder's name, or nothing if it is empty."""
        return "" if self._files.is_empty else "video/"

    @property
    def notes(self) -> list[str]:
        """What the user should know about the videos."""
        return self._videos.notes

    def write(self, record: Record) -> None:
        """Queue a frame for its video.

        Raises:
            HeadDetectionError: as in ``VideoFiles``.
            OSError: as in ``VideoFiles``.
        """
        self._videos.take(record)

    def fail(self, failure: Failure) -> None:
        """Mark a frame as missing."""
        self._videos.take(failure)

    def take_failures(self) -> list[Failure]:
        """Return the frames that were left out, since the last call."""
        return self._videos.take_failures()

    def close(self) -> None:
        """End all videos.

        Raises:
            OSError: one could not be written.
        """
        with ExitStack() as stack:
            stack.callback(self._files.close)
            self._videos.close()
