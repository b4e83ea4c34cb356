"""One picture's or frame's answer: what a sink is told, and RECORD, its plain values in files."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import DetectionFileError, PictureError
from head_detection.results.reading import (
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
"""Of files that hold RECORDs."""
SECONDS_DECIMALS: Final = 6
JSON_ERRORS: Final = "backslashreplace"
"""What of a file name is not Unicode becomes \\udcxx, an escape of JSON: no byte of it is lost."""


@dataclass(frozen=True)
class Origin:
    """What made the results.

    Attributes:
        model: of the detector; plain values for JSON.
        score_threshold: heads scored lower were left out.
    """

    model: dict[str, Any]
    score_threshold: float

    def as_plain(self) -> dict[str, Any]:
        """Return what a file of JSON with RECORDs begins with."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "score_threshold": self.score_threshold,
        }


@dataclass(frozen=True)
class Record:
    """A picture or a frame that went through the network.

    Attributes:
        index: its number in the source, from 0; pictures that failed count.
        file: its path relative to the source, with ``/``; of a frame, its video or camera.
        detections: heads in original pixels.
        path: the file of a picture, where it is one.
        seconds: presentation time of a frame; None is a picture.
        source: which of several videos or cameras a frame is from.
        regions: zones and lines with what was counted there up to this frame; None where nobody
            counts.
        events: what heads did there since the last frame of the source.
        sightings: where heads were before, that have an id from this frame on; in no file.
        pixels: ``(H, W, 3)`` uint8 RGB, where a sink of pictures needs them.
        note: what the user is to know of how the picture was read; in no file.
        to_hide: what is made unrecognisable, less likely heads too; None is ``detections``.
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
        """One a box, rounded."""
        return rounded(self.detections.scores, SCORE_DECIMALS)

    @property
    def ids(self) -> list[int] | None:
        """One a box, -1 for a head that is not followed; None where none is."""
        return None if self.detections.ids is None else self.detections.ids.tolist()

    @property
    def zones(self) -> dict[str, int] | None:
        """Heads in each zone; None where nobody counts in zones."""
        counts = {zone.name: zone.now for zone in self.regions or () if zone.now is not None}
        return counts or None

    @property
    def frame(self) -> int | None:
        """The frame's number in its video, from 0; None for a picture."""
        return None if self.seconds is None else self.index

    @property
    def name(self) -> str:
        """What it is called in a message."""
        return self.file if self.seconds is None else f"{self.file}: frame {self.index}"

    @property
    def rounded_seconds(self) -> float | None:
        """The presentation time to a millionth."""
        return None if self.seconds is None else round(self.seconds, SECONDS_DECIMALS)

    def as_plain(self) -> dict[str, Any]:
        """Return RECORD: what is the same in every file that holds one; no key without a value."""
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
    """A picture or a frame that could not be read, or that the device does not hold.

    Attributes:
        index: as ``Record``.
        file: as ``Record``.
        reason: one line, without the file's name.
        error: the mistake itself.
        seconds: as ``Record``.
    """

    index: int
    file: str
    reason: str
    error: PictureError
    seconds: float | None = None

    @property
    def name(self) -> str:
        """What it is called in a message."""
        return self.file if self.seconds is None else f"{self.file}: frame {self.index}"

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, for files that tell of failures."""
        frame = {} if self.seconds is None else {"frame": self.index}
        return {"file": self.file, **frame, "error": self.reason}


Outcome = Record | Failure
"""What came of one picture or frame."""


def dump_json(value: Any) -> str:
    """Return one line of JSON, letters as they are."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read_records(
    path: Path,
    labelled: AnnotatedSet,
    records: Iterable[tuple[str, Any]],
    failures: Iterable[tuple[str, Any]],
) -> FoundElsewhere:
    """Give each picture of a set what RECORDs say of it.

    Args:
        path: the file, for errors.
        labelled: the pictures to measure on.
        records: RECORDs as the file has them, each with where the file has it.
        failures: plain values of failures, likewise.

    Raises:
        DetectionFileError: values that are none, a picture that is named twice, or one that the set
            does not have. One line.
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
    """Return the indices of the pictures that failed; one that is not labelled is not missed."""
    failed: dict[int, None] = {}
    for where, entry in failures:
        index = pictures.find(str(entry.get("file")), where)
        if index is not None and index in sizes:
            raise DetectionFileError(f"{where}: {printable(entry['file'])} is among the images too")
        if index is not None:
            failed[index] = None
    return failed
