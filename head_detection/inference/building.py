"""From a weights file to the engine that runs it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from head_detection.config import InferenceConfig, NetworkConfig, override_inference
from head_detection.errors import EngineError, WeightsError
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.backends.graph import ExportRecord
from head_detection.inference.backends.onnx import OnnxBackend, read_onnx
from head_detection.inference.backends.openvino import OpenVinoBackend, from_onnx, read_openvino
from head_detection.inference.backends.torch import TorchBackend
from head_detection.inference.engine import Backend, Engine, TwoStageEngine
from head_detection.inference.engine_times import fastest, read_times
from head_detection.inference.isolation import check_cuda, isolated
from head_detection.inference.tiling import TiledEngine
from head_detection.inference.weights_files import (
    AUTO,
    EXPORTED,
    INT8,
    choose_engine,
    int8_command,
    int8_path,
    sha256_of,
)
from head_detection.models.faster_rcnn import FasterRCNN, assemble, load_detector
from head_detection.models.network import Network
from head_detection.models.weights import (
    WeightsDescription,
    digest_described,
    read_description,
    tensors_path,
)

PROBE_SIZE: Final = 128
"""Side of the picture for the test run: at least one pixel on the coarsest level (stride 64)."""
COMPILED: Final = ("torch", "openvino")
"""Engines that can compile the network for each size of picture."""
_PACKAGES: Final = {"onnx": "onnxruntime", "openvino": "openvino"}
_READERS: Final[dict[str, Callable[[Path], tuple[Any, WeightsDescription, ExportRecord]]]] = {
    ".onnx": read_onnx,
    ".xml": read_openvino,
}


class BuiltEngine(NamedTuple):
    """An engine with the thresholds and the origin of its weights.

    Attributes:
        engine: ready to run; returns heads down to ``lowest_score``.
        score_threshold: the requested one, or the file's own.
        origin: description of the model for result files.
        lowest_score: lowest score of the heads found, at most the score threshold.
        tiled: detects again in pictures whose heads are too small for the engine; None: never.
    """

    engine: Engine
    score_threshold: float
    origin: dict[str, Any]
    lowest_score: float
    tiled: TiledEngine | None


@isolated
@torch.random.fork_rng(devices=[])  # layers draw random values before the file's replace them
def build_engine(
    path: Path,
    engine: str | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    score_threshold: float | None = None,
    lowest_score: float | None = None,
    overrides: Sequence[str] = (),
    compile_network: bool | None = False,
) -> BuiltEngine:
    """Build the engine for a ``.safetensors``, ``.onnx`` or ``.xml`` file, or a preset.

    Args:
        path: the file.
        engine: one of ``ENGINES``; None is the file's own; auto is the fastest that ``benchmark``
            has measured on this processor, or the file's own if nothing was measured. Engines
            other than torch convert a ``.safetensors`` file in memory.
        device: as the backend takes it.
        precision: as the backend takes it; int8 for a ``.safetensors`` file or a preset uses the
            export beside it.
        score_threshold: None is the file's own.
        lowest_score: also find heads down to this score, for callers that request them.
        overrides: ``inference.key=value``.
        compile_network: compile the network for each size with ``torch.compile`` or OpenVINO.
            None: only with OpenVINO, if possible, because it takes less than a second.

    Raises:
        EngineError: no such engine, it does not take the file, or it cannot compile.
        ConfigError: an override of a field that the inference config does not have.
        MissingPackageError: the engine's package is not installed.
        WeightsError: no such file, another format, or one that does not fit.
        DeviceError: no such device or precision for this engine.
        ForkError: CUDA requested in a process forked from one that had used it.
    """
    source, description, engine, precision, is_int8, export = _read_for(
        path, engine, device, precision, compile_network=bool(compile_network)
    )
    network, inference = description.network, override_inference(description.inference, overrides)
    threshold, lowest = _thresholds(inference, score_threshold, lowest_score)
    backend = _backend_of(
        source,
        network,
        engine,
        device=device,
        precision=precision,
        is_int8=is_int8,
        compile_network=compile_network,
    )
    if not (compile_network and engine == "torch"):  # half a minute for each size of picture
        _check_answers(path, backend, network)
    built, tiled = _build_engines(
        assemble(backend, network, _down_to(lowest, inference)), inference
    )
    origin = {
        "weights": path.name,
        "sha256": sha256_of(path),
        **({} if export is None else {"export": export.name, "export_sha256": sha256_of(export)}),
        "backbone": network.backbone.name,
        "engine": built.name,
        "precision": built.precision,
        "set": list(overrides),
    }
    return BuiltEngine(built, threshold, origin, lowest, tiled)


class _Source(NamedTuple):
    """The source of a backend: a network or a graph, and how to run it.

    ``export`` is the file of the graph if it is not the file that the user named.
    """

    network: Any
    description: WeightsDescription
    engine: str
    precision: str
    is_int8: bool
    export: Path | None


def _read_for(
    path: Path, engine: str | None, device: str, precision: str, *, compile_network: bool
) -> _Source:
    """Read the file, or its int8 export, and choose engine and precision."""
    export = None
    if precision == INT8 and path.suffix.lower() not in EXPORTED:
        export, engine = int8_path(tensors_path(path), engine), "openvino"
    if engine == AUTO:
        engine, precision = _measured(path, device, precision, compile_network=compile_network)
    engine = choose_engine(export or path, engine)
    _check_is_here(engine, device, compile_network=compile_network)
    network, description, is_int8 = _read(path) if export is None else _read_int8(path, export)
    is_its_own = is_int8 and precision == INT8
    precision = "auto" if is_its_own else precision
    return _Source(network, description, engine, precision, is_int8, export)


def _measured(
    path: Path, device: str, precision: str, *, compile_network: bool
) -> tuple[str | None, str]:
    """Return the fastest engine and precision on this processor; None is the file's own engine."""
    is_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if choose_engine(path, None) != "torch" or compile_network or not is_cpu:
        return None, precision
    network = describe_weights(path).network.model_dump_json()
    found = fastest(read_times(network, torch.get_num_threads()), precision)
    return (None, precision) if found is None else (found.engine, found.precision)


