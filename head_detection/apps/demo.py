"""``demo``: the shipped detector on pictures with a known number of heads, or on the user's own."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from head_detection.apps.arguments import add_weights_option
from head_detection.apps.command import Command
from head_detection.data.synthetic import lay_out, sample_person, sample_portrait
from head_detection.evaluation.matching import match_detections
from head_detection.files import write_bytes
from head_detection.images.drawing import draw_heads
from head_detection.images.reading import Picture
from head_detection.inference.detector import HeadDetector
from head_detection.structures import Detections, GroundTruth

GRIDS: Final = ((200, 2, 3), (100, 4, 6), (50, 7, 10), (25, 10, 16), (12, 14, 24))
"""Head size in pixels, rows, columns."""


class Sample(NamedTuple):
    """A picture whose heads are known."""

    name: str
    head_size: float
    pixels: Picture
    truth: GroundTruth


def main(argv: Sequence[str] | None = None) -> int:
    """Find heads, print what was found, and return the exit code.

    Raises:
        ValueError: a mistake of the user, one line.
    """
    arguments = _create_parser().parse_args(argv)
    if arguments.source is not None:
        test: Command = import_module("head_detection.apps.test").main
        return test(_arguments_of_test(arguments))
    detector = HeadDetector.from_weights(arguments.weights)
    samples = create_samples()
    pictures = [sample.pixels for sample in samples]
    rows = []
    with tqdm(total=len(samples), desc="Finding heads", unit="picture") as progress:
        for sample, result in zip(samples, detector.stream(pictures, batch_size=1), strict=True):
            if result.error is not None or result.detections is None:
                raise RuntimeError(f"{sample.name}: not detected") from result.error
            _write(arguments.output / f"{sample.name}.png", sample.pixels, result.detections)
            rows.append(_compare(sample, result.detections))
            progress.update()
    _report(rows, arguments.output)
    return 0


def create_samples() -> list[Sample]:
    """Return the portrait itself, then grids of it with ever smaller and more heads."""
    alone, person = sample_portrait(), sample_person()
    truth = GroundTruth(alone.head_box[None], np.zeros(1, np.bool_))
    samples = [Sample("portrait", alone.head_size, alone.pixels, truth)]
    for size, rows, columns in GRIDS:
        grid, heads = lay_out(person, size, rows=rows, columns=columns)
        samples.append(Sample(f"heads-of-{size}-pixels", size, grid, heads))
    return samples


def _compare(sample: Sample, detections: Detections) -> tuple[str, ...]:
    found = match_detections(detections, sample.truth).found
    right = int((found >= 0).sum())
    there = len(sample.truth.boxes)
    figures = (round(sample.head_size), there, len(detections), right, len(detections) - right)
    return (sample.name, *map(str, figures))


def _report(rows: Sequence[tuple[str, ...]], output: Path) -> None:
    header = ("picture", "head size", "heads there", "heads found", "of them right", "wrong")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for name, *figures in (header, *rows):
        cells = [f"{figure:>{width}}" for figure, width in zip(figures, widths[1:], strict=True)]
        print("  ".join((f"{name:{widths[0]}}", *cells)))
    print("\nHead size in pixels; right: overlaps a head by an IoU of 0.5 or more.")
    print(f"The pictures with the heads drawn in: {output.resolve()}")


def _write(path: Path, pixels: Picture, detections: Detections) -> None:
    drawn = cv2.cvtColor(draw_heads(pixels, detections), cv2.COLOR_RGB2BGR)
    write_bytes(path, cv2.imencode(".png", drawn)[1].tobytes())


def _arguments_of_test(arguments: argparse.Namespace) -> list[str]:
    passed_on = ["--source", str(arguments.source), "--save", "json,csv,images"]
    passed_on += ["--output", str(arguments.output)]
    if arguments.weights is not None:
        passed_on += ["--weights", str(arguments.weights)]
    return passed_on


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", metavar="PATH", help="your own pictures, as for test")
    add_weights_option(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", default=Path("runs", "demo"))
    return parser
