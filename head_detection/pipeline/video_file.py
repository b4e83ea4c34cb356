"""A video file: opened, described, its frames upright."""

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
from head_detection.results.joined import may_be_joined

if TYPE_CHECKING:
    from av.packet import Packet

CONTAINERS: Final = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "asf", "flv", "ogg", "mxf", "nut"),
    *("ivf", "dv", "wtv", "rm", "gxf", "dhav", "mpegvideo", "h264", "hevc", "m4v", "obu"),
    *("yuv4mpegpipe", "mpjpeg"),
)
"""What is opened, by FFmpeg's names. None that reads other files or addresses (playlists, concat),
no picture, and no text, which its ``tty`` would draw."""
MAX_THREADS: Final = 4
"""That decode: the network needs the others."""
FIRST_PACKETS: Final = 500
"""Give a frame, or the size upright is not known beforehand."""
STEADY: Final = 0.01
"""Two measures of a file's rate may differ by so much where it is steady."""
BLOCK_SLACK: Final = 2
SMALL_PIXELS: Final = 64 * 1024
"""Sides rounded up to whole blocks of at most 64 pixels are at most twice as many pixels, but for
small pictures."""
EBML: Final = bytes.fromhex("1a45dfa3")
SEGMENT: Final = bytes.fromhex("18538067")
"""The kinds of Matroska's header and of all behind it."""
MOST_ELEMENTS: Final = 10
"""That may stand between the two."""
VP8_DECODERS: Final = frozenset({"vp8", "libvpx"})
VP8_SHOWN: Final = 0x10
"""The bit of a packet's first byte that says it is shown, not for reference alone (RFC 6386, 9.1).
Of later codecs each packet is shown."""
NO_PICTURE: Final = VideoFrame()
"""Without pixels and side data."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        size: (height, width) upright; None where no frame at its beginning can be decoded.
        fps: frames a second where that is steady, as far as the header tells.
        count: of frames; None where the header does not tell.
        seconds: from the first frame to the end; None where it does not tell, as where recordings
            may be joined.
        num_tracks: of video. One is read: FFmpeg's best, by the default mark, then by its size.
    """

    size: tuple[int, int] | None
    fps: float | None
    count: int | None
    seconds: float | None
    num_tracks: int


