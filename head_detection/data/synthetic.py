"""Made-up pictures whose heads are known: ellipses for tests, and grids of one portrait."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from matplotlib import cbook
from PIL import Image

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.formats.coco import write_coco
from head_detection.files import replacing
from head_detection.images.reading import Picture, read_picture
from head_detection.structures import BoolArray, FloatArray, GroundTruth

MAX_HEADS: Final = 5
"""Each picture of ellipses holds 0 to this many heads; the first always at least one."""
SAMPLE: Final = "grace_hopper.jpg"
"""Rear Admiral Grace Hopper, United States Navy: public domain, comes with matplotlib."""
SAMPLE_HEAD: Final = (152.0, 22.0, 378.0, 332.0)
"""From hat to chin and ear to ear, xyxy in the sample's pixels."""
SAMPLE_SHOULDERS: Final = (60, 0, 470, 450)
"""The part of the sample that is laid out as one person."""
DIMMED: Final = 0.6
"""Brightness factor of dimmed people."""
DIMMED_EVERY: Final = 3
"""Every third person of a row is dimmed, shifted by one in the next row."""


@dataclass(frozen=True)
class Portrait:
    """One person, to be laid out repeatedly.

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

    def scaled_to(self, head_size: float) -> "Portrait":
        """Return the portrait with a head of this size, square root of its area in pixels."""
        height, width = self.pixels.shape[:2]
        scale = head_size / self.head_size
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        pixels = np.asarray(cv2.resize(self.pixels, size, interpolation=interpolation), np.uint8)
        factors = np.array([size[0] / width, size[1] / height] * 2, np.float32)
        return Portrait(pixels, self.head_box * factors)


def sample_portrait() -> Portrait:
    """Return the whole sample picture, 512 x 606 pixels."""
    pixels = read_picture(Path(cbook.get_sample_data(SAMPLE, asfileobj=False)))
    return Portrait(pixels, np.array(SAMPLE_HEAD, np.float32))


def sample_person() -> Portrait:
    """Return head and shoulders of the sample, for ``lay_out``.

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
    """Return a picture with a grid of people, and their heads.

    Every second person is mirrored and every third dimmed, so that neighbours differ.

    Args:
        portrait: the person.
        head_size: square root of the area of each head in pixels of the result.
        rows: rows of people, at least 1.
        columns: columns of people, at least 1.

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
    scaled = portrait.scaled_to(head_size)
    tile, box = scaled.pixels, scaled.head_box
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


def synthetic_set(folder: Path, num_images: int, image_size: tuple[int, int], seed: int) -> Path:
    """Write ``images/*.png`` and ``annotations.json`` (COCO), reproducibly.

    A head is a skin-coloured ellipse with a dark cap of hair, on a noisy background with a few
    rectangles. Boxes are tight and inside the picture.

    Args:
        folder: folder of the files, created if missing.
        num_images: pictures to write.
        image_size: ``(height, width)`` of each, at least 16 pixels a side.
        seed: seed of all random choices.

    Returns:
        The COCO file, for ``load_annotations``.

    Raises:
        ValueError: pictures too small for a head.
    """
    if min(image_size) < 16:  # noqa: PLR2004 - two of the smallest heads side by side
        raise ValueError(f"image_size: expected at least 16 pixels a side, got {image_size}")
    images = []
    for number in range(num_images):
        generator = np.random.default_rng([seed, number])
        picture = _draw_background(image_size, generator)
        num_heads = int(generator.integers(0 if number else 1, MAX_HEADS + 1))
        boxes = np.array([_draw_head(picture, generator) for _ in range(num_heads)], np.float32)
        path = folder / "images" / f"{number:04d}.png"
        with replacing(path) as temporary:
            Image.fromarray(picture).save(temporary, "PNG")
        truth = GroundTruth(boxes.reshape(-1, 4), np.zeros(num_heads, np.bool_))
        images.append(AnnotatedImage(path, path.name, truth, image_size))
    annotations = folder / "annotations.json"
    write_coco(annotations, AnnotatedSet(folder.name, tuple(images)))
    return annotations


def _draw_background(image_size: tuple[int, int], generator: np.random.Generator) -> Picture:
    height, width = image_size
    base = generator.integers(60, 200, 3)
    noise = generator.integers(-20, 21, (height, width, 3))
    picture: Picture = np.clip(base + noise, 0, 255).astype(np.uint8)
    for _ in range(3):
        left, top = int(generator.integers(width)), int(generator.integers(height))
        right, bottom = left + width // 4, top + height // 4
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        cv2.rectangle(picture, (left, top), (right, bottom), colour, 1)
    return picture


def _draw_head(picture: Picture, generator: np.random.Generator) -> FloatArray:
    height, width = picture.shape[:2]
    half_width = int(generator.integers(3, max(4, min(height, width) // 8) + 1))
    half_height = min(round(1.25 * half_width), (min(height, width) - 1) // 2)
    x = int(generator.integers(half_width, width - half_width))
    y = int(generator.integers(half_height, height - half_height))
    skin = (int(generator.integers(150, 240)), int(generator.integers(110, 180)), 100)
    axes = (half_width, half_height)
    cv2.ellipse(picture, (x, y), axes, 0, 0, 360, skin, cv2.FILLED)
    cv2.ellipse(picture, (x, y), axes, 0, 180, 360, (40, 30, 20), cv2.FILLED)
    return np.array(
        [x - half_width, y - half_height, x + half_width + 1, y + half_height + 1], np.float32
    )
