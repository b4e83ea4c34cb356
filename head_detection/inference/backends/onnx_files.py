"""ONNX files that describe themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from head_detection.errors import WeightsError
from head_detection.files import write_bytes
from head_detection.inference.backends.graph_shapes import (
    RECORD_KEY,
    ExportRecord,
    Shape,
    check_graph,
    parse_texts,
    part_outputs,
)
from head_detection.inference.extras import import_extra
from head_detection.models.weights import METADATA_KEY, WeightsDescription, check_file


def write_onnx(
    path: Path, graph: Any, description: WeightsDescription, record: ExportRecord
) -> None:
    """Write the graph with what it says of itself, atomically."""
    texts = {
        METADATA_KEY: description.model_dump_json(),
        RECORD_KEY: record.model_dump_json(),
    }
    described = type(graph)()
    described.CopyFrom(graph)
    import_extra("onnx").helper.set_model_props(described, texts)
    write_bytes(path, described.SerializeToString())


def read_onnx(path: Path) -> tuple[Any, WeightsDescription, ExportRecord]:
    """Return the ``onnx.ModelProto``, what it describes, and how it was made.

    Raises:
        WeightsError: no such file, a truncated one, one of other origin, one whose values are in
            other files, or a graph that is not that of its description. One line.
    """
    check_file(path)
    onnx = import_extra("onnx")
    try:
        graph = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError, whose place differs by its release
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


def cut(graph: Any, part: str) -> Any:
    """Return the graph of one part alone, named by its input."""
    onnx = import_extra("onnx")
    outputs = part_outputs([value.name for value in graph.graph.output], part)
    return onnx.utils.Extractor(graph).extract_model([part], outputs)


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
