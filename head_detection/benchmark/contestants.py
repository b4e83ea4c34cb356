"""What is measured: this project's detectors, and torchvision's beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN as StockDetector

from head_detection.errors import BenchmarkError
from head_detection.inference.backends.torch import TorchBackend
from head_detection.inference.detector import HeadDetector
from head_detection.inference.engine import TwoStageEngine, with_network
from head_detection.inference.weights_files import shipped_weights
from head_detection.models.faster_rcnn import FasterRCNN, load_detector
from head_detection.models.stock import STOCK_NAME, same_network

STOCK: Final = "torchvision"
SAME: Final = "same network"
DESCRIBES_ITSELF: Final = ".safetensors"
"""Files of this kind hold a network of PyTorch's; exported ones hold that of another library."""


@dataclass(frozen=True)
class Entry:
    """What is to be built.

    Attributes:
        name: of the weights, in tables.
        weights: a file that describes itself.
        engine: as ``--engine`` spells it; None is the file's own.
        device: as ``--device``.
        precision: as ``--precision``.
    """

    name: str
    weights: Path
    engine: str | None
    device: str
    precision: str


@dataclass(frozen=True)
class Contestant:
    """Something that finds objects in a picture.

    Attributes:
        name: in tables; no two alike.
        description: in words, for who reads the figures.
        detect: takes a ``(3, H, W)`` uint8 picture, and returns once the result is in main memory.
        detector: None for torchvision's.
        load_plain: gives the network as PyTorch runs it without an engine, whose operations can be
            counted; None where there is none.
    """

    name: str
    description: str
    detect: Callable[[Tensor], object]
    detector: HeadDetector | None = None
    load_plain: Callable[[], FasterRCNN] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What the report says of it; plain values for JSON."""
        engine = None if self.detector is None else self.detector.engine
        return {
            "name": self.name,
            "description": self.description,
            "model": None if self.detector is None else self.detector.origin,
            "engine": "torch" if engine is None else engine.name,
            "precision": "fp32" if engine is None else engine.precision,
            "device": None if engine is None else engine.device,
        }


def list_entries(
    weights: Sequence[Path] | None, engines: Sequence[str | None], device: str, precision: str
) -> list[Entry]:
    """Return what the arguments ask for, weights by weights; no weights: the shipped ones.

    Raises:
        BenchmarkError: a file is not there: known before anything takes time.
        WeightsError: the shipped weights are not there.
    """
    paths = list(weights) if weights else [shipped_weights()]
    for path in paths:
        if not path.exists():
            raise BenchmarkError(f"--weights: expected a weights file; {path}: no such file")
    names = shortest_names(paths)
    return [
        Entry(name, path, engine, device, precision)
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


def build_contestant(entry: Entry) -> Contestant:
    """Build a detector of this project.

    Raises:
        WeightsError: a file that is no weights.
        DeviceError: no such device or precision here.
    """
    detector = HeadDetector.from_weights(
        entry.weights, entry.engine, device=entry.device, precision=entry.precision
    )

    def load_plain() -> FasterRCNN:
        return load_detector(entry.weights)[0]

    has_network = entry.weights.suffix == DESCRIBES_ITSELF
    contestant = _contestant(detector, entry.name, f"{entry.name}{entry.weights.suffix}")
    return replace(contestant, load_plain=load_plain if has_network else None)


def build_same_network(stock: StockDetector, device: str, precision: str) -> Contestant:
    """Build a detector with the network and weights of torchvision's.

    Raises:
        DeviceError: no such device or precision here.
    """

    def load_plain() -> FasterRCNN:
        return same_network(stock)

    model = load_plain()
    threshold = model.decoder.suppression.score_threshold
    divisor = model.transform.size_divisor
    backend = TorchBackend(model.network, divisor, device=device, precision=precision)
    engine = TwoStageEngine(with_network(model, backend))
    origin = {"weights": f"copied from torchvision's {STOCK_NAME}, random"}
    words = f"this engine on the network and weights of torchvision's {STOCK_NAME}"
    contestant = _contestant(HeadDetector(engine, threshold, origin), SAME, words)
    return replace(contestant, load_plain=load_plain)


def build_stock_contestant(stock: StockDetector, device: torch.device) -> Contestant:
    """Take torchvision's model as it comes."""
    model = stock.to(device)

    @torch.inference_mode()
    def detect(image: Tensor) -> object:
        (found,) = model([image.to(device).float() / 255])
        return {key: value.cpu() for key, value in found.items()}

    words = f"torchvision's stock {STOCK_NAME}, eager float32, random weights"
    return Contestant(STOCK, words, detect)


def with_own_names(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Number those that are called alike.

    Example:
        >>> one = Contestant("fast", "", print)
        >>> [contestant.name for contestant in with_own_names([one, one])]
        ['fast', 'fast (2)']
    """
    seen: dict[str, int] = {}
    named = []
    for contestant in contestants:
        count = seen[contestant.name] = seen.get(contestant.name, 0) + 1
        name = contestant.name if count == 1 else f"{contestant.name} ({count})"
        named.append(replace(contestant, name=name))
    return named


def _contestant(detector: HeadDetector, name: str, words: str) -> Contestant:
    engine = detector.engine
    made = f"{engine.name} {engine.precision}"
    description = f"{words}, {engine.name} in {engine.precision} on {engine.device}"

    def detect(image: Tensor) -> object:
        return engine.detect([image])

    return Contestant(f"{name} {made}", description, detect, detector)
