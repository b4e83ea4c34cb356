"""Finds the fastest engine on this processor, among those that find the same heads."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from head_detection.benchmark.pictures import crowd
from head_detection.benchmark.timing import Measurement, time_in_turn
from head_detection.benchmark.worker import MODULE
from head_detection.devices import cpu_multiplies_bf16
from head_detection.errors import WeightsError
from head_detection.inference.backends.parity import Parity
from head_detection.inference.building import describe_weights
from head_detection.inference.child_process import ChildError, ChildProcess, Message
from head_detection.inference.engine_times import PACKAGES, EngineTime, fastest, write_times
from head_detection.inference.weights_files import INT8, int8_path
from head_detection.models.weights import tensors_path
from head_detection.processor import find_processor
from head_detection.structures import Detections

MOST_OTHER_HEADS: Final = 0.05
"""Share of heads that may differ from PyTorch's in float32: bfloat16 rounds scores across the
threshold, while a wrong graph finds other heads."""


class Candidate(NamedTuple):
    """An engine in a precision."""

    engine: str
    precision: str

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"{self.engine} {self.precision}"


INT8_NAME: Final = Candidate("openvino", INT8).name
"""Never chosen for ``--engine auto``."""


@dataclass(frozen=True)
class EngineFigures:
    """The times of engines, which are kept for ``--engine auto``.

    Attributes:
        milliseconds: per picture, by engine and precision.
        left_out: why others have no time, by engine and precision.
        chosen: the fastest; None if none ran.
        kept_in: the file that holds the times; None if it could not be written.
        processor: what it was measured on.
    """

    milliseconds: dict[str, Measurement]
    left_out: dict[str, str]
    chosen: EngineTime | None
    kept_in: Path | None
    processor: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "milliseconds": {key: value.as_dict() for key, value in self.milliseconds.items()},
            "left_out": self.left_out,
            "chosen": None if self.chosen is None else self.chosen.model_dump(),
            "kept_in": None if self.kept_in is None else str(self.kept_in),
            "processor": self.processor,
        }


def list_candidates(weights: Path) -> list[Candidate]:
    """Return the installed engines, in the precisions that this processor has instructions for.

    PyTorch in float32 comes first, since the others are compared with it. An 8-bit export beside
    the weights comes last.
    """
    have_bf16 = ("torch", "openvino") if cpu_multiplies_bf16() else ()
    candidates = [
        Candidate(engine, precision)
        for engine, package in PACKAGES.items()
        if find_spec(package) is not None
        for precision in ("fp32", *(("bf16",) if engine in have_bf16 else ()))
    ]
    if find_spec(PACKAGES["openvino"]) is not None:
        with suppress(WeightsError):  # there is no 8-bit export
            int8_path(tensors_path(weights), None)
            candidates.append(Candidate("openvino", INT8))
    return candidates


def measure_engines(
    weights: Path,
    size: tuple[int, int],
    threads: int,
    num_runs: int,
    *,
    candidates: Sequence[Candidate] | None = None,
    start: Callable[[str], ChildProcess] = ChildProcess,
    advance: Callable[[], object] = lambda: None,
) -> EngineFigures:
    """Time the engines in turn on a made crowd, each in its own process, and keep the times.

    Args:
        weights: a file that PyTorch can run.
        size: (height, width) of the crowd.
        threads: per engine.
        num_runs: measured runs, after a warm-up.
        candidates: the heads of all are compared with those of the first; None for all that are
            installed.
        start: starts a process that runs a module.
        advance: called after each run of an engine.
    """
    left_out: dict[str, str] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="head-detection-")))
        np.save(folder / "crowd.npy", crowd(size)[None])
        children, heads = {}, {}
        for candidate in list_candidates(weights) if candidates is None else candidates:
            child = stack.enter_context(start(MODULE))
            try:
                child.ask(
                    {
                        "do": "detector",
                        "weights": str(weights),
                        "engine": candidate.engine,
                        "precision": candidate.precision,
                        "threads": threads,
                        "pictures": str(folder / "crowd.npy"),
                    }
                )
                heads[candidate] = child.ask({"do": "heads"})
            except ChildError as error:
                left_out[candidate.name] = str(error)
                continue
            other = _difference(*next(iter(heads.items())), heads[candidate], size)
            if other is None:
                children[candidate] = child
            else:
                left_out[candidate.name] = other
        samples = _time(children, num_runs, left_out, advance)
    return _keep(weights, threads, samples, left_out)


def _difference(
    first: Candidate, expected: Message, found: Message, size: tuple[int, int]
) -> str | None:
    """Return how an engine's heads differ from the first one's; None if only by rounding."""
    parity, threshold = Parity(), float(expected["score_threshold"])
    parity.add(_detections(expected, size), _detections(found, size), threshold)
    if parity.missing + parity.extra <= MOST_OTHER_HEADS * parity.heads:
        return None
    return (
        f"of {parity.heads} heads that {first.name} finds it misses {parity.missing}, and finds "
        f"{parity.extra} others"
    )


def _detections(message: Message, size: tuple[int, int]) -> Detections:
    return Detections.from_arrays(message["boxes"][0], message["scores"][0], size)


def _time(
    children: dict[Candidate, ChildProcess],
    num_runs: int,
    left_out: dict[str, str],
    advance: Callable[[], object],
) -> dict[Candidate, list[float]]:
    """Return the seconds of each run, for the engines that survive all runs."""

    def run(candidate: Candidate) -> None:
        if candidate.name in left_out:
            return
        try:
            children[candidate].ask({"do": "run"})
        except ChildError as error:
            left_out[candidate.name] = str(error)

    by_name = {candidate.name: candidate for candidate in children}
    works = {name: lambda one=one: run(one) for name, one in by_name.items()}
    seconds = time_in_turn(works, num_runs, advance=advance) if works else {}
    return {by_name[name]: took for name, took in seconds.items() if name not in left_out}


def _keep(
    weights: Path,
    threads: int,
    samples: dict[Candidate, list[float]],
    left_out: dict[str, str],
) -> EngineFigures:
    measured = {
        candidate: Measurement("ms", tuple(1e3 * second for second in seconds))
        for candidate, seconds in samples.items()
    }
    times = [
        EngineTime.model_validate(
            {"engine": one.engine, "precision": one.precision, "milliseconds": taken.median}
        )
        for one, taken in measured.items()
    ]
    kept_in = None
    if times:
        try:
            network = describe_weights(weights).network.model_dump_json()
            kept_in = write_times(network, threads, times)
        except (OSError, RuntimeError):  # a user without a home folder, or one that is not writable
            kept_in = None
    processor = find_processor()
    return EngineFigures(
        {candidate.name: taken for candidate, taken in measured.items()},
        left_out,
        fastest(times),
        kept_in,
        f"{processor.name}, {processor.kind}",
    )
