"""Draws the heads of a picture, with no label covering any of them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from PIL import Image, ImageDraw

from head_detection.boxes import areas
from head_detection.images.drawing import BLACK, WHITE, text_size, write_text
from head_detection.images.reading import Picture
from head_detection.images.styles import HEAD_COLOR, Color, Drawing
from head_detection.images.zones import draw_regions
from head_detection.structures import Detections, FloatArray, IntArray, RegionCount

SMALLEST_DRAWN_SIDE: Final = 240
"""Pixels; a picture with a shorter long side is enlarged, since nothing could be written on it."""
HEADS_PER_LINE: Final = 12
"""The typical head is at least this many line widths wide, so that it stays visible in its box."""
PIXELS_PER_LINE: Final = 300
"""The short side of a picture in line widths, so that lines show when a large picture is shrunk."""
TEXT_SIZE: Final = 0.04
"""Letter size of the count, as a share of the short side."""
USUAL_TEXT: Final = 16
"""Smallest letter size of the count in pixels, if there is room."""
SMALL_TEXT: Final = 12
"""Pixels: the label is shortened before letters get smaller than this."""
SMALLEST_TEXT: Final = 8
"""Pixels: smaller letters cannot be read."""
BESIDE_SIZE: Final = 0.4
"""Size of letters beside a head, as a share of its size."""
LARGEST_BESIDE: Final = 0.02
"""The same at most, as a share of the short side."""
LARGEST_LABEL: Final = 0.08
"""Share of the picture's width; a wider label is written smaller, or shorter, or not at all."""

ID_COLORS: Final[tuple[Color, ...]] = (
    (255, 92, 92), (255, 165, 0), (255, 230, 0), (170, 255, 60), (0, 230, 118), (0, 229, 255),
    (80, 170, 255), (150, 130, 255), (230, 120, 255), (255, 110, 190), (255, 190, 150),
    (190, 240, 220), (255, 255, 255),
)  # fmt: skip
"""Colours of tracked heads; light ones, since ids are written in them on black. Thirteen is a
prime, so ids that rise by two or three get different colours too."""


