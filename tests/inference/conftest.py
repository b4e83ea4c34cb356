"""A detector whose heads can be worked out by eye: what is dark in a picture."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from head_detection.config import (
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    InferenceConfig,
    NetworkConfig,
    ProposalConfig,
    ResizeConfig,
    SuppressionConfig,
)
from head_detection.errors import DeviceError, EngineError, WeightsError
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.graph import ExportRecord
from head_detection.inference.backends.onnx import write_onnx
from head_detection.inference.backends.openvino import from_onnx, write_openvino
from head_detection.inference.detector import HeadDetector
from head_detection.models.faster_rcnn import FasterRCNN, build_detector
from head_detection.models.network import Network
from head_detection.models.weights import WeightsDescription, save_weights
from head_detection.structures import Detections

DARK = 100


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of a container, say, that is in no list: Python knows no home, nor does HOME."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)


class DarkEngine:
    """Finds one head, scored 0.75: the box around all that is dark. Notes the batches it got."""

    name = "dark"
    device = "cpu"
    precision = "fp32"
    batch_size = 2
    concurrency = 1

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int]]] = []

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        height, width = (-(-side // 32) * 32 for side in image_size)
        return ((height, width),)

    def enough_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        return image_size

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        self.batches.append([(image.shape[1], image.shape[2]) for image in images])
        return [self._detect(image) for image in images]

    def _detect(self, image: Tensor) -> Detections:
        size = (image.shape[1], image.shape[2])
        levels = image * 255 if image.is_floating_point() else image
        rows, columns = (levels.float().mean(0) < DARK).nonzero(as_tuple=True)
        if not len(rows):
            return Detections.empty(size)
        box = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
        return Detections.from_arrays([box], [0.75], size)


@pytest.fixture
def engine() -> DarkEngine:
    return DarkEngine()


@pytest.fixture
def detector(engine: DarkEngine) -> HeadDetector:
    return HeadDetector(engine, score_threshold=0.5, origin={"weights": "dark"})


@pytest.fixture
def scene() -> Image.Image:
    """A light picture of 40 x 24 with a dark head at (10, 6, 18, 16)."""
    pixels = np.full((24, 40, 3), (220, 200, 180), np.uint8)
    pixels[6:16, 10:18] = (30, 20, 10)
    return Image.fromarray(pixels)


@pytest.fixture
def write(tmp_path: Path, scene: Image.Image) -> Callable[..., Path]:
    """Write the scene, or another picture, under a name in the temporary folder."""

    def save(name: str, image: Image.Image = scene, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
        return path

    return save


class Tiny(NamedTuple):
    """A small untrained detector and what it was built of."""

    model: FasterRCNN
    config: NetworkConfig
    inference: InferenceConfig

    @property
    def network(self) -> Network:
        return self.model.network


@pytest.fixture(scope="session")
def build() -> Callable[..., Tiny]:
    """A function from options of the backbone to a small untrained detector."""

    def make(*, upscale: bool = False, size_divisor: int = 32, **backbone: Any) -> Tiny:
        torch.manual_seed(0)
        options: dict[str, Any] = {
            "name": "mobilenet0.25",
            "strides": (8, 16),
            "fpn_width": 16,
            **backbone,
        }
        sizes = tuple((8.0 * 2**k,) for k in range(len(options["strides"])))
        config = NetworkConfig(
            backbone=BackboneConfig(**options),
            anchors=AnchorConfig(sizes=sizes),
            box_head=BoxHeadConfig(pool_size=3, width=16),
            upscale=upscale,
            size_divisor=size_divisor,
        )
        inference = InferenceConfig(
            resize=ResizeConfig(min_size=96, max_size=160),
            proposals=ProposalConfig(pre_nms_top_n=50, post_nms_top_n=20),
            suppression=SuppressionConfig(score_threshold=0.0),
            tile=0,  # an untrained network finds small heads everywhere
            score_threshold=0.3,
        )
        model = build_detector(config, inference)
        # Norms as after training: without them, what is in the picture fades from layer to layer.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            model.backbone(torch.randn(4, 3, 128, 128))
        model.eval()
        return Tiny(model, config, inference)

    return make


@pytest.fixture(scope="session")
def exported(build: Callable[..., Tiny], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    tiny = build()
    description = WeightsDescription(
        network=tiny.config,
        inference=tiny.inference,
        licence='<MIT> & "others"',
        metrics={"ap": 0.5},
    )
    save_weights(folder / "tiny.safetensors", tiny.network, description)
    graph = to_onnx(tiny.network, tiny.config)
    write_onnx(folder / "tiny.onnx", graph, description, ExportRecord(to="onnx"))
    record = ExportRecord(to="openvino")
    write_openvino(folder / "tiny.xml", from_onnx(graph), description, record)
    return folder


@pytest.fixture
def files(exported: Path, tmp_path: Path) -> Path:
    """A folder with the same detector as tiny.safetensors, tiny.onnx and tiny.xml."""
    return Path(shutil.copytree(exported, tmp_path / "files"))


@pytest.fixture(scope="session")
def message() -> Callable[..., str]:
    """A function from a file and options to the one line that refuses them."""

    def refuse(path: Path, **options: Any) -> str:
        with pytest.raises((WeightsError, EngineError, DeviceError)) as caught:
            HeadDetector.from_weights(path, **options)
        text = str(caught.value)
        assert "\n" not in text
        return text

    return refuse


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    torch.manual_seed(0)
