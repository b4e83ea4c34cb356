"""The time of each stage of a picture, and the network's share of the machine's arithmetic."""

import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from head_detection.benchmark.arithmetic import (
    DTYPES,
    Arithmetic,
    MatrixProduct,
    arithmetic_of,
    count_operations,
)
from head_detection.benchmark.detectors import BenchmarkedDetector
from head_detection.benchmark.timing import (
    MODEL_STAGES,
    Clock,
    Measurement,
    StageStopwatch,
    in_turn,
    observe_stages,
    synchronise,
)
from head_detection.images.finding import PictureFile
from head_detection.images.reading import read_picture
from head_detection.inference.batching import PictureResult
from head_detection.inference.detector import HeadDetector
from head_detection.inference.engine import TwoStageEngine
from head_detection.pipeline.run import run_pipeline
from head_detection.pipeline.sources import Item, ItemSource
from head_detection.results.format_names import DEFAULT_FORMATS
from head_detection.results.formats import Sinks
from head_detection.results.record import Origin

REST: Final = "rest"
"""The time between the stages."""
ALL_STAGES: Final = ("decode", *MODEL_STAGES, "write", REST)
"""In the order of the tables."""


@dataclass(frozen=True)
class StageTable:
    """The time of each stage, with pictures processed one after the other in one thread.

    Attributes:
        whole: milliseconds per picture, from its bytes to the written results.
        stages: milliseconds per picture for each of ``ALL_STAGES``.
    """

    whole: Measurement
    stages: dict[str, Measurement]

    @property
    def shares(self) -> dict[str, float]:
        """The share of each stage in the whole, over all runs; they sum to 1."""
        total = sum(self.whole.samples)
        return {name: sum(stage.samples) / total for name, stage in self.stages.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        stages = {
            name: {"share": self.shares[name], **measured.as_dict()}
            for name, measured in self.stages.items()
        }
        return {"whole": self.whole.as_dict(), "stages": stages}


Turn = tuple[float, dict[str, float]]
"""Seconds of one run over all pictures: of the whole, and of each stage."""


def measure_stages(
    benchmarked: Mapping[str, BenchmarkedDetector],
    files: Sequence[PictureFile],
    num_runs: int,
    advance: Callable[[], object] = lambda: None,
) -> tuple[dict[str, StageTable], dict[str, Arithmetic]]:
    """Measure detectors and matrix products in turn, after one warm-up run.

    Args:
        benchmarked: detectors; those whose stages cannot be told apart are skipped.
        files: readable pictures.
        num_runs: measured runs, after the warm-up.
        advance: called after each run of a detector, for a progress bar.

    Returns:
        Tables by name, and arithmetic by name if operations and peak are known.
    """
    detectors = {
        name: one.head_detector
        for name, one in benchmarked.items()
        if one.head_detector and isinstance(one.head_detector.engine, TwoStageEngine)
    }
    products = {name: _product(detector) for name, detector in detectors.items()}
    turns: dict[str, list[Turn]] = {name: [] for name in detectors}
    peaks: dict[str, list[float]] = {name: [] for name in detectors}
    for run in range(num_runs + 1):
        for name, detector in in_turn(detectors, run):
            turn = time_stages(detector, files)
            product = products[name]
            peak = product.operations_per_second() if product is not None else 0.0
            if run:
                turns[name].append(turn)
                peaks[name].append(peak)
            advance()
    tables = {name: stage_table(own, len(files)) for name, own in turns.items()}
    arithmetic = {
        name: arithmetic_of(operations, tables[name].stages, peaks[name])
        for name, product in products.items()
        if product is not None and (operations := _operations(benchmarked[name], files))
    }
    return tables, arithmetic


def time_stages(
    detector: HeadDetector, files: Sequence[PictureFile], clock: Clock = time.perf_counter
) -> Turn:
    """Return the seconds of the whole and of each stage: decode, the network's stages, write.

    Results go to a temporary folder; opening and closing the files is not timed.
    """
    engine = detector.engine
    if not isinstance(engine, TwoStageEngine):
        raise TypeError(f"engine: expected a TwoStageEngine; got {type(engine).__name__}")
    contents = [file.path.read_bytes() for file in files]
    watch = StageStopwatch(partial(synchronise, torch.device(engine.device)), clock)
    one_by_one = _OneByOne(detector, contents, watch)
    origin = Origin(detector.origin, detector.score_threshold)
    with (
        observe_stages(watch),
        tempfile.TemporaryDirectory() as folder,
        Sinks(DEFAULT_FORMATS, Path(folder), origin) as sinks,
    ):
        start = clock()
        for _ in run_pipeline(ItemSource.of(files), one_by_one, sinks):
            pass
        whole = clock() - start
    return whole, watch.seconds


class _OneByOne:
    """Processes pictures one by one in one thread, so that stages do not overlap.

    Args:
        detector: finds the heads.
        contents: bytes of the pictures' files, in order.
        watch: times the stages.

    Attributes:
        score_threshold: the detector's.
    """

    def __init__(
        self, detector: HeadDetector, contents: Sequence[bytes], watch: StageStopwatch
    ) -> None:
        self._detector, self._contents, self._watch = detector, contents, watch
        self.score_threshold = detector.score_threshold

    def stream(
        self, images: Iterable[Item], *_options: object, **_more: object
    ) -> Generator[PictureResult]:
        for image, content in zip(images, self._contents, strict=True):
            with self._watch("decode"):
                pixels = read_picture(content)
            (found,) = self._detector.engine.detect([torch.from_numpy(pixels).permute(2, 0, 1)])
            found = found.above(self._detector.score_threshold)
            with self._watch("write"):  # the caller's work until it asks for the next picture
                yield PictureResult(image, found, None, pixels)


def stage_table(turns: Sequence[Turn], num_pictures: int) -> StageTable:
    """Convert seconds of runs to milliseconds per picture; time outside all stages is the rest."""
    scale = 1e3 / num_pictures
    rows = [{**stages, REST: whole - sum(stages.values())} for whole, stages in turns]
    stages = {
        name: Measurement("ms", tuple(scale * row.get(name, 0.0) for row in rows))
        for name in ALL_STAGES
    }
    return StageTable(Measurement("ms", tuple(scale * whole for whole, _ in turns)), stages)


def _product(detector: HeadDetector) -> MatrixProduct | None:
    engine = detector.engine
    if engine.precision not in DTYPES:
        return None
    return MatrixProduct(engine.precision, torch.device(engine.device))


def _operations(one: BenchmarkedDetector, files: Sequence[PictureFile]) -> dict[str, float]:
    if one.load_plain is None:
        return {}
    images = [torch.from_numpy(read_picture(file.path)).permute(2, 0, 1) for file in files]
    return count_operations(one.load_plain(), images)
