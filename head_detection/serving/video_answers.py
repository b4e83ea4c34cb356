"""What came of a video, in the form that was asked for, written to a file as it is found."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from head_detection.errors import PictureError
from head_detection.images.styles import Drawing
from head_detection.results.blur import FilledFrames, HiddenVideo
from head_detection.results.encoding import Encoding
from head_detection.results.events import as_plain
from head_detection.results.record import JSON_ERRORS, Failure, Origin, Outcome, Record, dump_json
from head_detection.results.video import DrawnVideo, VideoJob, VideoPlace
from head_detection.structures import RegionCount

VideoForm = Literal["json", "ndjson", "video", "blur"]


class VideoAnswer(ABC):
    """Takes what came of each frame, in order.

    Attributes:
        media_type: of the file.
        suffix: of its name.
        needs_pixels: whether records must hold their picture.
        num_frames: that went through the network.
        num_failed: that have no answer.
    """

    media_type: ClassVar[str]
    suffix: ClassVar[str]
    needs_pixels: ClassVar[bool] = False

    def __init__(self) -> None:
        self.num_frames = self.num_failed = 0
        self._regions: Sequence[RegionCount] = ()

    def take(self, outcome: Outcome) -> None:
        """Write a frame."""
        if isinstance(outcome, Failure):
            self.num_failed += 1
            self._fail(outcome)
            return
        self.num_frames += 1
        self._regions = outcome.regions or ()
        self._add(outcome)

    @abstractmethod
    def close(self) -> None:
        """End the file."""

    @abstractmethod
    def _add(self, record: Record) -> None: ...

    @abstractmethod
    def _fail(self, failure: Failure) -> None: ...

    def _counts(self) -> list[dict[str, Any]]:
        """Return what was counted at each line and in each zone, as ``counts.csv`` names it."""
        return [
            {
                "line" if region.is_line else "zone": region.name,
                "in": region.num_in,
                "out": region.num_out,
                **({} if region.is_line else {"now": region.now}),
            }
            for region in self._regions
        ]


class LineAnswer(VideoAnswer):
    """A line a frame, RECORD; behind it a line an event, and at the end one with ``counts``.

    Args:
        path: of the file.
        origin: not used: lines stand alone.
    """

    media_type = "application/x-ndjson"
    suffix = ".ndjson"

    def __init__(self, path: Path, origin: Origin) -> None:  # noqa: ARG002 - as JSON is made
        super().__init__()
        self._file = path.open("w", encoding="utf-8", errors=JSON_ERRORS)

    def close(self) -> None:
        """Add the line of counts."""
        with self._file:
            self._put({"counts": self._counts()})

    def _add(self, record: Record) -> None:
        self._put(record.as_plain())
        for event in record.events:
            self._put(as_plain(event, record.file))

    def _fail(self, failure: Failure) -> None:
        self._put(failure.as_plain())

    def _put(self, values: dict[str, Any]) -> None:
        self._file.write(dump_json(values) + "\n")


class JsonAnswer(VideoAnswer):
    """``detections.json`` of the frames, with ``events`` and ``counts`` beside them.

    Args:
        path: of the file.
        origin: what made it.
    """

    media_type = "application/json"
    suffix = ".json"

    def __init__(self, path: Path, origin: Origin) -> None:
        super().__init__()
        self._events: list[dict[str, Any]] = []
        self._failures: list[dict[str, Any]] = []
        self._separator = "\n"
        self._file = path.open("w", encoding="utf-8", errors=JSON_ERRORS)
        self._file.write(dump_json(origin.as_plain())[:-1] + ', "images": [')

    def close(self) -> None:
        """Add what is not of one frame."""
        rest = {"failed": self._failures, "events": self._events, "counts": self._counts()}
        with self._file:
            self._file.write(f"\n], {dump_json(rest)[1:]}\n")

    def _add(self, record: Record) -> None:
        self._file.write(self._separator + dump_json(record.as_plain()))
        self._separator = ",\n"
        self._events += [as_plain(event, record.file) for event in record.events]

    def _fail(self, failure: Failure) -> None:
        self._failures.append(failure.as_plain())


class VideoFileAnswer(VideoAnswer):
    """A video with its heads drawn, or hidden.

    Args:
        job: writes it.
    """

    media_type = "video/mp4"
    suffix = ".mp4"
    needs_pixels = True

    def __init__(self, job: VideoJob) -> None:
        super().__init__()
        self._job = job

    def close(self) -> None:
        """End the video."""
        self._job.close()

    def _add(self, record: Record) -> None:
        try:
            self._job.take(record)
        except PictureError:  # not hidden: left out
            self.num_failed += 1

    def _fail(self, failure: Failure) -> None:
        if failure.seconds is not None:
            self._job.fail(failure.seconds)


def open_answer(
    form: VideoForm, path: Path, source: Path, origin: Origin, *, is_cut: bool
) -> VideoAnswer:
    """Begin the file of an answer.

    Args:
        form: of what kind.
        path: of the file.
        source: the video itself, whose sound comes along.
        origin: what makes it.
        is_cut: the video's beginning is left out.
    """
    place = VideoPlace(path, source, is_cut=is_cut)
    make: dict[VideoForm, Callable[[], VideoAnswer]] = {
        "json": lambda: JsonAnswer(path, origin),
        "ndjson": lambda: LineAnswer(path, origin),
        "video": lambda: VideoFileAnswer(DrawnVideo(place, Encoding(), Drawing())),
        "blur": lambda: VideoFileAnswer(
            HiddenVideo(place, Encoding(), None, origin.score_threshold, FilledFrames())
        ),
    }
    return make[form]()


FORMS: Final[dict[VideoForm, type[VideoAnswer]]] = {
    "json": JsonAnswer,
    "ndjson": LineAnswer,
    "video": VideoFileAnswer,
    "blur": VideoFileAnswer,
}
"""By the names that a request has."""
