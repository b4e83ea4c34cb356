"""What all tests share."""

import io
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from head_detection.config import parse_config
from head_detection.images.reading import Picture
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.weights import WeightsDescription, save_weights

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """A script's background jobs, and all that they start, ignore Ctrl-C until told otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of pictures, bodies and golden files beside the checkout, or a skip."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the data folder {folder}, which is not here")
    return folder


@pytest.fixture(scope="session")
def draw_scene() -> Callable[[int], npt.NDArray[np.uint8]]:
    """A function from a seed to ``(180, 240, 3)`` uint8: scenes as unlike as photographs are."""

    def draw(seed: int) -> npt.NDArray[np.uint8]:
        generator = np.random.default_rng(seed)
        patches = generator.integers(50, 200, (7, 9, 3)).astype(np.uint8)
        picture = cv2.resize(patches, (240, 180), interpolation=cv2.INTER_LINEAR)
        for _ in range(6):
            x, y = generator.integers(0, (240, 180)).tolist()
            color = generator.integers(50, 200, 3).tolist()
            cv2.rectangle(picture, (x, y), (x + 40, y + 40), color, cv2.FILLED)
        return np.asarray(picture, np.uint8)

    return draw


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """A function from a Pillow image to a file of it, PNG or another format."""

    def save(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, file_format, **options)
        return file.getvalue()

    return save


@pytest.fixture(scope="session")
def noise() -> Callable[..., Picture]:
    """A function from height, width and a seed to a picture of noise."""

    def draw(height: int, width: int, seed: int = 0) -> Picture:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return draw


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained network: they find nothing sensible, quickly."""
    config = parse_config(
        {},
        [
            "network.backbone.name=mobilenet0.25",
            "network.backbone.fpn_width=8",
            "network.box_head.width=16",
            "inference.suppression.score_threshold=0.0",
            "inference.suppression.detections_per_image=20",
            "network.anchors.sizes=[[8], [16], [32], [64]]",
        ],
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    model = build_detector(config.network, config.inference)
    description = WeightsDescription(network=config.network, inference=config.inference)
    save_weights(path, model.network, description)
    return path
