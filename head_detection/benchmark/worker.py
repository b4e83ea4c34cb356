"""Runs one detector in its own process for ``benchmark``, so that a crash does not end the run."""

import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from head_detection.errors import BenchmarkError
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.child_process import Message, answer_questions
from head_detection.inference.memory import keep_freed_memory

MODULE: Final = "head_detection.benchmark.worker"
LARGEST_BYTE: Final = 255
NUM_AXES: Final = 4
NUM_COLORS: Final = 3
_FLOATS: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_NUMBERS: Final = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, **_FLOATS}
QUIET: Final = 3
"""onnxruntime's log level for errors only."""


class Worker:
    """Answers ``detector`` or ``graph``, then ``run`` and ``heads`` as often as asked.

    One ``run`` of a detector processes all pictures; one of a graph, the next picture.
    """

    def __init__(self) -> None:
        self._work: Callable[[], object] = _nothing
        self._heads: Callable[[], Message] = dict

    def __call__(self, question: Message) -> Message:
        """Return the answer to one question, whose ``do`` names the request."""
        match question.pop("do"):
            case "detector":
                return self._prepare_detector(**question)
            case "graph":
                return self._prepare_graph(**question)
            case "heads":
                return self._heads()
            case _:
                start = time.perf_counter()
                self._work()
                return {"seconds": time.perf_counter() - start}

    def _prepare_detector(
        self, weights: str, engine: str, precision: str, threads: int, pictures: str
    ) -> Message:
        """Build a detector of this project for pictures in a ``.npy`` file."""
        import torch  # noqa: PLC0415 - another detector's graph does not need it

        from head_detection.inference.detector import HeadDetector  # noqa: PLC0415 - it loads torch

        keep_freed_memory()
        torch.set_num_threads(threads)
        detector = HeadDetector.from_weights(weights, engine, "cpu", precision)
        images = [torch.from_numpy(one).permute(2, 0, 1) for one in np.load(pictures)]

        def heads() -> Message:
            found = [detector.engine.detect([image])[0] for image in images]
            return {
                "boxes": [one.boxes.tolist() for one in found],
                "scores": [one.scores.tolist() for one in found],
                "score_threshold": detector.score_threshold,
            }

        self._work = lambda: [detector.engine.detect([image]) for image in images]
        self._heads = heads
        return {"engine": detector.engine.name, "precision": detector.engine.precision}

    def _prepare_graph(
        self, path: str, threads: int, pictures: str | None, size: list[int] | None
    ) -> Message:
        """Open an ``.onnx`` file of any origin; return the picture size that it accepts."""
        session = _open(Path(path), threads)
        graph = _Graph(path, session.get_inputs())
        free = graph.size_with(size)
        if pictures is None:
            return {"size": graph.size, "runs_at": free}
        if free is None:
            raise BenchmarkError(f"{path}: its input has no size of its own")
        inputs = [graph.inputs(one, free) for one in np.load(pictures)]
        turns = cycle(inputs)
        self._work = lambda: session.run(None, next(turns))
        self._work()
        return {"size": graph.size, "runs_at": free}


def _nothing() -> None:
    raise BenchmarkError("expected to be told what to run")


def _open(path: Path, threads: int) -> Any:
    onnxruntime = import_extra("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's errors have no common class
        text = " ".join(str(error).split())
        raise BenchmarkError(
            f"{path}: expected an .onnx file that ONNX Runtime can run: {text}"
        ) from error


class _Graph:
    """The inputs of another detector's graph.

    Args:
        path: for errors.
        inputs: as ``onnxruntime`` describes them.

    Attributes:
        size: its fixed (height, width); None if it has none.
    """

    def __init__(self, path: str, inputs: list[Any]) -> None:
        self._path = path
        images = [one for one in inputs if len(one.shape) == NUM_AXES]
        if len(images) != 1 or images[0].type not in (*_FLOATS, "tensor(uint8)"):
            raise BenchmarkError(
                f"{path}: expected a detector with one input of (1, 3, H, W) or (1, H, W, 3) "
                f"pictures; got {', '.join(f'{one.name} {one.shape} {one.type}' for one in inputs)}"
            )
        (self._image,) = images
        self._others = [one for one in inputs if one is not self._image]
        batch, *axes = [side if isinstance(side, int) else None for side in self._image.shape]
        self._is_last = axes[2] == NUM_COLORS and axes[0] != NUM_COLORS
        colors = axes.pop(2 if self._is_last else 0)
        if batch not in (1, None) or colors not in (NUM_COLORS, None):
            raise BenchmarkError(
                f"{path}: expected one picture of three colours at a time; its input "
                f"{self._image.name} is {self._image.shape}"
            )
        sides = [side for side in axes if side is not None]
        self.size = sides if len(sides) == len(axes) else None

    def size_with(self, given: list[int] | None) -> list[int] | None:
        """Return the (height, width) to run at: the fixed one, else the given one."""
        return given if self.size is None else self.size

    def inputs(self, pixels: npt.NDArray[np.uint8], size: list[int]) -> dict[str, Any]:
        """Return the graph's inputs for a picture of ``(H, W, 3)``, resized to ``size``.

        Colours are 0..1 if the input is floating-point. Other inputs with two numbers get the
        picture's size, from which some detectors compute boxes in its pixels.
        """
        height, width = size
        rows = np.arange(height) * pixels.shape[0] // height
        columns = np.arange(width) * pixels.shape[1] // width
        image = pixels[rows][:, columns]
        values = image if self._is_last else image.transpose(2, 0, 1)
        kind = _FLOATS.get(self._image.type)
        values = values if kind is None else (values / LARGEST_BYTE).astype(kind)
        given = {self._image.name: np.ascontiguousarray(values[None])}
        for other in self._others:
            if other.type not in _NUMBERS or other.shape[1:] != [2]:
                raise BenchmarkError(
                    f"{self._path}: expected no input but pictures and their sizes; got "
                    f"{other.name} {other.shape} {other.type}"
                )
            given[other.name] = np.array([size], _NUMBERS[other.type])
        return given


if __name__ == "__main__":
    answer_questions(Worker())
