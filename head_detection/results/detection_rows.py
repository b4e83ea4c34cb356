"""Checks boxes and scores read from a file of detections, and sorts them into pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from head_detection import errors
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.formats.names import PictureNames
from head_detection.errors import AmbiguousNameError, DetectionFileError, PictureError
from head_detection.images.reading import read_picture_size
from head_detection.structures import NOT_TRACKED, Detections

NUM_CORNERS: Final = 4
LARGEST_COORDINATE: Final = 1e7
"""No picture is this wide; a larger number is an error."""
SHOWN_CHARACTERS: Final = 80
LONGEST_SHOWN: Final = 400
"""Most characters of a name that are shown; a longer text is not a name."""
FloatMatrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoundElsewhere:
    """The content of a file of detections, for the pictures of a labelled set.

    Attributes:
        form: format of the file, such as ``detections.json`` or ``COCO results``.
        detections: one per picture of the set, in its order.
        without: names of pictures of the set on which the file has nothing.
        failed: names of pictures of the set that failed according to the file.
        model: what the file says about the detector.
        score_threshold: heads with a lower score were left out, according to the file.
        notes: how an ambiguous file was interpreted, one line each.
    """

    form: str
    detections: tuple[Detections, ...]
    without: tuple[str, ...]
    failed: tuple[str, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)
    score_threshold: float | None = None
    notes: tuple[str, ...] = ()


class DetectionRows:
    """Collects one row per detection and checks all of them at once at the end.

    Args:
        is_xywh: boxes are left, top, width, height; otherwise corners.
        origin: the coordinate of the picture's first pixel.
    """

    def __init__(self, *, is_xywh: bool = False, origin: float = 0.0) -> None:
        self._is_xywh = is_xywh
        self._origin = origin
        self._pictures: list[int] = []
        self._boxes: list[Any] = []
        self._scores: list[Any] = []
        self._locations: list[str] = []
        self._tracks: list[int] = []

    def add(self, picture: int, box: Any, score: Any, where: str, track: int = NOT_TRACKED) -> None:
        """Add a row as it is in the file.

        Args:
            picture: index of its picture in the set.
            box: four numbers, not checked yet.
            score: a number, not checked yet.
            where: file and line or entry, for errors.
            track: id of the head; if no row has one, the detections have no ids.
        """
        self._tracks.append(track)
        self._pictures.append(picture)
        self._boxes.append(box)
        self._scores.append(score)
        self._locations.append(where)

    def collect(self, image_sizes: Sequence[tuple[int, int]]) -> tuple[Detections, ...]:
        """Return one ``Detections`` per picture.

        Args:
            image_sizes: ``(height, width)`` of each picture.

        Raises:
            DetectionFileError: a box is not four finite numbers or has a negative side, or a score
                is not a number from 0 to 1; names the first of them.
        """
        boxes = self._corners()
        scores = self._checked_scores()
        pictures = np.array(self._pictures, np.int64)
        order = np.argsort(pictures, kind="stable")
        ends = np.searchsorted(pictures[order], np.arange(1, len(image_sizes)))
        tracks = np.array(self._tracks, np.int64)
        is_tracked = bool((tracks != NOT_TRACKED).any())
        return tuple(
            Detections.from_arrays(
                boxes[rows], scores[rows], size, tracks[rows] if is_tracked else None
            )
            for rows, size in zip(np.split(order, ends), image_sizes, strict=True)
        )

    def _corners(self) -> FloatMatrix:
        boxes = _as_numbers(self._boxes, (NUM_CORNERS,))
        if boxes is None:
            for box, where in zip(self._boxes, self._locations, strict=True):
                if _as_numbers([box], (NUM_CORNERS,)) is None:
                    raise DetectionFileError(
                        f"{where}: expected a box of four finite numbers; got {shown(box)}"
                    )
            raise AssertionError("each box is sound, all together are not")
        if self._is_xywh:
            boxes[:, :2] -= self._origin
            boxes[:, 2:] += boxes[:, :2]
        for row in np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1)):
            kind = "width and height of 0 or more" if self._is_xywh else "x1 <= x2 and y1 <= y2"
            got = shown(self._boxes[row])
            raise DetectionFileError(
                f"{self._locations[row]}: expected a box with {kind}; got {got}"
            )
        return boxes

    def _checked_scores(self) -> FloatMatrix:
        scores = _as_numbers(self._scores, ())
        if scores is None or ((scores < 0) | (scores > 1)).any():
            for score, where in zip(self._scores, self._locations, strict=True):
                number = _as_numbers([score], ())
                if number is None or not 0 <= number[0] <= 1:
                    raise DetectionFileError(
                        f"{where}: expected a score from 0 to 1; got {shown(score)}"
                    )
        if scores is None:
            raise AssertionError("each score is sound, all together are not")
        return scores


class KnownPictures:
    """Finds pictures in the labelled set, and remembers names that it does not have.

    Args:
        path: the file of detections, for errors.
        labelled: the set.
    """

    def __init__(self, path: Path, labelled: AnnotatedSet) -> None:
        self._path = path
        self._labels = [image.file_name for image in labelled.images]
        self._names = PictureNames(self._labels)
        self._taken: dict[int, str] = {}
        self._known: dict[tuple[str, bool], int | None] = {}
        self._unknown: dict[str, None] = {}

    def find(self, name: str, where: str, *, is_stem: bool = False) -> int | None:
        """Return the index of a picture in the set; remember the name and return None if missing.

        Args:
            name: the name in the file of detections.
            where: file and line or entry, for errors.
            is_stem: try the name as one without an extension first.

        Raises:
            DetectionFileError: the name matches several pictures, or one that another name in the
                file matches too.
        """
        if (name, is_stem) not in self._known:
            try:
                found = self._names.find_stem(name) if is_stem else None
                found = self._names.find(name) if found is None else found
            except AmbiguousNameError as error:
                raise DetectionFileError(f"{where}: {printable(str(error))}") from error
            self._known[name, is_stem] = found
            if found is not None and (other := self._taken.setdefault(found, name)) != name:
                raise DetectionFileError(
                    f"{where}: expected each picture once; got {printable(name)} after "
                    f"{printable(other)}, which both fit the labelled {self._labels[found]}"
                )
        found = self._known[name, is_stem]
        if found is None:
            self._unknown[name] = None
        return found

    def refuse_unknown(self) -> None:
        """Raise an error if any picture was not in the set.

        Raises:
            DetectionFileError: gives their number and the first of them.
        """
        if self._unknown:
            raise DetectionFileError(
                f"{self._path}: expected detections of the labelled pictures alone; "
                f"{len(self._unknown)} of its pictures are not labelled, "
                f"the first: {printable(next(iter(self._unknown)))}"
            )


def size_of(image: AnnotatedImage) -> tuple[int, int]:
    """Return ``(height, width)`` from the labels, otherwise from the picture file.

    Raises:
        DetectionFileError: neither gives the size.
    """
    if image.image_size is not None:
        return image.image_size
    try:
        return read_picture_size(image.path)
    except PictureError as error:
        raise DetectionFileError(
            f"{image.file_name}: expected its size in the labels or the picture; {error}"
        ) from error


def found_in_rows(
    form: str, found: tuple[Detections, ...], labelled: AnnotatedSet, notes: tuple[str, ...] = ()
) -> FoundElsewhere:
    """Return the content of a format that lists only pictures with heads."""
    pairs = zip(labelled.images, found, strict=True)
    without = tuple(image.file_name for image, detections in pairs if not len(detections))
    return FoundElsewhere(form, found, without, notes=notes)


def as_number(text: str | None) -> float | str | None:
    """Return a text field as a number, or unchanged if it is not one, to be shown in an error.

    Example:
        >>> as_number("2.5"), as_number("two")
        (2.5, 'two')
    """
    try:
        return float(text or "")
    except ValueError:
        return text


def printable(text: str) -> str:
    """Return text on one line, cut short, with unprintable characters escaped."""
    return errors.printable(text)[:LONGEST_SHOWN]


def _as_numbers(values: list[Any], shape: tuple[int, ...]) -> FloatMatrix | None:
    """Return all values as one array, or None if one is not a finite number of a sensible size."""
    if not values:
        return np.zeros((0, *shape))
    try:
        array = np.array(values)
    except ValueError:  # rows of different lengths
        return None
    if array.dtype.kind not in "iuf" or array.shape[1:] != shape:
        return None
    numbers = array.astype(np.float64)
    return numbers if (np.abs(numbers) <= LARGEST_COORDINATE).all() else None


def shown(value: Any) -> str:
    """Return a value from a file for an error message, cut short."""
    return repr(value)[:SHOWN_CHARACTERS]
