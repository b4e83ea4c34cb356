"""Calibration of scores by size, so that they mean the same for small and large heads."""

from dataclasses import dataclass
from typing import Annotated, Final

import torch
from torch import Tensor

from head_detection.config import CalibrationConfig
from head_detection.models.nms import EMPTY
from head_detection.models.suppression import Heads, box_sizes, gather_boxes

KEPT_SIZE: Final = 24.0
"""Pixels; heads of this size keep their score."""
SURE: Final = 1e-6
"""Scores are clamped to this distance from 0 and 1, where the logit is infinite."""


@dataclass(frozen=True)
class SizeCalibration:
    """An offset to the logit of a score, which depends on the size of the head.

    Detectors score large objects higher: false alarms of 100 pixels score like true heads of 12. A
    single threshold would either keep the former or drop the latter.

    Args:
        linear: factor of s, the octaves from ``KEPT_SIZE`` to the head's size.
        quadratic: factor of the square of s.
        smallest_head: sizes are clamped to at least this; root of area in network pixels.
        largest_head: sizes are clamped to at most this.

    Source:
        Platt, Probabilistic outputs for support vector machines, 1999, for the logistic fit;
        Kueppers et al., Multivariate confidence calibration for object detection, CVPR workshops
        2020, for using the box beside the score. The slope is left out, because only the order
        matters and scores should stay near their old values.
    """

    linear: float
    quadratic: float
    smallest_head: float
    largest_head: float

    def scores(
        self, scores: Annotated[Tensor, "*n"], sizes: Annotated[Tensor, "*n"]
    ) -> Annotated[Tensor, "*n"]:
        """Return the calibrated ``(...)`` scores.

        Args:
            scores: ``(...)`` in 0..1.
            sizes: ``(...)`` roots of area in network pixels.

        Example:
            >>> calibration = SizeCalibration(-1.0, 0.0, 6.0, 48.0)
            >>> even = torch.full((4,), 0.5)  # of logit 0
            >>> calibration.scores(even, torch.tensor([12.0, 24.0, 48.0, 960.0])).round(decimals=2)
            tensor([0.7300, 0.5000, 0.2700, 0.2700])
        """
        octaves = (sizes.clamp(self.smallest_head, self.largest_head) / KEPT_SIZE).log2()
        shift = octaves * (self.linear + self.quadratic * octaves)
        return (torch.logit(scores, eps=SURE) + shift).sigmoid()

    def __call__(self, heads: Heads) -> Heads:
        """Return heads, in network pixels, with calibrated scores and sorted by them."""
        scores = self.scores(heads.scores, box_sizes(heads.boxes))
        scores = torch.where(heads.scores > EMPTY, scores, EMPTY)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        return heads._replace(boxes=gather_boxes(heads.boxes, order), scores=scores)


def build_calibration(calibration: CalibrationConfig | None) -> SizeCalibration | None:
    """Return the calibration that the config describes, if any."""
    if calibration is None:
        return None
    return SizeCalibration(
        calibration.linear,
        calibration.quadratic,
        calibration.smallest_head,
        calibration.largest_head,
    )
