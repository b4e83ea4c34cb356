"""What all tests share."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

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
