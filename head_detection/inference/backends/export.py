"""From a detector in PyTorch to an ONNX graph of the parts that multiply."""

import copy
import io
import logging
import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from head_detection.config import NetworkConfig
from head_detection.errors import WeightsError
from head_detection.inference.backends.folding import fold_batch_norm
from head_detection.inference.backends.graph_shapes import DENSE, SCORE, input_shapes, output_shapes
from head_detection.inference.backends.same_padding import fix_same_padding, pad_before
from head_detection.inference.backends.tidying import drop_idle_casts, name_axes
from head_detection.inference.extras import import_extra
from head_detection.models.network import Network

OPSET = 19
"""The first with deformable convolution."""
PROBE_SIZE = (128, 192)
"""Network pixels of the traced picture, multiples of 64; the graph takes any."""


class ExportedNetwork(nn.Module):
    """Both parts of a network with channels last, batch norm folded; the network stays as it is."""

    def __init__(self, network: Network, size_divisor: int) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        fold_batch_norm(self.network.backbone)
        fix_same_padding(self.network, pad_before, size_divisor)
        first: nn.Linear = self.network.roi_heads.box_head.fc6
        channels = self.network.backbone.out_channels
        side = math.isqrt(first.in_features // channels)
        weight = (
            first.weight.detach()
            .unflatten(1, (channels, side, side))
            .permute(0, 2, 3, 1)
            .flatten(1)
        )
        first.weight = nn.Parameter(weight.contiguous(), requires_grad=False)

    def forward(self, images: Tensor, pooled: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of ``output_shapes``."""
        maps = self.network.dense(images)
        logits, deltas = self.network.score(pooled)
        return (*(level.permute(0, 2, 3, 1) for kind in maps for level in kind), logits, deltas)


def to_onnx(network: Network, config: NetworkConfig) -> Any:
    """Return an ``onnx.ModelProto`` with both parts of the network, float32.

    PyTorch's older exporter makes it: the newer one gives the same graph and takes minutes for it
    where this takes seconds, too long for a conversion at start.

    Args:
        network: on CPU; it is not changed.
        config: that describes it.

    Raises:
        MissingPackageError: no onnx.
        WeightsError: the body does something that ONNX cannot express. One line.
    """
    onnx = import_extra("onnx")
    inputs, outputs = input_shapes(config), output_shapes(config)
    exported = ExportedNetwork(network, config.size_divisor)
    content: Any = io.BytesIO()  # taken, though not by the annotation
    examples = torch.zeros(2, 3, *PROBE_SIZE), torch.zeros(3, *inputs[SCORE][1:])  # type: ignore[arg-type]
    torch.onnx.register_custom_op_symbolic(  # type: ignore[attr-defined] # documented, not listed
        "torchvision::deform_conv2d", _deform_conv2d, OPSET
    )
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter's own age, and of what it traces
            torch.onnx.export(
                exported,
                examples,
                content,
                dynamo=False,
                opset_version=OPSET,
                input_names=[DENSE, SCORE],
                output_names=list(outputs),
                dynamic_axes={
                    DENSE: {0: "batch", 2: "height", 3: "width"},
                    SCORE: {0: "proposals"},
                },
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{config.backbone.name}: this network cannot be exported, use engine torch: {reason}"
        ) from error
    finally:
        exporter_log.setLevel(level)
    graph = onnx.load_model_from_string(content.getvalue())
    drop_idle_casts(graph)
    name_axes(graph)
    return graph


def _deform_conv2d(
    graph: Any, values: Any, weight: Any, offset: Any, mask: Any, bias: Any, *options: Any
) -> Any:
    """Return ONNX's operator for torchvision's, which has no translation in PyTorch."""
    numbers = [option.node().t("value").item() for option in options]
    stride, padding, dilation = numbers[0:2], numbers[2:4], numbers[4:6]
    return graph.op(
        "DeformConv",
        values,
        weight,
        offset,
        bias,
        mask,
        strides_i=stride,
        pads_i=[*padding, *padding],
        dilations_i=dilation,
        group_i=numbers[6],
        offset_group_i=numbers[7],
    )
