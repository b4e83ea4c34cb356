"""Tells whether what a video lacks was lost or never recorded, by what is between two pictures."""

import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from head_detection.pipeline.damage import (
    asf,
    flv,
    matroska,
    ogg,
    program_stream,
    start_codes,
    transport_stream,
    y4m,
)
from head_detection.pipeline.damage.parts import Parts
from head_detection.pipeline.frame_numbers import LONGEST_REORDERING
from head_detection.results import mp4

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

Follow = Callable[[bytes, int, int], Parts]

FOLLOWED: Final[dict[str, Follow]] = {
    matroska.FORMAT: matroska.follow,
    flv.FORMAT: flv.follow,
    ogg.FORMAT: ogg.follow,
    program_stream.FORMAT: program_stream.follow,
    y4m.FORMAT: y4m.follow,
}
"""Functions that follow the parts of a file from a packet on."""
BEGINS: Final[dict[str, Callable[[bytes], int]]] = {
    flv.FORMAT: flv.begin,
    ogg.FORMAT: lambda _: 0,
    asf.FORMAT: asf.begin,
}
"""Where the first part of a file begins; other formats may begin in the middle of a recording."""
BEFORE, BEHIND = 16, 1 << 16
"""Bytes that are read around: a header is before a packet; the next one may show what is
missing."""
MOST_BYTES: Final = 1 << 24
"""Bytes that are looked at; between two pictures there are some kilobytes."""
LONG_STEP: Final = 1.5
"""Times the usual step from picture to picture: then one may be missing between them."""
LOCAL_STEPS: Final = 9
"""Steps from picture to picture whose median tells how many fit into a gap if the rate varies."""
DOUBTFUL: Final = 3
"""Doubtful packets of a transport stream, from one that FFmpeg marks on: it marks one early, as it
reads ahead, and what is missing may follow the next."""
LATE: Final = frozenset({matroska.FORMAT, ogg.FORMAT})
"""Formats that do not say when pictures are decoded. FFmpeg counts on, and the gap comes later."""


class Loss(NamedTuple):
    """A place where damage was seen.

    Attributes:
        begin: when the packet before it is decoded, in units of the track's time stamps; None if
            unknown.
        end: likewise of the packet after it.
        place: in the file, in bytes.
    """

    begin: int | None
    end: int | None
    place: int


