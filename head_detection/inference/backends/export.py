"""Exporting a PyTorch network to an ONNX graph of its two parts."""

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from head_detection.config import NetworkConfig
from head_detection.errors import WeightsError
from head_detection.inference.backends.cpu_fusion import (
    fix_same_padding,
    pad_before,
)
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.backends.folding import fold_batch_norm
from head_detection.inference.backends.graph import (
    DENSE,
    SCORE,
    Shape,
    input_shapes,
    one_line,
    output_shapes,
)
from head_detection.models.network import Network
from head_detection.models.roi_heads import reordered

OPSET: Final = 19
"""The first opset with deformable convolution."""
DEFORMABLE: Final = "torchvision::deform_conv2d"
PROBE_SIZE: Final = (128, 192)
"""Network pixels of the traced picture, multiples of 64; the graph takes any size."""
AXES: Final = ("batch", "height", "width")


class ExportedNetwork(nn.Module):
    """A copy of both parts of a network with channels last and batch norm folded."""

    def __init__(self, network: Network, size_divisor: int) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        fold_batch_norm(self.network.backbone)
        fix_same_padding(self.network, pad_before, size_divisor)
        box_head = self.network.roi_heads.box_head
        box_head.fc6 = reordered(box_head.fc6, self.network.backbone.out_channels)

    def forward(self, images: Tensor, pooled: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of ``output_shapes``."""
        maps = self.network.dense(images)
        logits, deltas = self.network.score(pooled)
        return (*(level.permute(0, 2, 3, 1) for kind in maps for level in kind), logits, deltas)


def to_onnx(network: Network, config: NetworkConfig) -> Any:
    """Return an ``onnx.ModelProto`` with both parts of the network, float32.

    It uses PyTorch's older exporter. The newer one gives the same graph but takes minutes instead
    of seconds, which is too long for a conversion at start.

    Args:
        network: on CPU; it is not changed.
        config: the network's config.

    Raises:
        MissingPackageError: no onnx.
        WeightsError: the network has an operation that ONNX cannot express. One line.
    """
    onnx = import_extra("onnx")
    inputs, outputs = input_shapes(config), output_shapes(config)
    exported = ExportedNetwork(network, config.size_divisor)
    content: Any = io.BytesIO()  # accepted, although the annotation omits it
    examples = torch.zeros(2, 3, *PROBE_SIZE), torch.zeros(3, *inputs[SCORE][1:])  # type: ignore[arg-type]
    try:
        with _exporter(), torch.no_grad():
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
        reason = one_line(error)
        raise WeightsError(
            f"{config.backbone.name}: this network cannot be exported, use engine torch: {reason}"
        ) from error
    graph = onnx.load_model_from_string(content.getvalue())
    drop_idle_casts(graph)
    name_axes(graph, outputs)
    return graph


@contextmanager
def _exporter() -> Iterator[None]:
    """Let the exporter translate deformable convolution, without its log and warnings."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    torch.onnx.register_custom_op_symbolic(  # type: ignore[attr-defined] # documented, not listed
        DEFORMABLE, _deform_conv2d, OPSET
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's deprecation, and tracing
            yield
    finally:
        torch.onnx.unregister_custom_op_symbolic(DEFORMABLE, OPSET)  # type: ignore[attr-defined]
        log.setLevel(level)


def _deform_conv2d(
    graph: Any, values: Any, weight: Any, offset: Any, mask: Any, bias: Any, *options: Any
) -> Any:
    """Return ONNX's operator for torchvision's, which PyTorch's exporter cannot translate."""
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


def drop_idle_casts(model: Any) -> int:
    """Remove casts from float32 to float32; before an output, nncf cannot remove them itself.

    Args:
        model: an ``onnx.ModelProto``; changed in place.

    Returns:
        Number of removed casts.
    """
    onnx = import_extra("onnx")
    graph, float32 = model.graph, onnx.TensorProto.FLOAT
    known = onnx.shape_inference.infer_shapes(model).graph
    floats = {v.name for v in known.value_info if v.type.tensor_type.elem_type == float32}
    outputs = {output.name for output in graph.output}
    made_by = {name: node for node in graph.node for name in node.output}
    idle = [
        node
        for node in graph.node
        if node.op_type == "Cast"
        and onnx.helper.get_node_attr_value(node, "to") == float32
        and node.input[0] in floats
        and node.input[0] in made_by
        and not {node.input[0], node.output[0]} <= outputs
    ]
    for cast in idle:
        before, after = cast.input[0], cast.output[0]
        graph.node.remove(cast)
        if after in outputs:
            names, source = {before: after}, made_by[before]
            source.output[:] = [names.get(name, name) for name in source.output]
            made_by[after] = source
        else:
            names = {after: before}
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
    return len(idle)


def name_axes(model: Any, shapes: Mapping[str, Shape]) -> None:
    """Give each output its known sides, and each dynamic axis its own name.

    PyTorch reuses one name for different axes, and forgets the channels of enlarged maps.

    Args:
        model: an ``onnx.ModelProto``; changed in place.
        shapes: those of ``output_shapes``.
    """
    del model.graph.value_info[:]
    for output in model.graph.output:
        _, _, stride = output.name.rpartition("_")
        dimensions = output.type.tensor_type.shape.dim
        for axis, (dimension, known) in enumerate(
            zip(dimensions, shapes[output.name], strict=True)
        ):
            if known is not None:
                dimension.dim_value = known
                continue
            name = AXES[axis] if stride.isdigit() else "proposals"
            dimension.dim_param = f"{name}_{stride}" if axis else name
