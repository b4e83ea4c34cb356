"""Graphs whose products are of 8-bit integers, with ranges seen on pictures."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from head_detection.inference.backends.samples import inputs_of, read_sample
from head_detection.inference.extras import import_extra
from head_detection.models.faster_rcnn import FasterRCNN

LAST_LAYERS: Final = (r".*/head/(cls_logits|bbox_pred).*", r".*/box_predictor/.*")
"""Small, and what they say is not weighed by any layer after them: they stay float."""

Shown = Callable[[Sequence[Path]], Iterator[Path]]
"""Goes through the pictures and shows how far it is."""


class _Pictures:
    """The calibration pictures; nncf goes through them more than once."""

    def __init__(self, paths: Sequence[Path], shown: Shown) -> None:
        self._paths, self._shown = paths, shown

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._shown(self._paths))


def quantize(graph: Any, model: FasterRCNN, pictures: Sequence[Path], shown: Shown = iter) -> Any:
    """Return the graph with 8-bit integers in both parts, the kind of graph that came.

    Args:
        graph: an ``onnx.ModelProto`` or ``openvino.Model`` of ``model``.
        model: float32, on CPU.
        pictures: such as the detector will see; 100 or more.
        shown: a progress bar.

    Raises:
        MissingPackageError: no nncf.
        PictureError: one cannot be read.
    """
    nncf = import_extra("nncf")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    data = nncf.Dataset(
        _Pictures(pictures, shown), lambda path: inputs_of(model, read_sample(path))
    )
    advanced = import_extra("nncf.quantization.advanced_parameters")
    with contextlib.redirect_stdout(io.StringIO()):  # its own progress bars
        return nncf.quantize(
            graph,
            data,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(pictures),
            ignored_scope=nncf.IgnoredScope(patterns=list(LAST_LAYERS), validate=False),
            # Processors without VNNI add pairs of products in 16 bits, which 8-bit weights
            # overflow, and heads are lost. Half the weights' range costs others next to nothing.
            advanced_parameters=advanced.AdvancedQuantizationParameters(
                overflow_fix=advanced.OverflowFix.ENABLE
            ),
        )
