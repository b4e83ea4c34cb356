"""One run of ``benchmark``: what is measured, in which order."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Never

import torch
from torch import Tensor
from tqdm import tqdm

from head_detection.benchmark.contestants import (
    Contestant,
    Entry,
    build_contestant,
    build_same_network,
    build_stock_contestant,
    with_own_names,
)
from head_detection.benchmark.figure import Figure
from head_detection.benchmark.machine import describe_machine
from head_detection.benchmark.pictures import first_readable, read_at_size
from head_detection.benchmark.results import Results
from head_detection.benchmark.stages import measure_stages
from head_detection.benchmark.stopwatch import time_in_turn
from head_detection.benchmark.whole import MAX_RUNS, CommandFigures, measure_command
from head_detection.devices import find_device
from head_detection.images.finding import PictureFile
from head_detection.models.stock import build_stock
from head_detection.pipeline.run import LINE_SECONDS

PARTS: Final = ("speed", "stages", "command")
"""As ``--measure`` spells them."""


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        entries: detectors, at least one; the first is the one whose whole command is measured.
        against_stock: torchvision's stock model takes part.
        with_same_network: its network and weights in this project's engine take part.
        files: the pictures.
        source: what they are, in words.
        size: (height, width) that contestants are compared at.
        num_pictures: of the files, for all but the whole command.
        num_runs: that are counted.
        parts: some of ``PARTS``.
        folder: for what commands write.
    """

    entries: Sequence[Entry]
    against_stock: bool
    with_same_network: bool
    files: Sequence[PictureFile]
    source: str
    size: tuple[int, int]
    num_pictures: int
    num_runs: int
    parts: Sequence[str]
    folder: Path


def measure(plan: Plan, command: Sequence[str]) -> Results:
    """Measure what the plan says.

    Args:
        plan: what to measure.
        command: what was typed, for the report.

    Raises:
        ValueError: a weights file, device or picture that cannot be used, one line.
    """
    files = first_readable(plan.files, plan.num_pictures)
    first = build_contestant(plan.entries[0])
    # The memory of a whole command is taken while nothing but its detector is loaded.
    whole = _measure_command(plan, first) if "command" in plan.parts else None
    contestants = {c.name: c for c in with_own_names([first, *_build_others(plan)])}
    settings = {
        "source": plan.source,
        "files": len(plan.files),
        "pictures": len(files),
        "size": list(plan.size),
        "runs": plan.num_runs,
        "measured": list(plan.parts),
    }
    machine = describe_machine(_device_of(contestants.values()))
    results = Results(command, machine, settings, contestants, whole=whole)
    if "speed" in plan.parts:
        results.milliseconds = _measure_speed(plan, contestants, read_at_size(files, plan.size))
    if "stages" in plan.parts:
        num_own = sum(contestant.detector is not None for contestant in contestants.values())
        with _bar("stages, the first run to warm up", (plan.num_runs + 1) * num_own) as bar:
            results.stages, results.arithmetic = measure_stages(
                contestants, files, plan.num_runs, bar.update
            )
    return results


def _build_others(plan: Plan) -> list[Contestant]:
    built = [build_contestant(entry) for entry in plan.entries[1:]]
    if plan.against_stock or plan.with_same_network:
        torch.manual_seed(0)  # the same random weights, and so as many boxes, in every run
        stock, entry = build_stock(), plan.entries[0]
        if plan.with_same_network:
            built.append(build_same_network(stock, entry.device, entry.precision))
        if plan.against_stock:
            built.append(build_stock_contestant(stock, find_device(entry.device)))
    return built


def _device_of(contestants: Iterable[Contestant]) -> torch.device:
    """Return the GPU that some of them run on, else the CPU."""
    names = [c.detector.engine.device for c in contestants if c.detector is not None]
    return torch.device(next((name for name in names if name != "cpu"), "cpu"))


def _measure_command(plan: Plan, contestant: Contestant) -> CommandFigures | None:
    if contestant.detector is None:
        return None
    num_passes = 1 + 2 * min(plan.num_runs, MAX_RUNS)
    with _bar(f"whole command, {len(plan.files)} pictures", num_passes) as bar:
        return measure_command(
            contestant.name,
            contestant.detector,
            plan.files,
            plan.num_runs,
            plan.folder,
            bar.update,
        )


def _measure_speed(
    plan: Plan, contestants: dict[str, Contestant], images: Sequence[Tensor]
) -> dict[str, Figure]:
    works: dict[str, Callable[[], object]] = {
        name: partial(_go_through, contestant, images) for name, contestant in contestants.items()
    }
    with _bar("speed, the first run to warm up", (plan.num_runs + 1) * len(works)) as bar:
        seconds = time_in_turn(works, plan.num_runs, advance=bar.update)
    scale = 1e3 / len(images)
    return {
        name: Figure("ms", tuple(scale * value for value in values))
        for name, values in seconds.items()
    }


def _go_through(contestant: Contestant, images: Sequence[Tensor]) -> None:
    for image in images:
        contestant.detect(image)


def _bar(description: str, total: int) -> "tqdm[Never]":
    seconds = 0.1 if sys.stderr.isatty() else LINE_SECONDS
    return tqdm(total=total, desc=description, leave=False, mininterval=seconds)
