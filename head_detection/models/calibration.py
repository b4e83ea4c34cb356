"""Scores of small and of large heads made to mean the same."""

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
"""Scores nearer to 0 or 1 are taken for so near: float32 has no logit of them."""


@dataclass(frozen=True)
class SizeCalibration:
    """What is added to the logit of a score, by the size of the head.

    A detector is surer of what it sees large: false alarms of 100 pixels score as true heads of 12
    do. One threshold for all then either keeps the ones or leaves out the others.

    Args:
        linear: times s, the octaves from ``KEPT_SIZE`` to the head's size.
        quadratic: times the square of s.
        smallest_head: smaller heads are taken for as large; root of area in network pixels.
        largest_head: larger ones likewise.

    Source:
        Platt, Probabilistic outputs for support vector machines, 1999, for the logistic fit; with
        the box beside the score, as Kueppers et al., Multivariate confidence calibration for
        object detection, CVPR workshops 2020. The slope is left out: order is all that is wanted,
        and scores stay near what they were.
    """

    linear: float
    quadratic: float
    smallest_head: float
    largest_head: float

    def scores(
        self, scores: Annotated[Tensor, "*n"], sizes: Annotated[Tensor, "*n"]
    ) -> Annotated[Tensor, "*n"]:
        """Return ``(...)`` other scores.

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
        """Return heads, in network pixels, with other scores, by these."""
        scores = self.scores(heads.scores, box_sizes(heads.boxes))
        scores = torch.where(heads.scores > EMPTY, scores, EMPTY)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        return heads._replace(boxes=gather_boxes(heads.boxes, order), scores=scores)


def build_calibration(calibration: CalibrationConfig | None) -> SizeCalibration | None:
    """Return what the config describes, if anything."""
    if calibration is None:
        return None
    return SizeCalibration(
        calibration.linear,
        calibration.quadratic,
        calibration.smallest_head,
        calibration.largest_head,
    )
