"""A detector whose heads can be worked out by eye, and which fails when told to."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import uvicorn
from browser import Browser, find_chromium
from clips import number_of, write_clip
from PIL import Image
from starlette.testclient import TestClient
from torch import Tensor

from head_detection.inference.detector import HeadDetector
from head_detection.serving.app import create_app
from head_detection.serving.listening import open_socket, server_config
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
    concurrency = 1

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


@pytest.fixture
def walking(engine: Any) -> Any:
    """The engine, which finds a head whose centre is at 6, 16, 26 ... of frames 0, 1, 2 ..."""
    engine.fails_on = None

    def detect(images: list[Any]) -> list[Detections]:
        engine.batches.append([(image.shape[1], image.shape[2]) for image in images])
        engine.started.set()
        assert engine.may_run.wait(30)
        found = []
        for image in images:
            number = number_of(image.permute(1, 2, 0).numpy())
            if number == engine.fails_on:
                raise RuntimeError("the network failed")
            box = [10 * number, 50, 10 * number + 12, 62]
            found.append(Detections.from_arrays([box], [0.9], (image.shape[1], image.shape[2])))
        return found

    engine.detect = detect
    return engine


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Ten frames of 160x120 in a second, with sound."""
    path = tmp_path_factory.mktemp("clips") / "street.mp4"
    return write_clip(path, 10, fps=10, audio=True).read_bytes()


@pytest.fixture
def address(detector: HeadDetector) -> Iterator[str]:
    settings = ServiceSettings(hosts=("127.0.0.1",), keys=("secret",))
    with open_socket("127.0.0.1", 0) as listener:
        service = uvicorn.Server(server_config(create_app(detector, settings), settings))
        thread = threading.Thread(target=service.run, args=([listener],))
        thread.start()
        while not service.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        service.should_exit = True
        thread.join()


@pytest.fixture
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with Browser(
        program, ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    ) as opened:
        yield opened
