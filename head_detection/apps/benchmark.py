"""``benchmark``: how fast a detector is, beside torchvision's stock model in the same run."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from head_detection.apps.arguments import positive
from head_detection.apps.evaluation.worst import safe_name
from head_detection.benchmark.chart import draw_stages
from head_detection.benchmark.contestants import list_entries
from head_detection.benchmark.measurement import PARTS, Plan, measure
from head_detection.benchmark.pictures import pictures_to_measure
from head_detection.benchmark.results import Results, write_results
from head_detection.benchmark.table import report_lines
from head_detection.devices import PRECISIONS
from head_detection.files import write_bytes
from head_detection.inference.weights_files import ENGINES, weights_path

TEXT_NAME: Final = "report.txt"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and return the exit code.

    Raises:
        ValueError: a mistake of the user, one line.
    """
    arguments = _create_parser().parse_args(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    entries = list_entries(
        arguments.weights, arguments.engine, arguments.device, arguments.precision
    )
    folder: Path = arguments.output or Path("runs", "benchmark", safe_name(entries[0].weights.stem))
    folder.mkdir(parents=True, exist_ok=True)  # known before the work whether it can be written
    with (
        pictures_to_measure(arguments.source, arguments.size, arguments.limit) as files,
        tempfile.TemporaryDirectory(prefix="head-detection-results-") as results_folder,
    ):
        plan = Plan(
            entries=entries,
            against_stock=arguments.against == "torchvision",
            with_same_network=arguments.same_network,
            files=files,
            source=arguments.source or f"the sample picture, {len(files)} times, shifted",
            size=arguments.size,
            num_pictures=arguments.pictures,
            num_runs=arguments.runs,
            parts=arguments.measure,
            folder=Path(results_folder),
        )
        results = measure(plan, list(sys.argv[1:] if argv is None else argv))
    _write(folder, results)
    return 0


def _write(folder: Path, results: Results) -> None:
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


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measure the speed of detectors, all in turn in one run."
    )
    add = parser.add_argument
    text = (
        "a file, fast or accurate; again for more, whole commands are the first's (default: fast)"
    )
    add("--weights", type=weights_path, action="append", metavar="FILE", help=text)
    text = f"with commas: {', '.join(ENGINES)} (default: the file's own)"
    add("--engine", type=_engines, default=[None], metavar="LIST", help=text)
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--precision", default="auto", choices=PRECISIONS)
    add("--threads", type=positive, metavar="N", help="of PyTorch (default: its own choice)")
    text = "torchvision: its stock model, in eager float32 (default: torchvision)"
    add("--against", choices=["torchvision", "nothing"], default="torchvision", help=text)
    text = "also this engine on the stock model's own network and weights"
    add("--same-network", action="store_true", help=text)
    add("--source", metavar="PATH", help="as of test (default: JPEGs of a sample picture)")
    text = "pictures of the whole command at most (default: 200)"
    add("--limit", type=positive, default=200, metavar="N", help=text)
    text = "of these, how many all else is measured on (default: 4)"
    add("--pictures", type=positive, default=4, metavar="N", help=text)
    text = "of the pictures that contestants are compared on (default: 600x800)"
    add("--size", type=_size, default=(600, 800), metavar="HEIGHTxWIDTH", help=text)
    add("--runs", type=positive, default=5, metavar="N", help="counted runs (default: 5)")
    text = f"with commas: {', '.join(PARTS)} (default: all)"
    add("--measure", type=_parts, default=list(PARTS), metavar="LIST", help=text)
    add("--output", type=Path, metavar="DIR", help="default: runs/benchmark/<name of the weights>")
    return parser
