"""Pictures and labels that are made on the spot."""

from collections.abc import Callable
from typing import Any

import pytest

from head_detection.config import AugmentationConfig


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
