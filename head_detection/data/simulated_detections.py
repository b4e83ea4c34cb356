"""Simulates detections in a made-up sequence, to test tracking without a network."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from head_detection.boxes import areas, clipped
from head_detection.data.sequences import Float64Array, HeadSequence
from head_detection.structures import Detections


@dataclass(frozen=True)
class DetectorNoise:
    """The errors of a detector. As in videos, the score of a head changes slowly, within 0.5 s.

    Attributes:
        score: mean score of a fully visible head.
        score_spread: standard deviation of the scores, half between heads and half over time.
        hidden_loss: reduction of a head's score when it is completely hidden.
        jitter: standard deviation of the centre and of the sides, in sizes of the head.
        false_alarms: mean number per frame; a tenth of them are scored like heads.
        lowest_score: detections with a lower score are left out.
    """

    score: float = 0.75
    score_spread: float = 0.2
    hidden_loss: float = 0.7
    jitter: float = 0.05
    false_alarms: float = 1.0
    lowest_score: float = 0.1


@dataclass
class SimulatedDetector:
    """Finds the heads of a made-up sequence as a detector would, without a network.

    Attributes:
        sequence: the sequence.
        noise: the detector's errors.
        seed: seed of all random choices.
    """

    sequence: HeadSequence
    noise: DetectorNoise = field(default_factory=DetectorNoise)
    seed: int = 0
    CORRELATION: Final = 0.5
    """Seconds after which a score's deviation from its mean has fallen to about a third."""

    def detections(self) -> Iterator[Detections]:
        """Yield the detections of each frame; every call yields the same."""
        generator = np.random.default_rng([self.seed, 1])
        spread = self.noise.score_spread / np.sqrt(2)
        means = generator.normal(self.noise.score, spread, len(self.sequence.heads))
        kept = float(np.exp(-1 / (self.sequence.fps * self.CORRELATION)))
        moods = generator.normal(0, spread, len(self.sequence.heads))
        for truth in self.sequence.truths():
            places = truth.ids - 1
            hidden = self.noise.hidden_loss * (1 - truth.visibility)
            scores = means[places] + moods[places] - hidden
            boxes = self._jittered(truth.boxes, generator)
            false_boxes, false_scores = self._false_alarms(generator)
            boxes = clipped(np.concatenate([boxes, false_boxes]), self.sequence.image_size)
            scores = np.clip(np.concatenate([scores, false_scores]), 0, 0.99)
            told = (scores >= self.noise.lowest_score) & (areas(boxes) > 0)
            yield Detections.from_arrays(boxes[told], scores[told], self.sequence.image_size)
            moods = kept * moods + generator.normal(0, spread, len(moods)) * np.sqrt(1 - kept**2)

    def _jittered(
        self, boxes: npt.NDArray[np.float32], generator: np.random.Generator
    ) -> Float64Array:
        sizes = np.sqrt(areas(boxes)).astype(np.float64)[:, None]
        shifts = generator.normal(0, self.noise.jitter, (len(boxes), 2)) * sizes
        growth = generator.normal(0, self.noise.jitter / 2, (len(boxes), 2)) * sizes
        return np.asarray(boxes + np.concatenate([shifts - growth, shifts + growth], axis=1))

    def _false_alarms(self, generator: np.random.Generator) -> tuple[Float64Array, Float64Array]:
        height, width = self.sequence.image_size
        number = int(generator.poisson(self.noise.false_alarms))
        sizes = [head.size for head in self.sequence.heads] or [min(height, width) / 8]
        half = generator.choice(sizes, number)[:, None] / 2
        centers = generator.uniform((0, 0), (width, height), (number, 2))
        scores = np.where(
            generator.random(number) < 0.1,  # noqa: PLR2004 - as the class says
            generator.normal(self.noise.score, self.noise.score_spread, number),
            generator.uniform(self.noise.lowest_score, 0.4, number),
        )
        return np.concatenate([centers - half, centers + half], axis=1), scores
