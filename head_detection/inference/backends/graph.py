"""What the exported formats share: the two parts, how to run them, and a file's description."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from head_detection.config import NetworkConfig
from head_detection.config.validation import read_values, validate
from head_detection.devices import PRECISIONS
from head_detection.errors import ConfigError, DeviceError, WeightsError
from head_detection.inference.backends.row_blocks import score_in_blocks
from head_detection.models.anchors import build_anchors
from head_detection.models.network import DenseMaps
from head_detection.models.roi_heads import NUM_CLASSES
from head_detection.models.weights import (
    FORMAT_VERSION,
    METADATA_KEY,
    WeightsDescription,
    parse_description,
)

DENSE: Final = "images"
"""Input of the part that computes the maps: ``(B, 3, H, W)`` normalised pictures."""
SCORE: Final = "pooled"
"""Input of the part that scores proposals: ``(N, P, P, C)``."""
SCORE_OUTPUTS: Final = ("logits", "box_deltas")
RECORD_KEY: Final = "head_detection_export"
"""Metadata key, beside the weights' description, that records how the graph was exported."""
SHOWN_REASON: Final = 300
"""Characters of a library's message that our error shows."""

Array: TypeAlias = npt.NDArray[np.float32]
Shape: TypeAlias = Sequence[int | None]
"""None is a dynamic axis."""


class Part(Protocol):
    """One of the two graphs."""

    def __call__(self, values: Array) -> Sequence[npt.NDArray[Any]]:
        """Return the outputs in the order of their names; they are not overwritten later."""
        ...


def by_threads(make: Callable[[int], Part]) -> Part:
    """Return a part that is built once for each number of torch threads of its callers.

    Threads that detect at the same time each have a share of the cores. The part for the current
    thread's number is built at once.
    """
    parts: dict[int, Part] = {}
    making = threading.Lock()

    def run(values: Array) -> Sequence[npt.NDArray[Any]]:
        return part_for(torch.get_num_threads())(values)

    def part_for(num_threads: int) -> Part:
        with making:
            if num_threads not in parts:
                parts[num_threads] = make(num_threads)
            return parts[num_threads]

    part_for(torch.get_num_threads())
    return run


class GraphBackend:
    """A network whose two parts another library runs on the CPU, as graphs.

    In a file, pictures have channels first, all other inputs and outputs channels last. That is how
    the libraries compute and how RoIAlign reads rows, so nothing needs to be copied.

    Args:
        dense: ``(B, 3, H, W)`` to ``(B, H_i, W_i, C)`` features, objectness, deltas, by level; its
            input has channels last if ``takes_channels_last``.
        score: ``(N, P, P, C)`` to ``(N, 2)`` and ``(N, 8)``.
        precision: the type that the library multiplies in.
    """

    name = ""
    device = torch.device("cpu")
    batch_size = 1
    dtype = torch.float32
    takes_threads = True
    survives_fork = False  # the libraries have threads, which a fork does not copy
    can_be_recorded = False
    takes_channels_last = False

    def __init__(self, dense: Part, score: Part, precision: str) -> None:
        self._dense, self._score, self.precision = dense, score, precision

    def dense(self, images: Tensor) -> DenseMaps:
        """Return the maps of ``(B, 3, H, W)`` normalised pictures."""
        pixels = images.permute(0, 2, 3, 1) if self.takes_channels_last else images
        outputs = self._dense(pixels.contiguous().numpy())
        maps = [torch.from_numpy(values).permute(0, 3, 1, 2) for values in outputs]
        levels = len(maps) // len(DenseMaps._fields)
        features, objectness, deltas = (
            tuple(maps[first : first + levels]) for first in range(0, len(maps), levels)
        )
        return DenseMaps(features, objectness, deltas)

    def score(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, 2)`` and deltas ``(N, 8)`` of ``(N, C, P, P)`` pooled features."""
        if not len(pooled):
            return pooled.new_zeros((0, NUM_CLASSES)), pooled.new_zeros((0, 4 * NUM_CLASSES))
        return score_in_blocks(self._score_block, pooled)

    def _score_block(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self._score(pooled.permute(0, 2, 3, 1).contiguous().numpy())
        return torch.from_numpy(logits), torch.from_numpy(deltas)


def check_device(name: str, device: str) -> None:
    """Raise DeviceError, one line, unless the device is the CPU."""
    if device not in ("auto", "cpu"):
        raise DeviceError(
            f"device: engine {name} runs on cpu; got {device!r}: use cpu or auto, or engine torch"
        )


def check_precision(name: str, precision: str, known: Sequence[str], *, is_int8: bool) -> None:
    """Raise DeviceError, one line, for a precision that the engine or the file does not have."""
    if precision not in PRECISIONS:
        raise DeviceError(f"precision: expected {', '.join(PRECISIONS)}; got {precision!r}")
    if is_int8 and precision != "auto":
        raise DeviceError(f"precision: the file is int8; leave it at auto; got {precision!r}")
    if precision not in known:
        raise DeviceError(
            f"precision: engine {name} on cpu has {', '.join(known)}; got {precision!r}"
        )


class ExportRecord(BaseModel):
    """How a graph was exported.

    Attributes:
        to: format: onnx or openvino.
        precision: type of its products.
        from_sha256: digest of the ``.safetensors`` file.
        bin_sha256: digest of the ``.bin`` beside an ``.xml``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Literal["onnx", "openvino"]
    precision: Literal["fp32", "int8"] = "fp32"
    from_sha256: str = ""
    bin_sha256: str = ""


