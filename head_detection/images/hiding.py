"""Makes heads unrecognisable, and checks that they are."""

from typing import Final

import cv2
import numpy as np

from head_detection.boxes import areas, clipped
from head_detection.errors import PictureError
from head_detection.images.reading import Picture
from head_detection.images.styles import Hiding
from head_detection.structures import Detections, FloatArray

SOLID_COLOR: Final = 0
"""Black in all three colours."""
SQUARES_PER_HEAD: Final = 4
"""Across the shorter side of a pixelated head: too few to recognise a face."""
SMALLEST_SQUARE: Final = 2
"""Pixels: squares of one pixel would change nothing."""
_MOST_EDGES: Final = 0.75
"""Share of neighbours in a row that may differ: half do in the smallest squares, and more where the
edge cuts one."""


def hide_heads(pixels: Picture, detections: Detections, hiding: Hiding | None = None) -> Picture:
    """Return the picture with each head made unrecognisable, checked afterwards.

    A small head whose squares are cut by those of its neighbours, so that too many of its pixels
    differ, becomes black.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB; not changed.
        detections: boxes in its pixels.
        hiding: None is solid black.

    Raises:
        PictureError: the boxes belong to a picture of another size, or are not finite. One line,
            without a name.

    Example:
        >>> found = Detections.from_arrays([[2, 2, 4, 4]], [0.9], (8, 8))
        >>> hidden = hide_heads(np.full((8, 8, 3), 255, np.uint8), found)
        >>> hidden[:, :, 0].min(axis=0).tolist()
        [255, 0, 0, 0, 0, 255, 255, 255]
    """
    hiding = hiding or Hiding()
    check_boxes(pixels, detections)
    size = detections.image_size
    boxes = _whole_pixels(detections.boxes, size, hiding.scale)
    wanted = boxes.astype(int).tolist()
    is_solid = hiding.style == "solid"
    scene = pixels.copy() if is_solid else _pixelated(pixels.copy(), boxes)
    visible = wanted if is_solid else [box for box in wanted if not _is_hidden(scene, box, hiding)]
    while visible:  # black stays hidden, so each head is covered once at most
        for x1, y1, x2, y2 in visible:
            scene[y1:y2, x1:x2] = SOLID_COLOR
        visible = [box for box in wanted if not _is_hidden(scene, box, hiding)]
    return scene


def check_boxes(pixels: Picture, detections: Detections) -> None:
    """Refuse heads of another picture, which would hide the wrong places.

    Raises:
        PictureError: the boxes belong to a picture of another size, or are not finite. One line,
            without a name.
    """
    size = (pixels.shape[0], pixels.shape[1])
    if detections.image_size != size or not np.isfinite(detections.boxes).all():
        raise PictureError(
            f"the heads could not be hidden: expected boxes in {size[1]}x{size[0]} pixels; got "
            f"{detections.image_size[1]}x{detections.image_size[0]}"
        )


def _pixelated(scene: Picture, boxes: FloatArray) -> Picture:
    import supervision as sv  # noqa: PLC0415 - slow to load, and only needed here

    shorter_sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    squares = np.ceil(shorter_sides / SQUARES_PER_HEAD).astype(int)
    squares = np.maximum(squares, SMALLEST_SQUARE)
    for square in np.unique(squares):
        annotator = sv.PixelateAnnotator(pixel_size=int(square))
        scene = annotator.annotate(scene, sv.Detections(xyxy=boxes[squares == square]))
    return scene


def _is_hidden(scene: Picture, box: list[int], hiding: Hiding) -> bool:
    """Check the finished picture: one colour, or squares of one colour each."""
    x1, y1, x2, y2 = box
    if hiding.style == "solid":  # SOLID_COLOR is 0
        return not cv2.hasNonZero(scene.reshape(scene.shape[0], -1)[y1:y2, 3 * x1 : 3 * x2])
    inside = scene[y1:y2, x1:x2]
    across = (inside[:, 1:] != inside[:, :-1]).any(axis=2)
    down = (inside[1:] != inside[:-1]).any(axis=2)
    return all(not edges.size or edges.mean() <= _MOST_EDGES for edges in (across, down))


def _whole_pixels(boxes: FloatArray, size: tuple[int, int], scale: float) -> FloatArray:
    """Return the boxes scaled, rounded outwards, inside the picture; empty ones left out."""
    sides = boxes[:, 2:] - boxes[:, :2]
    grown = boxes + (scale - 1.0) / 2.0 * np.concatenate([-sides, sides], axis=1)
    grown = np.concatenate([np.floor(grown[:, :2]), np.ceil(grown[:, 2:])], axis=1)
    inside = clipped(grown.astype(np.float32), size)
    return inside[areas(inside) > 0]
