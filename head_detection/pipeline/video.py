"""Reads the frames of a video file in order, with number and time, whatever is damaged."""

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from head_detection.images.finding import PictureFile
from head_detection.pipeline import lost_sectors
from head_detection.pipeline.damage import matroska, ogg, start_codes, transport_stream
from head_detection.pipeline.damage.watch import LOCAL_STEPS, LossWatch
from head_detection.pipeline.frame_numbers import (
    ChunkNumbers,
    FrameNumbers,
    Numbers,
)
from head_detection.pipeline.last_packets import LastPackets
from head_detection.pipeline.sources import FrameOptions, Item
from head_detection.pipeline.video_file import (
    Pixels,
    count_frames,
    is_cut_short,
    is_shown,
    likely_rate,
    opened,
    upright,
)
from head_detection.results import avi, mp4
from head_detection.results.containers import USUAL_RATE, is_raw, rate_of
from head_detection.results.joined_recordings import JoinedStamps, may_be_joined
from head_detection.structures import Frame

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from av.packet import Packet

    VideoPacket = Packet[VideoStream]

MAX_BUFFERED_BYTES: Final = 64 * 1024**2
"""Packets kept from the last key frame on while looking for the start; more are decoded."""
COPY_OPAQUE: Final = 1 << 7
"""FFmpeg's decoder flag that passes our data of a packet on to its frame."""
LEAD_KEYS: Final = 3
"""Key frames to decode before a start in AVI: frames around the first may not come, since they
depend on earlier ones, and how many only becomes known from the second on."""
TELL_NO_LENGTH: Final = (ogg.FORMAT, mp4.FORMAT)
"""For Ogg and fragmented MP4, FFmpeg reports as the length what it can read."""
MOST_MISSING: Final = 100_000
"""A longer gap is not damage, but another recording after the first."""
LONGEST_LOSS: Final = 10.0
"""Seconds, likewise, where recordings may be joined: ffmpeg's own -dts_delta_threshold."""


def read_video(path: Path, name: str, options: FrameOptions) -> Generator[Item]:
    """Decode the requested frames of a video, in order of presentation.

    Seconds count from the track's first frame. A damaged or missing frame comes without pixels, in
    its place; if the file ends before its header says, an item at the end says so. Frames after a
    damaged one, up to the next key frame, show what the decoder makes of them.

    Args:
        path: the file, whatever its extension.
        name: of the frames.
        options: which frames are taken.

    Raises:
        SourceError: as ``describe_video``.
    """
    with opened(path, options.max_pixels) as (container, video):
        yield from _Reading(container, video, path, name, options).items()


