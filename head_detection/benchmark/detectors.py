"""The detectors that are benchmarked: this project's, and torchvision's as the baseline."""

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
"""Weights and presets give a network of PyTorch's; exported files one of another library's."""


@dataclass(frozen=True)
class DetectorSpec:
    """A detector to be built.

    Attributes:
        name: of the weights, in tables.
        weights: a file that describes itself.
        engine: torch, openvino or onnx; None is the file's own.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or fp16.
        is_compiled: the network is made anew for each size of picture.
    """

    name: str
    weights: Path
    engine: str | None
    device: str
    precision: str
    is_compiled: bool = False


@dataclass(frozen=True)
class BenchmarkedDetector:
    """One that takes its turn.

    Attributes:
        name: in tables; no two alike.
        description: in words, for who reads the numbers.
        detect: takes a ``(3, H, W)`` uint8 picture, and returns once the result is in main memory.
        head_detector: None for torchvision's.
        load_plain: gives the network as PyTorch runs it without an engine, whose operations can be
            counted; None where there is none.
        library: that runs it, where it is no ``HeadDetector``.
    """

    name: str
    description: str
    detect: Callable[[Tensor], object]
    head_detector: HeadDetector | None = None
    load_plain: Callable[[], FasterRCNN] | None = None
    library: str = "torch"

    @property
    def facts(self) -> dict[str, Any]:
        """What the report says of it; plain values for JSON."""
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
    """Return what the arguments ask for, weights by weights; no weights: the shipped ones.

    Raises:
        BenchmarkError: a file is not there: known before anything takes time.
        WeightsError: the shipped weights are not there.
    """
    paths = list(weights) if weights else [shipped_weights()]
    for path in paths:
        if not path.exists():
            raise BenchmarkError(f"expected a weights file; {path}: no such file")
    names = shortest_names(paths)
    return [
        DetectorSpec(name, path, engine, device, precision, is_compiled)
        for name, path in zip(names, paths, strict=True)
        for engine in engines
    ]


def shortest_names(paths: Sequence[Path]) -> list[str]:
    """Return of each path, without suffix, as many last parts as tell it from the others.

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
        WeightsError: a file that is no weights.
        DeviceError: no such device or precision here.
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

    has_network = spec.weights.suffix in PYTORCH_SUFFIXES
    made = ", compiled" if spec.is_compiled else ""
    words = f"{spec.name}{spec.weights.suffix}{made}"
    benchmarked = _benchmarked(detector, f"{spec.name}{made}", words)
    return replace(benchmarked, load_plain=load_plain if has_network else None)


def prepare_same_network(
    baseline: BaselineModel, device: str, precision: str
) -> BenchmarkedDetector:
    """Build a detector with the network and weights of torchvision's.

    Raises:
        DeviceError: no such device or precision here.
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
    """Take torchvision's model as it comes."""
    model = baseline.to(device)

    @torch.inference_mode()
    def detect(image: Tensor) -> object:
        (found,) = model([image.to(device).float() / 255])
        return {key: value.cpu() for key, value in found.items()}

    words = f"torchvision's stock {BASELINE_MODEL}, eager float32, random weights"
    return BenchmarkedDetector(BASELINE, words, detect)


def with_own_names(detectors: Sequence[BenchmarkedDetector]) -> list[BenchmarkedDetector]:
    """Number those that are called alike.

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
