"""Opens video and sound files to read their packets."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from head_detection.images.video_start import is_motion_jpeg
from head_detection.results import avi, mp4

STRICT_UNTIL: Final = 18
"""Last major version of PyAV with the option below; later ones always open files whose titles are
not UTF-8."""
ANY_NAMES: Final[dict[str, Any]] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) <= STRICT_UNTIL else {}
)
RAW_FORMATS: Final = frozenset({"h264", "hevc", "m4v", "mpegvideo", "obu", "mjpeg"})
"""FFmpeg's names of streams without a container, for which it always assumes 25 frames a
second."""
FASTEST_RATE: Final = 240
"""Frames a second; a higher value is not a rate but the clock of a file with a variable rate."""
USUAL_RATE: Final = Fraction(25)
"""FFmpeg's default for an unknown rate."""


def open_container(path: Path, options: Mapping[str, str]) -> InputContainer:
    """Open a file: AVI by its index if that lists all frames, MP4 up to its last whole fragment.

    Args:
        path: path of the file.
        options: options of FFmpeg.

    Raises:
        FFmpegError: it cannot be read, or its format is unknown.
    """
    try:
        container = _open(path, options)
    except FFmpegError:
        if (end := _end_of_fragments(path)) is None:
            raise
        container = _open(path, options, end)
    video = container.streams.best("video")
    if not isinstance(video, VideoStream) or not avi.has_whole_index(path, container, video):
        return container
    container.close()
    return _open(path, {**options, **avi.BY_INDEX})


def rate_of(video: VideoStream) -> Fraction | None:
    """Return the frames a second of a track: from its container, or without one from the stream.

    H.264 and HEVC may carry the rate (VUI timing information); if they do not, it is None.
    """
    average: Any = video.average_rate or video.guessed_rate
    if is_raw(video):
        average = video.codec_context.framerate
    rate = Fraction(cast("Any", average or 0))  # PyAV 19 has its own fractions
    return rate if 0 < rate <= FASTEST_RATE else None


def is_raw(video: VideoStream) -> bool:
    """Tell whether a stream has no container."""
    return video.container.format.name in RAW_FORMATS


def pixel_shape(video: VideoStream, size: tuple[int, int]) -> Fraction:
    """Return the pixel aspect ratio (width by height): 1 unless the recording is anamorphic.

    Args:
        video: a video track.
        size: (height, width) of its frames once upright, or of a larger copy; the ratio is inverted
            if they were rotated by a quarter turn.
    """
    shape = Fraction(cast("Any", video.sample_aspect_ratio or 1))
    was_turned = (size[0] > size[1]) != (video.height > video.width)
    return 1 / shape if was_turned else shape


def _open(path: Path, options: Mapping[str, str], end: int | None = None) -> InputContainer:
    """Open a file, or the part of it before an offset."""
    # The protocol is explicit because the name of a file may look like a URL.
    name, options = f"file:{path}", dict(options)
    if end is not None:
        name = f"subfile,,start,0,end,{end},,:{name}"
        options["protocol_whitelist"] = f"{options['protocol_whitelist']},subfile"
    kind = None
    if is_motion_jpeg(path):  # taken for a picture by its content
        kind = options["format_whitelist"] = "mjpeg"
    container: InputContainer = av.open(name, format=kind, options=options, **ANY_NAMES)
    return container


def _end_of_fragments(path: Path) -> int | None:
    try:
        return mp4.end_of_fragments(path)
    except OSError:
        return None
