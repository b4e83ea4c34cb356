"""``counts.csv``: the number of heads in each picture, or over time in a video or camera."""

import csv
import math
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from head_detection.files import replacing
from head_detection.results.csv import csv_lines
from head_detection.results.growing_file import GrowingFile
from head_detection.results.record import Failure, Origin, Record
from head_detection.results.sink import FileSink, Sink
from head_detection.structures import RegionCount

FILE: Final = "counts.csv"
PICTURE_COLUMNS: Final = ("file", "count")
FRAME_COLUMNS: Final = ("time", "source", "zone", "in", "out", "now")
USUAL_SECONDS: Final = 1.0
"""Default time between two counts of a source."""
MAX_SOURCES: Final = 1000
"""Sources with a count waiting to be written; with more, as in a folder of videos, the oldest
ends."""
_ROUNDING: Final = 1e-6
"""Tolerance of times, relative to the interval: 0.3 must not count as less than 3 * 0.1."""

ERRORS: Final = FileSink.encoding_errors

Row = tuple[float | None, str, str, int | None, int | None, int | None]


@dataclass
class _Series:
    """The counts of one source.

    Attributes:
        due: the time of the next count.
        waiting: rows of the last frame before that.
    """

    due: float
    waiting: list[Row]


class CountSink(Sink):
    """``counts.csv``: ``file,count`` for pictures, ``time,source,zone,in,out,now`` for frames.

    Each row is written at once. At the first frame, or the first picture with zones, the file is
    converted to the form for frames, in which a picture has only a source and a ``now``, for the
    whole and for each zone. Frames get a row at a fixed interval of presentation time, and so does
    the last frame of each source. ``zone`` is the name of a zone or line, and empty for the whole
    frame.

    Args:
        folder: folder of the file, created if missing.
        origin: as in ``FileSink``.
        every: seconds between two counts of a source; 0 counts every frame.
        of_frames: no pictures will come: use the form for frames from the start.
    """

    file_name: ClassVar[str] = FILE

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        every: float = USUAL_SECONDS,
        *,
        of_frames: bool = False,
    ) -> None:
        self._path, self._every = folder / self.file_name, every
        self._pictures = _PictureTable(folder, origin)
        self._file: GrowingFile | None = None
        self._sources: OrderedDict[str, _Series] = OrderedDict()
        if of_frames:
            self._begin_frames()

    @property
    def output(self) -> str:
        """The file's name."""
        return self.file_name

    def write(self, record: Record) -> None:
        """Add a picture, or the counts of a frame when they are due."""
        if record.seconds is not None:
            if record.path is not None and record.file not in self._sources:
                self._end_others()  # files are processed one after the other
            self._count(record.file, record.seconds, _rows_of(record))
        elif self._file is None and not record.zones:
            self._pictures.write(record)
        else:
            rows = [_picture_row(record.file, len(record.detections))]
            zones = record.zones or {}
            self._add([*rows, *(_picture_row(record.file, zones[name], name) for name in zones)])

    def fail(self, failure: Failure) -> None:
        """Add a picture without a number, since it may not be empty.

        A failed frame gets no row, and neither does the end of a video that ends early.
        """
        if failure.seconds is not None or failure.file in self._sources:
            return
        if self._file is None:
            self._pictures.fail(failure)
        else:
            self._add([_picture_row(failure.file, None)])

    def close(self) -> None:
        """Add the last frame of each source and close the file."""
        if self._file is None:
            self._pictures.close()
            return
        with ExitStack() as stack:
            stack.callback(self._file.close)
            self._end_others()

    def _end_others(self) -> None:
        """Add the last frame of each source so far, unless it has a row already."""
        for series in self._sources.values():
            self._add(series.waiting)
            series.waiting = []

    def _count(self, source: str, seconds: float, rows: list[Row]) -> None:
        series = self._sources.setdefault(source, _Series(seconds, []))
        self._sources.move_to_end(source)
        is_due = seconds >= series.due or seconds < series.due - self._every - _ROUNDING
        series.waiting = [] if is_due else rows
        if is_due:
            self._add(rows)
            if self._every:
                passed = math.floor(seconds / self._every + _ROUNDING)
                series.due = (passed + 1) * self._every - self._every * _ROUNDING
        if len(self._sources) > MAX_SOURCES:
            _, oldest = self._sources.popitem(last=False)
            self._add(oldest.waiting)

    def _add(self, rows: list[Row]) -> None:
        file = self._file or self._begin_frames()
        file.add(_encoded(rows))

    def _begin_frames(self) -> GrowingFile:
        """Rewrite the rows so far in the form for frames, and append to that file from now on."""
        self._pictures.close()
        with (
            self._path.open(encoding="utf-8", errors=ERRORS, newline="") as pictures,
            replacing(self._path) as temporary,
            temporary.open("wb") as file,
        ):
            lines = csv.reader(pictures)
            next(lines)
            file.write(_encoded([FRAME_COLUMNS]))
            for name, count in lines:
                file.write(_encoded([_picture_row(name, int(count) if count else None)]))
        self._file = GrowingFile(self._path, goes_on=True)
        return self._file


class _PictureTable(FileSink):
    """``file,count``: 0 for a picture without heads, empty for one that could not be read."""

    file_name = FILE

    def fail(self, failure: Failure) -> None:
        self._add(csv_lines([(failure.file, None)]))

    def _head(self) -> str:
        return csv_lines([PICTURE_COLUMNS])

    def _lines(self, record: Record) -> str:
        return csv_lines([(record.file, len(record.detections))])


def _encoded(rows: Iterable[Iterable[object]]) -> bytes:
    return csv_lines(rows).encode("utf-8", ERRORS)


def _picture_row(name: str, count: int | None, zone: str = "") -> Row:
    return None, name, zone, None, None, count


def _passages(region: RegionCount) -> tuple[int | None, int | None]:
    """Return the numbers of heads that came and left; None for both without tracking."""
    return (region.num_in, region.num_out) if region.is_followed else (None, None)


def _rows_of(record: Record) -> list[Row]:
    """Return the row of the whole frame, then those of its zones and lines."""
    seconds, source = record.rounded_seconds, record.file
    regions = record.regions or ()
    return [
        (seconds, source, "", None, None, len(record.detections)),
        *((seconds, source, r.name, *_passages(r), r.now) for r in regions),
    ]
