"""Running the network in OpenVINO, and its pairs of ``.xml`` and ``.bin`` files."""

import hashlib
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import torch

from head_detection.devices import cpu_multiplies_bf16
from head_detection.errors import DeviceError, WeightsError
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
from head_detection.inference.backends.trial import Trial
from head_detection.models.weights import METADATA_KEY, WeightsDescription, check_file
from head_detection.processor import find_processor

PRECISIONS: Final = ("auto", "fp32", "bf16")
KEPT_SIZES: Final = 8
"""Sizes for which the compiled network is kept: enough for a few cameras with their views."""
_TYPES: Final = {"fp32": "f32", "bf16": "bf16"}
THREADS: Final = "INFERENCE_NUM_THREADS"
KERNELS_KEPT: Final = 300
"""Compiled kernels that a part caches for earlier sizes; OpenVINO's default is 5000. Each new size
of picture compiles 8 MiB of them. Four sizes in turn are as fast as with 5000; 200 is 4 % slower.
"""


class OpenVinoBackend(GraphBackend):
    """An exported network in OpenVINO, on the CPU.

    Args:
        graph: an ``openvino.Model`` that holds both parts.
        device: auto or cpu.
        precision: auto is int8 for an int8 graph, bf16 on a processor that multiplies it, else
            fp32.
        is_int8: whether the graph is int8; its remaining float layers use bf16 or fp32 as above.
        compile_network: compile the dense part for each size of picture, in a third of a second;
            it is then a tenth to a sixth faster. None: only if sizes need no trial run.

    Raises:
        DeviceError: another device or precision, bf16 that OpenVINO cannot multiply here, or
            ``compile_network`` for a graph whose sizes each need a trial run.
        MissingPackageError: no openvino.
        WeightsError: a graph that OpenVINO cannot run. One line.
        EngineError: from ``dense`` and ``score``: an int8 graph that would crash this process.
    """

    name = "openvino"
    takes_channels_last = True

    def __init__(
        self,
        graph: Any,
        *,
        device: str = "auto",
        precision: str = "auto",
        is_int8: bool = False,
        compile_network: bool | None = False,
    ) -> None:
        check_device(self.name, device)
        check_precision(self.name, precision, PRECISIONS, is_int8=is_int8)
        if precision == "auto":
            precision = "bf16" if cpu_multiplies_bf16() else "fp32"
        options, graph = _options(precision), _with_channels_last(graph)
        trial = _trial(graph, options) if is_int8 and find_processor().has_amx else None
        if compile_network and trial is not None:
            raise DeviceError(
                "compile: an int8 graph is not made for single sizes on a processor with AMX, "
                "where each is tried first; leave it out"
            )
        score = _prepare(graph, SCORE, options, trial)
        if compile_network or (compile_network is None and trial is None):
            dense = _compile_sizes(_cut(graph, DENSE), options)
        else:
            dense = _prepare(graph, DENSE, options, trial)
        super().__init__(dense, score, "int8" if is_int8 else precision)
        self.takes_threads = trial is None


def _options(precision: str) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        THREADS: torch.get_num_threads(),
        # Pinned threads would wait for a core that PyTorch or a decoder is using.
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": _TYPES[precision],
        "CPU_RUNTIME_CACHE_CAPACITY": KERNELS_KEPT,
    }


def _with_channels_last(graph: Any) -> Any:
    """Return a graph whose pictures have channels last, as they are in memory, so none is copied.

    OpenVINO computes in this order, too, and would reorder the pixels itself.
    """
    openvino = import_extra("openvino")
    steps = import_extra("openvino.preprocess").PrePostProcessor(graph.clone())
    pictures = steps.input(DENSE)
    pictures.tensor().set_layout(openvino.Layout("NHWC"))
    pictures.model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def _trial(graph: Any, options: Mapping[str, Any]) -> Trial:
    """Return a trial of the graph in another process; its files are deleted with it."""
    openvino = import_extra("openvino")
    folder = tempfile.TemporaryDirectory(prefix="head-detection-trial-")
    xml = Path(folder.name, "graph.xml")
    openvino.serialize(graph.clone(), xml)
    trial = Trial(xml, openvino.get_version(), options)
    weakref.finalize(trial, folder.cleanup)
    return trial


def _prepare(graph: Any, part: str, options: Mapping[str, Any], trial: Trial | None) -> Part:
    """Return a part that can be run; with a trial, each new shape is tried first.

    Raises:
        EngineError: from the returned part, if the trial of a shape crashed.
    """
    if trial is None:
        return _compile_by_threads(_cut(graph, part), options)
    names = part_outputs(_output_names(graph), part)
    compiled: list[Part] = []

    def run(values: Array) -> Sequence[Any]:
        trial.check(part, names, _shape_class(part, values.shape))
        if not compiled:
            compiled.append(_compile(_cut(graph, part), options))
        return compiled[0](values)

    return run


def _shape_class(part: str, shape: Sequence[int]) -> Sequence[int]:
    """Return the shape to try for this one: the number of proposals becomes a power of two.

    Example:
        >>> _shape_class(SCORE, (300, 7, 7, 64)), _shape_class(DENSE, (1, 608, 800, 3))
        ((512, 7, 7, 64), (1, 608, 800, 3))
    """
    return (1 << (shape[0] - 1).bit_length(), *shape[1:]) if part == SCORE else shape


