"""Small made-up pictures with head-like ellipses, for tests and smoke runs."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.formats.coco import write_coco
from head_detection.files import replacing
from head_detection.images.reading import Picture
from head_detection.structures import FloatArray, GroundTruth

MAX_HEADS = 5
"""Each picture holds 0 to this many; the first always one at least."""


def synthetic_set(folder: Path, num_images: int, image_size: tuple[int, int], seed: int) -> Path:
    """Write ``images/*.png`` and ``annotations.json`` (COCO); same arguments, same files.

    A head is a skin-coloured ellipse with a dark cap of hair, on a noisy background with a few
    rectangles. Boxes are tight and lie inside the picture.

    Args:
        folder: is made if need be.
        num_images: pictures to write.
        image_size: ``(height, width)`` of each, at least 16 a side.
        seed: of everything drawn.

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
