"""Copies the sound of a video, without decoding its packets."""

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

from head_detection.results.joined_recordings import JoinedSound, may_be_joined

if TYPE_CHECKING:
    from av.packet import Packet

    AnyPacket = Packet[Stream]

MICROSECONDS: Final = 1_000_000
LEAD_SECONDS: Final = 1.0
"""Seeking goes this far ahead of the target, because sound is stored near its frames, not exactly
with them."""


AAC: Final = "aac"
STREAM_TO_MP4: Final = "aac_adtstoasc"
"""FFmpeg's filter that removes the ADTS header of each AAC packet in a transport stream, which MP4
does not allow. The rest is unchanged, and packets without such a header pass."""


class Sound:
    """Copies all sound tracks of a file into another, in step with its frames.

    Tracks that the output cannot hold and damaged packets are left out. In joined recordings, the
    sound continues with the frames.

    Args:
        source: the file, which nothing else may read from now on.
        output: the output, to which nothing has been written.
        start: the time in the source that becomes 0.
        is_cut: leave out the sound before that time.

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
            if is_cut and self._joined is None:  # joined files repeat times, so cannot be seeked
                source.seek(max(0, int((start - LEAD_SECONDS) * MICROSECONDS)))
            tracks = [*wanted, *([self._video] if self._video else [])]
            self._packets = self._read(source.demux(tracks))

    def write_until(self, seconds: float) -> None:
        """Write the sound that begins before a time in the output."""
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
        """Write the rest of the sound, only up to the last frame if the source has more frames.

        Args:
            end: end of the last frame, in seconds of the output.
            slack: source frames that begin within this time after the end do not count as more.
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
        """Return the next packet of sound, or also of video; None at the end or at damage."""
        for packet in self._packets:
            if with_video or packet.stream_index in self._tracks:
                return packet
        return None

    def _read(self, packets: "Iterator[AnyPacket]") -> "Iterator[AnyPacket]":
        """Yield packets of video and sound, with continuous times."""
        with suppress(FFmpegError, OSError):  # if it matters, decoding the frames reports it
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
            return  # damaged, or earlier than the last packet: leave a gap in the sound

    def _seconds_of(self, packet: "AnyPacket") -> float:
        """Return the presentation time of a packet, in seconds of the output."""
        ticks = packet.dts if packet.pts is None else packet.pts
        return float((ticks or 0) * (packet.time_base or 0)) - self._start


def _is_empty(packet: "AnyPacket") -> bool:
    """Tell whether a packet is empty or overwritten with zeros, which no codec but PCM produces."""
    is_coded = not packet.stream.codec_context.name.startswith("pcm_")
    return packet.size == 0 or (is_coded and not any(memoryview(packet)))
