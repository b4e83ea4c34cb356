"""``convert release``: writes the best weights of a run as a file for others."""

import argparse
import json
from pathlib import Path, PurePath
from typing import Any

from head_detection.apps.arguments import check_weights_output, probability, weights
from head_detection.config import override_inference
from head_detection.errors import WeightsError
from head_detection.inference.weights_files import sha256_of
from head_detection.models.faster_rcnn import FasterRCNN, load_detector
from head_detection.models.weights import WeightsDescription, save_weights
from head_detection.training.checkpoint import is_checkpoint
from head_detection.training.state import load_state

KEPT_PARTS = 2
"""Last parts of an absolute path that are kept, so that no private folder names are published."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--input",
        required=True,
        type=weights,
        help="a run's folder, its best.safetensors, or the last.safetensors of a stopped run",
    )
    parser.add_argument("--output", required=True, type=Path, help="the .safetensors file to write")
    parser.add_argument("--licence", required=True, help="licence to write into the weights")
    parser.add_argument(
        "--metrics", action="extend", nargs="+", default=[], metavar="NAME=METRICS.JSON",
        help="a metrics.json of evaluate to store under this name; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--score-threshold", type=probability,
        help="score threshold to store as the detector's own (default: the input's)",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="inference.KEY=VALUE",
        help="change inference settings to store: resize, views, limits, suppression",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Write the file, and return the exit code."""
    check_weights_output(arguments.output)
    metrics = dict(_read_metrics(argument) for argument in arguments.metrics)
    model, description = _load(arguments.input, arguments.set)
    threshold = arguments.score_threshold
    without_paths = _shorten(description.model_dump(mode="json", exclude={"metrics"}))
    released = type(description).model_validate_json(
        json.dumps(
            without_paths
            | {
                "licence": arguments.licence,
                "metrics": description.metrics | metrics,
            }
        )
    )
    if threshold is not None:
        released = released.with_score_threshold(threshold)
    if not all(tensor.isfinite().all() for tensor in model.half().state_dict().values()):
        raise WeightsError(
            f"{arguments.input}: expected values that half precision can hold; got larger ones"
        )
    save_weights(arguments.output, model.network, released)
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")
    print(f"SHA-256, for its card: {sha256_of(arguments.output)}")
    return 0


def _load(path: Path, overrides: list[str]) -> tuple[FasterRCNN, WeightsDescription]:
    """Load weights, or the checkpoint of a run."""
    if not is_checkpoint(path):
        return load_detector(path, overrides)
    model, description = load_state(path)
    inference = override_inference(description.inference, overrides)
    return model, description.model_copy(update={"inference": inference})


def _read_metrics(argument: str) -> tuple[str, dict[str, Any]]:
    name, equals, path = argument.partition("=")
    if not (name and equals and path):
        raise WeightsError(f"--metrics {argument}: expected NAME=METRICS.JSON")
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        return name, {key: report[key] for key in ("num_images", "num_heads", "metrics")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"--metrics {argument}: expected a metrics.json of evaluate; got another file"
        ) from error


def _shorten(value: Any) -> Any:
    """Replace absolute paths at any depth by their last parts."""
    if isinstance(value, dict):
        return {key: _shorten(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shorten(inner) for inner in value]
    if isinstance(value, str) and PurePath(value).is_absolute():
        return "/".join(PurePath(value).parts[-KEPT_PARTS:])
    return value
