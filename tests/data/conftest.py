"""Pictures and labels that are made on the spot."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from head_detection.config import AugmentationConfig
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.data.picture import Picture
from head_detection.structures import Detections


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
def still() -> Callable[..., AugmentationConfig]:
    """A function to an augmentation that changes only what its arguments switch on."""
    nothing: dict[str, Any] = {
        "flip_probability": 0.0,
        "brightness": 0.0,
        "contrast": 0.0,
        "saturation": 0.0,
        "hue": 0.0,
        "grayscale_probability": 0.0,
        "blur_probability": 0.0,
    }

    def configure(**values: Any) -> AugmentationConfig:
        return AugmentationConfig(**(nothing | values))

    return configure


@pytest.fixture(scope="session")
def labelled() -> Callable[..., AnnotatedSet]:
    """A function from file names to a set of pictures, without files and without heads."""

    def label(*names: str, size: tuple[int, int] | None = (100, 200)) -> AnnotatedSet:
        images = [AnnotatedImage(Path("none", name), name, build_truth([]), size) for name in names]
        return AnnotatedSet("set", tuple(images))

    return label


@pytest.fixture(scope="session")
def lefts() -> Callable[[tuple[Detections, ...]], list[list[float]]]:
    """A function from detections to the left edges of each picture's."""

    def take(found: tuple[Detections, ...]) -> list[list[float]]:
        return [detections.boxes[:, 0].tolist() for detections in found]

    return take
