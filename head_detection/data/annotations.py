"""Labelled pictures, independent of their format, and checks that list their problems."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from tqdm import tqdm

from head_detection.errors import AnnotationError, PictureError
from head_detection.images.reading import (
    MAX_PIXELS,
    check_picture,
    open_picture,
    upright_size,
)
from head_detection.images.reasons import explaining
from head_detection.structures import GroundTruth

TOLERANCE: Final = 1.0
"""Pixels by which a box may leave the picture, due to one-based formats and rounding."""
_MAX_COORDINATE: Final = 1e7
"""No picture is this wide; a larger number is an error."""
_NUM_CORNERS: Final = 4
_NUM_THREADS: Final = 4

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Box = tuple[float, float, float, float]
Row = tuple[Box, bool]
"""A box and whether it is ignored."""
LabelId = int | str
"""The id of a picture or a class in a labels file."""


@dataclass(frozen=True)
class AnnotatedImage:
    """A picture and the heads in it.

    Attributes:
        path: the picture file.
        file_name: its name within the set, as its labels spell it.
        truth: heads and ignore regions, in pixels of the picture as ``read_picture`` returns it,
            with EXIF rotation applied.
        image_size: ``(height, width)`` according to the labels, if they state it.
        label_id: its id in the labels, which results of other tools refer to.
    """

    path: Path
    file_name: str
    truth: GroundTruth
    image_size: tuple[int, int] | None = None
    label_id: LabelId | None = None


@dataclass(frozen=True)
class LabelClass:
    """A class that the labels name and number.

    Attributes:
        scheme: the format of the numbering; results in the same format use the same numbers.
        label_id: its number, or a text instead.
        name: its name in the labels.
        is_head: its boxes are heads; boxes of other classes were left out.
    """

    scheme: str
    label_id: LabelId
    name: str
    is_head: bool


@dataclass(frozen=True)
class AnnotatedSet:
    """Labelled pictures under one name.

    Attributes:
        name: the set's name in messages.
        images: in the order of the labels file, or of the folder: natural order, as in ``test``.
        notes: what the reader repaired or reinterpreted, one line per kind with its count.
        boxes_may_reach_outside: the set marks heads completely even if they leave the picture, so
            that is not an error; training, and measures whose rules say so, clip them.
        classes: the classes that the labels number, heads and others; may be empty.
    """

    name: str
    images: tuple[AnnotatedImage, ...]
    notes: tuple[str, ...] = ()
    boxes_may_reach_outside: bool = False
    classes: tuple[LabelClass, ...] = ()

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)

    def classes_of(self, scheme: str) -> tuple[LabelClass, ...]:
        """Return the classes that are numbered by the scheme of a format."""
        return tuple(entry for entry in self.classes if entry.scheme == scheme)

    @property
    def num_heads(self) -> int:
        """Return the number of heads, without the ignored ones."""
        return sum(len(image.truth.head_boxes) for image in self.images)


def build_truth(rows: Sequence[tuple[Sequence[float], bool]]) -> GroundTruth:
    """Build the ground truth of one picture from ``(xyxy, is ignored)`` rows, which may be empty.

    Example:
        >>> build_truth([([0, 0, 4, 4], False), ([5, 5, 9, 9], True)]).head_boxes.tolist()
        [[0.0, 0.0, 4.0, 4.0]]
    """
    return GroundTruth(
        boxes=np.array([box for box, _ in rows], np.float32).reshape(-1, 4),
        ignore=np.array([is_ignored for _, is_ignored in rows], np.bool_),
    )


def parse_box(values: Any, where: str) -> Box:
    """Read four finite numbers, given as numbers or as text.

    Args:
        values: the value in the labels.
        where: file and line or entry, for errors.

    Raises:
        AnnotationError: not four, or not finite numbers.
    """
    is_row = isinstance(values, list | tuple) and len(values) == _NUM_CORNERS
    if is_row and not any(isinstance(value, bool | None) for value in values):
        try:
            a, b, c, d = (float(value) for value in values)
        except (TypeError, ValueError, OverflowError):
            pass
        else:
            if all(abs(value) <= _MAX_COORDINATE for value in (a, b, c, d)):
                return a, b, c, d
    raise AnnotationError(f"{where}: expected a box of four numbers, got {repr(values)[:80]}")


def find_problems(sets: Sequence[AnnotatedSet], *, show_progress: bool = False) -> list[str]:
    """List everything that would spoil training, one line each, in the order of the sets.

    Finds sets without pictures, missing and unreadable pictures, pictures of another size than in
    their labels, boxes without area, and boxes that leave the picture by more than ``TOLERANCE``,
    unless the set does so on purpose. Most pictures are not decoded, see ``check_picture``.

    Args:
        sets: the sets that training would use.
        show_progress: show a progress bar on standard error.

    Returns:
        Lines ``set: file: what is wrong``; empty if nothing is.
    """
    images = [(group, image) for group in sets for image in group.images]
    empty = [f"{group.name}: the set holds no pictures" for group in sets if not group.images]
    found = in_threads(
        lambda pair: list(_problems_of(*pair)), images, "checking", show_progress=show_progress
    )
    return empty + [line for lines in found for line in lines]


def in_threads(
    work: Callable[[_Item], _Result], items: Sequence[_Item], title: str, *, show_progress: bool
) -> list[_Result]:
    """Call a function for each picture in a few threads, and return the results in order.

    Args:
        work: called once per item; the first error ends all.
        items: the arguments.
        title: title of the progress bar.
        show_progress: show the bar on standard error.
    """
    pool = ThreadPoolExecutor(_NUM_THREADS)
    try:
        results = pool.map(work, items)
        is_hidden = not show_progress
        return list(tqdm(results, title, len(items), unit="picture", disable=is_hidden))
    finally:  # so that Ctrl-C does not wait for the remaining pictures
        pool.shutdown(cancel_futures=True)


def reaches_outside(box: Sequence[float], image_size: tuple[int, int]) -> bool:
    """Tell whether an xyxy box leaves a picture of ``(height, width)`` by more than ``TOLERANCE``.

    Example:
        >>> reaches_outside((-1, 0, 41, 30), (30, 40)), reaches_outside((0, 0, 42, 30), (30, 40))
        (False, True)
    """
    x1, y1, x2, y2 = box
    height, width = image_size
    return min(x1, y1) < -TOLERANCE or x2 > width + TOLERANCE or y2 > height + TOLERANCE


def _problems_of(group: AnnotatedSet, image: AnnotatedImage) -> Iterator[str]:
    where = f"{group.name}: {image.file_name}"
    try:
        height, width = check_picture(image.path)
    except PictureError as error:
        yield f"{group.name}: {error}"
        return
    if image.image_size not in (None, (height, width)):
        yield f"{where}: {describe_sizes(image, (height, width))}"
    for number, (x1, y1, x2, y2) in enumerate(image.truth.boxes.tolist()):
        box = f"box {number} ({x1:g}, {y1:g}, {x2:g}, {y2:g})"
        if x2 <= x1 or y2 <= y1:
            yield f"{where}: {box} has no area"
        elif not group.boxes_may_reach_outside and reaches_outside(
            (x1, y1, x2, y2), (height, width)
        ):
            yield f"{where}: {box} reaches outside the {width}x{height} picture"


def describe_sizes(image: AnnotatedImage, actual: tuple[int, int]) -> str:
    """Return the stated and the actual size as text, with the reason if it is known.

    Args:
        image: a picture whose labels state another size than it has.
        actual: the picture's ``(height, width)`` once upright.
    """
    stated_height, stated_width = image.image_size or (0, 0)
    height, width = actual
    note = ""
    if image.image_size == (width, height):
        note = "; its labels exchange width and height"
        if is_turned(image.path):
            note = "; its EXIF rotation turns it, the labels must follow"
    return f"the labels say {stated_width}x{stated_height}, the picture is {width}x{height}{note}"


def is_turned(path: Path) -> bool:
    """Tell whether a picture is stored on its side and EXIF rotates it by a quarter turn.

    Raises:
        PictureError: it cannot be read.
    """
    with explaining(str(path), MAX_PIXELS), open_picture(path, MAX_PIXELS) as image:
        height, width = upright_size(image)
        return (height, width) != (image.height, image.width)
