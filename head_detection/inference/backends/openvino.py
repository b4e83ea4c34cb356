"""The network as OpenVINO runs it."""

from typing import Any, Final

import torch

from head_detection.devices import cpu_multiplies_bf16
from head_detection.errors import DeviceError, WeightsError
from head_detection.inference.backends.graph import (
    Array,
    GraphRuntime,
    Part,
    check_device,
    check_precision,
)
from head_detection.inference.backends.graph_shapes import DENSE, SCORE
from head_detection.inference.backends.openvino_files import core, cut

PRECISIONS: Final = ("auto", "fp32", "bf16")
_TYPES: Final = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoRuntime(GraphRuntime):
    """An exported network in OpenVINO, on the CPU.

    Args:
        graph: an ``openvino.Model`` that holds both parts.
        device: auto or cpu.
        precision: auto is int8 where the graph is, bf16 on a processor that multiplies it, else
            fp32.
        is_int8: whether the graph is int8; what of it stays float is then in auto's other choice.

    Raises:
        DeviceError: another device or precision, or bf16 where OpenVINO cannot multiply it.
        MissingPackageError: no openvino.
        WeightsError: a graph that OpenVINO cannot run. One line.
    """

    name = "openvino"

    def __init__(
        self, graph: Any, *, device: str = "auto", precision: str = "auto", is_int8: bool = False
    ) -> None:
        check_device(self.name, device)
        check_precision(self.name, precision, PRECISIONS, is_int8=is_int8)
        if precision == "auto":
            precision = "bf16" if cpu_multiplies_bf16() else "fp32"
        dense, score = (_compile(cut(graph, part), precision) for part in (DENSE, SCORE))
        super().__init__(dense, score, "int8" if is_int8 else precision)


def _compile(graph: Any, precision: str) -> Part:
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # Pinned threads would wait for the very core that PyTorch or a decoder works on.
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": _TYPES[precision],
    }
    try:
        compiled = core().compile_model(graph, "CPU", options)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"OpenVINO cannot run this graph: {reason}") from error
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != _TYPES[precision]:
        raise DeviceError(
            f"precision: OpenVINO cannot multiply {precision} on this processor and would take "
            f"{used}; use auto or fp32"
        )

    def run(values: Array) -> list[Any]:
        # A request writes its next outputs where its last ones are: each call has its own, whose
        # memory lives as long as the arrays. What it computes in between belongs to the graph.
        request = compiled.create_infer_request()
        request.infer([values], share_inputs=True)
        return [request.get_output_tensor(place).data for place in range(len(compiled.outputs))]

    return run
