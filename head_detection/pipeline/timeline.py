"""Relates the times of a live stream's frames to the clock."""

from typing import Final

ANCHOR_RISE: Final = 0.001
"""Seconds per second that a camera's clock may lose against ours without counting as a delay."""
JUMP_SECONDS: Final = 5.0
"""If presentation times jump by this much more than the clock, the stream has restarted."""
SMALLEST_STEP: Final = 0.001
"""Seconds between two frames, at least."""


class Timeline:
    """Relates presentation times to the clock.

    Args:
        is_live: times run with the clock; those of a file are taken as they are.

    Example:
        >>> timeline = Timeline(is_live=True)
        >>> timeline.arrive(7.0, 100.0), round(timeline.arrive(7.04, 100.24), 2)  # of delay
        (0.0, 0.2)
        >>> timeline.seconds_of(7.0, 100.0), timeline.seconds_of(7.04, 100.24)
        (0.0, 0.04)
        >>> timeline.seconds_of(0.0, 100.34)  # the camera's clock was set
        0.14
    """

    def __init__(self, *, is_live: bool) -> None:
        self._is_live = is_live
        self._anchor: float | None = None
        self._anchored = 0.0
        self._before: tuple[float | None, float, float] | None = None
        self._last: float | None = None

    def arrive(self, time_of_packet: float | None, now: float) -> float:
        """Note that a packet came, and return its delay relative to the fastest one."""
        if time_of_packet is None:
            return 0.0
        offset = now - time_of_packet
        if self._anchor is not None:
            rising = self._anchor + ANCHOR_RISE * (now - self._anchored)
            offset = min(rising, offset) if offset - rising < JUMP_SECONDS else offset
        self._anchor, self._anchored = offset, now
        return round(now - time_of_packet - offset, 6)

    def captured_at(self, time_of_frame: float | None, now: float) -> float:
        """Return when a frame left the camera, as far as its time and the clock tell."""
        if time_of_frame is None or self._anchor is None:
            return now
        return min(now, self._anchor + time_of_frame)

    def seconds_of(self, time_of_frame: float | None, now: float) -> float:
        """Return the time since the first frame, which always grows."""
        if time_of_frame is None and not self._is_live and self._last is not None:
            self._last += SMALLEST_STEP  # the next frame with a time corrects it
            return round(self._last, 6)
        seconds = 0.0
        if self._before is not None and self._last is not None:
            time_before, now_before, seconds_before = self._before
            step = passed = now - now_before
            if time_of_frame is not None and time_before is not None:
                step = time_of_frame - time_before
            if self._is_live and (step <= 0 or abs(step - passed) > JUMP_SECONDS):
                step = passed
            seconds = max(seconds_before + step, self._last + SMALLEST_STEP)
        self._before, self._last = (time_of_frame, now, seconds), seconds
        return round(seconds, 6)
