"""``detections.json``: all results of a run in one file of JSON."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import DetectionFileError
from head_detection.results.reading import FoundElsewhere, shown
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
"""What the schemas of all versions begin with."""
FAILURES_IN_MEMORY: Final = 64 * 1024
"""Characters; more lie on the disk until the file ends with them."""


class JsonSink(FileSink):
    """``detections.json``; a line a picture, the failures at its end."""

    file_name = FORM
    encoding_errors = JSON_ERRORS

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._separator, self._failure_separator = "\n", "\n"
        super().__init__(folder, origin)
        self._failed = self._stack.enter_context(
            tempfile.SpooledTemporaryFile(  # noqa: SIM115 - the stack closes it
                FAILURES_IN_MEMORY, "w+", encoding="utf-8", errors=JSON_ERRORS, dir=str(folder)
            )
        )

    def fail(self, failure: Failure) -> None:
        """Note a failure, for ``failed`` at the end."""
        self._failed.write(self._failure_separator + dump_json(failure.as_plain()))
        self._failure_separator = ",\n"

    def _head(self) -> str:
        return dump_json(self._origin.as_plain())[:-1] + ', "images": ['

    def _lines(self, record: Record) -> str:
        separator, self._separator = self._separator, ",\n"
        return separator + dump_json(record.as_plain())

    def _tail(self) -> Iterator[str]:
        yield '\n], "failed": ['
        self._failed.seek(0)
        yield from iter(partial(self._failed.read, FAILURES_IN_MEMORY), "")
        yield "]}\n"


def read_json_detections(
    path: Path, content: dict[str, Any], labelled: AnnotatedSet
) -> FoundElsewhere:
    """Give each picture of a set its own of a ``detections.json``.

    Args:
        path: the file, for errors.
        content: what it holds.
        labelled: the pictures to measure on.

    Raises:
        DetectionFileError: as ``read_records``, or another version of the schema. One line.
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
    return replace(
        found,
        form=FORM,
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
