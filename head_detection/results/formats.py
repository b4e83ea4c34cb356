"""The formats by name: opens the writers, and recognises and reads files of detections."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.label_files import read_text
from head_detection.errors import DetectionFileError, OutputError
from head_detection.images.styles import Drawing, Hiding
from head_detection.results.blur import BlurSink
from head_detection.results.coco import CocoIds, CocoSink, read_coco_results
from head_detection.results.counts import USUAL_SECONDS, CountSink
from head_detection.results.crops import CropSink
from head_detection.results.csv import (
    CsvSink,
    looks_like_csv,
    looks_like_rows,
    read_csv_detections,
    read_row_detections,
)
from head_detection.results.detection_rows import FoundElsewhere, shown
from head_detection.results.encoding import Encoding
from head_detection.results.events import EventSink
from head_detection.results.format_names import ON_STANDARD_OUTPUT
from head_detection.results.heatmap import HeatmapSink
from head_detection.results.images import DrawnSink
from head_detection.results.json import SCHEMA_FAMILY, JsonSink, read_json_detections
from head_detection.results.lines import LineSink, looks_like_lines, read_line_detections
from head_detection.results.mot import MotSink, read_mot_detections
from head_detection.results.record import Failure, Origin, Outcome, Record
from head_detection.results.sink import Sink
from head_detection.results.video import VideoSink
from head_detection.results.yolo import (
    LabelDataSink,
    LabelSink,
    looks_like_labels,
    read_yolo_labels,
)

SINKS: Final[dict[str, Callable[[Path, Origin], Sink]]] = {
    "json": JsonSink,
    "csv": CsvSink,
    "lines": LineSink,
    "counts": CountSink,
    "events": EventSink,
    "coco": CocoSink,
    "mot": MotSink,
    "yolo": LabelSink,
    "yolo-data": LabelDataSink,
    "images": DrawnSink,
    "video": VideoSink,
    "blur": BlurSink,
    "crops": CropSink,
    "heatmap": HeatmapSink,
}
"""The writers, by the format's name for users."""
_WANTED: Final = (
    "detections.json, .csv or .ndjson of this project, COCO results, a table of supervision, "
    "MOTChallenge text (.txt) or a folder of YOLO labels"
)


@dataclass(frozen=True)
class SinkOptions:
    """Options of single formats.

    Attributes:
        drawing: how ``images`` and ``video`` mark heads; None is the default.
        hiding: how ``blur`` hides them; None is the default.
        labels: ``coco`` takes the ids from these labels; None numbers the pictures.
        has_yolo_scores: ``yolo`` has a score in each line.
        encoding: how ``video`` and ``blur`` write videos; None is the default.
        counts_every: seconds between two ``counts`` of a video or camera.
        has_frames_alone: the source has no pictures.
    """

    drawing: Drawing | None = None
    hiding: Hiding | None = None
    labels: CocoIds | None = None
    has_yolo_scores: bool = False
    encoding: Encoding | None = None
    counts_every: float = USUAL_SECONDS
    has_frames_alone: bool = False


