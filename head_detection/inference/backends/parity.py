"""Differences between an exported network and its original."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from head_detection.evaluation.matching import match_detections
from head_detection.inference.backends.graph import DENSE, SCORE
from head_detection.inference.backends.int8 import inputs_of
from head_detection.inference.engine import Backend, with_network
from head_detection.models.faster_rcnn import FasterRCNN
from head_detection.models.network import DetectorNetwork
from head_detection.structures import Detections, GroundTruth

TOLERANCE: Final = 1e-3
"""Relative to an output's largest value: rounding differs by less, a wrong graph by much more."""
COMPARED_SCORE: Final = 0.3
"""Heads are compared from this score on, also of weights whose threshold leaves few or none."""
MARGIN: Final = 0.1
"""A head is not missing if the other network scores it at most this far below the threshold."""


@dataclass
class Parity:
    """Largest differences from the network in PyTorch, float32, over some pictures.

    Attributes:
        outputs: difference of any output of either part for the same input, relative to that
            output's largest value.
        heads: number of heads that PyTorch finds.
        missing: how many of them the other network does not find.
        extra: number of heads that only the other network finds.
        score: difference in score of a head that both find.
        box: difference in its box coordinates, in original pixels.
    """

    outputs: float = 0.0
    heads: int = 0
    missing: int = 0
    extra: int = 0
    score: float = 0.0
    box: float = 0.0

    def add(self, expected: Detections, found: Detections, score_threshold: float) -> None:
        """Add a picture, on which both networks detected down to ``MARGIN`` below the threshold."""
        heads = expected.above(score_threshold)
        self.heads += len(heads)
        self.extra += _alone(found.above(score_threshold), expected)
        # Passed as detections, PyTorch's heads are matched with the boxes that overlap best.
        matched = match_detections(heads, _as_truth(found)).found
        is_found = matched >= 0
        pairs = matched[is_found]
        self.missing += int((~is_found).sum())
        if len(pairs):
            boxes, scores = heads.boxes[is_found], heads.scores[is_found]
            self.box = max(self.box, float(np.abs(boxes - found.boxes[pairs]).max()))
            self.score = max(self.score, float(np.abs(scores - found.scores[pairs]).max()))

    def as_line(self, num_pictures: int, score_threshold: float) -> str:
        """Return a line for users.

        Args:
            num_pictures: that were added.
            score_threshold: that they were added with.
        """
        outputs = (
            f"against torch fp32 on {num_pictures} pictures: outputs differ by at most "
            f"{self.outputs:.1e} of their largest value; "
        )
        if not self.heads and not self.extra:
            return (
                f"{outputs}neither finds a head scored {score_threshold:g} or more, so none is "
                "compared: choose pictures with heads"
            )
        return (
            f"{outputs}of {self.heads} heads scored {score_threshold:g} or more {self.missing} are "
            f"missing, {self.extra} are new, the others differ by at most {self.score:.4f} in "
            f"score and {self.box:.2f} pixels"
        )


@torch.inference_mode()
def measure_parity(
    model: FasterRCNN, backend: Backend, images: Iterable[Tensor], score_threshold: float
) -> Parity:
    """Run both networks on pictures and compare them.

    Args:
        model: float32, on CPU, in evaluation mode.
        backend: the exported network.
        images: ``(3, H, W)`` uint8 each.
        score_threshold: heads scored lower do not count.
    """
    parity = Parity()
    lowest = max(0.0, score_threshold - MARGIN)
    decoder = model.decoder
    decoder = decoder.with_score_threshold(min(lowest, decoder.suppression.score_threshold))
    ours, theirs = (
        with_network(model, network, decoder=decoder) for network in (model.network, backend)
    )
    for image in images:
        parity.outputs = max(parity.outputs, _difference(model, backend, image))
        expected, found = (_detect(side, image).above(lowest) for side in (ours, theirs))
        parity.add(expected, found, score_threshold)
    return parity


def _difference(model: FasterRCNN, backend: DetectorNetwork, image: Tensor) -> float:
    inputs = {name: torch.from_numpy(values) for name, values in inputs_of(model, image).items()}
    pooled = inputs[SCORE].permute(0, 3, 1, 2)
    sides = [
        [
            *(level for kind in network.dense(inputs[DENSE]) for level in kind),
            *network.score(pooled),
        ]
        for network in (model.network, backend)
    ]
    tiny = torch.finfo(torch.float32).tiny
    differences = [
        float((came - expected).abs().max() / expected.abs().max().clamp(min=tiny))
        for expected, came in zip(*sides, strict=True)
    ]
    return float(np.max(differences))  # NaN propagates


def _detect(model: FasterRCNN, image: Tensor) -> Detections:
    (found,) = model([image])
    size = (image.shape[1], image.shape[2])
    return Detections.from_arrays(found["boxes"].numpy(), found["scores"].numpy(), size)


def _alone(found: Detections, others: Detections) -> int:
    return int((match_detections(found, _as_truth(others)).found < 0).sum())


def _as_truth(detections: Detections) -> GroundTruth:
    return GroundTruth(detections.boxes, np.zeros(len(detections), np.bool_))
