"""Measures how well trackers keep ids in simulated crowds, whose truth is known, and their cost."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from tabulate import tabulate

from head_detection.config import TRACKERS, TrackingConfig
from head_detection.data.sequences import HeadSequence, crossing_heads
from head_detection.data.simulated_detections import SimulatedDetector
from head_detection.evaluation.tracking import track_counts, track_metrics
from head_detection.pipeline.tracking import HeadTracker
from head_detection.structures import Detections, Frame, GroundTruth

SECONDS: Final = 8.0
SCORE_THRESHOLD: Final = 0.5
RATES: Final = (5.0, 10.0, 25.0)
CROWDS: Final = {
    10: ((480, 854), (20.0, 40.0)),
    100: ((1080, 1920), (20.0, 40.0)),
    300: ((1080, 1920), (14.0, 28.0)),
}
"""By number of heads at a time: picture size, and sizes of the smallest and largest head."""
NUM_FIGURES: Final = len(CROWDS) * len(RATES) * len(TRACKERS)
METRICS: Final = {
    "mota": "MOTA", "idf1": "IDF1", "hota": "HOTA", "ideucl": "IDEucl", "id_switches": "switches",
}  # fmt: skip


@dataclass(frozen=True)
class TrackerFigures:
    """The figures of a tracker on one crowd.

    Attributes:
        tracker: its name.
        num_heads: at a time.
        fps: frames per second.
        metrics: of ``track_metrics``.
        milliseconds: per frame, median.
    """

    tracker: str
    num_heads: int
    fps: float
    metrics: dict[str, float]
    milliseconds: float


def measure_trackers(
    crowds: Iterable[int] = tuple(CROWDS),
    rates: Sequence[float] = RATES,
    seconds: float = SECONDS,
) -> Iterator[TrackerFigures]:
    """Track crossing heads with each tracker at its defaults, and yield the figures.

    People walk through the picture in all directions, at 3 to 8 head sizes per second. A simulated
    detector finds 85 % of them, with scores that vary over half a second, boxes that are off by a
    twentieth of their size, misses where heads hide each other, and one false alarm per frame.

    Args:
        crowds: some of ``CROWDS``.
        rates: frames per second; people walk the same ways at each.
        seconds: of each sequence.
    """
    for num_heads in crowds:
        image_size, sizes = CROWDS[num_heads]
        walks = crossing_heads(num_heads, image_size, rates[0], seconds, sizes)
        for fps in rates:
            sequence = walks.at_fps(fps)
            found = list(SimulatedDetector(sequence).detections())
            truths = [
                GroundTruth(truth.boxes, np.zeros(len(truth.ids), np.bool_), ids=truth.ids)
                for truth in sequence.truths()
            ]
            for name in TRACKERS:
                followed, took = _follow(name, sequence, found)
                metrics = track_metrics([track_counts(followed, truths)])
                yield TrackerFigures(name, num_heads, fps, metrics, took)


def tracking_table(figures: Iterable[TrackerFigures]) -> str:
    """Return a table with one line for each tracker and crowd."""
    rows = [
        (
            one.num_heads,
            f"{one.fps:g}",
            one.tracker,
            *(
                f"{one.metrics[key]:.0f}" if key == "id_switches" else f"{one.metrics[key]:.3f}"
                for key in METRICS
            ),
            f"{one.milliseconds:.1f}",
        )
        for one in figures
    ]
    header = ("heads", "fps", "tracker", *METRICS.values(), "ms a frame")
    return tabulate(rows, header, "github", disable_numparse=True)


def _follow(
    name: str, sequence: HeadSequence, found: Sequence[Detections]
) -> tuple[list[Detections], float]:
    """Return the detections that count in each frame, and the median milliseconds per frame."""
    tracker = HeadTracker.from_config(TrackingConfig(), name, SCORE_THRESHOLD)
    followed, took = [], []
    for index, one in enumerate(found):
        frame = Frame(sequence.name, index, index / sequence.fps)
        start = time.perf_counter()
        heads = tracker.follow(frame, one)
        took.append(1e3 * (time.perf_counter() - start))
        is_followed = np.zeros(len(heads), np.bool_) if heads.ids is None else heads.ids >= 0
        followed.append(heads.where((heads.scores >= SCORE_THRESHOLD) | is_followed))
    return followed, float(np.median(took))
