"""The result for one picture or frame, as sinks receive it, and RECORD, its form in JSON files."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import DetectionFileError, PictureError
from head_detection.results.detection_rows import (
    DetectionRows,
    FoundElsewhere,
    KnownPictures,
    printable,
    shown,
    size_of,
)
from head_detection.structures import (
    BOX_DECIMALS,
    SCORE_DECIMALS,
    Detections,
    Event,
    RegionCount,
    Sighting,
    rounded,
)

SCHEMA: Final = "head-detection/detections/2"
"""Schema of files that hold RECORDs."""
SECONDS_DECIMALS: Final = 6
JSON_ERRORS: Final = "backslashreplace"
"""Bytes of a file name that are not Unicode become \\udcxx, an escape of JSON: none is lost."""


@dataclass(frozen=True)
class Origin:
    """What made the results.

    Attributes:
        model: description of the detector; plain values for JSON.
        score_threshold: heads with a lower score were left out.
    """

    model: dict[str, Any]
    score_threshold: float

    def as_plain(self) -> dict[str, Any]:
        """Return the first keys of a JSON file with RECORDs."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "score_threshold": self.score_threshold,
        }


@dataclass(frozen=True)
class Record:
    """The result for a picture or frame that went through the network.

    Attributes:
        index: its number in the source, from 0, including failed ones.
        file: its path relative to the source, with ``/``; for a frame, its video or camera.
        detections: heads in original pixels.
        path: the picture's or video's file, if it is a file.
        seconds: presentation time of a frame; None for a picture.
        source: which of several videos or cameras a frame is from.
        regions: zones and lines with their counts up to this frame; None without counting.
        events: what heads did there since the last frame of the source.
        sightings: earlier positions of heads that get an id with this frame; not in any file.
        pixels: ``(H, W, 3)`` uint8 RGB, if a sink needs them.
        note: what the user should know about how the picture was read; not in any file.
        to_hide: heads to make unrecognisable, including less likely ones; None is ``detections``.
    """

    index: int
    file: str
    detections: Detections
    path: Path | None = None
    seconds: float | None = None
    source: str | None = None
    regions: tuple[RegionCount, ...] | None = None
    events: tuple[Event, ...] = ()
    pixels: npt.NDArray[np.uint8] | None = None
    note: str | None = None
    to_hide: Detections | None = None
    sightings: tuple[Sighting, ...] = ()

    @property
    def boxes(self) -> list[list[float]]:
        """``[[x1, y1, x2, y2], ...]``, rounded."""
        return rounded(self.detections.boxes, BOX_DECIMALS)

    @property
    def boxes_xywh(self) -> list[list[float]]:
        """``[[left, top, width, height], ...]``, rounded."""
        return rounded(self.detections.boxes_xywh, BOX_DECIMALS)

    @property
    def scores(self) -> list[float]:
        """One per box, rounded."""
        return rounded(self.detections.scores, SCORE_DECIMALS)

    @property
    def ids(self) -> list[int] | None:
        """One per box, -1 for a head that is not tracked; None without tracking."""
        return None if self.detections.ids is None else self.detections.ids.tolist()

    @property
    def zones(self) -> dict[str, int] | None:
        """Heads in each zone; None without zones."""
        counts = {zone.name: zone.now for zone in self.regions or () if zone.now is not None}
        return counts or None

    @property
    def frame(self) -> int | None:
        """The frame's number in its video, from 0; None for a picture."""
        return None if self.seconds is None else self.index

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.file if self.seconds is None else f"{self.file}: frame {self.index}"

    @property
    def rounded_seconds(self) -> float | None:
        """The presentation time, rounded to microseconds."""
        return None if self.seconds is None else round(self.seconds, SECONDS_DECIMALS)

    def as_plain(self) -> dict[str, Any]:
        """Return RECORD, the same for every file format, without the keys that have no value."""
        height, width = self.detections.image_size
        optional = {
            "frame": self.frame,
            "seconds": self.rounded_seconds,
            "source": self.source,
            "ids": self.ids,
            "zones": self.zones,
        }
        return {
            "file": self.file,
            "width": width,
            "height": height,
            "count": len(self.detections),
            "boxes": self.boxes,
            "scores": self.scores,
            **{key: value for key, value in optional.items() if value is not None},
        }


