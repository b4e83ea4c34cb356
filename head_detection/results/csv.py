"""``detections.csv``: one line per head."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.label_files import as_id
from head_detection.errors import DetectionFileError
from head_detection.results.classes import HeadClasses, StatedClass
from head_detection.results.detection_rows import (
    DetectionRows,
    FoundElsewhere,
    KnownPictures,
    as_number,
    found_in_rows,
    shown,
    size_of,
)
from head_detection.results.record import Record
from head_detection.results.sink import FileSink

FORM: Final = "detections.csv"
ROWS_FORM: Final = "rows of JSON"
COLUMNS: Final = ("file", "frame", "seconds", "id", "x1", "y1", "x2", "y2", "score")
FILES: Final = ("file", "file_name", "filename", "image", "image_path", "path")
CORNERS: Final = (
    ("x1", "y1", "x2", "y2"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("xmin", "ymin", "xmax", "ymax"),
)
SCORES: Final = ("score", "confidence", "conf")
CLASS_IDS: Final = ("class_id", "category_id")
CLASS_NAMES: Final = ("class_name", "category_name", "name", "label")
"""Names that tables of detections give to their columns, ours first."""
_LINE_END: Final = "\r\n"
LONGEST_HEADER: Final = 4096
"""Characters of the first line that are inspected."""


class CsvSink(FileSink):
    """``detections.csv``: corners in original pixels.

    ``frame`` and ``seconds`` are empty for pictures, ``id`` without tracking.
    """

    file_name = FORM

    def _head(self) -> str:
        return csv_lines([COLUMNS])

    def _lines(self, record: Record) -> str:
        return csv_lines(head_rows(record))


def head_rows(record: Record) -> Iterator[tuple[Any, ...]]:
    """Yield the values of ``COLUMNS`` for each head of a picture or frame."""
    ids: Sequence[int | None] = record.ids or [None] * len(record.detections)
    for key, box, score in zip(ids, record.boxes, record.scores, strict=True):
        yield record.file, record.frame, record.rounded_seconds, key, *box, score


def csv_lines(rows: Iterable[Iterable[Any]]) -> str:
    r"""Return rows as lines of CSV; None becomes an empty field.

    Example:
        >>> csv_lines([("a,b", None, 1.5)])
        '"a,b",,1.5\n'
    """
    lines: list[str] = []
    # Python 3.11 quotes only those ends of lines that it writes itself; a name may hold any.
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator=_LINE_END)
    writer.writerows(rows)
    return "".join(f"{line.removesuffix(_LINE_END)}\n" for line in lines)


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read from a table.

    Attributes:
        file: column of the picture's name.
        corners: columns of left, top, right, bottom in pixels.
        score: column of the score, 0 to 1.
        class_id: column of the class's number; None if there is none.
        class_name: column of its name, likewise.
    """

    file: str
    corners: tuple[str, ...]
    score: str
    class_id: str | None
    class_name: str | None


def columns_of(header: Sequence[str]) -> Columns | None:
    """Find the columns by their names; None if the table is not a list of detections.

    Example:
        >>> columns_of(["x_min", "y_min", "x_max", "y_max", "confidence", "image"]).corners
        ('x_min', 'y_min', 'x_max', 'y_max')
        >>> columns_of(["file", "count"])
    """

    def named(names: Sequence[str]) -> str | None:
        return next((name for name in names if name in header), None)

    corners, file, score = _corners_in(header), named(FILES), named(SCORES)
    if corners is None or file is None or score is None:
        return None
    return Columns(file, corners, score, named(CLASS_IDS), named(CLASS_NAMES))


def _corners_in(header: Sequence[str]) -> tuple[str, ...] | None:
    return next((names for names in CORNERS if set(names) <= set(header)), None)


