"""One run of ``benchmark``: plans and makes the measurements, and describes the machine."""

import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Never

import torch
import torchvision
from torch import Tensor
from tqdm import tqdm

from head_detection.benchmark.baseline import build_baseline
from head_detection.benchmark.detectors import (
    PYTORCH_SUFFIXES,
    BenchmarkedDetector,
    DetectorSpec,
    prepare_baseline,
    prepare_detector,
    prepare_same_network,
    with_own_names,
)
from head_detection.benchmark.engines import EngineFigures, list_candidates, measure_engines
from head_detection.benchmark.peers import Peers
from head_detection.benchmark.pictures import first_readable, read_at_size
from head_detection.benchmark.report import Results
from head_detection.benchmark.stages import measure_stages
from head_detection.benchmark.throughput import MAX_RUNS, CommandThroughput, measure_command
from head_detection.benchmark.timing import Measurement, time_in_turn
from head_detection.cores import num_cores
from head_detection.devices import find_device
from head_detection.images.finding import PictureFile
from head_detection.processor import find_processor
from head_detection.training.run_folder import code_commit
from head_detection.version import __version__

LINE_SECONDS: Final = 10.0
"""Between two lines of progress if standard error is a file."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        detectors: at least one; the whole command is measured with the first.
        with_baseline: whether torchvision's stock model takes part.
        with_same_network: whether its network and weights in this project's engine take part.
        files: the pictures.
        source: describes the pictures in words.
        size: (height, width) at which detectors are compared.
        peers: other detectors, whose speed is measured too.
        num_pictures: how many of the files are used, except by the whole command.
        num_runs: measured runs, after a warm-up.
        parts: some of ``speed``, ``stages``, ``command`` and ``engines``.
        folder: for the results of commands.
    """

    detectors: Sequence[DetectorSpec]
    with_baseline: bool
    with_same_network: bool
    files: Sequence[PictureFile]
    source: str
    size: tuple[int, int]
    peers: Peers
    num_pictures: int
    num_runs: int
    parts: Sequence[str]
    folder: Path


def measure(plan: Plan, command: Sequence[str]) -> Results:
    """Measure what the plan asks for.

    Args:
        plan: what to measure.
        command: the words that were typed, for the report.

    Raises:
        ValueError: a weights file, device or picture cannot be used, in one line.
    """
    files = first_readable(plan.files, plan.num_pictures)
    first = prepare_detector(plan.detectors[0])
    # The memory of a whole command is measured while only its detector is loaded.
    whole = _measure_command(plan, first) if "command" in plan.parts else None
    images = read_at_size(files, plan.size)
    prepared = [first, *_prepare_others(plan), *plan.peers.prepare(images)]
    detectors = {d.name: d for d in with_own_names(prepared)}
    settings = {
        "source": plan.source,
        "files": len(plan.files),
        "pictures": len(files),
        "size": list(plan.size),
        "runs": plan.num_runs,
        "measured": list(plan.parts),
    }
    machine = describe_machine(_device_of(detectors.values()))
    results = Results(command, machine, settings, detectors, whole=whole)
    if "speed" in plan.parts:
        results.milliseconds = _measure_speed(plan, detectors, images)
    if "stages" in plan.parts:
        num_own = sum(one.head_detector is not None for one in detectors.values())
        with _bar("stages, the first run to warm up", (plan.num_runs + 1) * num_own) as bar:
            results.stages, results.arithmetic = measure_stages(
                detectors, files, plan.num_runs, bar.update
            )
    if "engines" in plan.parts:
        results.engines = _measure_engines(plan, first)
    return results


def _measure_engines(plan: Plan, first: BenchmarkedDetector) -> EngineFigures | None:
    """Return times for ``--engine auto``; None without a choice of engines, such as on a GPU."""
    weights = plan.detectors[0].weights
    is_cpu = first.head_detector is not None and first.head_detector.engine.device == "cpu"
    candidates = list_candidates(weights)
    if not is_cpu or weights.suffix.lower() not in PYTORCH_SUFFIXES or len(candidates) == 1:
        return None
    with _bar("engines", (plan.num_runs + 1) * len(candidates)) as bar:
        return measure_engines(
            weights,
            plan.size,
            torch.get_num_threads(),
            plan.num_runs,
            candidates=candidates,
            advance=bar.update,
        )


def _prepare_others(plan: Plan) -> list[BenchmarkedDetector]:
    prepared = [prepare_detector(spec) for spec in plan.detectors[1:]]
    if plan.with_baseline or plan.with_same_network:
        torch.manual_seed(0)  # the same random weights, and so the same boxes, in every run
        baseline, spec = build_baseline(), plan.detectors[0]
        if plan.with_same_network:
            prepared.append(prepare_same_network(baseline, spec.device, spec.precision))
        if plan.with_baseline:
            prepared.append(prepare_baseline(baseline, find_device(spec.device)))
    return prepared


def _device_of(detectors: Iterable[BenchmarkedDetector]) -> torch.device:
    """Return the GPU that any of them runs on, else the CPU."""
    names = [d.head_detector.engine.device for d in detectors if d.head_detector is not None]
    return torch.device(next((name for name in names if name != "cpu"), "cpu"))


def _measure_command(plan: Plan, detector: BenchmarkedDetector) -> CommandThroughput | None:
    if detector.head_detector is None:
        return None
    num_passes = 1 + 2 * min(plan.num_runs, MAX_RUNS)
    with _bar(f"whole command, {len(plan.files)} pictures", num_passes) as bar:
        return measure_command(
            detector.name,
            detector.head_detector,
            plan.files,
            plan.num_runs,
            plan.folder,
            bar.update,
        )


def _measure_speed(
    plan: Plan, detectors: dict[str, BenchmarkedDetector], images: Sequence[Tensor]
) -> dict[str, Measurement]:
    works: dict[str, Callable[[], object]] = {
        name: partial(_go_through, detector, images) for name, detector in detectors.items()
    }
    with _bar("speed, the first run to warm up", (plan.num_runs + 1) * len(works)) as bar:
        seconds = time_in_turn(works, plan.num_runs, advance=bar.update)
    scale = 1e3 / len(images)
    return {
        name: Measurement("ms", tuple(scale * value for value in values))
        for name, values in seconds.items()
    }


def _go_through(detector: BenchmarkedDetector, images: Sequence[Tensor]) -> None:
    for image in images:
        detector.detect(image)


def _bar(description: str, total: int) -> "tqdm[Never]":
    seconds = 0.1 if sys.stderr.isatty() else LINE_SECONDS
    return tqdm(total=total, desc=description, leave=False, mininterval=seconds)


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return processor, cores, threads, GPU, versions and commit, as plain values for JSON.

    Args:
        device: measured on; a GPU that is not used is not named.
    """
    processor = find_processor()
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "processor": processor.name,
        "products": processor.kind,
        "cores": num_cores(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": gpu,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "head_detection": __version__,
        "commit": code_commit(),
    }
