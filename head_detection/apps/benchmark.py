"""``benchmark``: measures a detector's speed beside torchvision's stock model in the same run."""

import argparse
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from head_detection.apps.benchmark_options import add_benchmark_options, rivals_of

if TYPE_CHECKING:
    from head_detection.benchmark.detectors import DetectorSpec
    from head_detection.benchmark.report import Results

USUAL_SIZE: Final = (600, 800)
TEXT_NAME: Final = "report.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = "Measure the speed of detectors that take turns in one run."
    add_benchmark_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and return the exit code.

    Args:
        arguments: of ``add_arguments``, and ``words``, the command line that they came from.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
    """
    if arguments.tracking:
        return _follow()
    import torch

    from head_detection.benchmark.peers import Peers
    from head_detection.benchmark.pictures import pictures_to_measure
    from head_detection.benchmark.run import Plan, measure

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    specs = _specs_of(arguments)
    folder = _made_folder(arguments, specs[0].weights.stem)
    source, scene = arguments.source, arguments.scene
    with_baseline, graphs = rivals_of(arguments.against)
    with (
        Peers(graphs, arguments.against_size, torch.get_num_threads()) as peers,
        pictures_to_measure(
            source, scene, size := peers.size_for_all(arguments.size, USUAL_SIZE), arguments.limit
        ) as files,
        tempfile.TemporaryDirectory(prefix="head-detection-results-") as results_folder,
    ):
        plan = Plan(
            detectors=specs,
            with_baseline=with_baseline,
            with_same_network=arguments.same_network,
            files=files,
            source=source or f"the sample picture as a {scene}, {len(files)} times, shifted",
            size=size,
            peers=peers,
            num_pictures=arguments.pictures,
            num_runs=arguments.runs,
            parts=arguments.measure,
            folder=Path(results_folder),
        )
        results = measure(plan, arguments.words)
    _write(folder, results)
    return 0


def _specs_of(arguments: argparse.Namespace) -> "list[DetectorSpec]":
    from head_detection.benchmark.detectors import list_specs

    return list_specs(
        arguments.weights,
        arguments.engine,
        arguments.device,
        arguments.precision,
        is_compiled=arguments.compile,
    )


def _follow() -> int:
    from head_detection.benchmark.tracking import NUM_FIGURES, measure_trackers, tracking_table

    print(tracking_table(tqdm(measure_trackers(), "Following", NUM_FIGURES, unit=" crowds")))
    return 0


def _made_folder(arguments: argparse.Namespace, name: str) -> Path:
    """Create the folder of the report, before the work, so that an error shows early."""
    from head_detection.apps.evaluation.worst import safe_name

    folder: Path = arguments.output or Path("runs", "benchmark", safe_name(name))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(folder: Path, results: "Results") -> None:
    from head_detection.benchmark.report import draw_stages, report_lines, write_results
    from head_detection.files import write_bytes

    lines = report_lines(results)
    print("\n".join(lines))
    lines.insert(0, shlex.join(["head-detection", "benchmark", *results.command]))
    write_bytes(folder / TEXT_NAME, ("\n".join(lines) + "\n").encode())
    written = [write_results(folder, results).name, TEXT_NAME]
    if results.stages:
        written.append(draw_stages(results.stages, folder).name)
    print(f"\nwritten to {folder}/: {', '.join(written)}")
