"""One file for all pictures: JSON, CSV, COCO results, MOTChallenge."""

import csv
import io
import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Final

from head_detection.files import replacing
from head_detection.results.record import Origin, Record

SCHEMA: Final = "head-detection/detections/1"
CATEGORY_ID: Final = 1
NOT_TRACKED: Final = -1
NO_PLACE_IN_SPACE: Final = -1


class TextSink:
    """A text file that grows picture by picture under a temporary name.

    Args:
        folder: of the file; made if need be.
        origin: what made the results.
    """

    file_name: ClassVar[str]
    needs_pixels: ClassVar[bool] = False
    encoding_errors: ClassVar[str] = "surrogateescape"
    """File names that are not valid Unicode keep their bytes."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._origin = origin
        self._stack = ExitStack()
        with self._stack:
            temporary = self._stack.enter_context(replacing(folder / self.file_name))
            self._file = self._stack.enter_context(
                temporary.open("w", encoding="utf-8", errors=self.encoding_errors, newline="")
            )
            self._file.write(self._head())
            self._stack = self._stack.pop_all()

    @property
    def output(self) -> str:
        """What is written, for the summary."""
        return self.file_name

    def write(self, record: Record) -> None:
        """Add a picture."""
        self._file.write(self._lines(record))

    def fail(self, name: str, error: str) -> None:
        """Note a picture that could not be read; most formats have no place for it."""

    def close(self) -> None:
        """End the file and put it in its place."""
        with self._stack:
            self._file.write(self._tail())

    def _head(self) -> str:
        return ""

    def _lines(self, record: Record) -> str:
        raise NotImplementedError

    def _tail(self) -> str:
        return ""


class JsonSink(TextSink):
    """``detections.json``: all results of a run; a line a picture."""

    file_name = "detections.json"
    encoding_errors = "backslashreplace"  # what is not Unicode becomes \udcxx, an escape of JSON

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._separator = "\n"
        self._failed: list[dict[str, str]] = []
        super().__init__(folder, origin)

    def fail(self, name: str, error: str) -> None:
        """Note a picture that could not be read, for ``failed`` at the end."""
        self._failed.append({"file": name, "error": error})

    def _head(self) -> str:
        head = {
            "schema": SCHEMA,
            "model": self._origin.model,
            "score_threshold": self._origin.score_threshold,
        }
        return _dump(head)[:-1] + ', "images": ['

    def _lines(self, record: Record) -> str:
        height, width = record.detections.image_size
        picture = {
            "file": record.name,
            "width": width,
            "height": height,
            "count": len(record.detections),
            "boxes": record.boxes,
            "scores": record.scores,
        }
        separator, self._separator = self._separator, ",\n"
        return separator + _dump(picture)

    def _tail(self) -> str:
        return f'\n], "failed": {_dump(self._failed)}}}\n'


class CsvSink(TextSink):
    """``detections.csv``: a line a head, corners in original pixels."""

    file_name = "detections.csv"

    def _head(self) -> str:
        return _csv_lines([["file", "x1", "y1", "x2", "y2", "score"]])

    def _lines(self, record: Record) -> str:
        heads = zip(record.boxes, record.scores, strict=True)
        return _csv_lines([record.name, *box, score] for box, score in heads)


class CocoSink(TextSink):
    """``coco.json``: COCO's results format, a list of ``bbox`` = left, top, width, height.

    ``image_id`` is the picture's number in the source, from 1; ``file_name``, which COCO does not
    ask for, says which picture that is.
    """

    file_name = "coco.json"
    encoding_errors = JsonSink.encoding_errors

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._separator = "\n"
        super().__init__(folder, origin)

    def _head(self) -> str:
        return "["

    def _lines(self, record: Record) -> str:
        lines = ""
        for box, score in zip(record.boxes_xywh, record.scores, strict=True):
            head = {
                "image_id": record.number,
                "file_name": record.name,
                "category_id": CATEGORY_ID,
                "bbox": box,
                "score": score,
            }
            lines += self._separator + _dump(head)
            self._separator = ",\n"
        return lines

    def _tail(self) -> str:
        return "\n]\n"


class MotSink(TextSink):
    """``mot.txt``: MOTChallenge's detections, ``frame,id,left,top,width,height,score,-1,-1,-1``.

    Frames and pixels count from 1, as the benchmark counts; pictures that failed are frames too.
    The id is -1: heads are not tracked.

    Source:
        Dendorfer et al., MOT20, arXiv 2003.09003, section 5.
    """

    file_name = "mot.txt"

    def _lines(self, record: Record) -> str:
        rest = [NO_PLACE_IN_SPACE] * 3
        return _csv_lines(
            [record.number, NOT_TRACKED, round(x + 1, 4), round(y + 1, 4), w, h, score, *rest]
            for (x, y, w, h), score in zip(record.boxes_xywh, record.scores, strict=True)
        )


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _csv_lines(rows: Iterable[list[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
