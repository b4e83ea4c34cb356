"""``events.ndjson``: what heads did at lines and in zones, a line each, as soon as it is sure."""

from pathlib import Path
from typing import Any, Final

from head_detection.results.growing import GrowingFile
from head_detection.results.record import JSON_ERRORS, Origin, Record, dump_json
from head_detection.results.sink import Sink
from head_detection.structures import Event

FORM: Final = "events.ndjson"
DECIMALS: Final = 2
"""Of a position in pixels."""


class EventSink(Sink):
    """A line an event, at once: what is written is valid after every line, and after a kill.

    Each has ``event``, ``source``, ``frame``, ``seconds``, ``id``, ``x``, ``y``, and ``line`` or
    ``zone``; a crossing its ``direction``, an exit its ``dwell`` in seconds and ``lost``.

    Args:
        folder: of the file; made if need be.
        origin: not used: lines that are cut, joined or sorted are lines again.
    """

    def __init__(self, folder: Path, origin: Origin) -> None:  # noqa: ARG002 - as every sink is made
        self._file = GrowingFile(folder / FORM)

    @property
    def output(self) -> str:
        """The file's name."""
        return FORM

    def write(self, record: Record) -> None:
        """Add what happened since the last frame."""
        for event in record.events:
            line = dump_json(as_plain(event, record.file)) + "\n"
            self._file.add(line.encode("utf-8", JSON_ERRORS))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def as_plain(event: Event, source: str) -> dict[str, Any]:
    """Return plain values for JSON.

    Example:
        >>> entry = as_plain(Event("entry", "hall", 7, 50, 2.0, (4.0, 5.126)), "a.mp4")
        >>> entry["zone"], entry["id"], entry["y"]
        ('hall', 7, 5.13)
    """
    is_of_zone = event.kind in ("entry", "exit")
    x, y = event.position
    values: dict[str, Any] = {
        "event": event.kind,
        "source": source,
        "frame": event.frame,
        "seconds": round(event.seconds, 6),
        "zone" if is_of_zone else "line": event.region,
        "id": event.head,
        "x": round(x, DECIMALS),
        "y": round(y, DECIMALS),
    }
    if event.kind == "crossing":
        values["direction"] = event.direction
    if event.kind == "exit":
        values |= {"dwell": event.dwell, "lost": event.is_lost}
    return values