class LossWatch:
    """Looks for signs of damage where pictures of a file may be missing.

    FFmpeg silently skips what it cannot read, and a picture with it. A recorder that had no
    picture, or whose rate varies, leaves a gap in the times too. If nothing is damaged, the parts
    of the file between the two packets of such a gap follow each other.

    Args:
        path: the file.
        container: open.
        video: its track.
        step: from one picture to the next, in units of its time stamps.

    Attributes:
        losses: those seen so far.
        can_tell: whether this container shows what a gap is.
        begins_whole: whether all pictures of a stream without a container can be decoded; None
            before its first packet, and for other files.
    """

    def __init__(
        self, path: Path, container: "InputContainer", video: "VideoStream", step: float
    ) -> None:
        self._path, self._video, self._step = path, video, step
        self._format = container.format.name
        self._follow = FOLLOWED.get(self._format)
        with suppress(OSError):
            if self._format == asf.FORMAT and (packets := asf.Packets(path, video.id)).size:
                self._follow = packets.follow
        self._is_stream = self._format == transport_stream.FORMAT
        self.can_tell = self._follow is not None or self._is_stream
        self._last: tuple[int | None, int, int] | None = None
        self._num_doubtful = 0
        self._steps: deque[int] = deque(maxlen=LOCAL_STEPS)
        self._rooms: list[int] = []
        self.losses: list[Loss] = []
        self.begins_whole: bool | None = None

    def see(self, packet: "Packet[VideoStream]") -> None:
        """Take the track's next packet, in the order of the file."""
        if self._format in start_codes.FORMATS:
            self._see_units(bytes(packet), packet.pos or 0)
        if packet.pos is None or not self.can_tell:
            return
        now, place, last = packet.dts, packet.pos, self._last
        if last is None and self._follow is not None and self._begins_damaged(place):
            self._lose(Loss(None, now, 0))
        self._last = now, place, packet.size
        self._num_doubtful = DOUBTFUL if packet.is_corrupt else self._num_doubtful - 1
        if self._num_doubtful > 0:
            self._lose(Loss(last[0] if last else now, now, place))
        elif now is not None and last is not None and last[0] is not None and place > last[1]:
            is_late = now - last[0] > LONG_STEP * self._step
            if (is_late or self._format in LATE) and self._is_damaged(last[1], last[2], place):
                self._lose(Loss(last[0], now, last[1]))
            else:
                self._steps.append(now - last[0])

    def missing(self, before: int, behind: int, most: int) -> int:
        """Return how many frames between two were lost; none is reported twice.

        Args:
            before: when the first of the two is shown, in units of the track's time stamps.
            behind: likewise of the second.
            most: as many as fit into the time between them.
        """
        count = 0
        delay = LONGEST_REORDERING * self._step  # from when a packet is decoded to its frame
        for number, (begin, end, _) in enumerate(self.losses):
            if begin is None or end is None or begin >= behind or before >= end + delay:
                continue
            taken = min(self._rooms[number], most - count)
            self._rooms[number] -= taken
            count += taken
        return count

    def ends_well(self) -> bool | None:
        """Look at what follows the last packet.

        Returns:
            Whether the parts follow each other up to the end of the file; None if the last one
            should be longer than the file.
        """
        if self._format == mp4.FORMAT:
            with suppress(OSError):
                return not mp4.has_lost_fragments(self._path)
        if self._last is None or self._follow is None:
            return True
        _, place, size = self._last
        with suppress(OSError):
            whole = self._path.stat().st_size
            content, before = self._read(place, whole)
            end = self._follow(content, before, size).end
            if place - before + len(content) == whole and end != len(content):
                return None if end > len(content) else False
        return True

    def _see_units(self, content: bytes, place: int) -> None:
        if self.begins_whole is None:
            self.begins_whole = start_codes.begins_whole(content, self._format)
        if start_codes.is_damaged(content):
            self._lose(Loss(None, None, place))

    def _lose(self, loss: Loss) -> None:
        """Note damage, and how many frames may be missing there."""
        room = 0
        if self._format in LATE:
            room = sys.maxsize
        elif loss.begin is not None and loss.end is not None:
            step = max(self._step, median(self._steps) if self._steps else 0)
            room = max(0, round((loss.end - loss.begin) / step) - 1)
        self.losses.append(loss)
        self._rooms.append(room)

    def _begins_damaged(self, end: int) -> bool:
        """Tell whether what precedes the first packet is damaged, if its beginning is known."""
        find = BEGINS.get(self._format)
        with suppress(OSError):
            content, _ = self._read(0, end + BEHIND)
            if find is not None and self._follow is not None:
                found = self._follow(content, find(content), 0).places
                return end < len(content) and end not in found
        return False

    def _is_damaged(self, place: int, size: int, end: int) -> bool:
        """Tell whether the parts between two packets do not follow each other."""
        with suppress(OSError):  # removed meanwhile
            content, before = self._read(place, end + BEHIND)
            if self._is_stream:
                packets = np.frombuffer(content[before : before + end - place], np.uint8)
                return transport_stream.is_damaged(packets, self._video.id)
            if self._follow is not None:
                goal = before + end - place
                found = self._follow(content, before, size).places
                return goal < len(content) and goal not in found
        return False

    def _read(self, place: int, end: int) -> tuple[bytes, int]:
        """Read a part of the file, and return it with the offset of ``place`` in it."""
        begin = max(0, place - BEFORE)
        with self._path.open("rb") as file:
            file.seek(begin)
            return file.read(min(end - begin, MOST_BYTES)), place - begin
