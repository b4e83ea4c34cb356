"""Opens and describes a video file, and turns its frames upright."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from head_detection.errors import FrameSizeError, SoundError, SourceError
from head_detection.images.reading import MAX_PIXELS
from head_detection.images.reasons import REMEDY
from head_detection.results import avi, mp4
from head_detection.results.containers import is_raw, open_container, rate_of
from head_detection.results.joined_recordings import may_be_joined

if TYPE_CHECKING:
    from av.packet import Packet

CONTAINERS: Final = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "asf", "flv", "ogg", "mxf", "nut"),
    *("ivf", "dv", "wtv", "rm", "gxf", "dhav", "mpegvideo", "h264", "hevc", "m4v", "obu"),
    *("yuv4mpegpipe", "mpjpeg"),
)
"""The formats that are opened, by FFmpeg's names. None that reads other files or addresses
(playlists, concat), no picture, and no text, which FFmpeg's ``tty`` would draw."""
MAX_THREADS: Final = 4
"""Threads for decoding: the network needs the others."""
FIRST_PACKETS: Final = 500
"""Packets among which a frame must be found, or the upright size is not known beforehand."""
STEADY: Final = 0.01
"""Share by which two measures of a steady rate may differ."""
BLOCK_SLACK: Final = 2
SMALL_PIXELS: Final = 64 * 1024
"""Rounding sides up to whole blocks of at most 64 pixels at most doubles the pixels, except in
small pictures."""
EBML: Final = bytes.fromhex("1a45dfa3")
SEGMENT: Final = bytes.fromhex("18538067")
"""The kinds of Matroska's header and of all that follows it."""
MOST_ELEMENTS: Final = 10
"""Elements that may stand between the two."""
VP8_DECODERS: Final = frozenset({"vp8", "libvpx"})
VP8_SHOWN: Final = 0x10
"""The bit of a packet's first byte that says that it is shown, not only a reference (RFC 6386,
9.1). In later codecs, each packet is shown."""
NO_PICTURE: Final = VideoFrame()
"""A frame without pixels and side data."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        size: (height, width) upright; None if no frame at its beginning can be decoded.
        fps: frames per second if that is steady, as far as the header tells.
        count: number of frames; None if the header does not tell.
        seconds: from the first frame to the end; None if the header does not tell, or recordings
            may be joined.
        num_tracks: tracks of video. One is read: FFmpeg's best, by the default mark, then by its
            size.
    """

    size: tuple[int, int] | None
    fps: float | None
    count: int | None
    seconds: float | None
    num_tracks: int


def describe_video(path: Path, max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Look at a video's header and first frame.

    Raises:
        SourceError: missing, not a video, cut off before its index, or its frames are too large.
    """
    with opened(path, max_pixels) as (container, video):
        rate, seconds = steady_rate(video), None
        if may_be_joined(container):
            pass  # FFmpeg's is the time between the first and the last stamp
        elif video.duration and video.time_base:
            seconds = float(video.duration * video.time_base)
        elif container.duration:
            seconds = container.duration / av.time_base
        tracks = [track for track in container.streams.video if not _is_cover(track)]
        fps = None if rate is None else float(rate)
        size = _first_size(container, video)
        count = count_frames(container, video) or None
        return VideoInfo(size, fps, count, seconds, len(tracks))


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its video track.

    Raises:
        SourceError: as ``describe_video``.
    """
    # FFmpeg's own limit counts whole blocks, and already applies while the file is opened.
    limit = str(min(BLOCK_SLACK * max_pixels + SMALL_PIXELS, np.iinfo(np.int32).max))
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "protocol_whitelist": "file",
        "max_pixels": limit,
    }
    try:
        container = open_container(path, options)
    except FFmpegError as error:
        raise SourceError(f"{path}: {_why_not_opened(path, error)}") from error
    with container:
        video = _track_of(container, path, max_pixels)
        num_pixels = video.width * video.height
        if num_pixels > max_pixels:
            raise FrameSizeError(
                f"{path}: expected frames of at most {max_pixels:,} pixels; got "
                f"{video.width}x{video.height}, {num_pixels:,} pixels: {REMEDY}"
            )
        video.codec_context.options = {"max_pixels": limit}  # a frame may differ from the header
        video.thread_type, video.thread_count = "AUTO", min(MAX_THREADS, os.cpu_count() or 1)
        yield container, video


def count_frames(container: InputContainer, video: VideoStream) -> int:
    """Return how many frames a track shows, by its header or index; 0 if they do not tell.

    The edit list of MP4 and MOV may leave some out: frames before a cut that was made without
    encoding again, on which others depend.
    """
    if container.format.name == mp4.FORMAT and video.frames:
        return sum(not entry.is_discard for entry in video.index_entries)
    return avi.count_frames(container, video)


def upright(picture: VideoFrame, converter: VideoReformatter | None = None) -> Pixels:
    """Return ``(H, W, 3)`` uint8 RGB, rotated and mirrored as the display matrix says.

    The rotation is rounded to a quarter turn.

    Args:
        picture: as decoded.
        converter: for one thread; reusing it saves its setup for each picture.
    """
    rgb = (converter or VideoReformatter()).reformat(picture, format="rgb24")
    pixels: Pixels = np.asarray(rgb.to_ndarray(), np.uint8)
    turn = _Turn.of(picture)
    if turn.is_on_its_side:
        pixels = pixels.transpose(1, 0, 2)
    step_down, step_across = -1 if turn.is_upside_down else 1, -1 if turn.is_mirrored else 1
    return np.ascontiguousarray(pixels[::step_down, ::step_across])


