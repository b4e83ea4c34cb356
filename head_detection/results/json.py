"""``detections.json``: all results of a run in one JSON file."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import DetectionFileError
from head_detection.results.detection_rows import FoundElsewhere, shown
from head_detection.results.record import (
    JSON_ERRORS,
    SCHEMA,
    Failure,
    Origin,
    Record,
    dump_json,
    read_records,
)
from head_detection.results.sink import FileSink

FORM: Final = "detections.json"
SCHEMA_FAMILY: Final = SCHEMA.rpartition("/")[0] + "/"
"""Prefix of the schemas of all versions."""
FAILURES_IN_MEMORY: Final = 64 * 1024
"""Characters of failures kept in memory; more wait on the disk for the end of the file."""
FAILURES_MEANWHILE: Final = 4096
"""Characters of failures at the end of the growing file; they are rewritten with each picture."""
FAILED: Final = '\n], "failed": ['
UNFINISHED: Final = "unfinished"
"""Key in a file that is still growing, or whose run was stopped or killed."""


class JsonSink(FileSink):
    """``detections.json``: one line per picture, and the failures at the end.

    While the file grows it also has an end, with the key ``unfinished`` and the first failures.
    """

    file_name = FORM
    encoding_errors = JSON_ERRORS

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._separator = "\n"
        self._failures, self._closing = FAILED, f'], "{UNFINISHED}": true}}\n'
        self._is_broken_off = False
        super().__init__(folder, origin)
        self._failed = self._stack.enter_context(
            tempfile.SpooledTemporaryFile(  # noqa: SIM115 - the stack closes it
                FAILURES_IN_MEMORY, "w+", encoding="utf-8", errors=JSON_ERRORS, dir=str(folder)
            )
        )

    def fail(self, failure: Failure) -> None:
        """Remember a failure for the list ``failed`` at the end."""
        line = dump_json(failure.as_plain())
        self._failed.write(f"{line}\n")
        if len(self._failures) + len(line) <= FAILURES_MEANWHILE:
            self._failures += ("\n" if self._failures == FAILED else ",\n") + line
            self._add("")

    def break_off(self) -> None:
        """Keep the key ``unfinished`` in the file."""
        self._is_broken_off = True

    def close(self) -> None:
        """End the file with all failures."""
        with self._stack:
            self._failures, separator = "", "\n"
            self._add(FAILED)
            self._failed.seek(0)
            for line in self._failed:
                self._add(separator + line.removesuffix("\n"))
                separator = ",\n"
            if not self._is_broken_off:
                self._closing = "]}\n"
            self._add("")

    def _head(self) -> str:
        return dump_json(self._origin.as_plain())[:-1] + ', "images": ['

    def _lines(self, record: Record) -> str:
        separator, self._separator = self._separator, ",\n"
        return separator + dump_json(record.as_plain())

    def _end(self) -> str:
        return self._failures + self._closing


def read_json_detections(
    path: Path, content: dict[str, Any], labelled: AnnotatedSet
) -> FoundElsewhere:
    """Read ``detections.json`` and assign its detections to the pictures of a set.

    Args:
        path: the file, for errors.
        content: its parsed content.
        labelled: the pictures to evaluate on.

    Raises:
        DetectionFileError: as in ``read_records``, or another version of the schema. One line.
    """
    schema = content.get("schema")
    if schema != SCHEMA:
        raise DetectionFileError(
            f"{path}: expected schema {SCHEMA!r}, of this version; got {shown(schema)}:"
            " run `test` again"
        )
    found = read_records(
        path,
        labelled,
        _list_of(content, "images", path),
        _list_of(content, "failed", path),
    )
    model = content.get("model")
    notes = (f"{path.name}: its run was not brought to an end",) if UNFINISHED in content else ()
    return replace(
        found,
        form=FORM,
        notes=notes,
        model=model if isinstance(model, dict) else {},
        score_threshold=_threshold_in(path, content),
    )


def _threshold_in(path: Path, content: dict[str, Any]) -> float:
    threshold = content.get("score_threshold")
    if isinstance(threshold, int | float) and 0 <= threshold <= 1:
        return float(threshold)
    raise DetectionFileError(
        f"{path}: expected a score_threshold from 0 to 1; got {shown(threshold)}"
    )


def _list_of(content: dict[str, Any], key: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    values = content.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DetectionFileError(f"{path}: expected a list of objects under {key!r}")
    return [(f"{path}: {key}[{number}]", value) for number, value in enumerate(values)]
