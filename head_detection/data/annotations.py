"""Labelled pictures as every format gives them, and a list of what is wrong with them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tqdm import tqdm

from head_detection.data.picture import PictureError, read_picture_size
from head_detection.structures import GroundTruth

TOLERANCE: Final = 1.0
"""Pixels that a box may reach outside: one-based formats and rounding give as much."""


class AnnotationError(ValueError):
    """A labels file or folder that cannot be used; its text is one line for the user."""


@dataclass(frozen=True)
class AnnotatedImage:
    """A picture and the heads in it.

    Attributes:
        path: the picture file.
        file_name: its name within the set, as its labels spell it.
        truth: heads and regions to ignore, in pixels of the picture as ``read_picture`` gives it.
        image_size: ``(height, width)`` as the labels state it, if they do.
    """

    path: Path
    file_name: str
    truth: GroundTruth
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class AnnotatedSet:
    """Labelled pictures under one name."""

    name: str
    images: tuple[AnnotatedImage, ...]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)

    @property
    def num_heads(self) -> int:
        """Return the number of heads, without the ignored ones."""
        return sum(len(image.truth.head_boxes) for image in self.images)


def find_problems(sets: Sequence[AnnotatedSet], *, show_progress: bool = False) -> list[str]:
    """List everything that would spoil training, one line each, in the order of the sets.

    Missing and unreadable pictures, pictures of another size than their labels say, boxes without
    area and boxes that reach more than ``TOLERANCE`` outside. Only the headers of the pictures are
    read.

    Args:
        sets: what training would use.
        show_progress: draw a bar on standard error.

    Returns:
        ``set: file: what is wrong``; empty where nothing is.
    """
    images = [(group.name, image) for group in sets for image in group.images]
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = pool.map(lambda pair: list(_problems_of(*pair)), images)
        bar = tqdm(
            found, total=len(images), desc="checking", unit="picture", disable=not show_progress
        )
        problems = [line for lines in bar for line in lines]
    empty = [f"{group.name}: the set holds no pictures" for group in sets if not group.images]
    return empty + problems


def _problems_of(set_name: str, image: AnnotatedImage) -> Iterator[str]:
    where = f"{set_name}: {image.file_name}"
    try:
        height, width = read_picture_size(image.path)
    except PictureError as error:
        yield f"{set_name}: {error}"
        return
    if image.image_size not in (None, (height, width)):
        yield (
            f"{where}: the labels say {_size_text(image.image_size)}, "
            f"the picture is {width}x{height}"
        )
    for number, (x1, y1, x2, y2) in enumerate(image.truth.boxes.tolist()):
        box = f"box {number} ({x1:g}, {y1:g}, {x2:g}, {y2:g})"
        if x2 <= x1 or y2 <= y1:
            yield f"{where}: {box} has no area"
        elif min(x1, y1) < -TOLERANCE or x2 > width + TOLERANCE or y2 > height + TOLERANCE:
            yield f"{where}: {box} reaches outside the {width}x{height} picture"


def _size_text(image_size: tuple[int, int] | None) -> str:
    height, width = image_size or (0, 0)
    return f"{width}x{height}"
