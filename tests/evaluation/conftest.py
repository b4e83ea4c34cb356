"""Pictures drawn at random, the same ones for the same seed."""

from collections.abc import Callable

import numpy as np
import pytest

from head_detection.evaluation.evaluator import Measurement
from head_detection.structures import Detections, GroundTruth

SIZE = (80, 100)
Scene = tuple[list[Detections], list[GroundTruth]]


def random_boxes(generator, number):
    # All reach into the picture, some over its edge.
    corners = generator.uniform(-2, 75, (number, 2))
    return np.concatenate([corners, corners + generator.uniform(3, 30, (number, 2))], axis=1)


def random_picture(generator, max_boxes, num_levels, is_grid):
    num_heads, num_found = generator.integers(0, max_boxes + 1, 2)
    boxes = random_boxes(generator, num_heads)
    ignore = generator.random(num_heads) < 0.3
    distractor = ignore & (generator.random(num_heads) < 0.4)
    near = boxes[generator.integers(0, num_heads, num_found)] if num_heads else np.zeros((0, 4))
    near = near + generator.normal(0, 2, near.shape)
    far = random_boxes(generator, num_found)
    is_near = generator.random(len(near)) < 0.75
    found = far if not len(near) else np.where(is_near[:, None], near, far)
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    scores = generator.random(num_found)
    if num_levels:
        scores = np.ceil(scores * num_levels) / num_levels
    if is_grid:
        boxes, found = np.round(boxes / 4) * 4, np.round(found / 4) * 4
    truth = GroundTruth(boxes.astype(np.float32), ignore, distractor)
    return Detections.from_arrays(found, scores, SIZE), truth


@pytest.fixture(scope="session")
def scene() -> Callable[..., Scene]:
    """A function from a seed to pictures: heads, ignore regions, distractors, near and far boxes.

    ``num_levels`` gives tied scores, ``is_grid`` boxes on a grid of 4 px, with equal IoUs.
    """

    def draw(seed, *, num_pictures=4, max_boxes=8, num_levels=0, is_grid=False) -> Scene:
        generator = np.random.default_rng(seed)
        pictures = [
            random_picture(generator, max_boxes, num_levels, is_grid) for _ in range(num_pictures)
        ]
        return [found for found, _ in pictures], [truth for _, truth in pictures]

    return draw


@pytest.fixture(scope="session")
def flat() -> Callable[[Measurement], dict[str, float]]:
    """A function from a measurement to all its metrics, each by protocol and name."""

    def flatten(measurement: Measurement) -> dict[str, float]:
        return {
            f"{protocol} {name}": value
            for protocol, metrics in measurement.metrics.items()
            for name, value in metrics.items()
        }

    return flatten
