"""``convert zones``: a file of zones and lines, checked and drawn on a first frame."""

import argparse
from pathlib import Path

import cv2
from tabulate import tabulate

from head_detection.apps.command import UsageError
from head_detection.config.zones import load_zones
from head_detection.errors import SourceError
from head_detection.files import write_bytes
from head_detection.images.finding import PictureFile
from head_detection.images.reading import Picture, read_picture
from head_detection.images.zones import draw_regions
from head_detection.pipeline.addresses import shown_url
from head_detection.pipeline.opening import open_source
from head_detection.pipeline.zones import build_region_counter

SUFFIXES = (".png", ".jpg", ".jpeg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--source", required=True, metavar="PATH",
        help="a picture, a video, a camera or a folder: its first frame is drawn on",
    )  # fmt: skip
    parser.add_argument(
        "--file", required=True, type=Path, metavar="FILE.yaml", help="the zones, as for test"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the picture to write, .png or .jpg"
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw the zones and lines, list where they are, and return the exit code.

    Raises:
        HeadDetectionError: a mistake of the user, one line.
    """
    output: Path | None = arguments.output
    if output is not None and output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--output: expected a file of {', '.join(SUFFIXES)}; got {output}")
    counter = build_region_counter(load_zones(arguments.file))
    name, pixels = first_frame(arguments.source)
    height, width = pixels.shape[:2]
    regions = counter.regions_in(name, (height, width))
    print(f"{name}: {width}x{height} pixels, {len(regions)} zones and lines")
    rows = [
        (
            region.name,
            "line" if region.is_line else "zone",
            "  ".join(f"{x:.0f},{y:.0f}" for x, y in region.points),
        )
        for region in regions
    ]
    print(tabulate(rows, headers=("name", "kind", "points in pixels"), disable_numparse=True))
    for pattern in counter.unused:
        print(f"note: zones of {pattern} are not of this source")
    if output is not None:
        bgr = cv2.cvtColor(draw_regions(pixels, regions), cv2.COLOR_RGB2BGR)
        write_bytes(output, cv2.imencode(output.suffix.lower(), bgr)[1].tobytes())
        print(f"{output}: the arrow of a line points to its in side")
    return 0


def first_frame(source: str) -> tuple[str, Picture]:
    """Return the name of what a source begins with, and its first picture.

    Raises:
        SourceError: nothing in it can be read.
        PictureError: its first picture is damaged.
    """
    for item in open_source(source):
        if isinstance(item, PictureFile):
            return item.name, read_picture(item.path)
        if item.pixels is not None:
            return item.name, item.pixels
    raise SourceError(f"{shown_url(source)}: expected a frame that can be read; found none")
