"""The sound of a video, taken over as it is: no packet of it is decoded."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.stream import Stream
from av.video.stream import VideoStream

from head_detection.results.joined import JoinedSound, may_be_joined

if TYPE_CHECKING:
    from av.packet import Packet

    AnyPacket = Packet[Stream]

MICROSECONDS: Final = 1_000_000
LEAD_SECONDS: Final = 1.0
"""A search in a file goes to so much before the place: the sound lies near its pictures, not at
them."""


AAC: Final = "aac"
STREAM_TO_MP4: Final = "aac_adtstoasc"
"""FFmpeg's filter: AAC of a transport stream has an ADTS header at each packet, which MP4 refuses.
What lies between them stays as it is; packets without such a header pass."""


class Sound:
    """All sound tracks of a file, on their way into another, in step with its pictures.

    Tracks that the other cannot hold are left out, and so are damaged packets. Of recordings that
    were joined, the sound goes on with the pictures.

    Args:
        source: the file; read from here on by this alone.
        output: nothing was written into it so far.
        start: the source's time that becomes 0.
        is_cut: what lies before it is left out.

    Attributes:
        left_out: the codecs of tracks that the output cannot hold.
    """

    def __init__(
        self, source: InputContainer, output: OutputContainer, start: float, *, is_cut: bool
    ) -> None:
        self._output, self._start, self._is_cut = output, start, is_cut
        self.left_out: list[str] = []
        self._tracks: dict[int, Stream] = {}
        self._filters: dict[int, BitStreamFilterContext] = {}
        for track in source.streams.audio:
            copy = self._copy(track)
            if copy is not None:
                self._tracks[track.index] = copy
        self._video = source.streams.best("video")
        self._waiting: deque[AnyPacket] = deque()
        self._packets: Iterator[AnyPacket] = iter(())
        self._joined: JoinedSound | None = None
        if isinstance(self._video, VideoStream) and may_be_joined(source):
            self._joined = JoinedSound(self._video)
        if self._tracks:
            wanted = [track for track in source.streams.audio if track.index in self._tracks]
            if is_cut and self._joined is None:  # which is searched in vain: times come again
                source.seek(max(0, int((start - LEAD_SECONDS) * MICROSECONDS)))
            tracks = [*wanted, *([self._video] if self._video else [])]
            self._packets = self._read(source.demux(tracks))

    def write_until(self, seconds: float) -> None:
        """Write what begins before a time of the output."""
        while self._tracks:
            if not self._waiting:
                packet = self._next()
                if packet is None:
                    return
                self._waiting.append(packet)
            if self._seconds_of(self._waiting[0]) >= seconds:
                return
            self._write(self._waiting.popleft())

    def write_rest(self, end: float, slack: float) -> None:
        """Write what is left: all, or up to the end of the pictures where the source has more.

        Args:
            end: of the last picture, in seconds of the output.
            slack: pictures of the source that begin so soon after are not missed.
        """
        self.write_until(end)
        is_cut = False
        while not is_cut and (packet := self._next(with_video=True)) is not None:
            if self._video is not None and packet.stream_index == self._video.index:
                is_cut = self._seconds_of(packet) > end + slack
            else:
                self._waiting.append(packet)
        for packet in self._waiting:
            if not is_cut or self._seconds_of(packet) < end:
                self._write(packet)
        self._waiting.clear()

    def _copy(self, track: AudioStream) -> Stream | None:
        name = track.codec_context.name
        if track.codec_context.codec.canonical_name not in self._output.supported_codecs:
            self.left_out.append(name)
            return None
        copy = self._output.add_stream_from_template(track)
        if name == AAC and not track.codec_context.extradata:
            self._filters[track.index] = BitStreamFilterContext(STREAM_TO_MP4, track)
        return copy

    def _next(self, *, with_video: bool = False) -> "AnyPacket | None":
        """Return the next packet of sound, or of pictures too; None at the end, or at damage."""
        for packet in self._packets:
            if with_video or packet.stream_index in self._tracks:
                return packet
        return None

    def _read(self, packets: "Iterator[AnyPacket]") -> "Iterator[AnyPacket]":
        """Yield packets of pictures and sound, at times that go on."""
        with suppress(FFmpegError, OSError):  # the pictures tell of it, if it matters
            for packet in packets:
                has_time = packet.dts is not None and packet.time_base is not None
                if has_time and not _is_empty(packet):
                    yield from self._joined.pass_on(packet) if self._joined else (packet,)
        if self._joined is not None:
            yield from self._joined.rest()

    def _write(self, packet: "AnyPacket") -> None:
        if self._is_cut and self._seconds_of(packet) < 0:
            return
        shift = round(self._start / (packet.time_base or 1))
        for name in ("pts", "dts"):
            value = getattr(packet, name)
            setattr(packet, name, None if value is None else value - shift)
        track = self._tracks[packet.stream_index]
        to_mp4 = self._filters.get(packet.stream_index)
        try:
            for part in [packet] if to_mp4 is None else to_mp4.filter(packet):
                part.stream = track
                self._output.mux(part)
        except (ArgumentError, InvalidDataError):
            return  # damaged, or at a time before the last: a gap in the sound, not an end of all

    def _seconds_of(self, packet: "AnyPacket") -> float:
        """Return when a packet is heard or shown, in seconds of the output."""
        ticks = packet.dts if packet.pts is None else packet.pts
        return float((ticks or 0) * (packet.time_base or 0)) - self._start


def _is_empty(packet: "AnyPacket") -> bool:
    """Tell whether a packet has nothing in it, or was written over with zeros, as none is coded."""
    is_coded = not packet.stream.codec_context.name.startswith("pcm_")
    return packet.size == 0 or (is_coded and not any(memoryview(packet)))
