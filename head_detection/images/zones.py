"""Draws zones and lines on a picture, with their counts."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from PIL import Image, ImageDraw

from head_detection.images.drawing import WHITE, text_size, write_text
from head_detection.images.reading import Picture
from head_detection.images.styles import Color
from head_detection.structures import Point, RegionCount

# Okabe and Ito's colours, which colour-blind people can tell apart, without those near our green.
COLORS: Final[tuple[Color, ...]] = (
    (86, 180, 233), (230, 159, 0), (204, 121, 167), (240, 228, 66), (213, 94, 0),
)  # fmt: skip
GROUND: Final[Color] = (20, 20, 20)
"""Behind letters and around lines, so that they show on light and on dark."""
FILLED: Final = 0.2
"""Opacity of a zone."""
SIDES_PER_LINE: Final = 240
"""The short side of a picture in line widths."""
SIDES_PER_TEXT: Final = 30
"""The short side in letter sizes."""
SMALLEST_TEXT: Final = 11
"""Pixels of letters: smaller ones cannot be read."""
ARROW: Final = 0.08
"""Length of the arrow to the *in* side, as a share of the short side."""
LARGEST_COORDINATE: Final = 1e6
"""Pixels: OpenCV's coordinates are more limited than those of a file."""


def draw_regions(pixels: Picture, regions: Sequence[RegionCount], scale: float = 1.0) -> Picture:
    """Return the picture with zones, lines, an arrow to the *in* side of each, and their counts.

    Lines and letters grow with the picture, so that they are as readable at 320 pixels as in a 4K
    frame. A label stays inside the picture and off other labels; without room it is cut to the
    counts.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB; not changed.
        regions: in its pixels, or in those of a picture that was scaled to it.
        scale: converts the regions' pixels to the picture's.

    Returns:
        The same size.
    """
    scene = pixels.copy()
    short_side = min(scene.shape[:2])
    width = max(1, round(short_side / SIDES_PER_LINE))
    shapes = [_as_array(region.points, scale) for region in regions]
    colors = [COLORS[number % len(COLORS)] for number in range(len(regions))]
    for region, shape, color in zip(regions, shapes, colors, strict=True):
        if not region.is_line:
            _fill(scene, shape, color)
    for region, shape, color in zip(regions, shapes, colors, strict=True):
        _stroke(scene, shape, color, width, is_closed=not region.is_line)
        if region.is_line:
            _draw_arrow(scene, region, shape, color, width)
    labels = _Labels(scene, max(SMALLEST_TEXT, round(short_side / SIDES_PER_TEXT)))
    for region, shape, color in zip(regions, shapes, colors, strict=True):
        away = -_unit_inward(region) if region.is_line else None
        labels.write(region.text, shape, away, color)
    return scene


def _as_array(points: Sequence[Point], scale: float) -> np.ndarray:
    """Return the points as OpenCV takes them: ``(N, 2)`` int32."""
    scaled = np.asarray(points, np.float64) * scale
    return np.rint(np.clip(scaled, -LARGEST_COORDINATE, LARGEST_COORDINATE)).astype(np.int32)


def _unit_inward(region: RegionCount) -> np.ndarray:
    inward = np.array(region.inward, np.float64)
    unit: np.ndarray = inward / np.hypot(*inward)
    return unit


def _fill(scene: Picture, shape: np.ndarray, color: Color) -> None:
    """Tint a zone, in place; only the part of the picture around it is touched."""
    height, width = scene.shape[:2]
    left, top = np.clip(shape.min(axis=0), 0, (width, height)).tolist()
    right, bottom = np.clip(shape.max(axis=0) + 1, 0, (width, height)).tolist()
    part = scene[top:bottom, left:right]
    if part.size:
        tinted = part.copy()
        cv2.fillPoly(tinted, [shape - (left, top)], color)
        cv2.addWeighted(tinted, FILLED, part, 1 - FILLED, 0, dst=tinted)
        scene[top:bottom, left:right] = tinted


def _stroke(
    scene: Picture, shape: np.ndarray, color: Color, width: int, *, is_closed: bool
) -> None:
    """Draw a line in its colour over a wider dark one."""
    cv2.polylines(scene, [shape], is_closed, GROUND, 3 * width, cv2.LINE_AA)
    cv2.polylines(scene, [shape], is_closed, color, width, cv2.LINE_AA)


def _draw_arrow(
    scene: Picture, region: RegionCount, shape: np.ndarray, color: Color, width: int
) -> None:
    """Draw an arrow from the middle of a line to its *in* side, and dots at its ends."""
    length = max(2.0 * SMALLEST_TEXT, ARROW * min(scene.shape[:2]))
    middle = shape.mean(axis=0)
    tip = middle + _unit_inward(region) * length
    start, end = (tuple(np.rint(point).astype(int).tolist()) for point in (middle, tip))
    for ink, thickness in ((GROUND, 3 * width), (color, width)):
        cv2.arrowedLine(scene, start, end, ink, thickness, cv2.LINE_AA, tipLength=0.4)
    for x, y in shape.tolist():
        cv2.circle(scene, (x, y), 2 * width, color, cv2.FILLED, cv2.LINE_AA)


class _Labels:
    """Writes labels that do not overlap, in place."""

    def __init__(self, scene: Picture, size: int) -> None:
        self._scene, self._size = scene, size
        self._taken: list[tuple[int, int, int, int]] = []

    def write(self, text: str, shape: np.ndarray, away: np.ndarray | None, color: Color) -> None:
        """Write a label in the corner of a zone, or beside the middle of a line.

        Args:
            text: name and counts.
            shape: ``(N, 2)`` of the zone or the line.
            away: ``(2,)`` unit vector to the side of the line without the arrow; None for a zone.
            color: of the mark before the text.
        """
        height, width = self._scene.shape[:2]
        for shown in (text, text.rpartition(": ")[2], ""):
            label_width, label_height = self._extent(shown)
            if label_width <= width and label_height <= height:
                break
        if not shown:
            return
        corner = shape.min(axis=0).astype(np.float64)
        if away is not None:
            half = np.array((label_width, label_height)) / 2
            reach = float(np.abs(away) @ half) + self._size / 2
            corner = shape.mean(axis=0) + away * reach - half
        left = round(min(max(0.0, float(corner[0])), width - label_width))
        top = round(min(max(0.0, float(corner[1])), height - label_height))
        top = self._free_row(left, top, left + label_width, label_height)
        self._taken.append((left, top, left + label_width, top + label_height))
        label = Image.new("RGB", (label_width, label_height), GROUND)
        canvas = ImageDraw.Draw(label)
        mark = self._size // 3
        canvas.rectangle((0, 0, mark - 1, label_height), fill=color)
        write_text(canvas, (2 * mark, self._size // 6), shown, self._size, WHITE)
        self._scene[top : top + label_height, left : left + label_width] = np.asarray(label)

    def _extent(self, text: str) -> tuple[int, int]:
        width, height = text_size(text, self._size)
        return width + self._size, height + self._size // 3

    def _free_row(self, left: int, top: int, right: int, height: int) -> int:
        """Return the nearest free row at or below the wanted one, else the first from the top."""
        last = self._scene.shape[0] - height
        rows = [top, *(bottom for _, _, _, bottom in self._taken), 0]
        wanted = sorted(row for row in rows if top <= row <= last) + sorted(
            row for row in rows if row < top
        )
        for row in wanted:
            if all(
                right <= x1 or left >= x2 or row + height <= y1 or row >= y2
                for x1, y1, x2, y2 in self._taken
            ):
                return row
        return top
