from itertools import pairwise

import pytest

from head_detection.pipeline.timeline import Timeline


def test_a_stream_that_falls_behind_shows_its_delay() -> None:
    """30 frames a second that are read at 20: after 4 s of the clock it is 4/3 s late."""
    timeline = Timeline(is_live=True)
    delays = [timeline.arrive(number / 30, number / 20) for number in range(81)]
    assert delays[0] == 0
    assert delays[80] == pytest.approx(80 / 20 - 80 / 30, abs=0.01)
    assert timeline.captured_at(80 / 30, 4.0) == pytest.approx(80 / 30, abs=0.01)


def test_a_burst_at_the_beginning_is_no_delay_later() -> None:
    timeline = Timeline(is_live=True)
    for number in range(60):  # two seconds that the server had kept
        timeline.arrive(number / 30, 100.0)
    assert timeline.arrive(2.0, 100.0) == 0
    assert timeline.arrive(3.0, 101.0) == pytest.approx(0.0, abs=0.002)
    assert timeline.captured_at(3.0, 101.0) == pytest.approx(101.0, abs=0.002)


def test_a_slow_clock_of_a_camera_is_no_delay() -> None:
    """100 millionths are 8.6 s a day."""
    timeline = Timeline(is_live=True)
    delays = [timeline.arrive(second * (1 - 100e-6), float(second)) for second in range(86_400)]
    assert max(delays) < 0.01


def test_a_clock_that_is_set_does_not_turn_back_the_seconds() -> None:
    timeline = Timeline(is_live=True)
    times = [10.0, 10.1, 10.2, 3.0, 3.1, 90.0, 90.1, 90.1, None, 90.2]
    seconds = [timeline.seconds_of(time, number / 10) for number, time in enumerate(times)]
    assert seconds[:3] == [0.0, 0.1, 0.2]
    assert all(before < after for before, after in pairwise(seconds))
    assert seconds[6] == pytest.approx(0.6, abs=0.01)
    assert timeline.arrive(3.0, 0.3) == 0
    assert timeline.arrive(-90.0, 0.4) == 0  # another beginning, no delay of 93 s


def test_the_seconds_of_a_file_are_its_own() -> None:
    timeline = Timeline(is_live=False)
    times = (5.0, 5.5, None, 65.5, 65.5)  # the third is damaged, and its time unknown
    seconds = [timeline.seconds_of(time, float(now)) for now, time in enumerate(times)]
    assert seconds == [0.0, 0.5, 0.501, 60.5, 60.501]
