"""A picture with what was found, what was missed and what was taken for a head."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from head_detection.images.reading import Picture
from head_detection.structures import FloatArray

Color = tuple[int, int, int]

DRAWN_SIDE: Final = 1600
"""Pixels of the longer side that a smaller picture is enlarged to: heads are small."""
LARGEST_ZOOM: Final = 4.0
MARGIN: Final = 10
TEXT_SIZE: Final = 20
SCORE_SIZE: Final = 15
LINE_HEIGHT: Final = 30
SMALLEST_LEGEND: Final = 480
GAP: Final = 28
SAMPLE_WIDTH: Final = 44
OUTLINE: Final[Color] = (0, 0, 0)
PAPER: Final[Color] = (20, 20, 20)
INK: Final[Color] = (255, 255, 255)
SCORE_INK: Final[Color] = (255, 170, 215)


class Stroke(NamedTuple):
    """How one kind of box is drawn; kinds differ in colour, thickness and dashes."""

    color: Color
    width: int
    dash: int
    """Pixels on and off; 0 is an unbroken line."""


# Okabe and Ito's colours, which colour-blind people tell apart; the dashes tell them in grey too.
FOUND: Final = Stroke((86, 180, 233), 2, 0)
MISSED: Final = Stroke((255, 200, 0), 3, 7)
FALSE_ALARM: Final = Stroke((230, 70, 160), 4, 0)
NOT_COUNTED: Final = Stroke((200, 200, 200), 1, 3)


@dataclass(frozen=True)
class OutcomeBoxes:
    """The boxes of one picture by what became of them, ``(N, 4)`` xyxy in original pixels.

    Attributes:
        found: detections that found a head.
        missed: labelled heads that no detection found.
        false_alarms: detections without a head.
        false_scores: ``(N,)`` of the false alarms.
        not_counted: ignore regions, and detections in them.
    """

    found: FloatArray
    missed: FloatArray
    false_alarms: FloatArray
    false_scores: FloatArray
    not_counted: FloatArray


def draw_outcome(pixels: Picture, outcome: OutcomeBoxes, title: Sequence[str]) -> Picture:
    """Return the picture with its boxes and, below it, a legend with their numbers.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB; not changed. A small picture is enlarged, and a small one
            widened by the legend where that needs it.
        outcome: boxes in its pixels.
        title: parts of the legend's first lines.
    """
    zoom = min(LARGEST_ZOOM, max(1.0, DRAWN_SIDE / max(pixels.shape[:2])))
    size = (round(pixels.shape[1] * zoom), round(pixels.shape[0] * zoom))
    scene = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    pen = _Pen(scene, max(1.0, max(size) / DRAWN_SIDE))
    for boxes, stroke in (
        (outcome.not_counted, NOT_COUNTED),
        (outcome.found, FOUND),
        (outcome.false_alarms, FALSE_ALARM),
        (outcome.missed, MISSED),
    ):
        for box in (boxes * zoom).tolist():
            pen.draw_box(box, stroke)
    for box, score in zip(
        (outcome.false_alarms * zoom).tolist(), outcome.false_scores, strict=True
    ):
        pen.draw_score(box, float(score))
    legend = _draw_legend(outcome, title, max(scene.width, SMALLEST_LEGEND), pen.scale)
    whole = Image.new("RGB", (legend.width, scene.height + legend.height), PAPER)
    whole.paste(scene, (0, 0))
    whole.paste(legend, (0, scene.height))
    return np.asarray(whole)


class _Pen:
    """Draws on one picture, thicker on one that is larger than the usual."""

    def __init__(self, scene: Image.Image, scale: float) -> None:
        self._canvas = ImageDraw.Draw(scene)
        self._scene_width = scene.width
        self.scale = scale

    def draw_box(self, box: list[float], stroke: Stroke) -> None:
        """Draw a rectangle with a dark rim, so that it is seen on any ground."""
        x1, y1, x2, y2 = box
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
        thickness = round(stroke.width * self.scale)
        for color, width in ((OUTLINE, thickness + 2), (stroke.color, thickness)):
            if not stroke.dash:
                self._canvas.line(corners, fill=color, width=width, joint="curve")
                continue
            for start, end in pairwise(corners):
                for dash in _dashes(start, end, stroke.dash * self.scale):
                    self._canvas.line(dash, fill=color, width=width)

    def draw_score(self, box: list[float], score: float) -> None:
        """Write a score above a box, or below it where the picture ends."""
        size = round(SCORE_SIZE * self.scale)
        font = ImageFont.load_default(size)
        text = f"{score:.2f}".removeprefix("0")
        top = box[1] - size - FALSE_ALARM.width * self.scale
        left = min(max(0.0, box[0]), self._scene_width - self._canvas.textlength(text, font))
        corner = (left, top if top >= 0 else box[3] + 2)
        ground = self._canvas.textbbox(corner, text, font)
        rim = (ground[0] - 2, ground[1] - 2, ground[2] + 1, ground[3] + 1)
        self._canvas.rectangle(rim, fill=OUTLINE)
        self._canvas.text(corner, text, fill=SCORE_INK, font=font)


def _dashes(
    start: tuple[float, float], end: tuple[float, float], length: float
) -> list[tuple[float, float, float, float]]:
    """Return the pieces of a line: on at both ends, on and off equally long.

    Example:
        >>> _dashes((0, 0), (30, 0), 10)
        [(0.0, 0.0, 10.0, 0.0), (20.0, 0.0, 30.0, 0.0)]
    """
    first, last = np.array(start, np.float64), np.array(end, np.float64)
    num_off = max(1, round((float(np.abs(last - first).sum()) / length - 1) / 2))
    marks = [first + (last - first) * part for part in np.linspace(0, 1, 2 * num_off + 2)]
    pieces = zip(marks[::2], marks[1::2], strict=True)
    return [(float(a[0]), float(a[1]), float(b[0]), float(b[1])) for a, b in pieces]


def _draw_legend(
    outcome: OutcomeBoxes, title: Sequence[str], width: int, scale: float
) -> Image.Image:
    font = ImageFont.load_default(round(TEXT_SIZE * scale))
    margin, sample, line = (round(x * scale) for x in (MARGIN, SAMPLE_WIDTH, LINE_HEIGHT))
    items: list[tuple[Stroke | None, str]] = [(None, part) for part in title]
    items += [
        (FOUND, f"found: {len(outcome.found)}"),
        (MISSED, f"missed: {len(outcome.missed)}"),
        (FALSE_ALARM, f"false alarm, with its score: {len(outcome.false_alarms)}"),
    ]
    if len(outcome.not_counted):
        items.append((NOT_COUNTED, f"not counted: {len(outcome.not_counted)}"))
    corners: list[tuple[int, int]] = []
    x, y = margin, margin // 2
    for number, (stroke, text) in enumerate(items):
        needed = round(font.getlength(text)) + (sample if stroke else 0)
        if number == len(title) or (x > margin and x + needed > width):
            x, y = margin, y + line
        corners.append((x, y))
        x += needed + round(GAP * scale)
    legend = Image.new("RGB", (width, y + line), PAPER)
    pen, canvas = _Pen(legend, scale), ImageDraw.Draw(legend)
    for (stroke, text), (x, y) in zip(items, corners, strict=True):
        if stroke:
            pen.draw_box([x + 2, y + 4 * scale, x + 30 * scale, y + TEXT_SIZE * scale], stroke)
        canvas.text((x + (sample if stroke else 0), y), text, fill=INK, font=font)
    return legend
