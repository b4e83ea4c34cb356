"""The network as ONNX Runtime runs it."""

from typing import Any, Final

import torch

from head_detection.errors import WeightsError
from head_detection.inference.backends.graph import (
    Array,
    GraphRuntime,
    Part,
    check_device,
    check_precision,
)
from head_detection.inference.backends.graph_shapes import DENSE, SCORE
from head_detection.inference.backends.onnx_files import cut
from head_detection.inference.extras import import_extra

PRECISIONS: Final = ("auto", "fp32")
QUIET: Final = 3
"""onnxruntime's level for errors alone: its warnings are of graphs, for those who make them."""


class OnnxRuntime(GraphRuntime):
    """An exported network in ONNX Runtime, on the CPU.

    Args:
        graph: an ``onnx.ModelProto`` that holds both parts.
        device: auto or cpu.
        precision: auto or fp32; auto is int8 where the graph is.
        is_int8: whether it is.

    Raises:
        DeviceError: another device or precision.
        MissingPackageError: no onnxruntime.
        WeightsError: a graph that ONNX Runtime cannot run. One line.
    """

    name = "onnx"

    def __init__(
        self, graph: Any, *, device: str = "auto", precision: str = "auto", is_int8: bool = False
    ) -> None:
        check_device(self.name, device)
        check_precision(self.name, precision, PRECISIONS, is_int8=is_int8)
        import_extra("onnxruntime")
        try:
            dense, score = (_open(cut(graph, part)) for part in (DENSE, SCORE))
        except Exception as error:  # the library's errors have no class in common
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"ONNX Runtime cannot run this graph: {reason}") from error
        super().__init__(dense, score, "int8" if is_int8 else "fp32")


def _open(graph: Any) -> Part:
    onnxruntime = import_extra("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait by spinning take the processor from PyTorch, which runs all in between.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (given,) = (value.name for value in session.get_inputs())
    names = [value.name for value in session.get_outputs()]

    def run(values: Array) -> list[Any]:
        outputs: list[Any] = session.run(names, {given: values})
        return outputs

    return run
