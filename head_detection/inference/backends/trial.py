"""Trial runs, in a child process, of graphs that may crash the process.

OpenVINO's int8 graph of a convolutional body ends the process with a segmentation fault on
processors with AMX, for some sizes of picture (heights of 544, 608, 736, 928 and 992 network
pixels; releases 2025.4.1 to 2026.4.1). This module does not import torch, so a child starts fast.
"""

import hashlib
import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from head_detection.errors import EngineError
from head_detection.files import write_bytes
from head_detection.inference.backends.extras import import_extra
from head_detection.inference.child_process import (
    ChildError,
    ChildProcess,
    Message,
    answer_questions,
)
from head_detection.inference.engine_times import cache_folder
from head_detection.processor import find_processor

MODULE: Final = "head_detection.inference.backends.trial"


class Trial:
    """Runs each shape of each part once in a child process, and remembers the shapes that passed.

    They are kept in the user's cache folder, by processor, release and graph.

    Args:
        xml: file of the whole graph, with its ``.bin`` beside it; the child reads them when needed.
        release: OpenVINO's release.
        options: options that the graph is compiled with.
        start: starts a child process that runs a module.
    """

    def __init__(
        self,
        xml: Path,
        release: str,
        options: Mapping[str, Any],
        start: Callable[[str], ChildProcess] = ChildProcess,
    ) -> None:
        self._xml, self._options, self._start = xml, dict(options), start
        self._child: ChildProcess | None = None
        self._close: Callable[[], object] = lambda: None
        processor = find_processor()
        self._kind = processor.kind
        facts = [processor.name, *sorted(processor.flags), release, json.dumps(self._options)]
        digest = hashlib.sha256("\0".join(facts).encode())
        digest.update(xml.read_bytes())
        digest.update(xml.with_suffix(".bin").read_bytes())
        self._file = f"tried/{digest.hexdigest()[:32]}.json"
        self._passed = self._read()

    def check(self, part: str, outputs: Sequence[str], shape: Sequence[int]) -> None:
        """Return normally if a part of the graph runs on this shape.

        Args:
            part: the name of its input.
            outputs: the names of its outputs.
            shape: the shape of its input.

        Raises:
            EngineError: the trial failed; running the part would crash this process. One line.
        """
        key = f"{part} {'x'.join(map(str, shape))}"
        if key in self._passed:
            return
        question = {"xml": str(self._xml), "part": part, "outputs": [*outputs], "shape": [*shape]}
        try:
            if self._child is None:
                self._child = self._start(MODULE)
                self._close = weakref.finalize(self, self._child.close)
            self._child.ask(question | {"options": self._options})
        except ChildError as error:
            self._child = None
            self._close()  # a service asks again, and each child holds a graph and open files
            raise EngineError(
                f"engine openvino: this int8 graph cannot run here ({self._kind}) on a batch of "
                f"{'x'.join(map(str, shape))}, a try in another process says: {error}; use the "
                ".safetensors file that it was made of, with engine openvino or torch"
            ) from error
        self._passed.add(key)
        self._write()

    def _read(self) -> set[str]:
        try:
            keys = json.loads((cache_folder() / self._file).read_bytes())
        except (OSError, ValueError):
            return set()
        return {key for key in keys if isinstance(key, str)} if isinstance(keys, list) else set()

    def _write(self) -> None:
        try:
            write_bytes(cache_folder() / self._file, json.dumps(sorted(self._passed)).encode())
        except OSError:  # the next process tries again
            return


class _Tried:
    """The child's side: the parts that it has compiled."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, str], Any] = {}

    def __call__(self, question: Message) -> Message:
        """Run a part on zeros of the given shape."""
        xml, part = question["xml"], question["part"]
        if (xml, part) not in self._compiled:
            openvino = import_extra("openvino")
            core = openvino.Core()
            graph = core.read_model(xml)
            results = [graph.output(name).node for name in question["outputs"]]
            model = openvino.Model(results, [graph.input(part).node], part)
            compiled = core.compile_model(model, "CPU", question["options"])
            self._compiled[xml, part] = core, compiled
        values = np.zeros(question["shape"], np.float32)
        self._compiled[xml, part][1].create_infer_request().infer([values])
        return {}


if __name__ == "__main__":
    answer_questions(_Tried())
