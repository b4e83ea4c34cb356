"""What a sink is told of one picture, and the numbers as the files hold them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from head_detection.structures import Detections

BOX_DECIMALS: Final = 4
SCORE_DECIMALS: Final = 6
"""Enough to tell two runs apart, far finer than a head's place is known."""


@dataclass(frozen=True)
class Origin:
    """What made the results.

    Attributes:
        model: of the detector; plain values for JSON.
        score_threshold: heads scored lower were left out.
    """

    model: dict[str, Any]
    score_threshold: float


@dataclass(frozen=True)
class Record:
    """A picture that went through the network.

    Attributes:
        number: its place in the source, from 1; pictures that failed count.
        name: its path relative to the source, with ``/``.
        path: the file.
        detections: heads in original pixels.
        pixels: ``(H, W, 3)`` uint8 RGB, where a sink of pictures needs them.
    """

    number: int
    name: str
    path: Path
    detections: Detections
    pixels: npt.NDArray[np.uint8] | None = None

    @property
    def boxes(self) -> list[list[float]]:
        """``[[x1, y1, x2, y2], ...]``, rounded."""
        return rounded(self.detections.boxes, BOX_DECIMALS)

    @property
    def boxes_xywh(self) -> list[list[float]]:
        """``[[left, top, width, height], ...]``, rounded."""
        return rounded(self.detections.boxes_xywh, BOX_DECIMALS)

    @property
    def scores(self) -> list[float]:
        """One a box, rounded."""
        return [round(float(score), SCORE_DECIMALS) for score in self.detections.scores]


def rounded(values: npt.NDArray[np.float32], decimals: int) -> list[list[float]]:
    """Return the rows as plain numbers.

    Example:
        >>> rounded(np.array([[0.1, 2.00006]], np.float32), 4)
        [[0.1, 2.0001]]
    """
    return [[round(float(value), decimals) for value in row] for row in values]
