"""A simulated detector finds the heads of a made sequence, misses some, and invents a few."""

import numpy as np

from head_detection.boxes import pairwise_iou
from head_detection.data.sequences import crossing_heads
from head_detection.data.simulated_detections import DetectorNoise, SimulatedDetector


def test_the_simulated_detector_errs_as_told() -> None:
    sequence = crossing_heads(20, (540, 960), fps=5, duration=10)
    found = list(SimulatedDetector(sequence).detections())
    assert len(found) == len(sequence) == 50
    again = SimulatedDetector(sequence).detections()
    assert all(np.array_equal(a.boxes, b.boxes) for a, b in zip(found, again, strict=True))
    hits = 0
    for detections, truth in zip(found, sequence.truths(), strict=True):
        sure = detections.above(0.5)
        hits += int((pairwise_iou(truth.boxes, sure.boxes).max(axis=1) >= 0.5).sum())
    there = sum(len(truth.ids) for truth in sequence.truths())
    assert 0.75 < hits / there < 0.95

    perfect = DetectorNoise(score_spread=0, hidden_loss=0, jitter=0, false_alarms=0)
    for detections, truth in zip(
        SimulatedDetector(sequence, perfect).detections(), sequence.truths(), strict=True
    ):
        assert np.array_equal(detections.boxes, truth.boxes)
        assert np.allclose(detections.scores, 0.75)
