"""``detections.csv``: a line a head."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import DetectionFileError
from head_detection.results.reading import (
    DetectionRows,
    FoundElsewhere,
    KnownPictures,
    as_number,
    found_in_rows,
    size_of,
)
from head_detection.results.record import Record
from head_detection.results.sink import FileSink

FORM: Final = "detections.csv"
COLUMNS: Final = ("file", "frame", "seconds", "id", "x1", "y1", "x2", "y2", "score")
CORNERS: Final = ("x1", "y1", "x2", "y2")


class CsvSink(FileSink):
    """``detections.csv``: corners in original pixels.

    ``frame`` and ``seconds`` are empty for pictures, ``id`` where heads are not followed.
    """

    file_name = FORM

    def _head(self) -> str:
        return csv_lines([COLUMNS])

    def _lines(self, record: Record) -> str:
        ids: Sequence[int | None] = record.ids or [None] * len(record.detections)
        heads = zip(ids, record.boxes, record.scores, strict=True)
        frame = (record.file, record.frame, record.rounded_seconds)
        return csv_lines((*frame, key, *box, score) for key, box, score in heads)


def csv_lines(rows: Iterable[Iterable[Any]]) -> str:
    r"""Return lines with commas; None is empty.

    Example:
        >>> csv_lines([("a,b", None, 1.5)])
        '"a,b",,1.5\n'
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def looks_like_csv(path: Path) -> bool:
    """Tell whether a file's first line names the columns."""
    header = ",".join(COLUMNS)
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline(len(header) + 1).rstrip("\n") == header


def read_csv_detections(path: Path, labelled: AnnotatedSet) -> FoundElsewhere:
    """Give each picture of a set its own of a ``detections.csv``.

    Args:
        path: the file.
        labelled: the pictures to measure on.

    Raises:
        DetectionFileError: boxes and scores that are none, or pictures that the set does not have.
            One line.
    """
    pictures = KnownPictures(path, labelled)
    rows = DetectionRows()
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = csv.DictReader(file)
        try:
            for line in lines:
                where = f"{path}: line {lines.line_num}"
                index = pictures.find(line["file"], where)
                if index is not None:
                    box = [as_number(line[corner]) for corner in CORNERS]
                    rows.add(index, box, as_number(line["score"]), where)
        except csv.Error as error:
            raise DetectionFileError(f"{path}: after line {lines.line_num}: {error}") from error
    pictures.refuse_unknown()
    found = rows.collect([size_of(image) for image in labelled.images])
    return found_in_rows(FORM, found, labelled)
