"""Conversion of weights files from format version 1, which had other sections, to version 2."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from head_detection.errors import WeightsError
from head_detection.models.weights import FORMAT_VERSION, WeightsDescription, read_metadata

COLOURS: Final = ("mean", "std", "size_divisor")
BOX_HEAD: Final = {
    "pool_size": "pool_size",
    "sampling_ratio": "sampling_ratio",
    "canonical_scale": "canonical_scale",
    "box_head_width": "width",
}
SUPPRESSION: Final = (
    "score_threshold",
    "nms_iou_threshold",
    "detections_per_image",
    "soft_nms",
    "box_voting",
)
LIKELY_PART: Final = 0.1
"""Score of a part of a large head from which version 1 added the coarse view of a picture."""


def read_version1(path: Path) -> tuple[dict[str, Tensor], WeightsDescription]:
    """Return the unchanged tensors, and the description converted to the current format.

    Raises:
        WeightsError: no such file, not of this project, or not of version 1. One line.
    """
    try:
        old: dict[str, Any] = json.loads(read_metadata(path))
        if old.get("format_version") != 1:
            raise WeightsError(
                f"{path}: expected format version 1; got {old.get('format_version')}"
            )
        description = WeightsDescription.model_validate_json(json.dumps(_describe(old)))
    except (ValidationError, AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: its description is damaged: {reason}") from error
    return load_file(str(path)), description


def _describe(old: dict[str, Any]) -> dict[str, Any]:
    model = old["model"]
    resize, rpn, roi = model["resize"], model["rpn"], model["roi"]
    network = {
        **{key: model[key] for key in ("backbone", "anchors", "upscale")},
        **{key: resize[key] for key in COLOURS},
        "box_head": {new: roi[key] for key, new in BOX_HEAD.items()},
    }
    kept = ("policy", "max_size", "enlargement", "antialias")
    coarse = model["coarse_look"]
    inference = {
        "resize": {**{key: resize[key] for key in kept}, "min_size": resize["min_sizes"][-1]},
        "proposals": {
            "pre_nms_top_n": rpn["pre_nms_top_n_test"],
            "post_nms_top_n": rpn["post_nms_top_n_test"],
            "nms_iou_threshold": rpn["nms_iou_threshold"],
            "score_threshold": rpn["score_threshold"],
        },
        "suppression": {key: roi[key] for key in SUPPRESSION},
        "largest_head": coarse["smallest_head"] if coarse["enabled"] else None,
        "views": [*map(_view, model["more_looks"]), *_coarse_view(coarse)],
        "score_threshold": old["score_threshold"],
    }
    return {
        "format_version": FORMAT_VERSION,
        "network": network,
        "inference": inference,
        "class_names": old["class_names"],
        "training": old["training"],
        "metrics": {name: _metrics(part) for name, part in old["figures"].items()},
        "licence": old["licence"],
    }


def _metrics(part: Any) -> Any:
    """Rename the key of one data set's metrics to the current name; a bare number stays."""
    if not isinstance(part, dict):
        return part
    return {("metrics" if key == "figures" else key): value for key, value in part.items()}


def _view(look: dict[str, Any]) -> dict[str, Any]:
    return {("scale" if key == "enlargement" else key): value for key, value in look.items()}


def _coarse_view(coarse: dict[str, Any]) -> list[dict[str, Any]]:
    if not coarse["enabled"]:
        return []
    scale = round(1 / coarse["factor"], 4)
    return [{"scale": scale, "smallest_head": coarse["smallest_head"], "min_score": LIKELY_PART}]
