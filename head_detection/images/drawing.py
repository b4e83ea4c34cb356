"""Pictures with the heads marked, or made unrecognisable, for people to look at."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv

from head_detection.structures import Detections, FloatArray

Picture = npt.NDArray[np.uint8]

SMALLEST_DRAWN_SIDE: Final = 240
"""Pixels; a smaller picture is enlarged, else the count would cover it."""
HEADS_PER_LINE: Final = 12
"""The typical head is so many lines wide: thinner than that and it stays visible inside its box."""
PIXELS_PER_LINE: Final = 300
"""A picture's short side in lines, so that they are seen when a large picture is shown small."""
TEXT_HEIGHT: Final = 0.03
"""Of the short side."""
SMALLEST_TEXT: Final = 12
PIXELATED_MARGIN: Final = 0.1
"""Of a head's size, added on each side: ears and hair tell who it is."""
SQUARES_PER_HEAD: Final = 4
"""Across the shorter side of a pixelated head: no face is known from so few."""
_BOX_COLOR: Final = sv.Color(57, 255, 20)
_LETTER_HEIGHT: Final = 22  # of OpenCV's font at scale 1


def draw_heads(pixels: Picture, detections: Detections) -> Picture:
    """Return the picture with a box around each head and their number in the corner.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB; not changed.
        detections: boxes in its pixels.

    Returns:
        The same size; a picture with a side under 240 pixels is enlarged by a whole number.
    """
    scale = max(1, -(-SMALLEST_DRAWN_SIDE // max(pixels.shape[:2])))
    scene = _to_bgr(pixels.repeat(scale, axis=0).repeat(scale, axis=1))
    boxes = detections.boxes * scale
    thickness = _line_thickness(scene.shape[:2], boxes)
    marked = sv.Detections(xyxy=boxes, class_id=np.zeros(len(boxes), dtype=int))
    scene = sv.BoxAnnotator(color=_BOX_COLOR, thickness=thickness).annotate(scene, marked)
    scene = _write_count(scene, len(boxes))
    return _to_rgb(scene)


def pixelate_heads(pixels: Picture, detections: Detections) -> Picture:
    """Return the picture with each head turned into a few squares of one colour.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB; not changed.
        detections: boxes in its pixels.
    """
    scene = _to_bgr(pixels)
    boxes = _whole_pixels(detections.boxes, pixels.shape[:2])
    shorter_sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    squares = np.ceil(shorter_sides / SQUARES_PER_HEAD).astype(int)
    for square in np.unique(squares):
        annotator = sv.PixelateAnnotator(pixel_size=int(square))
        scene = annotator.annotate(scene, sv.Detections(xyxy=boxes[squares == square]))
    return _to_rgb(scene)


def _whole_pixels(boxes: FloatArray, size: tuple[int, ...]) -> FloatArray:
    """Return the boxes with a margin, rounded outwards, inside the picture; empty ones left out."""
    sides = boxes[:, 2:] - boxes[:, :2]
    margins = PIXELATED_MARGIN * np.concatenate([-sides, sides], axis=1)
    grown = boxes + margins
    grown = np.concatenate([np.floor(grown[:, :2]), np.ceil(grown[:, 2:])], axis=1)
    height, width = size
    inside: FloatArray = np.clip(grown, 0, (width, height, width, height)).astype(np.float32)
    return inside[(inside[:, 2:] > inside[:, :2]).all(axis=1)]


def _line_thickness(size: tuple[int, ...], boxes: FloatArray) -> int:
    """Return pixels: thick for a large picture, thin for small heads."""
    thickness = min(size) / PIXELS_PER_LINE
    if len(boxes):
        head_sizes = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        thickness = min(thickness, float(np.median(head_sizes)) / HEADS_PER_LINE)
    return max(1, round(thickness))


def _write_count(scene: Picture, count: int) -> Picture:
    text = "1 head" if count == 1 else f"{count} heads"
    height = max(SMALLEST_TEXT, round(min(scene.shape[:2]) * TEXT_HEIGHT))
    scale, thickness, padding = height / _LETTER_HEIGHT, max(1, height // 10), height // 2
    (width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    written: Picture = sv.draw_text(
        scene,
        text,
        text_anchor=sv.Point(x=width / 2 + padding, y=text_height / 2 + padding),
        text_color=sv.Color.WHITE,
        text_scale=scale,
        text_thickness=thickness,
        text_padding=padding,
        background_color=sv.Color.BLACK,
    )
    return written


def _to_bgr(pixels: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), dtype=np.uint8)


def _to_rgb(scene: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(scene, cv2.COLOR_BGR2RGB), dtype=np.uint8)