class _Turn(NamedTuple):
    """How a stored picture is made upright: first its sides are swapped, then it is flipped."""

    is_on_its_side: bool = False
    is_upside_down: bool = False
    is_mirrored: bool = False

    @classmethod
    def of(cls, picture: VideoFrame) -> "_Turn":
        """Read the display matrix: a, b, u, c, d, v, x, y, w. A pixel goes to ax + cy, bx + dy."""
        side_data = picture.side_data
        matrix = side_data.get("DISPLAYMATRIX")
        content = b"" if matrix is None else bytes(cast("Any", matrix))
        # PyAV's picture and its side data refer to each other: hundreds of pictures, gigabytes at
        # 4K, would wait for the garbage collector. Initialised again, it refers to an empty one.
        cast("Any", side_data).__init__(NO_PICTURE)
        if not content:
            return cls()
        a, b, _, c, d = np.frombuffer(content, np.int32)[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(is_on_its_side=True, is_upside_down=b < 0, is_mirrored=c < 0)
        return cls(is_upside_down=d < 0, is_mirrored=a < 0)


def steady_rate(video: VideoStream) -> Fraction | None:
    """Return the frames per second if two measures agree, or a raw stream tells them."""
    if is_raw(video):
        return rate_of(video)
    # PyAV 19 has its own type of fractions.
    rates = (video.average_rate, video.guessed_rate)
    average, guessed = (Fraction(cast("Any", rate or 0)) for rate in rates)
    if not average or not guessed or abs(average / guessed - 1) > STEADY:
        return None
    return average


def likely_rate(video: VideoStream) -> Fraction | None:
    """Return the frames per second if that is steady, as far as the header tells."""
    if not video.average_rate and video.guessed_rate:  # Ogg and ASF have only one measure
        return Fraction(cast("Any", video.guessed_rate))
    return steady_rate(video)


def is_shown(packet: "Packet[VideoStream]") -> bool:
    """Tell whether a packet is a frame to show: not cut away, and not only a reference."""
    if packet.size == 0 or packet.is_discard:
        return False
    is_vp8 = packet.stream.codec_context.name in VP8_DECODERS
    return not is_vp8 or bool(memoryview(packet)[0] & VP8_SHOWN)


def _track_of(container: InputContainer, path: Path, max_pixels: int) -> VideoStream:
    """Return the track to read.

    Raises:
        SourceError: there is none, or it cannot be decoded.
    """
    tracks = [track for track in container.streams.video if not _is_cover(track)]
    if not tracks and container.streams.audio:
        raise SoundError(f"{path}: expected a video; got a file with sound only")
    if not tracks:
        raise SourceError(f"{path}: expected a video; got a file without pictures")
    best = container.streams.best("video")
    track = next((track for track in tracks if track is best), tracks[0])
    if track.codec_context is None or not track.width * track.height:
        raise SourceError(
            f"{path}: expected a codec that FFmpeg decodes, and frames of at most {max_pixels:,} "
            "pixels; its header has another codec or size"
        )
    return track


def _is_cover(track: VideoStream) -> bool:
    """Tell whether a track is a cover picture."""
    return bool(track.disposition & Disposition.attached_pic)


def _why_not_opened(path: Path, error: FFmpegError) -> str:
    """Return why a file cannot be opened as a video, in words for the user."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return error.strerror or "it cannot be read"
    try:
        if path.stat().st_size == 0:
            return "expected a video; got an empty file"
        if mp4.lacks_index(path):
            return (
                "the recording was cut off before its index (moov) was written, so that nothing "
                "tells where its frames are; the camera, or a tool such as untrunc, may repair it"
            )
    except OSError as refusal:
        return refusal.strerror or "it cannot be read"
    return f"expected a video; got a damaged file, or an unknown format ({error.strerror})"


def is_cut_short(path: Path) -> bool:
    """Tell whether a file is shorter than its own parts say, as after a broken download.

    MP4, MOV, Matroska and WebM tell; for others, and for recordings of unknown length, nothing is
    known.
    """
    with suppress(OSError):  # removed meanwhile
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(EBML)) == EBML:
                return _end_of_segment(file) > size
        return mp4.is_cut_short(path)
    return False


def _end_of_segment(file: BinaryIO) -> int:
    """Return where Matroska's segment should end, 0 if unknown.

    Source:
        RFC 8794, section 4: the zero bits at its beginning tell a number's length; one whose bits
        are all ones is unknown.
    """
    for _ in range(MOST_ELEMENTS):
        size = _number_in(file)
        if size is None:
            return 0
        end = file.tell() + size
        file.seek(end)
        identity = file.read(len(SEGMENT))
        if identity == SEGMENT:
            size = _number_in(file)
            return 0 if size is None else file.tell() + size
        file.seek(end + 1)  # a void in between: its kind is one byte
    return 0


def _number_in(file: BinaryIO) -> int | None:
    """Read a number of EBML; None if it stands for an unknown one."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1), "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else value


def _first_size(container: InputContainer, video: VideoStream) -> tuple[int, int] | None:
    """Return (height, width) upright of the first frame that can be decoded."""
    with suppress(FFmpegError):
        for number, packet in enumerate(container.demux(video)):
            with suppress(FFmpegError):
                for picture in packet.decode():
                    is_on_its_side = _Turn.of(picture).is_on_its_side
                    size = (picture.height, picture.width)
                    return size[::-1] if is_on_its_side else size
            if number > FIRST_PACKETS:
                break
    return None
