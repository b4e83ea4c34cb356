"""From a weights file to the engine that runs it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch import nn

from head_detection.config import ModelConfig, override_model
from head_detection.errors import ConfigError, EngineError
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.graph_shapes import input_shapes, output_shapes
from head_detection.inference.backends.onnx import OnnxRuntime
from head_detection.inference.backends.onnx_files import read_onnx
from head_detection.inference.backends.openvino import OpenVinoRuntime
from head_detection.inference.backends.openvino_files import from_onnx, read_openvino
from head_detection.inference.backends.torch import TorchRuntime
from head_detection.inference.engines import Engine, Runtime, TwoStageEngine
from head_detection.inference.extras import import_extra
from head_detection.models.faster_rcnn import FasterRCNN, load_detector
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
        device: as the runtime takes it.
        precision: as the runtime takes it.
        score_threshold: None is the file's own.
        overrides: ``model.key=value``, as ``load_detector`` takes them.
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
        model, runtime, description = _open_exported(path, engine, device, precision, overrides)
    else:
        model, description = load_detector(path, overrides)
        model, runtime = _run(
            model, description.model, engine, device, precision, compile_network=compile_network
        )
    threshold = description.score_threshold if score_threshold is None else score_threshold
    built = TwoStageEngine(model, runtime, score_threshold=threshold)
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
    config: ModelConfig,
    engine: str,
    device: str,
    precision: str,
    *,
    compile_network: bool,
) -> tuple[FasterRCNN, Runtime]:
    if engine == "torch":
        options = {"device": device, "precision": precision}
        return model, TorchRuntime(model, **options, compile_network=compile_network)
    runtime = _graph_runtime(to_onnx(model), engine, device, precision)
    return frame_of(config), runtime


def _open_exported(
    path: Path, engine: str, device: str, precision: str, overrides: Sequence[str]
) -> tuple[FasterRCNN, Runtime, WeightsDescription]:
    read = read_onnx if path.suffix == ".onnx" else read_openvino
    graph, description, record = read(path)
    is_int8 = record.precision == "int8"
    runtime = _graph_runtime(graph, engine, device, precision, is_int8=is_int8)
    config = override_model(description.model, overrides)
    if _fixed_by_export(config) != _fixed_by_export(description.model):
        raise ConfigError(
            f"--set: expected what may change after an export; {', '.join(overrides)} changes the "
            f"network in {path.name}: use the .safetensors file"
        )
    return frame_of(config), runtime, description


def _fixed_by_export(config: ModelConfig) -> tuple[object, ...]:
    """Return what a graph was built for; its padding goes by the sides of a batch."""
    network = config.backbone, config.upscale, config.roi.box_head_width
    return *network, input_shapes(config), output_shapes(config), config.resize.size_divisor


def _graph_runtime(
    graph: Any, engine: str, device: str, precision: str, *, is_int8: bool = False
) -> Runtime:
    if engine == "onnx":
        return OnnxRuntime(graph, device=device, precision=precision, is_int8=is_int8)
    is_onnx = hasattr(graph, "graph")
    return OpenVinoRuntime(
        from_onnx(graph) if is_onnx else graph,
        device=device,
        precision=precision,
        is_int8=is_int8,
    )


def frame_of(config: ModelConfig) -> FasterRCNN:
    """Return a detector without its network: resize, anchors, proposals, pooling, NMS.

    A runtime gives it the rest. The layers that it does not use are made as small as can be.
    """
    unused = config.roi.model_copy(update={"box_head_width": 1})
    frame = FasterRCNN(_Pyramid(config), config.model_copy(update={"roi": unused}))  # type: ignore[arg-type]
    frame.eval()
    return frame


class _Pyramid(nn.Module):
    """Stands where a backbone would, and tells what one tells."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.strides, self.out_channels = config.backbone.strides, config.backbone.fpn_width
