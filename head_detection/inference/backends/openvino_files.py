"""OpenVINO's pairs of ``.xml`` and ``.bin`` that describe themselves."""

import hashlib
import tempfile
from functools import cache
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


@cache
def core() -> Any:
    """Return the one ``openvino.Core`` of this process.

    Each core's CPU plugin gives the thread a stack for signals and, where it goes, gives back the
    one that it found. Several that do not go in the order they came leave a stack that is no more:
    the next Ctrl-C was a segmentation fault.

    Raises:
        MissingPackageError: no openvino.
    """
    return import_extra("openvino").Core()


def from_onnx(graph: Any) -> Any:
    """Return the ``openvino.Model`` of an ``onnx.ModelProto``.

    Raises:
        MissingPackageError: no openvino.
        WeightsError: OpenVINO lacks an operation of it. One line.
    """
    try:
        return core().read_model(graph.SerializeToString(), b"")
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"this network cannot be converted to OpenVINO, use another engine: {reason}"
        ) from error


def write_openvino(
    path: Path, graph: Any, description: WeightsDescription, record: ExportRecord
) -> None:
    """Write ``path`` and the ``.bin`` of the same name, each atomically, the ``.xml`` last.

    The ``.xml`` knows the SHA-256 of its ``.bin``: half of an interrupted export is found out.
    """
    openvino = import_extra("openvino")
    described = graph.clone()
    described.set_rt_info(description.model_dump_json(), METADATA_KEY)
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder, "graph.xml")
        openvino.serialize(described, xml)
        content = xml.with_suffix(".bin").read_bytes()
        record = record.model_copy(update={"bin_sha256": hashlib.sha256(content).hexdigest()})
        described.set_rt_info(record.model_dump_json(), RECORD_KEY)
        openvino.serialize(described, xml)
        write_bytes(path.with_suffix(".bin"), content)
        write_bytes(path, xml.read_bytes())


def read_openvino(path: Path) -> tuple[Any, WeightsDescription, ExportRecord]:
    """Return the ``openvino.Model``, what it describes, and how it was made.

    Raises:
        WeightsError: no such file, no ``.bin`` or one of another ``.xml``, a truncated one, one of
            other origin, or a graph that is not that of its description. One line.
    """
    values = path.with_suffix(".bin")
    check_file(path)
    if not values.is_file():
        raise WeightsError(f"{path}: expected its values beside it in {values.name}; no such file")
    check_file(values)
    content = values.read_bytes()
    try:
        graph = core().read_model(path.read_bytes(), content)
    except (RuntimeError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path}: expected a whole OpenVINO .xml with its .bin, got another or a truncated one"
        ) from error
    keys = [key for key in (METADATA_KEY, RECORD_KEY) if graph.has_rt_info(key)]
    texts = {key: str(graph.get_rt_info(key).astype(str)) for key in keys}
    description, record = parse_texts(path, texts)
    if record.bin_sha256 != hashlib.sha256(content).hexdigest():
        raise WeightsError(f"{path}: {values.name} is truncated or that of another export")
    inputs, outputs = (
        {name: _shape(port) for port in ports for name in port.names}
        for ports in (graph.inputs, graph.outputs)
    )
    check_graph(path, description.network, inputs, outputs)
    return graph, description, record


def cut(graph: Any, part: str) -> Any:
    """Return the graph of one part alone, named by its input."""
    openvino = import_extra("openvino")
    names = [next(iter(port.names)) for port in graph.outputs]
    results = [graph.output(name).node for name in part_outputs(names, part)]
    return openvino.Model(results, [graph.input(part).node], part)


def _shape(port: Any) -> Shape:
    if port.element_type.get_type_name() != "f32":
        return ()
    return [int(str(length)) if length.is_static else None for length in port.partial_shape]
