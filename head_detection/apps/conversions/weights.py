"""``convert weights``: a network trained by others into a file that describes itself."""

import argparse
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from head_detection.apps.arguments import probability
from head_detection.config import ExperimentConfig, load_config
from head_detection.errors import ConfigError, WeightsError
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.headhunter import from_headhunter, options_of
from head_detection.models.weights import WeightsDescription, fit, read_state_dict, save_weights

PURPOSE = "weights made by others"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
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
        "--score-threshold",
        type=probability,
        help="default of the detector (default: the config's)",
    )
    parser.add_argument("--licence", default="unknown", help="of the weights, written into them")


def run(arguments: argparse.Namespace) -> int:
    """Convert, and return the exit code."""
    if arguments.output.suffix != ".safetensors":
        raise WeightsError(f"--output: expected a .safetensors file; got {arguments.output}")
    config = load_config(arguments.cfg, arguments.set)
    tensors = read_state_dict(arguments.input)
    _check_options(arguments.input, tensors, config)
    backbone = config.network.backbone.model_copy(update={"pretrained": False})
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
