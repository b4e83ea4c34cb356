"""Other detectors as ``.onnx`` files: only their network is timed, at as many pixels as ours."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from torch import Tensor

from head_detection.benchmark.detectors import BenchmarkedDetector, shortest_names
from head_detection.benchmark.worker import MODULE
from head_detection.errors import BenchmarkError
from head_detection.inference.child_process import ChildError, ChildProcess, Message

Size = tuple[int, int]
"""Height and width in pixels."""
STRIDE: Final = 32
"""Inputs of graphs without a fixed size have sides that are multiples of it: most detectors halve
them five times, few six."""


@dataclass(frozen=True)
class Peer:
    """Another detector, in its own process.

    Attributes:
        name: in tables.
        path: of its file.
        size: of its input; None if it accepts any.
        child: the process that runs it.
    """

    name: str
    path: Path
    size: Size | None
    child: ChildProcess


class Peers:
    """The other detectors of a run; leaving the context ends their processes.

    Args:
        paths: of the files; may be empty.
        size: for those that accept any; None for that of the run, rounded up to a multiple of 32.
        threads: per detector.
        start: starts a process that runs a module.

    Raises:
        BenchmarkError: no such file, a graph that cannot be run, or no common size, in one line.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: Size | None,
        threads: int,
        start: Callable[[str], ChildProcess] = ChildProcess,
    ) -> None:
        for path in paths:
            if not path.is_file():
                got = "a folder" if path.is_dir() else "no such file"
                raise BenchmarkError(f"{path}: expected an .onnx file; got {got}")
        self._given, self._threads = size, threads
        with ExitStack() as stack:
            self._folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="head-detection-peers-"))
            )
            self._peers = [
                self._open(name, path, stack.enter_context(start(MODULE)))
                for name, path in zip(shortest_names(paths), paths, strict=True)
            ]
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self._stack.close()

    def _open(self, name: str, path: Path, child: ChildProcess) -> Peer:
        size = self._ask(child, path, None, None)["size"]
        return Peer(name, path, None if size is None else (size[0], size[1]), child)

    def _ask(
        self, child: ChildProcess, path: Path, pictures: Path | None, size: Size | None
    ) -> Message:
        try:
            return child.ask(
                {
                    "do": "graph",
                    "path": str(path),
                    "threads": self._threads,
                    "pictures": None if pictures is None else str(pictures),
                    "size": size,
                }
            )
        except ChildError as error:
            text = str(error)
            raise BenchmarkError(text if str(path) in text else f"{path}: {text}") from error

    def size_for_all(self, asked: Size | None, usual: Size) -> Size:
        """Return the picture size at which all detectors are compared.

        Args:
            asked: by the user; None if not given.
            usual: used if neither the user nor a detector sets a size.

        Raises:
            BenchmarkError: the fixed sizes of two detectors differ, or that of one and the user's.
        """
        own = {peer.size: peer for peer in self._peers if peer.size is not None}
        wanted = [(_text(size), f"{peer.path.name} takes") for size, peer in own.items()]
        if asked is not None and asked not in own:
            wanted.append((_text(asked), "the run asks for"))
        if own and len(wanted) > 1:
            (first, first_words), (second, second_words) = wanted[:2]
            raise BenchmarkError(
                f"detectors are compared at equal pixels: {first_words} {first} alone, "
                f"{second_words} {second}: leave one of them out"
            )
        return next(iter(own), asked or usual)

    def prepare(self, images: Sequence[Tensor]) -> list[BenchmarkedDetector]:
        """Pass the pictures, ``(3, H, W)`` uint8 of one size, to each detector, and run it once.

        Raises:
            BenchmarkError: one cannot run, in one line.
        """
        if not self._peers:
            return []
        pictures = self._folder / "pictures.npy"
        np.save(pictures, np.stack([image.permute(1, 2, 0).numpy() for image in images]))
        height, width = (-(-side // STRIDE) * STRIDE for side in images[0].shape[1:])
        prepared = []
        for peer in self._peers:
            size = peer.size or self._given or (height, width)
            self._ask(peer.child, peer.path, pictures, size)
            prepared.append(_benchmarked(peer, size))
        return prepared


def _benchmarked(peer: Peer, size: Size) -> BenchmarkedDetector:
    def detect(_image: Tensor) -> object:
        try:
            return peer.child.ask({"do": "run"})
        except ChildError as error:
            raise BenchmarkError(f"{peer.path}: {error}") from error

    words = (
        f"the network of {peer.path.name} alone, ONNX Runtime at {_text(size)}, in a process of "
        "its own: pictures are ready, answers are not looked at"
    )
    return BenchmarkedDetector(peer.name, words, detect, library="onnx")


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
