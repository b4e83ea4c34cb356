"""Prometheus metrics: requests, pictures, heads, queue, batches, seconds by stage, errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from head_detection.serving.listening import SEVERAL_PROCESSES

SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one service; any thread may update them."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "head_detection_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self.pictures = Counter(
            "head_detection_pictures", "Pictures that went through the network.", registry=registry
        )
        self.frames = Counter(
            "head_detection_frames", "Frames of videos that went through the network.",
            registry=registry,
        )  # fmt: skip
        self.videos = Gauge(
            "head_detection_videos", "Videos taken in and not answered yet.",
            registry=registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self.heads = Counter(
            "head_detection_heads", "Heads returned to clients.", registry=registry
        )
        self.errors = Counter(
            "head_detection_errors", "Requests and pictures without an answer.", ["kind"],
            registry=registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "head_detection_queue", "Pictures taken in and not answered yet.",
            registry=registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self.batch_sizes = Histogram(
            "head_detection_batch_size", "Pictures that went through the network together.",
            buckets=BATCH_SIZES, registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            "head_detection_stage_seconds", "Seconds of a request or picture, by stage.", ["stage"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the seconds of the block to a stage."""
        start = perf_counter()
        try:
            yield
        finally:
            self.took(stage, perf_counter() - start)

    def took(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage."""
        self._stages.labels(stage).observe(seconds)

    def as_text(self) -> bytes:
        """Return all metrics in Prometheus' text format, summed over all workers."""
        if SEVERAL_PROCESSES not in os.environ:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call] # it has no types
        return generate_latest(everyone)
