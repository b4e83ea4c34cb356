"""``convert zones``: checks a file of zones and lines, and draws them on a first frame."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from tabulate import tabulate

from head_detection.apps.command import UsageError
from head_detection.apps.video_options import timeout
from head_detection.config.zones import load_zones
from head_detection.errors import PictureError, SourceError
from head_detection.files import write_bytes
from head_detection.images.encoding import encode_picture
from head_detection.images.finding import PictureFile
from head_detection.images.reading import Picture, read_picture
from head_detection.images.zones import draw_regions
from head_detection.pipeline.addresses import shown_url
from head_detection.pipeline.cameras import Cameras
from head_detection.pipeline.opening import open_source
from head_detection.pipeline.sources import Patience, Source
from head_detection.pipeline.zones import build_region_counter

SUFFIXES = (".png", ".jpg", ".jpeg")
SHOWN_REASONS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--source", required=True, metavar="PATH",
        help="a picture, video, camera or folder, whose first frame is drawn on",
    )  # fmt: skip
    parser.add_argument(
        "--file", required=True, type=Path, metavar="FILE.yaml",
        help="file of zones and lines, as for test --zones",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the picture to write, .png or .jpg"
    )
    usual = Patience()
    parser.add_argument(
        "--open-timeout", type=timeout, default=usual.open_seconds, metavar="S",
        help="give up if a camera has sent no frame for S seconds "
        f"(default: {usual.open_seconds:g})",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Draw the zones and lines, list their points, and return the exit code.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
    """
    output: Path | None = arguments.output
    if output is not None and output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--output: expected a file of {', '.join(SUFFIXES)}; got {output}")
    counter = build_region_counter(load_zones(arguments.file))
    name, pixels = first_frame(arguments.source, arguments.open_timeout)
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
        write_bytes(output, _encoded(draw_regions(pixels, regions), output))
        print(f"{output}: the arrow of a line points to its in side")
    return 0


def _encoded(pixels: Picture, output: Path) -> bytes:
    try:
        return encode_picture(pixels, output.suffix.lower())
    except PictureError as error:
        raise PictureError(f"{output}: {error}") from error


def first_frame(source: str, open_seconds: float) -> tuple[str, Picture]:
    """Return the name and pixels of the first picture or frame of a source.

    Args:
        source: as ``test --source`` takes it.
        open_seconds: how long to wait for a camera.

    Raises:
        SourceError: nothing in it can be read, or no camera sends a frame in time.
        PictureError: its first picture is damaged.
    """
    opened = open_source(source, patience=Patience(open_seconds=open_seconds))
    reasons: list[str] = []
    with _giving_up(opened, open_seconds):
        for item in opened:
            if isinstance(item, PictureFile) and item.problem is not None:
                reasons.append(f"{item.name}: {item.problem}")
            elif isinstance(item, PictureFile):
                return item.name, read_picture(item.path)
            elif item.pixels is not None:
                return item.name, item.pixels
    cameras = opened.cameras if isinstance(opened, Cameras) else ()
    reasons += [f"{one.address.name}: {one.lost_because}" for one in cameras if one.lost_because]
    found = "; ".join(reasons[:SHOWN_REASONS]) or "found none"
    within = f" within {open_seconds:g} seconds (--open-timeout)" if cameras else ""
    raise SourceError(f"{shown_url(source)}: expected a frame that can be read{within}; {found}")


@contextmanager
def _giving_up(source: Source, seconds: float) -> Iterator[None]:
    """Close cameras after the block, or after so many seconds, since they never end themselves."""
    if not isinstance(source, Cameras):
        yield
        return
    timer = Timer(seconds, source.close)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        source.close()