def _check_is_here(engine: str, device: str, *, compile_network: bool) -> None:
    """Check device, compiling and packages before a file is read."""
    check_cuda(device)
    if compile_network and engine not in COMPILED:
        raise EngineError(f"compile: expected engine {' or '.join(COMPILED)}; got {engine}")
    if engine in _PACKAGES:
        import_extra(_PACKAGES[engine])


def _build_engines(
    model: FasterRCNN[Backend], inference: InferenceConfig
) -> tuple[Engine, TiledEngine | None]:
    """Return the engine, and the tiled one that detects again if tiling is automatic."""
    whole = TwoStageEngine(model)
    if inference.tile == 0:
        return whole, None
    # The automatic tile is the largest square that the first view does not scale down.
    resize = inference.resize
    largest = max(1, round(min(resize.min_size, resize.max_size) * resize.enlargement))
    tile = largest if inference.tile is None else inference.tile
    iou_threshold = inference.suppression.nms_iou_threshold
    tiled = TiledEngine(whole, tile, inference.tile_overlap, iou_threshold)
    return (whole, tiled) if inference.tile is None else (tiled, None)


def describe_weights(path: Path) -> WeightsDescription:
    """Read the description in a weights file of any engine.

    Raises:
        WeightsError: as ``build_engine``.
        MissingPackageError: as ``build_engine``.
    """
    read = _READERS.get(path.suffix.lower())
    return read_description(path) if read is None else read(path)[1]


def _read(path: Path) -> tuple[Any, WeightsDescription, bool]:
    """Return a file's network or exported graph, its description, and whether it is int8."""
    read = _READERS.get(path.suffix.lower())
    if read is None:
        model, description = load_detector(path)
        return model.network, description, False
    graph, description, record = read(path)
    return graph, description, record.precision == "int8"


def _read_int8(path: Path, export: Path) -> tuple[Any, WeightsDescription, bool]:
    """Return the graph of an 8-bit export, and the description of the weights or preset.

    Raises:
        WeightsError: the export is of other weights. One line.
    """
    graph, exported, record = read_openvino(export)
    weights = tensors_path(path)
    # Storing a threshold changes the file but not its tensors, so the graph still fits.
    is_of_it = record.from_sha256 == sha256_of(weights) or (
        record.from_sha256 == digest_described(weights, exported)
    )
    if record.precision != INT8 or not is_of_it:
        raise WeightsError(
            f"{export}: expected the {INT8} export of {weights.name} beside it; it is of other "
            f"weights or precision: `{int8_command(weights, export)}`"
        )
    return graph, read_description(path), True


@torch.inference_mode()
def _check_answers(path: Path, backend: Backend, network: NetworkConfig) -> None:
    """Raise WeightsError, one line, if the network's outputs for noise are not finite.

    Such a network would silently find no head in any picture.
    """
    side, pooled = network.size_divisor * -(-PROBE_SIZE // network.size_divisor), network.box_head
    noise = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, side, side), generator=noise).to(backend.device, backend.dtype)
    shape = (1, network.backbone.fpn_width, pooled.pool_size, pooled.pool_size)
    features = torch.rand(shape, generator=noise).to(backend.device)
    maps = backend.dense(image.to(memory_format=torch.channels_last))
    outputs = [*maps.objectness, *maps.deltas, *maps.features, *backend.score(features)]
    if not all(bool(output.isfinite().all()) for output in outputs):
        raise WeightsError(
            f"{path}: expected a network that answers with numbers; in {backend.precision} it "
            "answers noise with NaN or infinity: use other weights, or precision fp32"
        )


def _thresholds(
    inference: InferenceConfig, score_threshold: float | None, lowest_score: float | None
) -> tuple[float, float]:
    """Return the score threshold, and the lowest score that the engine must return heads for."""
    threshold = inference.score_threshold if score_threshold is None else score_threshold
    lowest = min(threshold, inference.suppression.score_threshold)
    return threshold, lowest if lowest_score is None else min(lowest_score, lowest)


def _down_to(score_threshold: float, inference: InferenceConfig) -> InferenceConfig:
    """Return a config whose detector also finds heads of this score.

    A threshold lower than the config's own changes the detector's config, a higher one does not,
    because candidates below it still count when views are averaged and when boxes vote.
    """
    suppression = inference.suppression
    if score_threshold >= suppression.score_threshold:
        return inference
    suppression = suppression.model_copy(update={"score_threshold": score_threshold})
    return inference.model_copy(update={"suppression": suppression})


def _backend_of(
    source: Any,
    network: NetworkConfig,
    engine: str,
    *,
    device: str,
    precision: str,
    is_int8: bool,
    compile_network: bool | None,
) -> Backend:
    """Return the backend for a network, or for a graph exported from one."""
    options = {"device": device, "precision": precision}
    if engine == "torch":
        compiles = bool(compile_network)
        return TorchBackend(source, network.size_divisor, compile_network=compiles, **options)
    graph = to_onnx(source, network) if isinstance(source, Network) else source
    if engine == "onnx":
        return OnnxBackend(graph, is_int8=is_int8, **options)
    graph = from_onnx(graph) if hasattr(graph, "graph") else graph  # an ONNX or OpenVINO graph
    return OpenVinoBackend(graph, is_int8=is_int8, compile_network=compile_network, **options)
