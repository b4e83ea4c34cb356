"""Running the network in ONNX Runtime, and ONNX files with a description of the network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from head_detection.errors import WeightsError
from head_detection.files import write_bytes
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.backends.graph import (
    DENSE,
    RECORD_KEY,
    SCORE,
    Array,
    ExportRecord,
    GraphBackend,
    Part,
    Shape,
    by_threads,
    check_device,
    check_graph,
    check_precision,
    one_line,
    parse_texts,
    part_outputs,
)
from head_detection.models.weights import METADATA_KEY, WeightsDescription, check_file

PRECISIONS: Final = ("auto", "fp32")
QUIET: Final = 3
"""onnxruntime's log level for errors only; its warnings about graphs do not help users."""


class OnnxBackend(GraphBackend):
    """An exported network in ONNX Runtime, on the CPU.

    Args:
        graph: an ``onnx.ModelProto`` that holds both parts.
        device: auto or cpu.
        precision: auto or fp32; auto is int8 for an int8 graph.
        is_int8: whether the graph is int8.

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
            dense, score = (_open(_cut(graph, part)) for part in (DENSE, SCORE))
        except Exception as error:  # the library's errors have no common base class
            raise WeightsError(f"ONNX Runtime cannot run this graph: {one_line(error)}") from error
        super().__init__(dense, score, "int8" if is_int8 else "fp32")


def _open(graph: Any) -> Part:
    content = graph.SerializeToString()
    return by_threads(lambda num_threads: _open_for(content, num_threads))


def _open_for(content: bytes, num_threads: int) -> Part:
    onnxruntime = import_extra("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = num_threads
    # Threads that spin while waiting slow down PyTorch, which runs everything between the parts.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (given,) = (value.name for value in session.get_inputs())
    names = [value.name for value in session.get_outputs()]

    def run(values: Array) -> list[Any]:
        outputs: list[Any] = session.run(names, {given: values})
        return outputs

    return run


def _cut(graph: Any, part: str) -> Any:
    """Return the graph of one part, which is named after its input."""
    onnx = import_extra("onnx")
    outputs = part_outputs([value.name for value in graph.graph.output], part)
    return onnx.utils.Extractor(graph).extract_model([part], outputs)


def write_onnx(
    path: Path, graph: Any, description: WeightsDescription, record: ExportRecord
) -> None:
    """Write the graph with its description and export record, atomically."""
    texts = {
        METADATA_KEY: description.model_dump_json(),
        RECORD_KEY: record.model_dump_json(),
    }
    described = type(graph)()
    described.CopyFrom(graph)
    import_extra("onnx").helper.set_model_props(described, texts)
    write_bytes(path, described.SerializeToString())


def read_onnx(path: Path) -> tuple[Any, WeightsDescription, ExportRecord]:
    """Return the ``onnx.ModelProto``, its description and its export record.

    Raises:
        WeightsError: no such file, a truncated one, one of other origin, one whose values are in
            other files, or a graph that does not match its description. One line.
        MissingPackageError: no onnx.
    """
    check_file(path)
    onnx = import_extra("onnx")
    try:
        graph = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError, whose module depends on the release
        raise WeightsError(
            f"{path}: expected a whole .onnx file, got another or a truncated one"
        ) from error
    texts = {entry.key: entry.value for entry in graph.metadata_props}
    description, record = parse_texts(path, texts)
    if any(_is_outside(onnx, tensor) for tensor in _tensors(graph)):
        raise WeightsError(
            f"{path}: expected all values inside; this file names others (external data)"
        )
    inputs, outputs = (
        {value.name: _shape(onnx, value) for value in values}
        for values in (graph.graph.input, graph.graph.output)
    )
    check_graph(path, description.network, inputs, outputs)
    return graph, description, record


def _tensors(model: Any) -> Iterator[Any]:
    """Yield each tensor of the graph, of the graphs inside its nodes, and of functions."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        for graph in graphs:
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
        attributes = [attribute for node in nodes for attribute in node.attribute]
        graphs, nodes = [], []
        for attribute in attributes:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            inner = (attribute.g, *attribute.graphs)
            graphs += [graph for graph in inner if graph.node or graph.initializer]


def _is_outside(onnx: Any, tensor: Any) -> bool:
    is_external: bool = tensor.data_location == onnx.TensorProto.EXTERNAL
    return is_external or bool(tensor.external_data)


def _shape(onnx: Any, value: Any) -> Shape:
    kind = value.type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        return ()
    return [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
