"""``demo``: runs the detector on pictures and a video with known heads, or on the user's own."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from head_detection.apps.arguments import add_weights_option
from head_detection.apps.demo_walk import show_walk
from head_detection.apps.main import run as run_command_line
from head_detection.data.synthetic import lay_out, sample_person, sample_portrait
from head_detection.evaluation.matching import match_detections
from head_detection.files import real_path, write_bytes
from head_detection.images.heads import draw_heads
from head_detection.images.reading import Picture
from head_detection.pipeline.sources import ItemSource
from head_detection.results.record import Failure
from head_detection.structures import Detections, Frame, GroundTruth

GRIDS: Final = ((200, 2, 3), (100, 4, 6), (50, 7, 10), (25, 10, 16), (12, 14, 24))
"""Head size in pixels, rows, columns."""
ENLARGED: Final = "inference.resize.enlargement=1.5"
"""Finds heads that are too small otherwise."""
MISSED: Final = 0.1
FEWEST: Final = 100
"""The demo explains misses if over this share of at least so many heads is missed."""


class Sample(NamedTuple):
    """A picture whose heads are known."""

    name: str
    head_size: float
    pixels: Picture
    truth: GroundTruth


class Comparison(NamedTuple):
    """A row of the table: the heads found in a sample beside those that are there."""

    name: str
    head_size: int
    there: int
    found: int
    right: int
    wrong: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--source", metavar="PATH", help="use your own pictures, as in test")
    add_weights_option(parser)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", default=Path("runs", "demo"),
        help="folder for the drawn pictures (default: runs/demo)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Find heads, print what was found, and return the exit code.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
    """
    if arguments.source is not None:
        return _test(arguments)

    from head_detection.inference.detector import HeadDetector
    from head_detection.pipeline.run import run_pipeline

    detector = HeadDetector.from_weights(arguments.weights)
    samples = create_samples()
    frames = [Frame(s.name, index, pixels=s.pixels) for index, s in enumerate(samples)]
    outcomes = run_pipeline(ItemSource.of(frames), detector, batch_size=1)
    rows = []
    with tqdm(total=len(samples), desc="Finding heads", unit="picture") as progress:
        for sample, outcome in zip(samples, outcomes, strict=True):
            if isinstance(outcome, Failure):
                raise outcome.error
            _write(_picture_of(sample, arguments.output), sample.pixels, outcome.detections)
            rows.append(_compare(sample, outcome.detections))
            progress.update()
    _report(rows)
    for sample, row in zip(samples, rows, strict=True):
        if row.there >= FEWEST and row.there - row.right > MISSED * row.there:
            enlarging = HeadDetector.from_weights(arguments.weights, overrides=[ENLARGED])
            _explain(sample, row, _compare(sample, enlarging.detect([sample.pixels])[0]))
    show_walk(detector, arguments.output)
    print("\nThe pictures with the heads drawn in, the fullest first:")
    for sample in reversed(samples):
        print(f"  {real_path(_picture_of(sample, arguments.output)).as_uri()}")
    return 0


def _test(arguments: argparse.Namespace) -> int:
    """Run ``test`` on the user's own pictures."""
    options = ["--source", str(arguments.source), "--save", "json,csv,images"]
    options += ["--output", str(arguments.output), "--overwrite"]
    if arguments.weights is not None:
        options += ["--weights", str(arguments.weights)]
    return run_command_line(["test", *options])


def create_samples() -> list[Sample]:
    """Return the portrait, then grids of it with more and more, smaller and smaller heads."""
    alone, person = sample_portrait(), sample_person()
    truth = GroundTruth(alone.head_box[None], np.zeros(1, np.bool_))
    samples = [Sample("portrait", alone.head_size, alone.pixels, truth)]
    for size, rows, columns in GRIDS:
        grid, heads = lay_out(person, size, rows=rows, columns=columns)
        samples.append(Sample(f"heads-of-{size}-pixels", size, grid, heads))
    return samples


def _picture_of(sample: Sample, folder: Path) -> Path:
    return folder / f"{sample.name}.png"


def _compare(sample: Sample, detections: Detections) -> Comparison:
    matched = match_detections(detections, sample.truth).found
    right, there = int((matched >= 0).sum()), len(sample.truth.boxes)
    size, found = round(sample.head_size), len(detections)
    return Comparison(sample.name, size, there, found, right, found - right)


def _report(rows: Sequence[Comparison]) -> None:
    header = ("picture", "head size", "heads there", "heads found", "of them right", "wrong")
    sides = ("left", *("right" for _ in header[1:]))
    print(tabulate(rows, header, "plain", disable_numparse=True, colalign=sides))
    print("\nHead size in pixels; right: overlaps a head by an IoU of 0.5 or more.")


def _explain(sample: Sample, plain: Comparison, enlarged: Comparison) -> None:
    print(
        f"\nOf {plain.there} heads of {round(sample.head_size)} pixels {plain.right} were found: "
        "small heads get low scores, under the threshold.\n"
        f"In the picture enlarged, --set {ENLARGED}, {enlarged.right} were found, in 2.25 "
        "times the pixels."
    )


def _write(path: Path, pixels: Picture, detections: Detections) -> None:
    drawn = cv2.cvtColor(draw_heads(pixels, detections), cv2.COLOR_RGB2BGR)
    write_bytes(path, cv2.imencode(".png", drawn)[1].tobytes())
