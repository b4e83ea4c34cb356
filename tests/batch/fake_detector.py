"""A fake detector without torch, which does to its process what a picture's bytes say."""

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from head_detection.batch.process import WorkerOptions
from head_detection.errors import DeviceError, PictureError
from head_detection.images.finding import PictureFile
from head_detection.structures import Detections


@dataclass(frozen=True)
class Result:
    image: Any
    detections: Detections | None
    error: PictureError | None


class FakeDetector:
    """Finds as many heads as a file has bytes, at a score that its bytes decide."""

    def __init__(self, options: WorkerOptions) -> None:
        self.score_threshold = options.score_threshold or 0.5
        self.origin = {"weights": "fake", "sha256": "0" * 64, "engine": "fake", "precision": "fp32"}

    def stream(self, images: Iterable[Any], batch_size: int | None = None) -> Iterator[Result]:
        waiting: list[Any] = []
        for image in images:
            waiting.append(image)
            if len(waiting) == 3:  # a batch, so that several are begun with and not answered
                yield from map(self.detect, waiting)
                waiting = []
        yield from map(self.detect, waiting)

    def detect(self, image: Any) -> Result:
        if isinstance(image, PictureFile):
            if image.problem is not None:
                return Result(image, None, PictureError(f"{image.path}: {image.problem}"))
            content = image.path.read_bytes() if image.path.exists() else b"missing"
        else:
            content = image
        obey(content, image)
        if content in (b"bad", b"missing"):
            return Result(image, None, PictureError(f"{image.path}: {content.decode()}"))
        count = len(content)
        boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4) + np.float32(0.1)
        scores = np.linspace(0.9, 0.6, count, dtype=np.float32)
        return Result(image, Detections(boxes, scores, (480, 640)), None)


class GpuDetector(FakeDetector):
    """Says, in place of heads, which of four GPUs of no torch at all it was told to take."""

    def __init__(self, options: WorkerOptions) -> None:
        super().__init__(options)
        cuda = SimpleNamespace(device_count=lambda: 4, is_available=lambda: True)
        sys.modules["torch"] = cast("Any", SimpleNamespace(cuda=cuda))
        self.origin["engine"] = "torch"
        self.device = options.device

    def detect(self, image: Any) -> Result:
        obey(image.path.read_bytes(), image)
        told = f"{image.path}: {self.device} of {os.environ.get('CUDA_VISIBLE_DEVICES')}"
        return Result(image, None, PictureError(told))


def obey(content: bytes, image: Any) -> None:
    if content == b"hang":
        time.sleep(1000)
    elif content == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif content == b"fault":
        raise RuntimeError("two\nlines")
    elif content == b"once" and not (mark := Path(f"{image.path}.seen")).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif content.startswith(b"slow"):
        time.sleep(0.01)


def build(options: WorkerOptions) -> FakeDetector:
    return FakeDetector(options)


def build_on_gpus(options: WorkerOptions) -> FakeDetector:
    return GpuDetector(options)


def build_as_written(options: WorkerOptions) -> FakeDetector:
    detector = FakeDetector(options)
    detector.origin["sha256"] = Path(str(options.weights)).read_text()
    return detector


def refuse(options: WorkerOptions) -> FakeDetector:
    raise DeviceError("no such device")


def break_down(options: WorkerOptions) -> FakeDetector:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
