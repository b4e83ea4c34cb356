"""A detector whose heads can be worked out by eye, and which fails where it is told to."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from torch import Tensor

from head_detection.inference.detector import HeadDetector
from head_detection.serving.app import create_app
from head_detection.serving.settings import ServiceSettings
from head_detection.structures import Detections

Open = Callable[..., TestClient]
POISON = 77
"""A picture whose first pixel has this red makes the network fail."""


class ScriptedEngine:
    """Finds two heads in every picture, scored 0.9 and 0.3; notes its batches.

    Attributes:
        may_run: while it is cleared, the network stands still.
        started: is set when the network has begun with a batch.
        batches: (height, width) of each picture of each batch.
        threads: names of those that ran it.
    """

    name = "scripted"
    device = "cpu"
    precision = "fp32"
    batch_size = 4

    def __init__(self) -> None:
        self.may_run = threading.Event()
        self.may_run.set()
        self.started = threading.Event()
        self.batches: list[list[tuple[int, int]]] = []
        self.threads: set[str] = set()

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        height, width = (-(-side // 32) * 32 for side in image_size)
        return ((height, width),)

    def enough_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        return image_size

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        self.threads.add(threading.current_thread().name)
        self.batches.append([(image.shape[1], image.shape[2]) for image in images])
        self.started.set()
        if not self.may_run.wait(30):
            raise TimeoutError("nobody let the network run")
        if any(int(image[0, 0, 0]) == POISON for image in images):
            raise RuntimeError("the network met a poisoned picture")
        return [self._found((image.shape[1], image.shape[2])) for image in images]

    def _found(self, size: tuple[int, int]) -> Detections:
        boxes = np.array([[1, 2, 11, 12], [5, 5, 15, 18]], np.float32)
        return Detections.from_arrays(boxes, [0.9, 0.3], size)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def detector(engine: ScriptedEngine) -> HeadDetector:
    """Counts heads from 0.5 on, and knows those from 0.05 on."""
    return HeadDetector(engine, 0.5, {"weights": "scripted"}, lowest_score=0.05)


@pytest.fixture(scope="session")
def file_of(encode: Callable[..., bytes]) -> Callable[..., bytes]:
    """A function from a width, a height and the red of all pixels to a PNG."""

    def make(width: int = 64, height: int = 48, red: int = 200) -> bytes:
        return encode(Image.new("RGB", (width, height), (red, 0, 0)))

    return make


@pytest.fixture(scope="session")
def poisoned(file_of: Callable[..., bytes]) -> bytes:
    """A picture on which the network fails."""
    return file_of(red=POISON)


@pytest.fixture
def connect(detector: HeadDetector) -> Iterator[Open]:
    """A function from settings to a client of a warm service."""
    opened: list[TestClient] = []

    def start(**settings: Any) -> TestClient:
        client = TestClient(create_app(detector, ServiceSettings(**settings)))
        client.__enter__()
        opened.append(client)
        while client.get("/readyz").status_code != 200:
            threading.Event().wait(0.002)
        return client

    yield start
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(connect: Open) -> TestClient:
    return connect()
