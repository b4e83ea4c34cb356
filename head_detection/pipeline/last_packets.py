"""Recovers whole frames that a decoder holds back if the end of a file is damaged."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from head_detection.pipeline.frame_numbers import LONGEST_DELAY
from head_detection.pipeline.video_file import opened

if TYPE_CHECKING:
    from av.packet import Packet

    VideoPacket = Packet[VideoStream]

MOST_PACKETS: Final = 1000
MOST_BYTES: Final = 64 * 1024**2
"""Limits of what is kept from a key frame to the end; beyond them no frame is recovered."""


class LastPackets:
    """A track's packets from a late key frame on, to be decoded again at the end.

    With several threads, FFmpeg's decoder stops at the end if one of the last packets is damaged:
    whole frames before it that wait for their turn do not come. With a single thread it goes on.
    """

    def __init__(self) -> None:
        self._parts: deque[list[VideoPacket]] = deque()
        self._num_packets = self._num_bytes = 0

    def add(self, packet: "VideoPacket") -> None:
        """Note a packet that the decoder was given."""
        if packet.is_keyframe:
            self._parts.append([])
        if not self._parts or packet.size == 0:
            return
        self._parts[-1].append(packet)
        self._count(packet.size, 1)
        while self._parts and self._num_packets - len(self._parts[0]) >= LONGEST_DELAY:
            self._drop_first()
        if self._num_packets > MOST_PACKETS or self._num_bytes > MOST_BYTES:
            while self._parts:
                self._drop_first()

    def decode(self, path: Path, max_pixels: int, flags: int) -> Iterator[VideoFrame]:
        """Decode them with a single thread; damaged ones give no frame.

        Args:
            path: the file.
            max_pixels: limit of a frame.
            flags: of the decoder.
        """
        with opened(path, max_pixels) as (_, video):  # its decoder knows what the header says
            decoder = video.codec_context
            decoder.thread_count, decoder.flags = 1, flags
            for packet in [*(packet for part in self._parts for packet in part), None]:
                with suppress(FFmpegError):
                    yield from decoder.decode(packet)

    def _drop_first(self) -> None:
        part = self._parts.popleft()
        self._count(-sum(packet.size for packet in part), -len(part))

    def _count(self, num_bytes: int, num_packets: int) -> None:
        self._num_bytes += num_bytes
        self._num_packets += num_packets
