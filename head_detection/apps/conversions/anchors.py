"""``convert anchors``: prints anchor sizes and a ratio that fit the heads of a data set."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from head_detection.apps.arguments import positive
from head_detection.apps.parser import path_text
from head_detection.config import DatasetConfig, ExperimentConfig, ResizeConfig, load_config
from head_detection.data.formats import FORMATS, load_annotations
from head_detection.data.quality.survey import Channels, SurveyedPicture
from head_detection.errors import ConfigError
from head_detection.images.reading import read_picture_size
from head_detection.models.anchors import (
    kmeans_anchor_sizes,
    levels_of_sizes,
    median_anchor_sizes,
    median_ratio,
)
from head_detection.models.transform import scale_factor
from head_detection.structures import FloatArray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--data", required=True, type=path_text, help="labels: a file or folder")
    parser.add_argument(
        "--format", default="coco", choices=FORMATS, help="format of --data (default: coco)"
    )
    parser.add_argument(
        "--images", type=path_text,
        help="folder to which the picture names in the labels are relative",
    )  # fmt: skip
    parser.add_argument(
        "--cfg", type=Path, help="experiment file whose resize is applied first (default: none)"
    )
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY.PATH=VALUE",
        help="replace fields of the experiment file; may be repeated",
    )  # fmt: skip
    parser.add_argument("--levels", type=positive, default=4, help="pyramid levels (default: 4)")
    parser.add_argument(
        "--per-level", type=positive, default=1, help="sizes per level (default: 1)"
    )
    parser.add_argument(
        "--method", default="medians", choices=["medians", "kmeans"],
        help="medians of equal shares of the heads, or k-means (default: medians)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Print the anchors as YAML, and return the exit code."""
    resize = load_config(arguments.cfg, arguments.set).inference.resize if arguments.cfg else None
    labelled = load_annotations(
        DatasetConfig(path=arguments.data, format=arguments.format, images=arguments.images)
    )
    for note in labelled.notes:
        print(f"note: {note}", file=sys.stderr)
    sized = (
        (i.truth.head_boxes, (i.image_size or read_picture_size(i.path)) if resize else (0, 0))
        for i in labelled.images
    )
    boxes = _network_boxes(sized, resize)
    dropped = labelled.num_heads - len(boxes)
    if dropped:
        print(f"{dropped} boxes without area are left out", file=sys.stderr)
    count = arguments.levels * arguments.per_level
    fitted = kmeans_anchor_sizes if arguments.method == "kmeans" else median_anchor_sizes
    if len(boxes) < count:
        raise ConfigError(f"--data: expected at least {count} heads, one a size; got {len(boxes)}")
    frame = "original pixels" if resize is None else f"network pixels of {arguments.cfg}"
    print(f"# {arguments.method} of {len(boxes)} heads in {frame}")
    print(f"sizes: {_levels(fitted(boxes, count), arguments.levels)}")
    print(f"ratios: [{median_ratio(boxes)}]")
    return 0


def suggest(
    pictures: Sequence[SurveyedPicture],
    pixels: tuple[Channels, Channels] | None,
    experiment: ExperimentConfig | None,
) -> tuple[str, tuple[float, ...]]:
    """Return YAML with anchors and pixel statistics, and the sizes to mark in a plot.

    Args:
        pictures: the set; heads without area and pictures of unknown size are left out.
        pixels: mean and standard deviation, if known.
        experiment: gives the resize and number of levels for the anchors; None for original pixels
            and the default levels.

    Returns:
        The text, and the median sizes in original pixels; no sizes with an experiment or few heads.
    """
    num_levels = len((experiment or ExperimentConfig()).network.backbone.strides)
    resize = None if experiment is None else experiment.inference.resize
    readable = (picture for picture in pictures if picture.error is None)
    boxes = _network_boxes(((p.image.truth.head_boxes, p.image_size) for p in readable), resize)
    lines = ["network:"]
    medians: tuple[float, ...] = ()
    if len(boxes) >= num_levels:
        frame = "original pixels" if experiment is None else "network pixels of the experiment"
        medians = median_anchor_sizes(boxes, num_levels)
        clusters = kmeans_anchor_sizes(boxes, num_levels)
        lines += [
            f"  anchors:  # of {len(boxes)} heads in {frame}",
            f"    sizes: {_levels(medians, num_levels)}  # medians of equal shares",
            f"    # sizes: {_levels(clusters, num_levels)}  # or k-means",
            f"    ratios: [{median_ratio(boxes)}]  # median height over width",
        ]
    if pixels is not None:
        mean, deviation = (list(channels) for channels in pixels)
        lines += [f"  mean: {mean}", f"  std: {deviation}"]
    text = "\n".join(lines) if len(lines) > 1 else "# nothing to suggest: no heads and no pixels"
    return text, medians if experiment is None else ()


def _levels(sizes: tuple[float, ...], num_levels: int) -> list[list[float]]:
    return [list(level) for level in levels_of_sizes(sizes, num_levels)]


def _network_boxes(
    pictures: Iterable[tuple[FloatArray, tuple[int, int]]], resize: ResizeConfig | None
) -> Tensor:
    """Return the heads with area, ``(N, 4)``, resized, from pairs of a picture's boxes and size."""
    scaled = [torch.zeros(0, 4)]
    for head_boxes, image_size in pictures:
        boxes = torch.from_numpy(head_boxes)
        factor = 1.0 if resize is None else scale_factor(resize, *image_size)
        scaled.append(boxes[(boxes[:, 2:] > boxes[:, :2]).all(dim=1)] * factor)
    return torch.cat(scaled)
