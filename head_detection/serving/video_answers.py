"""The answer to a video, in the requested format, written to a file frame by frame."""

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
    """Writes the result of each frame, in order.

    Attributes:
        media_type: media type of the file.
        suffix: suffix of its name.
        needs_pixels: whether records must hold their pixels.
        num_frames: number of frames with a result.
        num_failed: number of frames without a result.
    """

    media_type: ClassVar[str]
    suffix: ClassVar[str]
    needs_pixels: ClassVar[bool] = False

    def __init__(self) -> None:
        self.num_frames = self.num_failed = 0
        self._regions: Sequence[RegionCount] = ()

    def take(self, outcome: Outcome) -> None:
        """Write the result of a frame."""
        if isinstance(outcome, Failure):
            self.num_failed += 1
            self._fail(outcome)
            return
        self.num_frames += 1
        self._regions = outcome.regions or ()
        self._add(outcome)

    @abstractmethod
    def close(self) -> None:
        """Finish the file."""

    @abstractmethod
    def _add(self, record: Record) -> None: ...

    @abstractmethod
    def _fail(self, failure: Failure) -> None: ...

    def _counts(self) -> list[dict[str, Any]]:
        """Return the counts of each line and zone, named as in ``counts.csv``."""
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
    """Lines of JSON: a RECORD per frame, then a line per event of it; a last line has ``counts``.

    Args:
        path: the file to write.
        origin: not used, because each line stands alone.
    """

    media_type = "application/x-ndjson"
    suffix = ".ndjson"

    def __init__(self, path: Path, origin: Origin) -> None:  # noqa: ARG002 - as in JsonAnswer
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
    """``detections.json`` with the frames, and ``events`` and ``counts`` beside them.

    Args:
        path: the file to write.
        origin: the model that made it.
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
        """Add failures, events and counts, and finish the file."""
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
        job: writes the video.
    """

    media_type = "video/mp4"
    suffix = ".mp4"
    needs_pixels = True

    def __init__(self, job: VideoJob) -> None:
        super().__init__()
        self._job = job

    def close(self) -> None:
        """Finish the video."""
        self._job.close()

    def _add(self, record: Record) -> None:
        try:
            self._job.take(record)
        except PictureError:  # its heads could not be hidden, so it is left out
            self.num_failed += 1

    def _fail(self, failure: Failure) -> None:
        if failure.seconds is not None:
            self._job.fail(failure.seconds)


def open_answer(
    form: VideoForm, path: Path, source: Path, origin: Origin, *, is_cut: bool
) -> VideoAnswer:
    """Open the file of an answer.

    Args:
        form: its format.
        path: the file to write.
        source: the client's video, whose sound is copied.
        origin: the model that makes the answer.
        is_cut: whether the beginning of the video is left out.
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
"""The class of each format that a request may name."""
