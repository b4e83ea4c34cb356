import pytest

from head_detection.results.record import Failure
from head_detection.structures import RegionCount


def test_a_picture_has_no_key_without_a_value(record) -> None:
    assert record([(0.123456, 1, 2, 3.00006)], "sub/a.png", 3).as_plain() == {
        "file": "sub/a.png",
        "width": 100,
        "height": 50,
        "count": 1,
        "boxes": [[0.1235, 1.0, 2.0, 3.0001]],
        "scores": [0.5],
    }


def test_a_frame_has_its_place_its_time_and_what_was_counted(frames, record) -> None:
    regions = (
        RegionCount("left", ((0, 0), (9, 0), (9, 9)), 0),
        RegionCount("line", ((0, 0), (9, 0))),
    )
    frame = record([], "a.mp4", 50, seconds=2.0000004, source="door", regions=regions)
    plain = frame.as_plain()
    assert list(plain)[-4:] == ["frame", "seconds", "source", "zones"]
    assert [plain[key] for key in ("frame", "seconds", "source")] == [50, 2.0, "door"]
    assert plain["zones"] == {"left": 0}
    assert "zones" not in record([], regions=regions[1:]).as_plain()  # a line holds nobody
    assert frames[0].as_plain()["ids"] == [7, -1]


@pytest.mark.parametrize(
    ("seconds", "name", "plain"),
    [
        (None, "a.png", {"file": "a.png", "error": "empty"}),
        (0.0, "a.png: frame 3", {"file": "a.png", "frame": 3, "error": "empty"}),
    ],
)
def test_a_failure_names_its_frame(failure, seconds, name, plain) -> None:
    error = failure("a.png").error
    failed = Failure(3, "a.png", "empty", error, seconds)
    assert (failed.name, failed.as_plain()) == (name, plain)
