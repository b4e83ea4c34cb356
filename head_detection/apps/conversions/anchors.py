"""``convert anchors``: sizes and ratio that fit the heads of a data set."""

import argparse
import sys
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from head_detection.apps.arguments import positive
from head_detection.config import DatasetConfig, ResizeConfig, load_config
from head_detection.data.formats import load_annotations
from head_detection.errors import ConfigError
from head_detection.images.reading import read_picture_size
from head_detection.models.anchors import (
    kmeans_anchor_sizes,
    levels_of_sizes,
    median_anchor_sizes,
    median_ratio,
)
from head_detection.models.transform import scale_factor

PURPOSE = "anchor sizes that fit a data set"
FORMATS = get_args(DatasetConfig.model_fields["format"].annotation)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--data", required=True, help="annotations: a file or folder")
    parser.add_argument("--format", default="coco", choices=FORMATS)
    parser.add_argument("--images", help="folder that the picture names start from")
    parser.add_argument(
        "--cfg", type=Path, help="experiment whose resize is applied first (default: none)"
    )
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="KEY.PATH=VALUE")
    parser.add_argument("--levels", type=positive, default=4, help="pyramid levels (default: 4)")
    parser.add_argument("--per-level", type=positive, default=1, help="sizes a level (default: 1)")
    parser.add_argument("--method", default="medians", choices=["medians", "kmeans"])


def run(arguments: argparse.Namespace) -> int:
    """Print the anchors as YAML, and return the exit code."""
    resize = load_config(arguments.cfg, arguments.set).inference.resize if arguments.cfg else None
    boxes = _network_boxes(arguments, resize)
    count = arguments.levels * arguments.per_level
    fitted = kmeans_anchor_sizes if arguments.method == "kmeans" else median_anchor_sizes
    if len(boxes) < count:
        raise ConfigError(f"--data: expected at least {count} heads, one a size; got {len(boxes)}")
    sizes = levels_of_sizes(fitted(boxes, count), arguments.levels)
    frame = "original pixels" if resize is None else f"network pixels of {arguments.cfg}"
    print(f"# {arguments.method} of {len(boxes)} heads in {frame}")
    print(f"sizes: {[list(level) for level in sizes]}")
    print(f"ratios: [{median_ratio(boxes)}]")
    return 0


def _network_boxes(arguments: argparse.Namespace, resize: ResizeConfig | None) -> Tensor:
    labelled = load_annotations(
        DatasetConfig(path=arguments.data, format=arguments.format, images=arguments.images)
    )
    for note in labelled.notes:
        print(f"note: {note}", file=sys.stderr)
    scaled, dropped = [torch.zeros(0, 4)], 0
    for image in labelled.images:
        boxes = torch.from_numpy(image.truth.head_boxes)
        with_area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        dropped += int((~with_area).sum())
        factor = 1.0
        if resize is not None:
            factor = scale_factor(resize, *(image.image_size or read_picture_size(image.path)))
        scaled.append(boxes[with_area] * factor)
    if dropped:
        print(f"{dropped} boxes without area are left out", file=sys.stderr)
    return torch.cat(scaled)