def parse_texts(path: Path, texts: Mapping[str, str]) -> tuple[WeightsDescription, ExportRecord]:
    """Parse the description and the export record from a file's metadata, by key.

    Raises:
        WeightsError: the metadata are missing, damaged or of another format. One line.
    """
    if METADATA_KEY not in texts or RECORD_KEY not in texts:
        raise WeightsError(
            f"{path}: expected an {path.suffix} file that `export` wrote; this one, of "
            f"other origin or truncated, has no {METADATA_KEY} entry"
        )
    if _is_of_first_format(texts[METADATA_KEY]):
        raise WeightsError(
            f"{path}: expected format version {FORMAT_VERSION}; got 1: export it again, of the "
            ".safetensors file converted with `convert weights`"
        )
    source = f"{path}: its record of the export is damaged"
    try:
        record = validate(ExportRecord, read_values(texts[RECORD_KEY], source), source)
    except ConfigError as error:
        raise WeightsError(str(error)) from error
    return parse_description(path, texts[METADATA_KEY]), record


def _is_of_first_format(text: str) -> bool:
    """Tell whether a description has format version 1, whose remedy differs for exports."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return False
    return isinstance(content, dict) and content.get("format_version") == 1


def input_shapes(config: NetworkConfig) -> dict[str, Shape]:
    """Return name and shape of each input.

    Example:
        >>> input_shapes(NetworkConfig())
        {'images': (None, 3, None, None), 'pooled': (None, 7, 7, 256)}
    """
    side, channels = config.box_head.pool_size, config.backbone.fpn_width
    return {DENSE: (None, 3, None, None), SCORE: (None, side, side, channels)}


def output_shapes(config: NetworkConfig) -> dict[str, Shape]:
    """Return name and shape of each output: features, objectness and deltas by level, then scores.

    Example:
        >>> shapes = output_shapes(NetworkConfig())
        >>> list(shapes)[:2], shapes["features_4"], shapes["logits"]
        (['features_4', 'features_8'], (None, None, None, 256), (None, 2))
    """
    strides = config.backbone.strides
    per_location = build_anchors(config.anchors, len(strides)).per_location
    channels = {"features": config.backbone.fpn_width, "objectness": per_location}
    channels["deltas"] = 4 * per_location
    maps: dict[str, Shape] = {
        f"{kind}_{stride}": (None, None, None, width)
        for kind, width in channels.items()
        for stride in strides
    }
    logits, deltas = SCORE_OUTPUTS
    return maps | {logits: (None, NUM_CLASSES), deltas: (None, 4 * NUM_CLASSES)}


def part_outputs(outputs: Sequence[str], part: str) -> list[str]:
    """Return the names of a part's outputs, in order.

    Example:
        >>> part_outputs(["features_4", "logits", "box_deltas"], SCORE)
        ['logits', 'box_deltas']
    """
    return [name for name in outputs if (name in SCORE_OUTPUTS) == (part == SCORE)]


def check_graph(
    path: Path, config: NetworkConfig, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]
) -> None:
    """Raise WeightsError, one line, if a graph does not match its description."""
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


def _text(shape: Shape) -> str:
    return f"({', '.join('any' if length is None else str(length) for length in shape)})"


def one_line(error: Exception) -> str:
    """Return a library's error message on one line, shortened."""
    return " ".join(str(error).split())[:SHOWN_REASON]
