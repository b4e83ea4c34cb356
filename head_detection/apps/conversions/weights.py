"""``convert weights``: converts foreign or old weights into a self-describing file."""

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor

from head_detection.apps.arguments import check_weights_output, probability, set_option
from head_detection.config import ExperimentConfig, load_config
from head_detection.errors import ConfigError
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.headhunter import from_headhunter, options_of
from head_detection.models.version1 import read_version1
from head_detection.models.weights import (
    WeightsDescription,
    fit,
    read_state_dict,
    save_weights,
    write_weights,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--from", dest="source", required=True, choices=["headhunter", "version1"],
        help="origin of the weights: HeadHunter, or this project's first format",
    )  # fmt: skip
    parser.add_argument("--cfg", type=Path, help="experiment file of HeadHunter's network")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY.PATH=VALUE",
        help="replace fields of the experiment file; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--input", required=True, type=Path,
        help="HeadHunter's .pth file, or this project's .safetensors file",
    )  # fmt: skip
    parser.add_argument("--output", required=True, type=Path, help="the .safetensors file to write")
    parser.add_argument(
        "--score-threshold",
        type=probability,
        help="score threshold to store as the detector's own (default: the config's)",
    )
    parser.add_argument(
        "--licence", default="unknown", help="licence to write into the weights (default: unknown)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert, and return the exit code."""
    check_weights_output(arguments.output)
    if arguments.source == "version1":
        return _renew(arguments.input, arguments.output)
    if arguments.cfg is None:
        raise ConfigError("--cfg: expected the experiment file of HeadHunter's network; got none")
    config = load_config(arguments.cfg, arguments.set)
    tensors = read_state_dict(arguments.input)
    _check_options(arguments.input, tensors, config)
    backbone = config.network.backbone.model_copy(update={"pretrained": False})
    network = config.network.model_copy(update={"backbone": backbone})
    model = build_detector(network, config.inference)
    fit(model.network, from_headhunter(tensors), str(arguments.input))
    threshold = arguments.score_threshold
    description = WeightsDescription(
        network=network,
        inference=config.inference,
        training={"imported_from": "HeadHunter", "file": arguments.input.name},
        licence=arguments.licence,
    ).with_score_threshold(
        config.inference.suppression.score_threshold if threshold is None else threshold
    )
    save_weights(arguments.output, model.network.eval(), description)
    print(f"{len(tensors)} tensors of {arguments.input} are in {arguments.output}")
    return 0


def _renew(path: Path, output: Path) -> int:
    tensors, description = read_version1(path)
    write_weights(output, tensors, description)
    print(f"{len(tensors)} tensors of {path} are in {output}, described as format version 2")
    return 0


def _check_options(path: Path, tensors: dict[str, Tensor], config: ExperimentConfig) -> None:
    """Refuse a config that differs from the options that the file was trained with."""
    differing = {
        key: value for key, value in options_of(tensors).items() if _field(config, key) != value
    }
    if differing:
        raise ConfigError(
            f"{path}: the file was trained with other options than the config has; "
            f"add {set_option(differing)}"
        )


def _field(config: ExperimentConfig, key_path: str) -> Any:
    values: Any = config.model_dump(mode="json")
    for key in key_path.split("."):
        values = values[key]
    return values