def looks_like_csv(path: Path) -> bool:
    """Tell whether a file's first line names the columns of boxes."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        line = file.readline(LONGEST_HEADER)
    return _corners_in(next(csv.reader([line]), [])) is not None


def looks_like_rows(content: Sequence[Any]) -> bool:
    """Tell whether JSON entries are rows of a table of boxes, as ``JSONSink`` writes them.

    Example:
        >>> looks_like_rows([{"x_min": 1, "y_min": 2, "x_max": 3, "y_max": 4}])
        True
        >>> looks_like_rows([{"bbox": [1, 2, 3, 4]}]), looks_like_rows([])
        (False, False)
    """
    first = content[0] if content else None
    return isinstance(first, dict) and _corners_in(list(first)) is not None


def read_csv_detections(path: Path, labelled: AnnotatedSet) -> FoundElsewhere:
    """Read ``detections.csv`` or another program's table, and assign its detections to a set.

    Columns are found by name: supervision's ``CSVSink`` has ``x_min`` and ``confidence``, YOLO's
    pandas tables ``xmin``. Of several classes, only heads count; others are left out and noted.

    Args:
        path: the file.
        labelled: the pictures to evaluate on.

    Raises:
        DetectionFileError: invalid boxes or scores, or pictures that the set does not have. One
            line.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = csv.DictReader(file)
        header = lines.fieldnames or []
        try:
            table = [(f"{path}: line {lines.line_num}", line) for line in lines]
        except csv.Error as error:
            raise DetectionFileError(f"{path}: after line {lines.line_num}: {error}") from error
    return _read_table(path, header, table, labelled, FORM)


def read_row_detections(path: Path, content: list[Any], labelled: AnnotatedSet) -> FoundElsewhere:
    """Read a table in JSON, a list with one object per head, and assign its detections to a set.

    Keys have the names of the columns. supervision's ``JSONSink`` writes such a file; it holds the
    picture's name if ``append(..., custom_data={"file": name})`` was given one.

    Args:
        path: the file, for errors.
        content: its parsed content.
        labelled: the pictures to evaluate on.

    Raises:
        DetectionFileError: as in ``read_csv_detections``.
    """
    for number, entry in enumerate(content):
        if not isinstance(entry, dict):
            raise DetectionFileError(f"{path}: [{number}]: expected an object; got {shown(entry)}")
    table = [(f"{path}: [{number}]", entry) for number, entry in enumerate(content)]
    return _read_table(path, list(content[0]), table, labelled, ROWS_FORM)


def _read_table(
    path: Path,
    header: Sequence[str],
    table: Sequence[tuple[str, Mapping[str, Any]]],
    labelled: AnnotatedSet,
    form: str,
) -> FoundElsewhere:
    columns = columns_of(header)
    if columns is None:
        raise DetectionFileError(
            f"{path}: expected a column with the picture's name ({', '.join(FILES)}) and one with "
            f"the score ({', '.join(SCORES)}); got {shown(','.join(header))}"
        )
    pictures = KnownPictures(path, labelled)
    stated = [_class_of(line, columns) for _, line in table]
    classes = HeadClasses(path, "class", (), stated)
    rows = DetectionRows()
    for (where, line), own in zip(table, stated, strict=True):
        name = line.get(columns.file)
        if not isinstance(name, str):
            raise DetectionFileError(
                f"{where}: expected the picture's name as {columns.file}; got {shown(name)}"
            )
        index = pictures.find(name, where)
        if classes.is_head(own, where) and index is not None:
            box = [_number_in(line, corner) for corner in columns.corners]
            rows.add(index, box, _number_in(line, columns.score), where)
    pictures.refuse_unknown()
    found = rows.collect([size_of(image) for image in labelled.images])
    return found_in_rows(form, found, labelled, classes.notes)


def _number_in(line: Mapping[str, Any], column: str) -> Any:
    """Return a field as a number if its text is one, otherwise unchanged, to be checked later."""
    value = line.get(column)
    return as_number(value) if isinstance(value, str) else value


def _class_of(line: Mapping[str, Any], columns: Columns) -> StatedClass:
    number = None if columns.class_id is None else line.get(columns.class_id)
    name = None if columns.class_name is None else line.get(columns.class_name)
    is_named = isinstance(name, str) and name != ""
    return StatedClass(None if number in (None, "") else as_id(number), name if is_named else None)