def describe_video(path: Path, max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Look at a video's header and first frame.

    Raises:
        SourceError: missing, no video, cut off before its index, or of too large frames.
    """
    with opened(path, max_pixels) as (container, video):
        rate, seconds = steady_rate(video), None
        if may_be_joined(container):
            pass  # FFmpeg's own is the time between the first stamp and the last
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
    """Open a file and its track of video.

    Raises:
        SourceError: as ``describe_video``.
    """
    # FFmpeg's own counts whole blocks, and sees the header while the file is opened.
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
                f"{path}: {video.width}x{video.height} is {num_pixels:,} pixels a frame; at most "
                f"{max_pixels:,} are read; {REMEDY}"
            )
        video.codec_context.options = {"max_pixels": limit}  # a frame may differ from the header
        video.thread_type, video.thread_count = "AUTO", min(MAX_THREADS, os.cpu_count() or 1)
        yield container, video


def count_frames(container: InputContainer, video: VideoStream) -> int:
    """Return how many frames a track shows, by its header or index; 0 where they do not tell.

    Of MP4 and MOV the edit list may leave some out: those before a cut that was made without
    encoding anew, which others lean on.
    """
    if container.format.name == mp4.FORMAT and video.frames:
        return sum(not entry.is_discard for entry in video.index_entries)
    return avi.count_frames(container, video)


def upright(picture: VideoFrame, converter: VideoReformatter | None = None) -> Pixels:
    """Return ``(H, W, 3)`` uint8 RGB, turned and mirrored as the display matrix says.

    It is taken to the nearest quarter of a turn.

    Args:
        picture: as decoded.
        converter: of one thread; one that is kept need not prepare anew for each picture.
    """
    rgb = (converter or VideoReformatter()).reformat(picture, format="rgb24")
    pixels: Pixels = np.asarray(rgb.to_ndarray(), np.uint8)
    turn = _Turn.of(picture)
    if turn.is_on_its_side:
        pixels = pixels.transpose(1, 0, 2)
    step_down, step_across = -1 if turn.is_upside_down else 1, -1 if turn.is_mirrored else 1
    return np.ascontiguousarray(pixels[::step_down, ::step_across])


class _Turn(NamedTuple):
    """How a stored picture is brought upright: first its sides are swapped, then it is flipped."""

    is_on_its_side: bool = False
    is_upside_down: bool = False
    is_mirrored: bool = False

    @classmethod
    def of(cls, picture: VideoFrame) -> "_Turn":
        """Read the display matrix: a, b, u, c, d, v, x, y, w. A pixel goes to ax + cy, bx + dy."""
        side_data = picture.side_data
        matrix = side_data.get("DISPLAYMATRIX")
        content = b"" if matrix is None else bytes(cast("Any", matrix))
        # PyAV's picture and its side data hold each other: hundreds of pictures, gigabytes at 4K,
        # would wait for the garbage collector. Begun anew, it holds an empty picture.
        cast("Any", side_data).__init__(NO_PICTURE)
        if not content:
            return cls()
        a, b, _, c, d = np.frombuffer(content, np.int32)[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(is_on_its_side=True, is_upside_down=b < 0, is_mirrored=c < 0)
        return cls(is_upside_down=d < 0, is_mirrored=a < 0)


def steady_rate(video: VideoStream) -> Fraction | None:
    """Return the frames a second where two ways to tell agree, or the stream alone does."""
    if is_raw(video):
        return rate_of(video)
    # PyAV 19 has its own fractions.
    rates = (video.average_rate, video.guessed_rate)
    average, guessed = (Fraction(cast("Any", rate or 0)) for rate in rates)
    if not average or not guessed or abs(average / guessed - 1) > STEADY:
        return None
    return average


def likely_rate(video: VideoStream) -> Fraction | None:
    """Return the frames a second where that is steady, as far as the header tells."""
    if not video.average_rate and video.guessed_rate:  # Ogg and ASF have but one way to tell
        return Fraction(cast("Any", video.guessed_rate))
    return steady_rate(video)


def is_shown(packet: "Packet[VideoStream]") -> bool:
    """Tell whether a packet is a frame to show: not one cut away, or for reference alone."""
    if packet.size == 0 or packet.is_discard:
        return False
    is_vp8 = packet.stream.codec_context.name in VP8_DECODERS
    return not is_vp8 or bool(memoryview(packet)[0] & VP8_SHOWN)


def _track_of(container: InputContainer, path: Path, max_pixels: int) -> VideoStream:
    """Return the track that is read.

    Raises:
        SourceError: there is none, or nothing here decodes it.
    """
    tracks = [track for track in container.streams.video if not _is_cover(track)]
    if not tracks and container.streams.audio:
        raise SoundError(f"{path}: expected a video; it has sound and no pictures")
    if not tracks:
        raise SourceError(f"{path}: expected a video; it has no track of pictures")
    best = container.streams.best("video")
    track = next((track for track in tracks if track is best), tracks[0])
    if track.codec_context is None or not track.width * track.height:
        raise SourceError(
            f"{path}: expected a codec that FFmpeg decodes, and frames of at most {max_pixels:,} "
            "pixels; its header has another codec or size"
        )
    return track


def _is_cover(track: VideoStream) -> bool:
    """Tell whether a track is a picture of the disc's cover."""
    return bool(track.disposition & Disposition.attached_pic)


def _why_not_opened(path: Path, error: FFmpegError) -> str:
    """Return why a file is no video, in words for the user."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return error.strerror or "it cannot be read"
    try:
        if path.stat().st_size == 0:
            return "expected a video; the file is empty"
        if mp4.lacks_index(path):
            return (
                "the recording was cut off before its index (moov) was written, so that nothing "
                "tells where its frames are; the camera, or a tool such as untrunc, may repair it"
            )
    except OSError as refusal:
        return refusal.strerror or "it cannot be read"
    return f"expected a video; it is damaged, or of no known format ({error.strerror})"


def is_cut_short(path: Path) -> bool:
    """Tell whether a file is shorter than its own parts say: a copy or download that broke off.

    MP4, MOV, Matroska and WebM say so; of others, and of a recording that went on without an end,
    nothing is known.
    """
    with suppress(OSError):  # taken away meanwhile
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(EBML)) == EBML:
                return _end_of_segment(file) > size
        return mp4.is_cut_short(path)
    return False


def _end_of_segment(file: BinaryIO) -> int:
    """Return where Matroska's segment should end, 0 where that is not known.

    Source:
        RFC 8794, section 4: a number's length is told by the zeros that it begins with; one whose
        bits are all ones is not known.
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
        file.seek(end + 1)  # a void between: its own number is one byte
    return 0


def _number_in(file: BinaryIO) -> int | None:
    """Read a number of EBML; None where it stands for one that is not known."""
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
