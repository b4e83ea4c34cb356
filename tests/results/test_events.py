"""``events.ndjson``."""

import json

from head_detection.results.events import EventSink
from head_detection.results.record import Origin
from head_detection.structures import Event

EVENTS = (
    Event("crossing", "door", 7, 3, 0.1, (1.0, 2.004), "in"),
    Event("exit", "hall", 8, 4, 2 / 15, (5.0, 6.0), dwell=0.1, is_lost=True),
)


def test_an_event_is_a_line_at_once(tmp_path, record) -> None:
    sink = EventSink(tmp_path, Origin({}, 0.5))
    path = tmp_path / "events.ndjson"
    assert path.read_text() == ""
    sink.write(record([], "é\udcff.mp4", 4, seconds=0.2, events=EVENTS))
    crossing, leaving = map(json.loads, path.read_text().splitlines())
    assert crossing == {
        "event": "crossing", "source": "é\udcff.mp4", "frame": 3, "seconds": 0.1, "line": "door",
        "id": 7, "x": 1.0, "y": 2.0, "direction": "in",
    }  # fmt: skip
    assert (leaving["zone"], leaving["dwell"], leaving["lost"]) == ("hall", 0.1, True)
    assert leaving["seconds"] == 0.133333
    sink.write(record())
    sink.close()
    assert path.read_text().count("\n") == 2
