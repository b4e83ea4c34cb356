"""What Prometheus fetches while cameras are counted."""

from urllib.request import urlopen

import pytest

from head_detection.errors import OutputError, PictureError
from head_detection.results.prometheus import CameraState, PrometheusSink
from head_detection.results.record import Failure, Record
from head_detection.structures import Detections, RegionCount

HALL = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0))
DOOR = ((0.0, 0.0), (9.0, 9.0))


def test_the_numbers_have_labels_of_camera_and_zone() -> None:
    state = CameraState("front", 9.5, 0.25, 7, 1)
    sink = PrometheusSink("127.0.0.1", 0, lambda: [state])
    regions = (RegionCount("hall", HALL, 1, 4, 3), RegionCount("door", DOOR, None, 2, 0))
    found = Detections.from_arrays([[0, 0, 9, 9]] * 2, [0.9, 0.8], (10, 10))
    sink.write(Record(0, "front", found, seconds=0.0, regions=regions))
    sink.write(Record(1, "front", Detections.empty((10, 10)), seconds=0.1, regions=regions))
    sink.fail(Failure(2, "front", "damaged", PictureError("damaged"), 0.2))
    try:
        with pytest.raises(OutputError, match="Address already in use"):
            PrometheusSink("127.0.0.1", sink.port)
        with urlopen(sink.output, timeout=30) as answer:  # noqa: S310 - its own address
            lines = answer.read().decode().splitlines()
    finally:
        sink.close()
    numbers = [line for line in lines if not line.startswith("#") and "last_frame" not in line]
    assert sorted(numbers) == sorted(
        [
            'head_detection_heads{camera="front",zone=""} 0.0',
            'head_detection_heads{camera="front",zone="hall"} 1.0',
            'head_detection_crossings_total{camera="front",direction="in",zone="hall"} 4.0',
            'head_detection_crossings_total{camera="front",direction="out",zone="hall"} 3.0',
            'head_detection_crossings_total{camera="front",direction="in",zone="door"} 2.0',
            'head_detection_crossings_total{camera="front",direction="out",zone="door"} 0.0',
            'head_detection_frames_total{camera="front"} 2.0',
            'head_detection_failed_total{camera="front"} 1.0',
            'head_detection_camera_fps{camera="front"} 9.5',
            'head_detection_latency_seconds{camera="front"} 0.25',
            'head_detection_skipped_frames_total{camera="front"} 7.0',
            'head_detection_reconnects_total{camera="front"} 1.0',
        ]
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_name_that_is_no_unicode_is_served_with_escapes(host: str) -> None:
    try:
        sink = PrometheusSink(host, 0, lambda: [CameraState("\udcff", 9.5, 0.25, 7, 1)])
    except OutputError:
        pytest.skip("this machine has no IPv6")
    try:
        sink.write(Record(0, "\udcff.mp4", Detections.empty((9, 9)), seconds=0.0))
        with urlopen(sink.output, timeout=30) as answer:  # noqa: S310 - its own address
            text = answer.read().decode()
    finally:
        sink.close()
    assert r'head_detection_frames_total{camera="\\udcff.mp4"} 1.0' in text
    assert r'head_detection_camera_fps{camera="\\udcff"} 9.5' in text
