"""From a weights file to the engine that runs it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from head_detection.config import override_inference
from head_detection.errors import EngineError
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.onnx import OnnxRuntime
from head_detection.inference.backends.onnx_files import read_onnx
from head_detection.inference.backends.openvino import OpenVinoRuntime
from head_detection.inference.backends.openvino_files import from_onnx, read_openvino
from head_detection.inference.backends.torch import TorchRuntime
from head_detection.inference.engine import Backend, Engine, TwoStageEngine
from head_detection.inference.extras import import_extra
from head_detection.models.faster_rcnn import FasterRCNN, assemble, load_detector
from head_detection.models.weights import WeightsDescription, read_description

ENGINES: Final = ("torch", "openvino", "onnx")
EXPORTED: Final = {".onnx": ("onnx", "openvino"), ".xml": ("openvino",)}
"""Engines by the end of a file's name, its own first; all other files are PyTorch's."""
_PACKAGES: Final = {"onnx": "onnxruntime", "openvino": "openvino"}


class BuiltEngine(NamedTuple):
    """An engine and what is known of its weights.

    Attributes:
        engine: ready to run.
        score_threshold: what was asked for, or the file's own.
        origin: what results say of the model.
    """

    engine: Engine
    score_threshold: float
    origin: dict[str, Any]


def build_engine(
    path: Path,
    engine: str | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    score_threshold: float | None = None,
    overrides: Sequence[str] = (),
    compile_network: bool = False,
) -> BuiltEngine:
    """Build what runs a ``.safetensors``, ``.onnx`` or ``.xml`` file.

    Args:
        path: the file.
        engine: of ``ENGINES``; None is the file's own. Other than torch converts a
            ``.safetensors`` file in memory.
        device: as the backend takes it.
        precision: as the backend takes it.
        score_threshold: None is the file's own.
        overrides: ``inference.key=value``, as ``load_detector`` takes them.
        compile_network: let ``torch.compile`` make the network.

    Raises:
        EngineError: no such engine, it does not take the file, or cannot be compiled.
        ConfigError: an override of no field of the model's config.
        MissingPackageError: the engine's package is not installed.
        WeightsError: no such file, another format, or one that does not fit.
        DeviceError: no such device or precision for this engine.
    """
    engine = _choose(path, engine)
    if compile_network and engine != "torch":
        raise EngineError(f"compile: expected engine torch; got {engine}")
    if engine in _PACKAGES:
        import_extra(_PACKAGES[engine])
    if path.suffix in EXPORTED:
        model, backend, description = _open_exported(path, engine, device, precision, overrides)
    else:
        model, description = load_detector(path, overrides)
        model, backend = _run(
            model, description, engine, device, precision, compile_network=compile_network
        )
    threshold = (
        description.inference.score_threshold if score_threshold is None else score_threshold
    )
    built = TwoStageEngine(model, backend, score_threshold=threshold)
    origin = {
        "weights": path.name,
        "sha256": sha256_of(path),
        "backbone": description.network.backbone.name,
        "engine": built.name,
        "precision": built.precision,
        "set": list(overrides),
    }
    return BuiltEngine(built, threshold, origin)


def describe_weights(path: Path) -> WeightsDescription:
    """Read what a file of any engine says of itself.

    Raises:
        WeightsError: as ``build_engine``.
        MissingPackageError: as ``build_engine``.
    """
    if path.suffix == ".onnx":
        return read_onnx(path)[1]
    return read_openvino(path)[1] if path.suffix == ".xml" else read_description(path)


def sha256_of(path: Path) -> str:
    """Return the digest of the file, of an ``.xml`` with its ``.bin`` that of one after the other.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "empty")
        ...     file.touch()
        ...     sha256_of(file)[:8]
        'e3b0c442'
    """
    digest = hashlib.sha256(path.read_bytes())
    if path.suffix == ".xml":
        digest.update(path.with_suffix(".bin").read_bytes())
    return digest.hexdigest()


def _choose(path: Path, engine: str | None) -> str:
    takers = EXPORTED.get(path.suffix, ENGINES)
    engine = takers[0] if engine is None else engine
    if engine not in ENGINES:
        raise EngineError(f"engine: expected {', '.join(ENGINES)}; got {engine!r}")
    if engine not in takers:
        raise EngineError(
            f"engine: {path.name} runs with {' or '.join(takers)}; got {engine}: give it the "
            ".safetensors file"
        )
    return engine


def _run(
    model: FasterRCNN,
    description: WeightsDescription,
    engine: str,
    device: str,
    precision: str,
    *,
    compile_network: bool,
) -> tuple[FasterRCNN, Backend]:
    network, config = model.network, description.network
    if engine == "torch":
        return model, TorchRuntime(
            network,
            config.size_divisor,
            device=device,
            precision=precision,
            compile_network=compile_network,
        )
    return model, _graph_backend(to_onnx(network, config), engine, device, precision)


def _open_exported(
    path: Path, engine: str, device: str, precision: str, overrides: Sequence[str]
) -> tuple[FasterRCNN, Backend, WeightsDescription]:
    read = read_onnx if path.suffix == ".onnx" else read_openvino
    graph, description, record = read(path)
    is_int8 = record.precision == "int8"
    backend = _graph_backend(graph, engine, device, precision, is_int8=is_int8)
    inference = override_inference(description.inference, overrides)
    description = description.model_copy(update={"inference": inference})
    return assemble(backend, description.network, inference), backend, description


def _graph_backend(
    graph: Any, engine: str, device: str, precision: str, *, is_int8: bool = False
) -> Backend:
    if engine == "onnx":
        return OnnxRuntime(graph, device=device, precision=precision, is_int8=is_int8)
    is_onnx = hasattr(graph, "graph")
    return OpenVinoRuntime(
        from_onnx(graph) if is_onnx else graph,
        device=device,
        precision=precision,
        is_int8=is_int8,
    )
