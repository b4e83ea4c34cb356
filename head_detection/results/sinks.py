"""Where results go: the sinks that ``--save`` names, and all of them as one."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Protocol, Self

from head_detection.errors import OutputError
from head_detection.results.picture_sinks import DrawnSink, LabelSink, PixelatedSink
from head_detection.results.record import Origin, Record
from head_detection.results.text_sinks import CocoSink, CsvSink, JsonSink, MotSink


class Sink(Protocol):
    """Takes results one by one.

    Attributes:
        needs_pixels: whether records must hold their picture.
    """

    needs_pixels: ClassVar[bool]

    @property
    def output(self) -> str:
        """What is written, for the summary."""
        ...

    def write(self, record: Record) -> None:
        """Take a picture that went through the network."""
        ...

    def fail(self, name: str, error: str) -> None:
        """Take a picture that could not be read."""
        ...

    def close(self) -> None:
        """Finish what is written."""
        ...


SINKS: Final[dict[str, Callable[[Path, Origin], Sink]]] = {
    "json": JsonSink,
    "csv": CsvSink,
    "coco": CocoSink,
    "mot": MotSink,
    "yolo": LabelSink,
    "images": DrawnSink,
    "blur": PixelatedSink,
}
"""By their names for ``--save``."""


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the names of sinks in a list with commas, each once.

    Raises:
        OutputError: an unknown name, none, or two that write the same files.

    Example:
        >>> parse_formats("json, csv,json")
        ('json', 'csv')
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in SINKS]
    if unknown or not names:
        raise OutputError(f"--save: expected some of {','.join(SINKS)}; got {text!r}")
    if {"images", "blur"} <= set(names):
        raise OutputError("--save: images and blur both write images/; choose one of them")
    return names


class Sinks:
    """Several sinks as one; a context that finishes them all, also after an error or Ctrl-C.

    Args:
        names: as ``parse_formats`` returns them.
        folder: where they write; made if need be.
        origin: what makes the results.
    """

    def __init__(self, names: Sequence[str], folder: Path, origin: Origin) -> None:
        self._stack = ExitStack()
        self._sinks: list[Sink] = []
        with self._stack:
            for name in names:
                sink = SINKS[name](folder, origin)
                self._stack.callback(sink.close)
                self._sinks.append(sink)
            self._stack = self._stack.pop_all()

    @property
    def needs_pixels(self) -> bool:
        """Whether records must hold their picture."""
        return any(sink.needs_pixels for sink in self._sinks)

    @property
    def outputs(self) -> list[str]:
        """What is written, for the summary."""
        return [sink.output for sink in self._sinks]

    def write(self, record: Record) -> None:
        """Hand a picture that went through the network to all."""
        for sink in self._sinks:
            sink.write(record)

    def fail(self, name: str, error: str) -> None:
        """Hand a picture that could not be read to all."""
        for sink in self._sinks:
            sink.fail(name, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)
