"""``events.ndjson``: what heads did at lines and in zones, one line each, once it is certain."""

from pathlib import Path
from typing import Any, Final

from head_detection.results.growing_file import GrowingFile
from head_detection.results.record import JSON_ERRORS, Origin, Record, dump_json
from head_detection.results.sink import Sink
from head_detection.structures import Event

FORM: Final = "events.ndjson"
DECIMALS: Final = 2
"""Decimals of a position in pixels."""


class EventSink(Sink):
    """Writes one line per event at once, so the file is valid after every line, and after a kill.

    Each has ``event``, ``source``, ``frame``, ``seconds``, ``id``, ``x``, ``y``, and ``line`` or
    ``zone``; a crossing also has ``direction``, an exit ``dwell`` in seconds and ``lost``.

    Args:
        folder: folder of the file, created if missing.
        origin: not used: with a header, users could not cut, join or sort the lines.
    """

    def __init__(self, folder: Path, origin: Origin) -> None:  # noqa: ARG002 - as in every sink
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
    """Return an event as plain values for JSON.

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
