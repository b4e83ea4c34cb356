"""The figures of trackers on made crowds."""

from head_detection.benchmark.tracking import measure_trackers, tracking_table
from head_detection.config import TRACKERS


def test_every_tracker_is_measured_on_the_same_walks() -> None:
    figures = list(measure_trackers([10], [5.0], 2.0))
    assert [one.tracker for one in figures] == list(TRACKERS)
    assert all(0.2 < one.metrics["idf1"] <= 1 for one in figures)
    header, _, first, *_ = tracking_table(figures).splitlines()
    assert "IDF1" in header
    assert first.startswith("| 10      | 5     | bytetrack |")
