"""``detections.ndjson``: one RECORD a line, there as soon as it is found."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.label_files import read_text
from head_detection.errors import DetectionFileError
from head_detection.results.growing import GrowingFile
from head_detection.results.reading import FoundElsewhere
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
    """A line a picture, flushed: for pipes and for sources without end.

    What is written is valid after every line. A picture that failed has a line too, with its
    ``error`` in place of size and boxes, so that each picture is answered.

    Args:
        folder: of the file, made if need be; None is standard output.
        origin: not used: lines that are cut, joined or sorted are lines again.
    """

    def __init__(self, folder: Path | None, origin: Origin) -> None:  # noqa: ARG002 - as every sink is made
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
    """Tell lines from one value of JSON: by the file's name, or by a RECORD as first line."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        first = json.loads(text.lstrip().partition("\n")[0])
    except ValueError:
        return False
    return isinstance(first, dict) and "file" in first


def read_line_detections(path: Path, labelled: AnnotatedSet) -> FoundElsewhere:
    """Give each picture of a set its own of a ``detections.ndjson``.

    A last line that was cut short, as a kill may leave it, is left out.

    Args:
        path: the file.
        labelled: the pictures to measure on.

    Raises:
        DetectionFileError: as ``read_records``, or a line that is not JSON. One line.
    """
    # Not splitlines(): a name may hold other characters that end a line, such as U+2028.
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
