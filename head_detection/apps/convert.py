"""``convert``: weights made by others into this project's files; anchors out of a data set."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
import yaml
from torch import Tensor

from head_detection.config import (
    ConfigError,
    DatasetConfig,
    ExperimentConfig,
    ResizeConfig,
    load_config,
)
from head_detection.data.formats import load_annotations
from head_detection.data.picture import read_picture_size
from head_detection.models.anchors import (
    kmeans_anchor_sizes,
    levels_of_sizes,
    median_anchor_sizes,
    median_ratio,
)
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.headhunter import from_headhunter, options_of
from head_detection.models.transform import GeneralizedRCNNTransform
from head_detection.models.weights import (
    WeightsDescription,
    WeightsError,
    fit,
    read_state_dict,
    save_weights,
)

FORMATS = get_args(DatasetConfig.model_fields["format"].annotation)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert, and return the exit code.

    Raises:
        ValueError: a mistake of the user, one line.
    """
    arguments = _create_parser().parse_args(argv)
    run = _convert_weights if arguments.what == "weights" else _print_anchors
    return run(arguments)


def _convert_weights(arguments: argparse.Namespace) -> int:
    if arguments.output.suffix != ".safetensors":
        raise WeightsError(f"--output: expected a .safetensors file; got {arguments.output}")
    config = load_config(arguments.cfg, arguments.set)
    tensors = read_state_dict(arguments.input)
    _check_options(arguments.input, tensors, config)
    backbone = config.model.backbone.model_copy(update={"pretrained": False})
    model_config = config.model.model_copy(update={"backbone": backbone})
    model = build_detector(model_config)
    fit(model, from_headhunter(tensors), str(arguments.input))
    threshold = arguments.score_threshold
    description = WeightsDescription(
        model=model_config,
        score_threshold=model_config.roi.score_threshold if threshold is None else threshold,
        training={"imported_from": "HeadHunter", "file": arguments.input.name},
        licence=arguments.licence,
    )
    save_weights(arguments.output, model.eval(), description)
    print(f"{len(tensors)} tensors of {arguments.input} are in {arguments.output}")
    return 0


def _check_options(path: Path, tensors: dict[str, Tensor], config: ExperimentConfig) -> None:
    """Say which options the file was trained with, where the config has others."""
    differing = [
        f"{key}={_as_yaml(value)}"
        for key, value in options_of(tensors).items()
        if _field(config, key) != value
    ]
    if differing:
        raise ConfigError(
            f"{path}: the file was trained with other options than the config has; "
            f"add --set {' '.join(differing)}"
        )


def _field(config: ExperimentConfig, key_path: str) -> Any:
    values: Any = config.model_dump(mode="json")
    for key in key_path.split("."):
        values = values[key]
    return values


def _as_yaml(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("...").strip()
    return text.replace(" ", "")


def _print_anchors(arguments: argparse.Namespace) -> int:
    resize = load_config(arguments.cfg, arguments.set).model.resize if arguments.cfg else None
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
    transform = None if resize is None else GeneralizedRCNNTransform(resize).eval()
    scaled, dropped = [torch.zeros(0, 4)], 0
    for image in labelled.images:
        boxes = torch.from_numpy(image.truth.head_boxes)
        with_area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        dropped += int((~with_area).sum())
        factor = 1.0
        if transform is not None:
            factor = transform.scale_factor(*(image.image_size or read_picture_size(image.path)))
        scaled.append(boxes[with_area] * factor)
    if dropped:
        print(f"{dropped} boxes without area are left out", file=sys.stderr)
    return torch.cat(scaled)


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Convert what others made.")
    kinds = parser.add_subparsers(dest="what", required=True)
    _add_weights(kinds.add_parser("weights", help="weights made by others"))
    _add_anchors(kinds.add_parser("anchors", help="anchor sizes that fit a data set"))
    return parser


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="source", required=True, choices=["headhunter"], help="who made them"
    )
    parser.add_argument("--cfg", required=True, type=Path, help="experiment file of the network")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY.PATH=VALUE",
        help="replace a field of the experiment; may be given several times",
    )  # fmt: skip
    parser.add_argument("--input", required=True, type=Path, help="their .pth file")
    parser.add_argument("--output", required=True, type=Path, help="the .safetensors file to write")
    parser.add_argument(
        "--score-threshold", type=float, help="default of the detector (default: the config's)"
    )
    parser.add_argument("--licence", default="unknown", help="of the weights, written into them")


def _add_anchors(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help="annotations: a file or folder")
    parser.add_argument("--format", default="coco", choices=FORMATS)
    parser.add_argument("--images", help="folder that the picture names start from")
    parser.add_argument(
        "--cfg", type=Path, help="experiment whose resize is applied first (default: none)"
    )
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="KEY.PATH=VALUE")
    parser.add_argument("--levels", type=int, default=4, help="pyramid levels (default: 4)")
    parser.add_argument("--per-level", type=int, default=1, help="sizes a level (default: 1)")
    parser.add_argument("--method", default="medians", choices=["medians", "kmeans"])
