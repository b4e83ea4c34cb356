"""The options of ``train``, and the fields of the experiment file that short options set."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from head_detection.apps.arguments import positive, weights
from head_detection.apps.command import UsageError
from head_detection.apps.parser import CommandParser, path_text
from head_detection.config import LABEL_FORMATS, ExperimentConfig
from head_detection.errors import ConfigError, WeightsError
from head_detection.inference.weights_files import weights_path

BATCH_NAMES: Final = ("--batch", "--batch-size", "--bs")
RATE_NAMES: Final = ("--lr", "--lr0", "--learning-rate")
"""Other trainers' names for fields of the experiment file."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    if isinstance(parser, CommandParser):
        parser.other_names = dict.fromkeys(BATCH_NAMES, "--set training.batch_size=N")
        parser.other_names |= dict.fromkeys(
            RATE_NAMES, "--set training.optimizer.learning_rate=RATE"
        )
    parser.add_argument("--cfg", type=Path, metavar="FILE", help="experiment file (YAML)")
    parser.add_argument(
        "--data", type=path_text, metavar="PATH",
        help="labels to train on: YOLO's data.yaml, a COCO .json or a folder; without --cfg, the "
        "weights are fine-tuned on them",
    )  # fmt: skip
    parser.add_argument(
        "--val", type=path_text, metavar="PATH",
        help="labels to validate on (default: the val part of --data)",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=LABEL_FORMATS, help="format of --data and --val (default: by name)"
    )
    parser.add_argument("--images", metavar="DIR", help="folder that picture names are relative to")
    parser.add_argument(
        "--weights", type=weights, metavar="NAME|FILE",
        help="weights to start from: fast, accurate, light, or a file (default: fast; with --cfg "
        "those it names)",
    )  # fmt: skip
    parser.add_argument("--epochs", type=positive, metavar="N", help="training.epochs of the run")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY.PATH=VALUE",
        help="replace fields of the experiment file; may be repeated",
    )  # fmt: skip
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument(
        "--resume", type=Path, metavar="RUN", help="continue the run in this folder"
    )
    folder.add_argument(
        "--output", type=Path, metavar="DIR", help="run folder (default: runs/train/<name>)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")


def overrides_of(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the overrides that the short options set.

    Raises:
        UsageError: ``--images`` without labels.
    """
    from head_detection.data.formats import FORMATS, guess_format

    def one_set(path: str) -> str:
        kind = arguments.format or guess_format(Path(path))
        return json.dumps([{"path": path, "format": kind, "images": arguments.images}])

    if arguments.images is not None and arguments.data is None and arguments.val is None:
        raise UsageError(
            "--images: expected --data too, the labels of these pictures; in an experiment file, "
            "write images beside path"
        )

    if arguments.data is not None:
        yield f"data.train={one_set(arguments.data)}"
    if arguments.val is not None:
        yield f"data.validation={one_set(arguments.val)}"
    elif arguments.data is not None:
        # A set without parts cannot serve for both.
        has_splits = FORMATS[arguments.format or guess_format(Path(arguments.data))].has_splits
        yield f"data.validation={one_set(arguments.data) if has_splits else '[]'}"
    if arguments.weights is not None:
        yield f"training.initial_weights={json.dumps(str(arguments.weights))}"
    if arguments.epochs is not None:
        yield f"training.epochs={arguments.epochs}"


def with_weights_paths(config: ExperimentConfig) -> ExperimentConfig:
    """Return the experiment with a file for each name of weights: ``fast``, or a run's folder.

    Raises:
        ConfigError: a folder without weights. One line.
    """
    files: dict[str, str] = {}
    for key in ("initial_weights", "teacher"):
        name = getattr(config.training, key)
        if name is not None:
            try:
                files[key] = str(weights_path(name))
            except WeightsError as error:
                raise ConfigError(f"training.{key}: {error}") from error
    training = config.training.model_copy(update=files)
    return config.model_copy(update={"training": training})
