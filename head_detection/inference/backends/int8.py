"""Quantising graphs to 8-bit integers, calibrated on pictures."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from head_detection.images.reading import read_picture
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.backends.graph import DENSE, SCORE
from head_detection.models.faster_rcnn import FasterRCNN

FLOAT_LAYERS: Final = (
    r".*/head/(cls_logits|bbox_pred).*",
    r".*/box_predictor/.*",
    r".*/fpn/downs.*",
)
"""These layers stay float: they are small, and no later layer evens out their errors. Those on a
light pyramid's way down enlarge the errors of the maps that they take."""
MOST_BOXES: Final = 256
"""Proposals per picture for the second part, taken evenly from all, sorted by objectness."""

Shown = Callable[[Sequence[Path]], Iterator[Path]]
"""Iterates over the pictures and shows progress."""


def quantize(graph: Any, model: FasterRCNN, pictures: Sequence[Path], shown: Shown = iter) -> Any:
    """Return the graph with both parts quantised to 8-bit integers, in the same format.

    Args:
        graph: an ``onnx.ModelProto`` or ``openvino.Model`` of ``model``.
        model: float32, on CPU.
        pictures: typical pictures for the detector; 100 or more.
        shown: a progress bar.

    Raises:
        MissingPackageError: no nncf.
        PictureError: one cannot be read.
    """
    nncf = import_extra("nncf")
    data = nncf.Dataset(
        _Pictures(pictures, shown), lambda path: inputs_of(model, read_sample(path))
    )
    advanced = import_extra("nncf.quantization.advanced_parameters")
    with _quiet():
        return nncf.quantize(
            graph,
            data,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(pictures),
            ignored_scope=nncf.IgnoredScope(patterns=list(FLOAT_LAYERS), validate=False),
            # Processors without VNNI add pairs of products in 16 bits, which overflow with 8-bit
            # weights, so heads are lost. Halving the weights' range costs others almost nothing.
            advanced_parameters=advanced.AdvancedQuantizationParameters(
                overflow_fix=advanced.OverflowFix.ENABLE
            ),
        )


class _Pictures:
    """The calibration pictures; nncf iterates over them more than once."""

    def __init__(self, paths: Sequence[Path], shown: Shown) -> None:
        self._paths, self._shown = paths, shown

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._shown(self._paths))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress nncf's own progress bars, and its log below errors."""
    log = logging.getLogger("nncf")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)


def read_sample(path: Path) -> Tensor:
    """Return a picture as ``(3, H, W)`` uint8.

    Raises:
        PictureError: it cannot be read.
    """
    return torch.from_numpy(read_picture(path)).permute(2, 0, 1)


@torch.inference_mode()
def inputs_of(model: FasterRCNN, image: Tensor) -> dict[str, npt.NDArray[np.float32]]:
    """Return the graph inputs of both parts for a picture, by name.

    Args:
        model: float32, on CPU; it finds the proposals.
        image: ``(3, H, W)``.
    """
    batch, _ = model.transform([image])
    maps = model.network.dense(batch.tensors)
    height, width = batch.tensors.shape[2:]
    boxes = model.decoder.propose(maps, (height, width), batch.image_sizes).boxes
    step = max(1, -(-boxes.shape[1] // MOST_BOXES))
    pooled = model.decoder.pool(maps.features, boxes[:, ::step], None)
    if not len(pooled):  # no library can calibrate with an empty input
        pooled = pooled.new_zeros((1, *pooled.shape[1:]))
    return {
        DENSE: batch.tensors.numpy(),
        SCORE: pooled.permute(0, 2, 3, 1).contiguous().numpy(),
    }