class _Reading:
    """One pass through a video.

    Args:
        container: open, at its beginning.
        video: the track.
        path: the file.
        name: of the frames.
        options: which frames are taken.
    """

    def __init__(
        self,
        container: InputContainer,
        video: VideoStream,
        path: Path,
        name: str,
        options: FrameOptions,
    ) -> None:
        self._container, self._video, self._path, self._name = container, video, path, name
        self._takes, self._options = options.chooser(), options
        self._counts_chunks = container.format.name == avi.FORMAT
        is_reordered = not video.codec_context.codec.intra_only
        self._numbers: Numbers = FrameNumbers()
        if self._counts_chunks:
            self._numbers = ChunkNumbers(is_reordered=is_reordered)
            video.codec_context.flags |= COPY_OPAQUE
        self._rate = likely_rate(video)
        self._step = 1 / float(self._rate or rate_of(video) or USUAL_RATE)
        if is_raw(video) and self._rate is None:
            logger.warning("%s: nothing in it tells its rate: taken as 25 frames a second", name)
        self._time_base = video.time_base or Fraction(1, av.time_base)
        self._joined = JoinedStamps.of(video) if may_be_joined(container) else None
        extradata = video.codec_context.extradata or b""
        self._sees_zeros = lost_sectors.can_tell(video.codec_context.name, extradata)
        self._zeroed: set[int] = set()
        self._last_packets, self._converter = LastPackets(), VideoReformatter()
        self._last_stamp: int | None = None
        self._given_up: set[int | None] = set()
        # Encoders delay the first frame of an AVI.
        self._origin = None if self._counts_chunks else video.start_time
        self._last: float | None = None
        self._steps: deque[float] = deque(maxlen=LOCAL_STEPS)
        self._num_packets = self._num_empty = self._num_decoded = self._num_refused = 0
        self._first_failed: int | None = None
        self._has_missing = self._is_broken = self._has_errors = self._is_interlaced = (
            self._is_past_end
        ) = self._has_fields = False
        self._watch = LossWatch(path, container, video, self._step / float(self._time_base))
        self._reason: str | None = None
        self._num_bytes, self._place = container.size, 0

    def items(self) -> Iterator[Item]:
        """Yield the frames that are taken."""
        for packet in self._from_start():
            yield from self._items_of(packet)
            if self._is_past_end:
                self._reason = self._uncounted()
                yield from self._told()
                return
        yield from self._held_back()
        missing = self._numbers.rest()
        if self._num_decoded == 0:
            none = f"none of its {self._num_packets} frames can be decoded"
            none = none if self._num_packets else "not one of its frames is there"
            self._reason = self._reason or none
        elif self._has_errors or not self._is_interlaced:
            yield from self._without_pixels(missing)
        num_there = self._num_packets + self._num_empty
        num_told = count_frames(self._container, self._video)
        if self._reason is None and num_there < num_told:
            self._reason = f"it ends early: {num_there} of its {num_told} frames are there"
        self._reason = self._reason or self._damage() or self._undecoded()
        yield from self._told()

    def _told(self) -> Iterator[Item]:
        if self._reason is not None:
            yield PictureFile(self._path, self._name, self._reason)

    def _damage(self) -> str | None:
        """Return what of a file is missing or unreadable, and was not counted."""
        ends_well, container = self._watch.ends_well(), self._container
        is_told = container.format.name == matroska.FORMAT  # where a recording ends
        if is_cut_short(self._path) or (ends_well is None and not is_told):
            return f"it ends early: the file was cut short after {self._how_much()}"
        whole = (container.duration or 0) / av.time_base
        is_whole = 0 < whole <= self._next_seconds() + self._step
        if ends_well is False and (not is_whole or container.format.name in TELL_NO_LENGTH):
            return f"its end is damaged, and could be read up to {self._how_much()}"
        return self._uncounted()

    def _uncounted(self) -> str | None:
        """Return where damage was seen before the requested end, if nothing was counted."""
        # A transport stream's packets are numbered anew where recordings are joined.
        is_stream = self._container.format.name == transport_stream.FORMAT
        if self._has_missing or is_stream:
            return None
        for begin, _, place in self._watch.losses:
            seconds, end = self._seconds_of(begin), self._options.end
            if seconds is None or end is None or seconds < end:
                return (
                    f"a part of it is damaged, behind byte {place:,}: frames may be missing there, "
                    "which are not counted"
                )
        if self._container.format.name in start_codes.FORMATS and self._first_failed is not None:
            return (
                f"frame {self._first_failed:,} is damaged: others may be missing there, which are "
                "not counted"
            )
        return None

    def _undecoded(self) -> str | None:
        """Return how many frames of a stream without times came, if the decoder left some out.

        It does so without an error if frames that others depend on are damaged.
        """
        num_there = self._num_decoded + self._num_refused
        is_told = self._has_fields or not self._watch.begins_whole or self._watch.losses
        if is_told or num_there >= self._num_packets:
            return None
        return f"it is damaged: {num_there:,} of its {self._num_packets:,} frames can be decoded"

    def _how_much(self) -> str:
        """Return how many seconds of the file were read, and of how many."""
        seconds = self._next_seconds()
        whole = (self._container.duration or 0) / av.time_base
        of_whole = f" of its {whole:.1f}" if whole > seconds + self._step else ""
        return f"{seconds:.1f}{of_whole} seconds"

    def _from_start(self) -> "Iterator[VideoPacket]":
        """Yield the packets to decode: from the last key frame before the start on."""
        start = self._options.start
        parts: deque[list[VideoPacket]] = deque([[]], LEAD_KEYS if self._counts_chunks else 1)
        num_bytes, is_there = 0, start <= 0
        for packet in self._packets():
            if is_there:
                yield packet
                continue
            stamp = packet.dts if self._counts_chunks else packet.pts
            if stamp is not None and packet.is_keyframe and (self._seconds_of(stamp) or 0) <= start:
                parts.append([])
                num_bytes = sum(kept.size for part in parts for kept in part)
                first = next((self._stamp_of(kept) for part in parts for kept in part), stamp)
                self._numbers.pass_over(stamp if first is None else first)
            parts[-1].append(packet)
            num_bytes += packet.size
            decoded_at = self._seconds_of(packet.pts if packet.dts is None else packet.dts)
            is_there = decoded_at is None or decoded_at > start or num_bytes > MAX_BUFFERED_BYTES
            if is_there:
                yield from chain.from_iterable(parts)
        if not is_there:
            yield from chain.from_iterable(parts)

    def _packets(self) -> "Iterator[VideoPacket]":
        """Yield all packets, each noted for numbering; the last one is empty."""
        packets, codec = self._container.demux(self._video), self._video.codec_context.name
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                self._reason = f"it breaks off: {error.strerror}"
                return
            if packet is None:
                return
            self._place = max(self._place, packet.pos or 0)
            self._join(packet)
            if packet.size:
                self._watch.see(packet)
            stamp = self._stamp_of(packet)
            if packet.size == 0 and stamp is not None:
                self._num_empty += 1
                continue  # AVI repeats a picture by it; a decoder would take it for the end
            if is_shown(packet):
                self._num_packets += 1
                if stamp is not None:
                    self._origin = stamp if self._origin is None else self._origin
                    self._numbers.send(stamp)
                    packet.opaque = stamp if self._counts_chunks else None
                    if self._sees_zeros and lost_sectors.is_zeroed(codec, bytes(packet)):
                        self._zeroed.add(stamp)
            yield packet

    def _join(self, packet: "VideoPacket") -> None:
        """Shift the times of a recording that was joined to another, so that they go on."""
        stamp = self._stamp_of(packet)
        if self._joined is None or stamp is None or packet.dts is None:
            return
        shift = self._joined.shift_for(stamp, packet.dts)
        packet.dts += shift
        packet.pts = None if packet.pts is None else packet.pts + shift

    def _items_of(self, packet: "VideoPacket") -> Iterator[Item]:
        """Yield the taken frames that come out of the decoder after a packet."""
        self._last_packets.add(packet)
        try:
            pictures = packet.decode()
        except FFmpegError:
            self._has_errors = True
            self._numbers.fail()
            if packet.size and self._stamp_of(packet) is None:
                self._num_refused += 1
                yield from self._without_pixels([(self._numbers.take(None).index, None)])
            return
        for picture in pictures:
            yield from self._items_until(picture)

    def _held_back(self) -> Iterator[Item]:
        """Yield whole frames at the end that the decoder held back, as others are damaged."""
        if len(self._numbers) == 0 or (self._is_interlaced and not self._has_errors):
            return
        self._has_errors = True
        flags = self._video.codec_context.flags
        is_behind = self._last_stamp is None
        for picture in self._last_packets.decode(self._path, self._options.max_pixels, flags):
            if is_behind:
                yield from self._items_until(picture)
            is_behind = is_behind or self._stamp_in(picture) == self._last_stamp

    def _items_until(self, picture: VideoFrame) -> Iterator[Item]:
        """Yield a picture if it is taken, and before it the frames that are missing."""
        stamp = self._last_stamp = self._stamp_in(picture)
        if stamp is not None and stamp in self._given_up and not self._counts_chunks:
            return  # it comes after later ones, as others are lost
        numbered = self._numbers.take(stamp, is_key=picture.key_frame)
        index, seconds = numbered.index, self._seconds_of(numbered.stamp)
        # Without an error, second fields and frames before the first key frame are not missing.
        self._is_interlaced = picture.interlaced_frame
        self._has_fields |= picture.interlaced_frame
        is_usual = self._num_decoded == 0 or self._is_interlaced
        if numbered.missing and (self._has_errors or not is_usual):
            index += yield from self._without_pixels(numbered.missing)
        index += yield from self._gap_before(index, seconds)
        if seconds is None or (self._last is not None and seconds <= self._last):
            seconds = self._next_seconds()
        elif self._last is not None and not self._is_broken:
            self._steps.append(seconds - self._last)
        self._num_decoded += 1
        is_damaged = picture.is_corrupt or stamp in self._zeroed
        self._zeroed.discard(stamp or 0)
        yield from self._item(index, seconds, None if is_damaged else picture)

    def _missing_until(self, seconds: float) -> int:
        """Return how many frames a damaged file lacks between the last one and a time."""
        last, origin = self._last, self._origin
        if self._rate is None or last is None or origin is None or self._counts_chunks:
            return 0
        if self._joined is not None and seconds - last > LONGEST_LOSS:
            return 0
        step = max(1 / float(self._rate), median(self._steps) if self._steps else 0.0)
        most = round((seconds - last) / step) - 1
        if not 0 < most <= MOST_MISSING:
            return 0
        if not self._watch.can_tell:
            # A header that counts frames tells where each is.
            is_listed = count_frames(self._container, self._video) > 0
            return most if self._is_broken and not is_listed else 0
        before, behind = (origin + round(time / self._time_base) for time in (last, seconds))
        return self._watch.missing(before, behind, most)

    def _without_pixels(
        self, missing: Iterable[tuple[int, int | None]]
    ) -> Generator[Item, None, int]:
        """Yield frames that did not come; return how many more were missing in gaps before them."""
        num_more = 0
        for index, stamp in missing:
            seconds = self._seconds_of(stamp)
            num_more += yield from self._gap_before(index + num_more, seconds)
            seconds = self._next_seconds() if seconds is None else seconds
            self._given_up.add(stamp)
            yield from self._item(index + num_more, seconds, None)
        return num_more

    def _gap_before(self, index: int, seconds: float | None) -> Generator[Item, None, int]:
        """Yield the frames that are missing before one, by its time, and return their number."""
        num_missing = 0 if seconds is None else self._missing_until(seconds)
        self._numbers.skip(num_missing)
        self._has_missing |= num_missing > 0
        for number in range(index, index + num_missing):
            yield from self._item(number, self._next_seconds(), None)
        return num_missing

    def _item(self, index: int, seconds: float, picture: VideoFrame | None) -> Iterator[Item]:
        """Yield a frame if it is taken; without a picture, it is damaged or missing."""
        self._last, self._is_broken = seconds, picture is None
        if picture is None and self._first_failed is None:
            self._first_failed = index
        end = self._options.end
        self._is_past_end = self._is_past_end or (end is not None and seconds >= end)
        if self._takes(index, seconds):
            pixels = None if picture is None else self._pixels_of(picture)
            share = self._place / self._num_bytes if self._place and self._num_bytes else None
            yield Frame(self._name, index, seconds, pixels, self._path, share=share)

    def _pixels_of(self, picture: VideoFrame) -> Pixels | None:
        """Return the pixels; None if memory or the converter fails."""
        try:
            return upright(picture, self._converter)
        except (FFmpegError, MemoryError, ValueError):
            return None

    def _seconds_of(self, stamp: int | None) -> float | None:
        if stamp is None or self._origin is None:
            return None
        return float((stamp - self._origin) * self._time_base)

    def _stamp_of(self, packet: "VideoPacket") -> int | None:
        """Return when a packet is shown; for AVI, which does not tell, when it is decoded."""
        return packet.dts if packet.pts is None or self._counts_chunks else packet.pts

    def _stamp_in(self, picture: VideoFrame) -> int | None:
        """Return the stamp of the packet that a picture came from."""
        return cast("int | None", picture.opaque) if self._counts_chunks else picture.pts

    def _next_seconds(self) -> float:
        return 0.0 if self._last is None else self._last + self._step
