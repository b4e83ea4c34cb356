"""The shipped weights find heads: floors a little under what was measured, no data set needed."""

import cv2
import numpy as np
import pytest

from head_detection.apps.demo import create_samples
from head_detection.evaluation.average_precision import average_precision
from head_detection.inference.detector import HeadDetector

CHANGES = {
    "as it is": lambda pixels: pixels,
    "dimmed": lambda pixels: (pixels * 0.4).astype(np.uint8),
    "blurred": lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 1.0),
    "grey": lambda pixels: np.repeat(pixels.mean(axis=2, keepdims=True), 3, 2).astype(np.uint8),
}
FLOORS = {
    ("heads-of-200-pixels", "as it is"): 0.95,
    ("heads-of-100-pixels", "as it is"): 0.95,
    ("heads-of-50-pixels", "as it is"): 0.95,
    ("heads-of-50-pixels", "dimmed"): 0.95,
    ("heads-of-50-pixels", "blurred"): 0.95,
    ("heads-of-50-pixels", "grey"): 0.95,
    ("heads-of-25-pixels", "as it is"): 0.95,
    ("heads-of-25-pixels", "dimmed"): 0.95,
    ("heads-of-25-pixels", "blurred"): 0.95,
    ("heads-of-25-pixels", "grey"): 0.88,
    ("heads-of-12-pixels", "as it is"): 0.65,
}


@pytest.fixture(scope="module")
def detector():
    return HeadDetector.from_weights(score_threshold=0.02, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def samples():
    return {sample.name: sample for sample in create_samples()}


@pytest.mark.parametrize(("name", "change"), FLOORS, ids=str)
def test_heads_are_found(detector, samples, name, change):
    sample = samples[name]
    (found,) = detector.detect([CHANGES[change](sample.pixels)])
    assert average_precision([found], [sample.truth]) >= FLOORS[name, change]


def test_a_sky_has_no_heads(samples):
    sky = np.tile(np.linspace(120, 220, 640).astype(np.uint8)[:, None, None], (1, 800, 3))
    (found,) = HeadDetector.from_weights(device="cpu", precision="fp32").detect([sky])
    assert len(found) == 0
