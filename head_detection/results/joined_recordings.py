"""Recordings joined end to end, as by ``cat``: MPEG streams whose times start again."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Self, cast

import av
from av.container import InputContainer
from av.format import Flags
from av.stream import Stream
from av.video.stream import VideoStream

if TYPE_CHECKING:
    from av.packet import Packet

    AnyPacket = Packet[Stream]

USUAL_RATE: Final = 25
"""Frames a second if the rate is unknown."""
LONGEST_GAP: Final = 3600.0
"""Seconds between frames; a longer gap means that another recording begins. If times go back by
more than a minute, FFmpeg assumes that the clock wrapped and adds 26 hours (33 bits at 90 kHz)."""
MOST_HELD: Final = 500
"""Packets of sound that wait for their frames, some ten seconds. Multiplexers interleave both; if
more packets wait, only the sound's clock jumped, and no new recording began."""


def may_be_joined(container: InputContainer) -> bool:
    """Tell whether files of this format can be joined end to end, each with its own times."""
    flags = cast("Any", container.format.flags)  # a number, whatever PyAV's types say
    return bool(flags & Flags.ts_discont.value)


class JoinedStamps:
    """Makes the time stamps of recordings joined by ``cat`` continuous.

    Each recording begins at a time of its own. A stamp that goes back or far ahead belongs to
    another recording, whose first frame then follows the last one so far.

    Args:
        step: ticks from one frame to the next.
        longest_gap: ticks; a longer step starts another recording.

    Example:
        >>> joined = JoinedStamps(step=10, longest_gap=1000)
        >>> [stamp + joined.shift_for(stamp, stamp) for stamp in (0, 10, 20, 0, 10, 5000)]
        [0, 10, 20, 30, 40, 50]
    """

    def __init__(self, step: int, longest_gap: int) -> None:
        self._step, self._longest_gap = step, longest_gap
        self._shift = 0
        self._last: int | None = None
        self._latest: int | None = None

    @classmethod
    def of(cls, video: VideoStream) -> Self:
        """Return an instance for a video track."""
        time_base = Fraction(cast("Any", video.time_base or Fraction(1, av.time_base)))
        rate = Fraction(cast("Any", video.average_rate or USUAL_RATE))
        return cls(round(1 / rate / time_base), int(LONGEST_GAP / time_base))

    def shift_for(self, shown_at: int, decoded_at: int) -> int:
        """Return the ticks to add to the stamps of the next packet in the file.

        Args:
            shown_at: its presentation time, which may decrease from packet to packet.
            decoded_at: its decoding time, which does not.
        """
        if self._last is not None and self._latest is not None:
            gap = decoded_at - self._last
            if not 0 <= gap <= self._longest_gap:
                self._shift = self._latest + self._step - shown_at
        self._last = decoded_at
        shown_at += self._shift
        self._latest = shown_at if self._latest is None else max(self._latest, shown_at)
        return self._shift


class JoinedSound:
    """Shifts the sound of joined recordings by the same time as their video.

    Args:
        video: the video track.
    """

    def __init__(self, video: VideoStream) -> None:
        self._video, self._stamps = video.index, JoinedStamps.of(video)
        self._shifts = [Fraction(0)]
        self._last: dict[int, int] = {}
        self._recordings: dict[int, int] = {}
        self._held: dict[int, list[AnyPacket]] = {}

    def pass_on(self, packet: "AnyPacket") -> "list[AnyPacket]":
        """Take the next packet of a file, video or sound, and return those that are ready.

        Sound may reach a seam before the video, which determines the shift; until then, it is held.

        Args:
            packet: a packet with times, as read.
        """
        if packet.stream_index == self._video:
            return [*self._see(packet), packet]
        index, decoded_at = packet.stream_index, packet.dts or 0
        gap = (decoded_at - self._last.get(index, decoded_at)) * _time_base_of(packet)
        self._last[index] = decoded_at
        newest = len(self._shifts) - 1
        recording = self._recordings.setdefault(index, newest)
        is_at_seam = not 0 <= gap <= LONGEST_GAP
        if is_at_seam and recording < newest:
            self._recordings[index] = newest
        if index in self._held or (is_at_seam and recording == newest):
            held = self._held.setdefault(index, [])
            held.append(packet)
            return self._release(index) if len(held) > MOST_HELD else []
        return [self._shifted(packet)]

    def rest(self) -> "list[AnyPacket]":
        """Return the packets that are still held at the end of the file."""
        return [packet for index in list(self._held) for packet in self._release(index)]

    def _see(self, packet: "AnyPacket") -> "list[AnyPacket]":
        """Shift a packet of video, and return the sound that waited for it."""
        decoded_at = packet.dts or 0
        shown_at = decoded_at if packet.pts is None else packet.pts
        ticks = self._stamps.shift_for(shown_at, decoded_at)
        _shift(packet, ticks)
        shift = ticks * _time_base_of(packet)
        if shift == self._shifts[-1]:
            return []
        self._shifts.append(shift)
        for index in self._held:
            self._recordings[index] = len(self._shifts) - 1
        return self.rest()

    def _release(self, index: int) -> "list[AnyPacket]":
        return [self._shifted(packet) for packet in self._held.pop(index)]

    def _shifted(self, packet: "AnyPacket") -> "AnyPacket":
        shift = self._shifts[self._recordings[packet.stream_index]]
        _shift(packet, round(shift / _time_base_of(packet)))
        return packet


def _time_base_of(packet: "AnyPacket") -> Fraction:
    return Fraction(cast("Any", packet.time_base or Fraction(1, av.time_base)))


def _shift(packet: "AnyPacket", ticks: int) -> None:
    packet.dts = None if packet.dts is None else packet.dts + ticks
    packet.pts = None if packet.pts is None else packet.pts + ticks
