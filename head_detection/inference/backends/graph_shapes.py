"""What an exported graph holds: two parts in one file, and what the file says of itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from head_detection.config import NetworkConfig
from head_detection.errors import WeightsError
from head_detection.models.anchors import build_anchors
from head_detection.models.roi_heads import NUM_CLASSES
from head_detection.models.weights import METADATA_KEY, WeightsDescription, parse_description

DENSE: Final = "images"
"""Input of the part that looks at every place: ``(B, 3, H, W)`` normalised pictures."""
SCORE: Final = "pooled"
"""Input of the part that judges proposals: ``(N, P, P, C)``."""
SCORE_OUTPUTS: Final = ("logits", "box_deltas")
RECORD_KEY: Final = "head_detection_export"
"""Beside the description of the weights: how the graph was made of them."""

Shape = Sequence[int | None]
"""None is an axis without a fixed length."""


class ExportRecord(BaseModel):
    """How a graph was made.

    Attributes:
        to: onnx or openvino.
        precision: of its products.
        from_sha256: of the ``.safetensors`` file.
        bin_sha256: of the ``.bin`` beside an ``.xml``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Literal["onnx", "openvino"]
    precision: Literal["fp32", "int8"] = "fp32"
    from_sha256: str = ""
    bin_sha256: str = ""


def parse_texts(path: Path, texts: Mapping[str, str]) -> tuple[WeightsDescription, ExportRecord]:
    """Read what a file says of itself, by key.

    Raises:
        WeightsError: it says nothing, or what it says is damaged. One line.
    """
    if METADATA_KEY not in texts or RECORD_KEY not in texts:
        raise WeightsError(
            f"{path}: expected an {path.suffix} file that scripts/export.py wrote; this one, of "
            f"other origin or truncated, has no {METADATA_KEY} entry"
        )
    return parse_description(path, texts[METADATA_KEY]), _parse_record(path, texts[RECORD_KEY])


def _parse_record(path: Path, text: str) -> ExportRecord:
    try:
        return ExportRecord.model_validate_json(text)
    except ValidationError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: its record of the export is damaged: {reason}") from error


def output_shapes(config: NetworkConfig) -> dict[str, Shape]:
    """Return name and shape of each output: features, objectness and deltas by level, then scores.

    Example:
        >>> shapes = output_shapes(NetworkConfig())
        >>> list(shapes)[:2], shapes["features_4"], shapes["logits"]
        (['features_4', 'features_8'], (None, None, None, 256), (None, 2))
    """
    strides = config.backbone.strides
    per_place = build_anchors(config.anchors, len(strides)).per_place
    channels = {"features": config.backbone.fpn_width, "objectness": per_place}
    channels["deltas"] = 4 * per_place
    maps: dict[str, Shape] = {
        f"{kind}_{stride}": (None, None, None, width)
        for kind, width in channels.items()
        for stride in strides
    }
    logits, deltas = SCORE_OUTPUTS
    return maps | {logits: (None, NUM_CLASSES), deltas: (None, 4 * NUM_CLASSES)}


def input_shapes(config: NetworkConfig) -> dict[str, Shape]:
    """Return name and shape of each input.

    Example:
        >>> input_shapes(NetworkConfig())
        {'images': (None, 3, None, None), 'pooled': (None, 7, 7, 256)}
    """
    side, channels = config.box_head.pool_size, config.backbone.fpn_width
    return {DENSE: (None, 3, None, None), SCORE: (None, side, side, channels)}


def check_graph(
    path: Path, config: NetworkConfig, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]
) -> None:
    """Raise WeightsError, one line, where a graph is not that of its description."""
    _check_shapes(path, input_shapes(config), inputs)
    _check_shapes(path, output_shapes(config), outputs)


def _check_shapes(path: Path, expected: Mapping[str, Shape], came: Mapping[str, Shape]) -> None:
    for name, shape in expected.items():
        if name not in came:
            raise WeightsError(f"{path}: its graph does not fit its description: no {name}")
        fits = len(shape) == len(came[name]) and all(
            ours in (None, theirs) for ours, theirs in zip(shape, came[name], strict=True)
        )
        if not fits:
            raise WeightsError(
                f"{path}: its graph does not fit its description: expected {name} of shape "
                f"{_text(shape)}; got {_text(came[name])}"
            )


def part_outputs(config_outputs: Sequence[str], part: str) -> list[str]:
    """Return the names of the outputs that a part gives, in order.

    Example:
        >>> part_outputs(["features_4", "logits", "box_deltas"], SCORE)
        ['logits', 'box_deltas']
    """
    return [name for name in config_outputs if (name in SCORE_OUTPUTS) == (part == SCORE)]


def _text(shape: Shape) -> str:
    return f"({', '.join('any' if length is None else str(length) for length in shape)})"
