"""Where the time of a picture goes, and how much of the machine's arithmetic the network gets."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from head_detection.benchmark.contestants import Contestant
from head_detection.benchmark.figure import Figure, paired_ratio
from head_detection.benchmark.peak import (
    DTYPES,
    MatrixProduct,
    count_operations,
    synchronise,
)
from head_detection.benchmark.stopwatch import Clock, StageStopwatch, in_turn
from head_detection.images.finding import PictureFile
from head_detection.images.reading import read_picture
from head_detection.inference.detector import HeadDetector
from head_detection.inference.engine import TwoStageEngine
from head_detection.models.stages import STAGES, observed
from head_detection.pipeline.run import DEFAULT_FORMATS
from head_detection.results.record import Origin, Record
from head_detection.results.sinks import Sinks, parse_formats

REST: Final = "rest"
"""What lies between the stages."""
ALL_STAGES: Final = ("decode", *STAGES, "write", REST)
DENSE: Final = "dense"


@dataclass(frozen=True)
class StageTable:
    """Where the time of a picture goes, one after the other in one thread.

    Attributes:
        whole: milliseconds a picture, from its bytes to what is written.
        stages: milliseconds a picture of each of ``ALL_STAGES``.
    """

    whole: Figure
    stages: dict[str, Figure]

    @property
    def shares(self) -> dict[str, float]:
        """Each stage over the whole, all runs together; they sum to 1."""
        total = sum(self.whole.samples)
        return {name: sum(figure.samples) / total for name, figure in self.stages.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        stages = {
            name: {"share": self.shares[name], **figure.as_dict()}
            for name, figure in self.stages.items()
        }
        return {"whole": self.whole.as_dict(), "stages": stages}


@dataclass(frozen=True)
class Arithmetic:
    """What the network multiplies over what a large matrix product does in the same run.

    Attributes:
        operations: of each stage that multiplies, a picture; a multiply-add is two.
        peak: 10^9 operations a second of the matrix product.
        dense: share of it in the dense part.
        network: share of it in all these stages, which also pool and suppress.
    """

    operations: dict[str, float]
    peak: Figure
    dense: Figure
    network: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        figures = {"peak": self.peak, "dense_share": self.dense, "network_share": self.network}
        return {
            "operations_per_picture": self.operations,
            **{name: figure.as_dict() for name, figure in figures.items()},
        }


Turn = tuple[float, dict[str, float]]
"""Seconds of one run over all pictures: the whole, and each stage."""


def measure_stages(
    contestants: Mapping[str, Contestant],
    files: Sequence[PictureFile],
    num_runs: int,
    advance: Callable[[], object] = lambda: None,
) -> tuple[dict[str, StageTable], dict[str, Arithmetic]]:
    """Measure contestants and matrix products in turn; one run to warm up comes first.

    Args:
        contestants: those whose stages can be told apart are measured.
        files: readable pictures.
        num_runs: that are counted.
        advance: called after each, for a progress bar.

    Returns:
        Tables by name, and arithmetic by name where operations and peak are known.
    """
    detectors = {
        name: contestant.detector
        for name, contestant in contestants.items()
        if contestant.detector and isinstance(contestant.detector.engine, TwoStageEngine)
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
        name: arithmetic_of(operations, tables[name], peaks[name])
        for name, product in products.items()
        if product is not None and (operations := _operations(contestants[name], files))
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
    origin = Origin(detector.origin, detector.score_threshold)
    with (
        tempfile.TemporaryDirectory() as folder,
        Sinks(parse_formats(DEFAULT_FORMATS), Path(folder), origin) as sinks,
        observed(watch),
    ):
        start = clock()
        for number, (file, content) in enumerate(zip(files, contents, strict=True), start=1):
            with watch("decode"):
                pixels = read_picture(content)
            (found,) = engine.detect([torch.from_numpy(pixels).permute(2, 0, 1)])
            found = found.above(detector.score_threshold)
            with watch("write"):
                sinks.write(Record(number, file.name, file.path, found, pixels))
        whole = clock() - start
    return whole, watch.seconds


def stage_table(turns: Sequence[Turn], num_pictures: int) -> StageTable:
    """Bring seconds of runs to milliseconds a picture; what no stage took is the rest."""
    scale = 1e3 / num_pictures
    rows = [{**stages, REST: whole - sum(stages.values())} for whole, stages in turns]
    stages = {
        name: Figure("ms", tuple(scale * row.get(name, 0.0) for row in rows)) for name in ALL_STAGES
    }
    return StageTable(Figure("ms", tuple(scale * whole for whole, _ in turns)), stages)


def arithmetic_of(
    operations: Mapping[str, float], table: StageTable, peaks: Sequence[float]
) -> Arithmetic:
    """Return operations over time over peak, run by run.

    Args:
        operations: of each stage that multiplies, a picture; one of them is the dense part.
        table: the time they took.
        peaks: operations a second of the matrix product in each run.
    """

    def share(names: Sequence[str]) -> Figure:
        needed = sum(operations[name] for name in names)
        runs = zip(*(table.stages[name].samples for name in names), strict=True)
        rates = [needed / (sum(milliseconds) / 1e3) for milliseconds in runs]
        return paired_ratio("of the peak", rates, peaks)

    peak = Figure("10^9 operations/s", tuple(peak / 1e9 for peak in peaks))
    return Arithmetic(dict(operations), peak, share([DENSE]), share(list(operations)))


def _product(detector: HeadDetector) -> MatrixProduct | None:
    engine = detector.engine
    if engine.precision not in DTYPES:
        return None
    return MatrixProduct(engine.precision, torch.device(engine.device))


def _operations(contestant: Contestant, files: Sequence[PictureFile]) -> dict[str, float]:
    if contestant.load_plain is None:
        return {}
    images = [torch.from_numpy(read_picture(file.path)).permute(2, 0, 1) for file in files]
    return count_operations(contestant.load_plain(), images)