@dataclass(frozen=True)
class Failure:
    """A picture or frame that could not be read, or that does not fit the device's memory.

    Attributes:
        index: as in ``Record``.
        file: as in ``Record``.
        reason: one line, without the file's name.
        error: the error itself.
        seconds: as in ``Record``.
    """

    index: int
    file: str
    reason: str
    error: PictureError
    seconds: float | None = None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.file if self.seconds is None else f"{self.file}: frame {self.index}"

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, for files that list failures."""
        frame = {} if self.seconds is None else {"frame": self.index}
        return {"file": self.file, **frame, "error": self.reason}


Outcome = Record | Failure
"""The result for one picture or frame, or its failure."""


def dump_json(value: Any) -> str:
    """Return one line of JSON, with non-ASCII characters unescaped."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read_records(
    path: Path,
    labelled: AnnotatedSet,
    records: Iterable[tuple[str, Any]],
    failures: Iterable[tuple[str, Any]],
) -> FoundElsewhere:
    """Assign RECORDs to the pictures of a set.

    Args:
        path: the file, for errors.
        labelled: the pictures to evaluate on.
        records: pairs of a position in the file, for errors, and a RECORD.
        failures: the same for the plain values of failures.

    Raises:
        DetectionFileError: invalid values, a picture that is named twice, or one that the set does
            not have. One line.
    """
    pictures = KnownPictures(path, labelled)
    rows = DetectionRows()
    sizes: dict[int, tuple[int, int]] = {}
    for where, entry in records:
        name, boxes, scores = _parts_of(entry, where)
        index = pictures.find(name, where)
        if index is None:
            continue
        if index in sizes:
            raise DetectionFileError(f"{where}: names the picture {printable(name)} again")
        sizes[index] = _size_in(entry, where)
        for number, (box, score) in enumerate(zip(boxes, scores, strict=True)):
            rows.add(index, box, score, f"{where}: boxes[{number}]")
    pictures.refuse_unknown()
    failed = _read_failures(KnownPictures(path, labelled), failures, sizes)
    without = [index for index in range(len(labelled)) if index not in {*sizes, *failed}]
    return FoundElsewhere(
        form=path.name,
        detections=rows.collect(
            [sizes.get(index) or size_of(image) for index, image in enumerate(labelled.images)]
        ),
        without=tuple(labelled.images[index].file_name for index in without),
        failed=tuple(labelled.images[index].file_name for index in failed),
    )


def _parts_of(entry: Any, where: str) -> tuple[str, list[Any], list[Any]]:
    values = entry if isinstance(entry, dict) else {}
    name, boxes, scores = (values.get(key) for key in ("file", "boxes", "scores"))
    if not isinstance(name, str) or not isinstance(boxes, list) or not isinstance(scores, list):
        raise DetectionFileError(f"{where}: expected file, boxes and scores")
    if len(boxes) != len(scores):
        raise DetectionFileError(
            f"{where}: expected a score a box; got {len(scores)} scores for {len(boxes)} boxes"
        )
    return name, boxes, scores


def _size_in(entry: dict[str, Any], where: str) -> tuple[int, int]:
    height, width = entry.get("height"), entry.get("width")
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    raise DetectionFileError(
        f"{where}: expected height and width; got {shown(height)} and {shown(width)}"
    )


def _read_failures(
    pictures: KnownPictures, failures: Iterable[tuple[str, Any]], sizes: Mapping[int, object]
) -> dict[int, None]:
    """Return the indices of the pictures that failed, ignoring those that are not labelled."""
    failed: dict[int, None] = {}
    for where, entry in failures:
        index = pictures.find(str(entry.get("file")), where)
        if index is not None and index in sizes:
            raise DetectionFileError(f"{where}: {printable(entry['file'])} is among the images too")
        if index is not None:
            failed[index] = None
    return failed
