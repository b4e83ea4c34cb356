"""The benchmarked detectors: this project's, and torchvision's as the baseline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN as BaselineModel

from head_detection.benchmark.baseline import BASELINE_INFERENCE, BASELINE_MODEL, build_same_network
from head_detection.errors import BenchmarkError
from head_detection.inference.backends.torch import TorchBackend
from head_detection.inference.detector import HeadDetector
from head_detection.inference.engine import TwoStageEngine, with_network
from head_detection.inference.weights_files import shipped_weights
from head_detection.models.faster_rcnn import FasterRCNN, load_detector

BASELINE: Final = "torchvision"
SAME: Final = "same network"
"""Names in tables."""
PYTORCH_SUFFIXES: Final = (".safetensors", ".yaml")
"""Weights and presets run in PyTorch; exported files run in another library."""


@dataclass(frozen=True)
class DetectorSpec:
    """How to build a detector.

    Attributes:
        name: of the weights, in tables.
        weights: a self-describing file.
        engine: torch, openvino or onnx; None for the file's own.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or fp16.
        is_compiled: whether the network is compiled for each picture size.
    """

    name: str
    weights: Path
    engine: str | None
    device: str
    precision: str
    is_compiled: bool = False


@dataclass(frozen=True)
class BenchmarkedDetector:
    """A detector, ready to run.

    Attributes:
        name: in tables; unique.
        description: in words, for readers of the report.
        detect: takes a ``(3, H, W)`` uint8 picture, and returns once the result is in main memory.
        head_detector: None for detectors that are not this project's.
        load_plain: loads the model without an engine, so that its operations can be counted; None
            if PyTorch cannot run it.
        library: that runs it, if it is not a ``HeadDetector``.
    """

    name: str
    description: str
    detect: Callable[[Tensor], object]
    head_detector: HeadDetector | None = None
    load_plain: Callable[[], FasterRCNN] | None = None
    library: str = "torch"

    @property
    def facts(self) -> dict[str, Any]:
        """What the report says about it, as plain values for JSON."""
        engine = None if self.head_detector is None else self.head_detector.engine
        return {
            "name": self.name,
            "description": self.description,
            "model": None if self.head_detector is None else self.head_detector.origin,
            "engine": self.library if engine is None else engine.name,
            "precision": "fp32" if engine is None else engine.precision,
            "device": None if engine is None else engine.device,
        }


def list_specs(
    weights: Sequence[Path] | None,
    engines: Sequence[str | None],
    device: str,
    precision: str,
    *,
    is_compiled: bool = False,
) -> list[DetectorSpec]:
    """Return a spec for each pair of weights and engine; without weights, the included ones.

    Raises:
        BenchmarkError: a file does not exist; checked before anything slow happens.
        WeightsError: the included weights are missing.
    """
    paths = list(weights) if weights else [shipped_weights()]
    for path in paths:
        if not path.exists():
            raise BenchmarkError(f"{path}: expected a weights file; got no such file")
    names = shortest_names(paths)
    return [
        DetectorSpec(name, path, engine, device, precision, is_compiled)
        for name, path in zip(names, paths, strict=True)
        for engine in engines
    ]


def shortest_names(paths: Sequence[Path]) -> list[str]:
    """Return for each path, without suffix, the fewest last parts that distinguish it.

    Example:
        >>> shortest_names([Path("runs/a/best.safetensors"), Path("runs/b/best.safetensors")])
        ['a/best', 'b/best']
    """
    stems = [(path.parent / path.stem).parts for path in paths]
    names = []
    for stem in stems:
        others = [other for other in stems if other != stem]
        tails = (stem[-depth:] for depth in range(1, len(stem)))
        tail = next((tail for tail in tails if not _ends_any(others, tail)), stem)
        names.append(Path(*tail).as_posix())
    return names


def _ends_any(stems: Sequence[tuple[str, ...]], tail: tuple[str, ...]) -> bool:
    return any(stem[-len(tail) :] == tail for stem in stems)


def prepare_detector(spec: DetectorSpec) -> BenchmarkedDetector:
    """Build a detector of this project.

    Raises:
        WeightsError: the file does not hold weights.
        DeviceError: this machine lacks the device or precision.
    """
    detector = HeadDetector.from_weights(
        spec.weights,
        spec.engine,
        device=spec.device,
        precision=spec.precision,
        compile_network=spec.is_compiled,
    )

    def load_plain() -> FasterRCNN:
        return load_detector(spec.weights)[0]

    has_network = spec.weights.suffix.lower() in PYTORCH_SUFFIXES
    made = ", compiled" if spec.is_compiled else ""
    words = f"{spec.name}{spec.weights.suffix}{made}"
    benchmarked = _benchmarked(detector, f"{spec.name}{made}", words)
    return replace(benchmarked, load_plain=load_plain if has_network else None)


def prepare_same_network(
    baseline: BaselineModel, device: str, precision: str
) -> BenchmarkedDetector:
    """Build this project's detector with the network and weights of torchvision's.

    Raises:
        DeviceError: this machine lacks the device or precision.
    """

    def load_plain() -> FasterRCNN:
        return build_same_network(baseline)

    model = load_plain()
    threshold = BASELINE_INFERENCE.suppression.score_threshold
    divisor = model.transform.size_divisor
    backend = TorchBackend(model.network, divisor, device=device, precision=precision)
    engine = TwoStageEngine(with_network(model, backend))
    origin = {"weights": f"copied from torchvision's {BASELINE_MODEL}, random"}
    words = f"this engine on the network and weights of torchvision's {BASELINE_MODEL}"
    benchmarked = _benchmarked(HeadDetector(engine, threshold, origin), SAME, words)
    return replace(benchmarked, load_plain=load_plain)


def prepare_baseline(baseline: BaselineModel, device: torch.device) -> BenchmarkedDetector:
    """Wrap torchvision's model unchanged."""
    model = baseline.to(device)

    @torch.inference_mode()
    def detect(image: Tensor) -> object:
        (found,) = model([image.to(device).float() / 255])
        return {key: value.cpu() for key, value in found.items()}

    words = f"torchvision's stock {BASELINE_MODEL}, eager float32, random weights"
    return BenchmarkedDetector(BASELINE, words, detect)


def with_own_names(detectors: Sequence[BenchmarkedDetector]) -> list[BenchmarkedDetector]:
    """Number detectors with equal names.

    Example:
        >>> one = BenchmarkedDetector("fast", "", print)
        >>> [one.name for one in with_own_names([one, one])]
        ['fast', 'fast (2)']
    """
    seen: dict[str, int] = {}
    named = []
    for one in detectors:
        count = seen[one.name] = seen.get(one.name, 0) + 1
        name = one.name if count == 1 else f"{one.name} ({count})"
        named.append(replace(one, name=name))
    return named


def _benchmarked(detector: HeadDetector, name: str, words: str) -> BenchmarkedDetector:
    engine = detector.engine
    made = f"{engine.name} {engine.precision}"
    description = f"{words}, {engine.name} in {engine.precision} on {engine.device}"

    def detect(image: Tensor) -> object:
        return engine.detect([image])

    return BenchmarkedDetector(f"{name} {made}", description, detect, detector)
