"""Finds problems with the files and boxes of a data set."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from head_detection.boxes import areas, overlapping_pairs
from head_detection.data.annotations import TOLERANCE
from head_detection.data.quality.survey import SurveyedPicture, is_blank
from head_detection.files import real_path
from head_detection.images.finding import is_picture_name
from head_detection.structures import FloatArray

IntArray = npt.NDArray[np.int64]

KINDS: Final = {
    "empty_set": "sets without pictures",
    "missing": "labels without a picture",
    "unlabelled": "pictures without labels",
    "unreadable": "pictures that cannot be read",
    "blank": "pictures of one colour",
    "wrong_size": "pictures of another size than their labels say",
    "outside": "boxes that reach outside their picture",
    "no_area": "boxes without area",
    "tiny": "tiny boxes",
    "huge": "huge boxes",
    "duplicated": "boxes given twice",
    "copies_between": "groups of near-duplicate pictures in different sets",
    "copies_within": "groups of near-duplicate pictures in one set",
}
"""Every kind of finding and its title, the most serious first."""


@dataclass(frozen=True)
class BoxLimits:
    """Limits beyond which boxes look wrong.

    Attributes:
        tiny: a head is tiny below this square root of area in original pixels.
        huge: a head is huge above this share of the picture.
        duplicate_iou: two heads are duplicates from this IoU on.
    """

    tiny: float = 3.0
    huge: float = 0.5
    duplicate_iou: float = 0.9


@dataclass(frozen=True)
class Finding:
    """One kind of problem in one picture, with all boxes that have it.

    Attributes:
        kind: a key of ``KINDS``.
        set_name: the set.
        file_name: the picture as its labels spell it, empty for the set as a whole.
        message: what is wrong.
        boxes: indices among the picture's boxes, ignored ones too.
    """

    kind: str
    set_name: str
    file_name: str
    message: str
    boxes: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Return the number of boxes, pictures or groups that it stands for."""
        return max(1, len(self.boxes))


def find_in_pictures(
    pictures: Iterable[SurveyedPicture], limits: BoxLimits | None = None
) -> Iterator[Finding]:
    """Find problems with files and boxes, in the order of the pictures.

    Boxes outside and without area are sought among ignored ones too; tiny, huge and duplicated ones
    among heads alone. Boxes outside are no fault of a set that draws heads whole.
    """
    for picture in pictures:
        name = (picture.set_name, picture.image.file_name)
        if picture.error is not None:
            kind = "unreadable" if picture.image.path.exists() else "missing"
            yield Finding(kind, *name, picture.error)
            continue
        if picture.thumbnail is not None and is_blank(picture.thumbnail):
            yield Finding("blank", *name, "the picture has one colour only")
        yield from _size_findings(picture)
        for kind, indices in _faulty_boxes(picture, limits or BoxLimits()).items():
            if len(indices):
                chosen = tuple(indices.tolist())
                yield Finding(kind, *name, _describe_boxes(picture, chosen), chosen)


def find_unlabelled(
    set_name: str, pictures: Iterable[Path], labelled: Iterable[Path]
) -> list[Finding]:
    """List the pictures in the folders of some labelled pictures that no label names.

    Args:
        set_name: for the findings.
        pictures: labelled pictures, whose folders are looked into.
        labelled: every picture that any label names, of other splits too.
    """
    named = {real_path(path) for path in labelled}
    folders = sorted({path.parent for path in pictures})
    return [
        Finding("unlabelled", set_name, str(path), "no label names it")
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if is_picture_name(path.name)
        and not path.name.startswith(".")
        and real_path(path) not in named
    ]


def count_kinds(findings: Iterable[Finding]) -> dict[str, int]:
    """Return the count of each kind that occurs, in the order of ``KINDS``."""
    counts = dict.fromkeys(KINDS, 0)
    for finding in findings:
        counts[finding.kind] += finding.count
    return {kind: count for kind, count in counts.items() if count}


def duplicated_boxes(boxes: FloatArray, iou_threshold: float) -> IntArray:
    """Return the boxes that cover an earlier one.

    Args:
        boxes: ``(N, 4)`` xyxy with area.
        iou_threshold: boxes are duplicates from this IoU on.

    Returns:
        Rising indices.

    Example:
        >>> duplicated_boxes(np.array([[0, 0, 9, 9], [5, 5, 9, 9], [0, 0, 9, 9.0]]), 0.9).tolist()
        [2]
    """
    later, earlier, _ = overlapping_pairs(boxes, boxes, iou_threshold)
    return np.unique(later[earlier < later])


def _faulty_boxes(picture: SurveyedPicture, limits: BoxLimits) -> dict[str, IntArray]:
    truth, (height, width) = picture.image.truth, picture.image_size
    boxes = truth.boxes.astype(np.float64)
    sizes = areas(boxes)
    has_area = sizes > 0
    edge = np.array([width, height], np.float64) + TOLERANCE
    is_outside = (boxes[:, :2] < -TOLERANCE).any(axis=1) | (boxes[:, 2:] > edge).any(axis=1)
    is_head = has_area & ~truth.ignore
    is_outside &= not picture.boxes_may_reach_outside
    heads = np.flatnonzero(is_head)
    return {
        "outside": np.flatnonzero(is_outside & has_area),
        "no_area": np.flatnonzero(~has_area),
        "tiny": np.flatnonzero(is_head & (np.sqrt(sizes) < limits.tiny)),
        "huge": np.flatnonzero(is_head & (sizes > limits.huge * height * width)),
        "duplicated": heads[duplicated_boxes(truth.boxes[heads], limits.duplicate_iou)],
    }


def _size_findings(picture: SurveyedPicture) -> Iterator[Finding]:
    stated, actual = picture.image.image_size, picture.image_size
    if stated not in (None, actual):
        (stated_height, stated_width), (height, width) = stated, actual
        turned = ""
        if stated == (width, height):
            turned = "; perhaps it was turned upright, or the labels exchange width and height"
        yield Finding(
            "wrong_size",
            picture.set_name,
            picture.image.file_name,
            f"the labels say {stated_width}x{stated_height}, it is {width}x{height}{turned}",
        )


def _describe_boxes(picture: SurveyedPicture, chosen: Sequence[int]) -> str:
    x1, y1, x2, y2 = picture.image.truth.boxes[chosen[0]].tolist()
    height, width = picture.image_size
    more = f" and {len(chosen) - 1} more" if len(chosen) > 1 else ""
    return f"box {chosen[0]} ({x1:g}, {y1:g}, {x2:g}, {y2:g}){more} in {width}x{height} pixels"
