"""``detections.ndjson``: one RECORD per line, written at once."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.label_files import read_text
from head_detection.errors import DetectionFileError
from head_detection.results.detection_rows import FoundElsewhere
from head_detection.results.growing_file import GrowingFile
from head_detection.results.record import (
    JSON_ERRORS,
    Failure,
    Origin,
    Record,
    dump_json,
    read_records,
)
from head_detection.results.sink import Sink

FORM: Final = "detections.ndjson"
SUFFIXES: Final = (".ndjson", ".jsonl")


class LineSink(Sink):
    """Writes one line per picture, flushed at once: for pipes and sources without an end.

    The file is valid after every line. A picture that failed also has a line, with ``error``
    instead of size and boxes, so that each picture gets an answer.

    Args:
        folder: folder of the file, created if missing; None is standard output.
        origin: not used: with a header, users could not cut, join or sort the lines.
    """

    def __init__(self, folder: Path | None, origin: Origin) -> None:  # noqa: ARG002 - as in every sink
        self._file = None if folder is None else GrowingFile(folder / FORM)

    @property
    def output(self) -> str:
        """The file's name."""
        return "standard output" if self._file is None else FORM

    def write(self, record: Record) -> None:
        """Add a picture."""
        self._add(record.as_plain())

    def fail(self, failure: Failure) -> None:
        """Add a picture that could not be read."""
        self._add(failure.as_plain())

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._file is not None:
            self._file.close()

    def _add(self, values: dict[str, Any]) -> None:
        line = (dump_json(values) + "\n").encode("utf-8", JSON_ERRORS)
        if self._file is not None:
            self._file.add(line)
            return
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def looks_like_lines(path: Path, text: str) -> bool:
    """Tell whether a file is NDJSON: by its name, or because its first line is a RECORD."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        first = json.loads(text.lstrip().partition("\n")[0])
    except ValueError:
        return False
    return isinstance(first, dict) and "file" in first


def read_line_detections(path: Path, labelled: AnnotatedSet) -> FoundElsewhere:
    """Read ``detections.ndjson`` and assign its detections to the pictures of a set.

    An incomplete last line, which a kill may leave, is left out.

    Args:
        path: the file.
        labelled: the pictures to evaluate on.

    Raises:
        DetectionFileError: as in ``read_records``, or a line that is not JSON. One line.
    """
    # Not splitlines(): a name may hold other line separators, such as U+2028.
    *lines, rest = read_text(path, FORM, DetectionFileError).split("\n")
    records: list[tuple[str, dict[str, Any]]] = []
    failures: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        entry = _parse(line, where)
        (failures if "error" in entry else records).append((where, entry))
    notes = (f"{path.name}: the last line was cut short, left out",) if rest.strip() else ()
    return replace(read_records(path, labelled, records, failures), form=FORM, notes=notes)


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DetectionFileError(f"{where}: expected one record as JSON ({error})") from error
    if not isinstance(entry, dict):
        raise DetectionFileError(f"{where}: expected an object; got {type(entry).__name__}")
    return entry