class Sinks:
    """Several sinks as one: a context that finishes all of them, even after an error or Ctrl-C.

    Args:
        names: formats, as ``parse_formats`` returns them; without any, nothing is written.
        folder: folder of the results, created if missing; None is standard output, for ``lines``
            only.
        origin: what made the results.
        options: options of single formats; None is the defaults.
        more: functions that make further sinks, which report live results elsewhere.

    Raises:
        HeadDetectionError: as one of the sinks.
        OutputError: a folder that cannot be used, or formats that cannot go to standard output.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path | None,
        origin: Origin,
        options: SinkOptions | None = None,
        more: Sequence[Callable[[], Sink]] = (),
    ) -> None:
        options = options or SinkOptions()
        self._stack = ExitStack()
        self._sinks: list[Sink] = []
        with self._stack:
            if folder is None:
                self._open_standard_output(names, origin)
            else:
                kinds = SINKS | {
                    "counts": partial(
                        CountSink, every=options.counts_every, of_frames=options.has_frames_alone
                    ),
                    "images": partial(
                        DrawnSink, drawing=options.drawing, has_frames="video" not in names
                    ),
                    "video": partial(VideoSink, drawing=options.drawing, encoding=options.encoding),
                    "blur": partial(BlurSink, hiding=options.hiding, encoding=options.encoding),
                    "coco": partial(CocoSink, labels=options.labels),
                    "yolo": partial(LabelSink, has_scores=options.has_yolo_scores),
                }
                for name in names:
                    self._open(kinds[name](folder, origin))
            for make in more:
                self._open(make())
            self._stack = self._stack.pop_all()

    @property
    def needs_pixels(self) -> bool:
        """Whether records must hold their picture."""
        return any(sink.needs_pixels for sink in self._sinks)

    @property
    def outputs(self) -> list[str]:
        """What is written, for a summary."""
        return [sink.output for sink in self._sinks if sink.output]

    @property
    def notes(self) -> list[str]:
        """What a user should know about the files, one line each; complete after closing."""
        return [note for sink in self._sinks for note in sink.notes]

    def take(self, outcome: Outcome) -> None:
        """Pass the outcome of a picture or frame to all sinks."""
        for sink in self._sinks:
            if isinstance(outcome, Record):
                sink.write(outcome)
            else:
                sink.fail(outcome)

    def take_failures(self) -> list[Failure]:
        """Return the pictures with a file that could not be written, since the last call."""
        return [failure for sink in self._sinks for failure in sink.take_failures()]

    def _open_standard_output(self, names: Sequence[str], origin: Origin) -> None:
        if tuple(names) != ON_STANDARD_OUTPUT:
            wanted, got = ",".join(ON_STANDARD_OUTPUT), ",".join(names)
            raise OutputError(f"standard output: expected {wanted} alone; got {got}")
        self._open(LineSink(None, origin))

    def _open(self, sink: Sink) -> None:
        self._stack.callback(sink.close)
        self._sinks.append(sink)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            for sink in self._sinks:
                sink.break_off()
        self._stack.__exit__(kind, error, traceback)


def read_detection_file(path: Path, labelled: AnnotatedSet) -> FoundElsewhere:
    """Read detections in any known format and assign them to the pictures of a set.

    The format is recognised by the content. Pictures are matched by name, see ``PictureNames``;
    nothing is dropped silently.

    Args:
        path: the file, or a folder of MOTChallenge text or YOLO labels.
        labelled: the pictures to evaluate on; results in the format of its labels share their ids
            and classes.

    Raises:
        DetectionFileError: no such file, another format, invalid boxes or scores, or pictures that
            the set does not have. One line, with the position in the file.
    """
    if path.is_dir() and looks_like_labels(path):
        return read_yolo_labels(path, labelled)
    if path.is_dir() or path.suffix.lower() == ".txt":
        return read_mot_detections(path, labelled)
    if path.is_file() and looks_like_csv(path):
        return read_csv_detections(path, labelled)
    text = read_text(path, _WANTED, DetectionFileError)
    if looks_like_lines(path, text):
        return read_line_detections(path, labelled)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DetectionFileError(f"{path}: expected {_WANTED}; not JSON ({error})") from error
    if isinstance(content, list):
        read = read_row_detections if looks_like_rows(content) else read_coco_results
        return read(path, content, labelled)
    schema = content.get("schema") if isinstance(content, dict) else None
    if str(schema).startswith(SCHEMA_FAMILY):
        return read_json_detections(path, content, labelled)
    has_labels = isinstance(content, dict) and "annotations" in content
    got = "COCO labels" if has_labels else f"JSON of schema {shown(schema)}"
    raise DetectionFileError(f"{path}: expected {_WANTED}; got {got}")