def _compile_by_threads(graph: Any, options: Mapping[str, Any]) -> Part:
    """Return a part that serves as many callers at once as share the threads."""

    def compile_for(num_threads: int) -> Part:
        num_callers = options[THREADS] // num_threads
        if num_callers > 1:
            streams = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": num_callers}
            return _compile(graph, {**options, **streams})
        return _compile(graph, {**options, THREADS: num_threads})

    return by_threads(compile_for)


def _compile(graph: Any, options: Mapping[str, Any]) -> Part:
    try:
        compiled = _core().compile_model(graph, "CPU", options)
    except RuntimeError as error:
        raise WeightsError(f"OpenVINO cannot run this graph: {one_line(error)}") from error
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    wanted = options["INFERENCE_PRECISION_HINT"]
    if used != wanted:
        raise DeviceError(
            f"precision: OpenVINO cannot multiply {wanted} on this processor and would take "
            f"{used}; use auto or fp32"
        )

    tensor_of, num_outputs = import_extra("openvino").Tensor, len(compiled.outputs)

    def run(values: Array) -> list[Any]:
        # A reused request would overwrite its previous outputs, so each call creates one; its
        # memory lives as long as the arrays. Intermediate memory belongs to the compiled graph.
        request = compiled.create_infer_request()
        request.set_input_tensor(tensor_of(values, shared_memory=True))
        request.infer(share_outputs=True)  # otherwise it copies the outputs for its own result
        return [request.get_output_tensor(number).data for number in range(num_outputs)]

    return run


def _compile_sizes(graph: Any, options: Mapping[str, Any]) -> Part:
    """Return a part that is compiled for each new shape; the most recent ones are kept.

    With dynamic sizes, OpenVINO copies each output map twice, and adds maps in separate passes.
    """
    making = threading.Lock()

    @lru_cache(maxsize=KEPT_SIZES)
    def compiled(shape: tuple[int, ...]) -> Part:
        sized = graph.clone()
        sized.reshape(list(shape))
        return _compile_by_threads(sized, options)

    def run(values: Array) -> Sequence[Any]:
        with making:  # several threads may need a new size at the same time
            part = compiled(values.shape)
        return part(values)

    return run


@cache
def _core() -> Any:
    """Return the one ``openvino.Core`` of this process.

    Each core's CPU plugin installs a signal stack in the thread and restores the previous one when
    it is destroyed. If several are not destroyed in reverse order, a freed stack remains, and the
    next Ctrl-C caused a segmentation fault.

    Raises:
        MissingPackageError: no openvino.
    """
    return import_extra("openvino").Core()


def _cut(graph: Any, part: str) -> Any:
    """Return the graph of one part, which is named after its input."""
    openvino = import_extra("openvino")
    results = [graph.output(name).node for name in part_outputs(_output_names(graph), part)]
    return openvino.Model(results, [graph.input(part).node], part)


def _output_names(graph: Any) -> list[str]:
    return [next(iter(port.names)) for port in graph.outputs]


def from_onnx(graph: Any) -> Any:
    """Return the ``openvino.Model`` of an ``onnx.ModelProto``.

    The graph is simplified at once; reading it would leave that to compilation. Until then, each
    bias is broadcast to the shape of the preceding map, and a clamp is two operators. Quantising in
    that state would leave depthwise convolutions and their maps in float.

    Raises:
        MissingPackageError: no openvino.
        WeightsError: OpenVINO lacks an operation of it. One line.
    """
    try:
        model = _core().read_model(graph.SerializeToString(), b"")
    except RuntimeError as error:
        reason = one_line(error)
        raise WeightsError(
            f"this network cannot be converted to OpenVINO, use another engine: {reason}"
        ) from error
    # OpenVINO's own converter does the same, but also takes over the program's logging.
    tidying = import_extra("openvino._offline_transformations")
    tidying.apply_moc_transformations(model, cf=True)
    return model


def write_openvino(
    path: Path, graph: Any, description: WeightsDescription, record: ExportRecord
) -> None:
    """Write ``path`` and the ``.bin`` of the same name, each atomically, the ``.xml`` last.

    The ``.xml`` records the SHA-256 of its ``.bin``, so that an interrupted export is detected.
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
    """Return the ``openvino.Model``, its description and its export record.

    Raises:
        WeightsError: no such file, no ``.bin`` or one of another ``.xml``, a truncated one, one of
            other origin, or a graph that does not match its description. One line.
        MissingPackageError: no openvino.
    """
    values = path.with_suffix(".bin")
    check_file(path)
    if not values.is_file():
        raise WeightsError(f"{path}: expected its values beside it in {values.name}; no such file")
    check_file(values)
    content = values.read_bytes()
    try:
        graph = _core().read_model(path.read_bytes(), content)
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


def _shape(port: Any) -> Shape:
    if port.element_type.get_type_name() != "f32":
        return ()
    return [int(str(length)) if length.is_static else None for length in port.partial_shape]
