"""Serves counts of cameras and zones to Prometheus."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from head_detection.errors import MissingPackageError, OutputError
from head_detection.results.file_names import as_unicode
from head_detection.results.record import Failure, Record
from head_detection.results.sink import Sink

MOST_SOURCES: Final = 1000
"""Most videos and cameras with metrics; with more, the first ones."""


@dataclass(frozen=True)
class CameraState:
    """The state of a camera.

    Attributes:
        name: name of the camera.
        fps: frames per second that arrive now; 0 if it is lost.
        latency: seconds from the camera to the results of the last frame.
        skipped: number of frames that were skipped for newer ones.
        reconnects: number of times that it was reconnected.
    """

    name: str
    fps: float
    latency: float
    skipped: int
    reconnects: int


@dataclass
class _Source:
    """The metrics of one camera or video."""

    frames: int = 0
    failed: int = 0
    heads: dict[str, int] | None = None
    crossings: dict[tuple[str, str], int] | None = None
    last: float = 0.0


class PrometheusSink(Sink):
    """Answers ``GET /metrics`` with the heads in each camera and zone, and the cameras' state.

    Args:
        host: address to listen on.
        port: port to listen on; 0 chooses a free one.
        cameras: returns the state of the cameras; None without cameras.

    Attributes:
        port: the port that it listens on.

    Raises:
        MissingPackageError: prometheus-client is not installed.
        OutputError: the port is in use, or the address is not one of this machine.
    """

    def __init__(
        self, host: str, port: int, cameras: Callable[[], Iterable[CameraState]] | None = None
    ) -> None:
        try:
            self._library = import_module("prometheus_client")
            self._core = import_module("prometheus_client.core")
        except ImportError as error:
            raise MissingPackageError(
                f"expected the package prometheus-client for this; it is not installed ({error}): "
                "pip install 'head-detection[serve]'"
            ) from error
        self._host, self._cameras = host, cameras
        self._sources: dict[str, _Source] = {}
        self._lock = threading.Lock()
        registry = self._library.CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = self._library.start_http_server(port, host, registry)
        except OSError as error:
            raise OutputError(f"metrics: {host}:{port}: {error.strerror}") from error
        self.port: int = self._server.server_port

    @property
    def output(self) -> str:
        """The URL of the metrics."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/metrics"

    def write(self, record: Record) -> None:
        """Update the metrics with a picture or frame."""
        with self._lock:
            source = self._source_of(record.file)
            if source is None:
                return
            source.frames += 1
            source.last = time.time()
            source.heads = {"": len(record.detections)}
            source.crossings = {}
            for region in record.regions or ():
                name = as_unicode(region.name)
                if region.now is not None:
                    source.heads[name] = region.now
                source.crossings[name, "in"] = region.num_in
                source.crossings[name, "out"] = region.num_out

    def fail(self, failure: Failure) -> None:
        """Count a picture or frame that failed."""
        with self._lock:
            source = self._source_of(failure.file)
            if source is not None:
                source.failed += 1

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def collect(self) -> Iterator[Any]:
        """Yield the metrics; called by the library."""
        gauge, counter = self._core.GaugeMetricFamily, self._core.CounterMetricFamily
        heads = gauge("head_detection_heads", "Heads now.", labels=["camera", "zone"])
        crossed = counter(
            "head_detection_crossings", "Heads that came in or went out.",
            labels=["camera", "zone", "direction"],
        )  # fmt: skip
        frames = counter("head_detection_frames", "Frames processed.", labels=["camera"])
        failed = counter("head_detection_failed", "Frames that failed.", labels=["camera"])
        last = gauge("head_detection_last_frame", "When, in Unix seconds.", labels=["camera"])
        with self._lock:
            for name, source in self._sources.items():
                frames.add_metric([name], source.frames)
                failed.add_metric([name], source.failed)
                if source.last:
                    last.add_metric([name], source.last)
                for zone, number in (source.heads or {}).items():
                    heads.add_metric([name, zone], number)
                for (zone, direction), number in (source.crossings or {}).items():
                    crossed.add_metric([name, zone, direction], number)
        yield from (heads, crossed, frames, failed, last)
        if self._cameras is not None:
            yield from self._collect_cameras(list(self._cameras()))

    def _collect_cameras(self, states: list[CameraState]) -> Iterator[Any]:
        gauge, counter = self._core.GaugeMetricFamily, self._core.CounterMetricFamily
        for kind, name, text, attribute in (
            (gauge, "camera_fps", "Frames per second that arrive.", "fps"),
            (gauge, "latency_seconds", "From the camera to the results.", "latency"),
            (counter, "skipped_frames", "Frames skipped for newer ones.", "skipped"),
            (counter, "reconnects", "Reconnections of the camera.", "reconnects"),
        ):
            family = kind(f"head_detection_{name}", text, labels=["camera"])
            for state in states:
                family.add_metric([as_unicode(state.name)], getattr(state, attribute))
            yield family

    def _source_of(self, name: str) -> _Source | None:
        name = as_unicode(name)
        if name not in self._sources and len(self._sources) < MOST_SOURCES:
            self._sources[name] = _Source()
        return self._sources.get(name)
