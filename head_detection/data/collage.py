"""Pictures whose number of heads is known: one portrait laid out as a grid of people."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib import cbook

from head_detection.images.reading import read_picture
from head_detection.structures import BoolArray, FloatArray, GroundTruth

Picture = npt.NDArray[np.uint8]

SAMPLE: Final = "grace_hopper.jpg"
"""Rear Admiral Grace Hopper, United States Navy: public domain, comes with matplotlib."""
SAMPLE_HEAD: Final = (152.0, 22.0, 378.0, 332.0)
"""Hat to chin, ear to ear, xyxy in the sample's pixels."""
SAMPLE_SHOULDERS: Final = (60, 0, 470, 450)
"""The part of the sample that is laid out as one person."""
DIMMED: Final = 0.6
"""Of the brightness."""
DIMMED_EVERY: Final = 3
"""Every third person of a row, one place further on in the next."""


@dataclass(frozen=True)
class Portrait:
    """One person to lay out again and again.

    Attributes:
        pixels: ``(H, W, 3)`` uint8 RGB: head and shoulders.
        head_box: ``(4,)`` xyxy of the head in these pixels.

    Raises:
        ValueError: a head without area, or outside the picture.
    """

    pixels: Picture
    head_box: FloatArray

    def __post_init__(self) -> None:
        left, top, right, bottom = (float(value) for value in self.head_box)
        height, width = self.pixels.shape[:2]
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(
                f"head_box: expected an area inside {width} x {height} pixels; "
                f"got {self.head_box.tolist()}"
            )

    @property
    def head_size(self) -> float:
        """Square root of the head's area in pixels."""
        left, top, right, bottom = (float(value) for value in self.head_box)
        return math.sqrt((right - left) * (bottom - top))


def sample_portrait() -> Portrait:
    """Return the whole sample picture, 512 x 606 pixels."""
    pixels = read_picture(Path(cbook.get_sample_data(SAMPLE, asfileobj=False)))
    return Portrait(pixels, np.array(SAMPLE_HEAD, np.float32))


def sample_person() -> Portrait:
    """Return head and shoulders of the sample, to lay out.

    Example:
        >>> person = sample_person()
        >>> person.pixels.shape, person.head_box.tolist()
        ((450, 410, 3), [92.0, 22.0, 318.0, 332.0])
    """
    whole = sample_portrait()
    left, top, right, bottom = SAMPLE_SHOULDERS
    corner = np.array([left, top, left, top], np.float32)
    return Portrait(whole.pixels[top:bottom, left:right], whole.head_box - corner)


def lay_out(
    portrait: Portrait, head_size: float, *, rows: int, columns: int
) -> tuple[Picture, GroundTruth]:
    """Return a grid of people and where their heads are.

    Every second person is mirrored, every third dimmed: neighbours differ.

    Args:
        portrait: the person.
        head_size: square root of the area of each head in pixels of the result.
        rows: of people, at least 1.
        columns: of people, at least 1.

    Returns:
        ``(H, W, 3)`` uint8 RGB, and ``rows * columns`` heads, row by row.

    Raises:
        ValueError: no rows or columns, or a size under one pixel.

    Example:
        >>> person = Portrait(np.zeros((40, 30, 3), np.uint8), np.array([5, 0, 25, 20], np.float32))
        >>> picture, heads = lay_out(person, 10, rows=1, columns=2)
        >>> picture.shape, heads.boxes.tolist()
        ((20, 30, 3), [[2.5, 0.0, 12.5, 10.0], [17.5, 0.0, 27.5, 10.0]])
    """
    if rows < 1 or columns < 1 or head_size < 1:
        raise ValueError(
            f"expected rows, columns, head_size >= 1; got {rows}, {columns}, {head_size}"
        )
    tile, box = _scale(portrait, head_size)
    height, width = tile.shape[:2]
    mirrored_box = np.array([width - box[2], box[1], width - box[0], box[3]], np.float32)
    picture = np.empty((rows * height, columns * width, 3), np.uint8)
    boxes = np.empty((rows * columns, 4), np.float32)
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        left, top = column * width, row * height
        is_mirrored = (row + column) % 2 == 1
        person = tile[:, ::-1] if is_mirrored else tile
        if (row + column) % DIMMED_EVERY == 0:
            person = (person * DIMMED).astype(np.uint8)
        picture[top : top + height, left : left + width] = person
        corner = np.array([left, top, left, top], np.float32)
        boxes[number] = (mirrored_box if is_mirrored else box) + corner
    ignore: BoolArray = np.zeros(len(boxes), np.bool_)
    return picture, GroundTruth(boxes, ignore)


def _scale(portrait: Portrait, head_size: float) -> tuple[Picture, FloatArray]:
    """Return the portrait with a head of this size, and its head box."""
    height, width = portrait.pixels.shape[:2]
    scale = head_size / portrait.head_size
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = np.asarray(cv2.resize(portrait.pixels, size, interpolation=interpolation), np.uint8)
    factors = np.array([size[0] / width, size[1] / height] * 2, np.float32)
    return tile, portrait.head_box * factors
