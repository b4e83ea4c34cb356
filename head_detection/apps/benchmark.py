"""``benchmark``: how fast a detector is, beside torchvision's stock model in the same run."""

import argparse
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from head_detection.apps.arguments import PRECISIONS, positive, weights
from head_detection.inference.weights_files import ENGINES

if TYPE_CHECKING:
    from head_detection.benchmark.report import Results

PARTS: Final = ("speed", "stages", "command")
SCENES: Final = ("crowd", "portrait")
"""As ``benchmark.pictures`` has them, which imports torch; a test compares."""
TEXT_NAME: Final = "report.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = "Measure the speed of detectors, all in turn in one run."
    add = parser.add_argument
    text = (
        "a file, fast or accurate; again for more, whole commands are the first's (default: fast)"
    )
    add("--weights", type=weights, action="append", metavar="FILE", help=text)
    text = f"with commas: {', '.join(ENGINES)} (default: the file's own)"
    add("--engine", type=_engines, default=[None], metavar="LIST", help=text)
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--precision", default="auto", choices=PRECISIONS)
    add("--threads", type=positive, metavar="N", help="of PyTorch (default: its own choice)")
    text = "torchvision: its stock model, in eager float32 (default: torchvision)"
    add("--against", choices=["torchvision", "nothing"], default="torchvision", help=text)
    text = "also this engine on the stock model's own network and weights"
    add("--same-network", action="store_true", help=text)
    add("--source", metavar="PATH", help="as of test (default: JPEGs made of a sample picture)")
    text = "what these show: 150 people, or one (default: crowd)"
    add("--scene", choices=SCENES, default="crowd", help=text)
    text = "pictures of the whole command at most (default: 200)"
    add("--limit", type=positive, default=200, metavar="N", help=text)
    text = "of these, how many all else is measured on (default: 4)"
    add("--pictures", type=positive, default=4, metavar="N", help=text)
    text = "of the pictures that detectors are compared on (default: 600x800)"
    add("--size", type=_size, default=(600, 800), metavar="HEIGHTxWIDTH", help=text)
    add("--runs", type=positive, default=5, metavar="N", help="counted runs (default: 5)")
    text = f"with commas: {', '.join(PARTS)} (default: all)"
    add("--measure", type=_parts, default=list(PARTS), metavar="LIST", help=text)
    text = "how well trackers keep the ids of made crowds, in place of all else"
    add("--tracking", action="store_true", help=text)
    add("--output", type=Path, metavar="DIR", help="default: runs/benchmark/<name of the weights>")


def run(arguments: argparse.Namespace) -> int:
    """Measure, and return the exit code.

    Args:
        arguments: of ``add_arguments``, and ``words``, the command line that they came from.

    Raises:
        HeadDetectionError: a mistake of the user, one line.
    """
    if arguments.tracking:
        from head_detection.benchmark.tracking import NUM_FIGURES, measure_trackers, tracking_table

        print(tracking_table(tqdm(measure_trackers(), "Following", NUM_FIGURES, unit=" crowds")))
        return 0
    import torch

    from head_detection.apps.evaluation.worst import safe_name
    from head_detection.benchmark.detectors import list_specs
    from head_detection.benchmark.pictures import pictures_to_measure
    from head_detection.benchmark.run import Plan, measure

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    specs = list_specs(arguments.weights, arguments.engine, arguments.device, arguments.precision)
    folder: Path = arguments.output or Path("runs", "benchmark", safe_name(specs[0].weights.stem))
    folder.mkdir(parents=True, exist_ok=True)  # known before the work whether it can be written
    source, scene, size = arguments.source, arguments.scene, arguments.size
    with (
        pictures_to_measure(source, scene, size, arguments.limit) as files,
        tempfile.TemporaryDirectory(prefix="head-detection-results-") as results_folder,
    ):
        plan = Plan(
            detectors=specs,
            with_baseline=arguments.against == "torchvision",
            with_same_network=arguments.same_network,
            files=files,
            source=source or f"the sample picture as a {scene}, {len(files)} times, shifted",
            size=size,
            num_pictures=arguments.pictures,
            num_runs=arguments.runs,
            parts=arguments.measure,
            folder=Path(results_folder),
        )
        results = measure(plan, arguments.words)
    _write(folder, results)
    return 0


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


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 600x800; got {text!r}")
    return int(height), int(width)


def _engines(text: str) -> list[str]:
    return _some_of(text, ENGINES)


def _parts(text: str) -> list[str]:
    return _some_of(text, PARTS)


def _some_of(text: str, known: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}; got {text!r}")
    return names
