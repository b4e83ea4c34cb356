"""Where the time of a picture goes, and how much of the machine's arithmetic the network gets."""

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
"""What lies between the stages."""
ALL_STAGES: Final = ("decode", *MODEL_STAGES, "write", REST)
"""In the order of the tables."""


@dataclass(frozen=True)
class StageTable:
    """Where the time of a picture goes, one after the other in one thread.

    Attributes:
        whole: milliseconds a picture, from its bytes to what is written.
        stages: milliseconds a picture of each of ``ALL_STAGES``.
    """

    whole: Measurement
    stages: dict[str, Measurement]

    @property
    def shares(self) -> dict[str, float]:
        """Each stage over the whole, all runs together; they sum to 1."""
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
"""Seconds of one run over all pictures: the whole, and each stage."""


def measure_stages(
    benchmarked: Mapping[str, BenchmarkedDetector],
    files: Sequence[PictureFile],
    num_runs: int,
    advance: Callable[[], object] = lambda: None,
) -> tuple[dict[str, StageTable], dict[str, Arithmetic]]:
    """Measure detectors and matrix products in turn; one run to warm up comes first.

    Args:
        benchmarked: those whose stages can be told apart are measured.
        files: readable pictures.
        num_runs: that are counted.
        advance: called after each, for a progress bar.

    Returns:
        Tables by name, and arithmetic by name where operations and peak are known.
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
    """Return seconds of the whole and of each stage: decode, the network's, write.

    What is written goes to a temporary folder; its opening and closing is not counted.
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
    """Goes from picture to picture in one thread, so that each stage has its own time.

    Args:
        detector: that finds the heads.
        contents: of the pictures' files, in order.
        watch: is told of the stages.

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
            with self._watch("write"):  # what the loop does with it until it asks for the next
                yield PictureResult(image, found, None, pixels)


def stage_table(turns: Sequence[Turn], num_pictures: int) -> StageTable:
    """Bring seconds of runs to milliseconds a picture; what no stage took is the rest."""
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