def draw_heads(
    pixels: Picture,
    detections: Detections,
    drawing: Drawing | None = None,
    *,
    traces: Mapping[int, FloatArray] | None = None,
    regions: Sequence[RegionCount] = (),
) -> Picture:
    """Return the picture with a box around each head and their number beside them.

    Labels cover no box and no other label, and are at most 8 % of the picture wide. A label without
    room is left out.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB; not changed.
        detections: boxes in its pixels.
        drawing: how to draw; None is the default.
        traces: where each head was, by id, from ``Traces``.
        regions: zones and lines with their counts.

    Returns:
        The same size; a picture whose long side is under 240 pixels is enlarged by a whole number.
    """
    drawing = drawing or Drawing()
    scale = max(1, -(-SMALLEST_DRAWN_SIDE // max(pixels.shape[:2])))
    scene = pixels.copy() if scale == 1 else pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    boxes = detections.boxes * scale
    thickness = drawing.width or _line_thickness(scene.shape[:2], boxes)
    if "traces" in drawing.parts:
        for key, points in (traces or {}).items():
            _draw_trace(scene, points * scale, _color_of(drawing, key), thickness)
    keys = [None] * len(boxes) if detections.ids is None else detections.ids.tolist()
    colors = [_color_of(drawing, key) for key in keys]
    if "boxes" in drawing.parts:
        for (x1, y1, x2, y2), color in zip(_whole(boxes, scene).tolist(), colors, strict=True):
            cv2.rectangle(scene, (x1, y1), (x2, y2), color, thickness)
    labels = _Labels(scene, boxes, thickness)
    if "count" in drawing.parts:
        _write_count(labels, drawing, len(boxes))
    _write_beside(labels, drawing, boxes, _texts_of(detections, drawing), colors)
    if "zones" in drawing.parts and regions:
        scene = draw_regions(scene, regions, scale)  # last, so that counts stay readable
    return scene


def _color_of(drawing: Drawing, key: int | None) -> Color:
    """Return the colour of a head: one for all, or the one of its id."""
    if drawing.color is not None:
        return drawing.color
    return HEAD_COLOR if key is None or key < 0 else ID_COLORS[key % len(ID_COLORS)]


def _texts_of(detections: Detections, drawing: Drawing) -> list[str]:
    """Return the text beside each head, empty if there is none."""
    texts = [""] * len(detections)
    if "ids" in drawing.parts and detections.ids is not None:
        texts = [str(key) if key >= 0 else "" for key in detections.ids.tolist()]
    if "scores" in drawing.parts:
        scores = [f"{score:.2f}".removeprefix("0") for score in detections.scores]
        texts = [f"{text} {score}".strip() for text, score in zip(texts, scores, strict=True)]
    return texts


def _whole(points: FloatArray, scene: Picture) -> IntArray:
    """Return whole pixels for OpenCV, not far outside the picture: its numbers are limited."""
    limit = 2 * max(scene.shape)
    return np.clip(points, -limit, limit).astype(np.int64)


def _draw_trace(scene: Picture, points: FloatArray, color: Color, thickness: int) -> None:
    whole = _whole(points, scene).astype(np.int32)
    cv2.polylines(scene, [whole], isClosed=False, color=color, thickness=thickness)


class _Labels:
    """Writes labels in free places of a picture, in place.

    Args:
        scene: the picture.
        boxes: not to be covered, nor their lines.
        thickness: of the lines.
    """

    def __init__(self, scene: Picture, boxes: FloatArray, thickness: int) -> None:
        self._scene = scene
        self.height, self.width = scene.shape[:2]
        rim = np.array([-1, -1, 1, 1]) * thickness
        self._taken = np.zeros((2 * len(boxes) + 1, 4))
        self._taken[: len(boxes)] = boxes + rim
        self._num_taken = len(boxes)
        self.thickness = thickness

    def label_size(self, text: str, size: int) -> tuple[int, int]:
        """Return the width and height of a label."""
        width, height = text_size(text, size)
        return width + 2 * (size // 3), height + size // 3

    def fit(self, text: str, largest: int, smallest: int) -> int | None:
        """Return the largest letter size in which a text is narrow enough, or None."""
        for size in range(largest, min(largest, smallest) - 1, -1):
            if self.label_size(text, size)[0] <= LARGEST_LABEL * self.width:
                return size
        return None

    def write(self, text: str, size: int, corners: FloatArray, ink: Color) -> bool:
        """Write a text at the first free place, and tell whether there was one.

        Args:
            text: one line.
            size: of its letters.
            corners: ``(N, 2)`` left and top of possible places, best first.
            ink: colour of its letters.
        """
        width, height = self.label_size(text, size)
        corners = np.rint(corners)
        ends = corners + np.array([width, height])
        inside = (corners >= 0).all(axis=1) & (ends <= (self.width, self.height)).all(axis=1)
        for left, top in corners[inside].astype(int).tolist():
            taken = self._taken[: self._num_taken]
            apart = (taken[:, 0] >= left + width) | (taken[:, 2] <= left)
            apart |= (taken[:, 1] >= top + height) | (taken[:, 3] <= top)
            if apart.all():
                label = _label_picture(text, size, ink, width, height)
                self._scene[top : top + height, left : left + width] = label
                self._taken[self._num_taken] = (left, top, left + width, top + height)
                self._num_taken += 1
                return True
        return False


def _line_thickness(size: tuple[int, ...], boxes: FloatArray) -> int:
    """Return pixels: thick for a large picture, thin for small heads."""
    thickness = min(size) / PIXELS_PER_LINE
    if len(boxes):
        thickness = min(thickness, float(np.median(np.sqrt(areas(boxes)))) / HEADS_PER_LINE)
    return max(1, round(thickness))


def _write_count(labels: _Labels, drawing: Drawing, count: int) -> None:
    """Write how many heads there are, into a corner or else near the top."""
    short_side = min(labels.width, labels.height)
    largest = drawing.font_size or max(USUAL_TEXT, round(short_side * TEXT_SIZE))
    texts = drawing.labels(count)
    for text in texts:
        # A shorter text in normal letters is better than a longer one in small letters.
        smallest = SMALLEST_TEXT if text == texts[-1] else SMALL_TEXT
        size = labels.fit(text, largest, smallest)
        if size is not None:
            corners = np.array(list(_places(labels, *labels.label_size(text, size))))
            if labels.write(text, size, corners, WHITE):
                return


def _places(labels: _Labels, width: int, height: int) -> Iterator[tuple[int, int]]:
    """Yield the left and top of possible places: the corners, then row by row."""
    right, bottom = labels.width - width, labels.height - height
    yield from ((0, 0), (right, 0), (0, bottom), (right, bottom))
    for top in range(0, bottom + 1, height):
        for left in range(0, right + 1, max(1, width // 2)):
            yield left, top


def _write_beside(
    labels: _Labels,
    drawing: Drawing,
    boxes: FloatArray,
    texts: Sequence[str],
    colors: Sequence[Color],
) -> None:
    """Write a text for each head above its box, or else below or beside it."""
    most = max(SMALLEST_TEXT, round(min(labels.width, labels.height) * LARGEST_BESIDE))
    sides = np.sqrt(areas(boxes))
    for (x1, y1, x2, y2), side, text, color in zip(
        boxes.tolist(), sides, texts, colors, strict=True
    ):
        if not text:
            continue
        largest = drawing.font_size or min(most, max(SMALLEST_TEXT, round(side * BESIDE_SIZE)))
        size = labels.fit(text, largest, SMALLEST_TEXT)
        if size is None:
            continue
        width, height = labels.label_size(text, size)
        gap = labels.thickness + 1
        above, below = (x1, y1 - gap - height), (x1, y2 + gap)
        right, left = (x2 + gap, y1), (x1 - gap - width, y1)
        labels.write(text, size, np.array([above, below, right, left]), color)


@lru_cache(maxsize=4096)
def _label_picture(text: str, size: int, ink: Color, width: int, height: int) -> Picture:
    """Return a label, cached: those of a video recur."""
    label = Image.new("RGB", (width, height), BLACK)
    write_text(ImageDraw.Draw(label), (size // 3, size // 6), text, size, ink)
    return np.asarray(label)
