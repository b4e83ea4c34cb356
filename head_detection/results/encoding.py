"""Writes a video file frame by frame; it can be opened however the writing ends."""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast

import av
import cv2
import numpy as np
from av.codec.codec import UnknownCodecError
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    VideoReformatter,
)
from av.video.stream import VideoStream

from head_detection.cores import num_cores
from head_detection.errors import DeviceError, OutputError
from head_detection.images.reading import Picture
from head_detection.results import avi
from head_detection.results.containers import (
    USUAL_RATE,
    open_container,
    pixel_shape,
    rate_of,
)
from head_detection.results.sound import Sound

DEFAULT_CODEC: Final = "libx264"
PIXEL_FORMAT: Final = "yuv420p"
"""The format that every player supports; its chroma is halved, so sides must be even."""
OPTIONS: Final = {
    "libx264": {
        "preset": "veryfast",
        "crf": "20",
        "rc-lookahead": "5",
        "subq": "1",
        "me_method": "dia",
    },
    "libx265": {"preset": "veryfast", "crf": "23", "x265-params": "log-level=none"},
    "libsvtav1": {"preset": "10", "crf": "30"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "6", "crf": "30", "b": "0"},
}
"""Fast, because a detector runs at the same time, and good enough to preserve a head of 12 pixels:
text and thin lines look unchanged at crf 20."""
MUXING: Final = {
    "movflags": "hybrid_fragmented+delay_moov",
    "frag_duration": "500000",
    "flush_packets": "1",
    "movie_timescale": "90000",
}
"""Fragments of half a second while the file grows, so that it opens after a kill; a plain MP4 once
complete. The header waits for the first packets, because it says how much earlier the sound begins,
and needs a finer clock than milliseconds."""
READING: Final = {"protocol_whitelist": "file"}
FRAGMENT: Final = b"moof"
BOX_HEADER_BYTES: Final = 8
"""A part of an MP4 begins with its size and kind; frames follow after the first ``moof``."""
KEY_SECONDS: Final = 2
"""Time between key frames, to which players can jump."""
TIME_BASE: Final = Fraction(1, 90_000)
"""MPEG's clock, for the video of a camera."""
FINEST_TIME_BASE: Final = 65_535
"""Most ticks per second in MPEG-4 part 2."""
WEBP: Final = "webp_pipe"
"""FFmpeg's format of animations; FFmpeg assumes 25 frames a second for them."""
MOST_THREADS: Final = 8


@dataclass(frozen=True)
class Encoding:
    """How videos are written.

    Attributes:
        codec: FFmpeg's name of an encoder.
        has_sound: copy the source's sound.

    Raises:
        OutputError: PyAV has no such encoder, or MP4 cannot hold its output. One line.
    """

    codec: str = DEFAULT_CODEC
    has_sound: bool = True

    def __post_init__(self) -> None:
        try:
            codec = av.codec.Codec(self.codec, "w")
            formats = [pixel_format.name for pixel_format in codec.video_formats or ()]
        except UnknownCodecError:
            formats = []
        if PIXEL_FORMAT not in formats or self.codec not in (*OPTIONS, "mpeg4", *_hardware()):
            raise OutputError(
                f"codec: expected {', '.join((*OPTIONS, 'mpeg4', *_hardware()))}; got {self.codec}"
            )


def _hardware() -> tuple[str, ...]:
    """Return the hardware encoders that this PyAV knows; the hardware may still be missing."""
    names = ("h264_nvenc", "hevc_nvenc", "h264_qsv", "h264_videotoolbox", "hevc_videotoolbox")
    return tuple(name for name in names if name in av.codecs_available)


class _LateFile:
    """A file object for PyAV that creates its file only once players can open it.

    An MP4 can be opened once it has frames; until then, its first bytes wait in memory, so that a
    kill leaves no broken file.

    Args:
        path: path of the file; its folder is created if missing.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._waiting = path, b""
        self._file: io.FileIO | None = None
        self._is_left = False

    def write(self, content: bytes) -> int:
        """Append bytes; those before the first fragment wait in memory for it."""
        if self._is_left:
            raise ValueError("expected an open file; it was left")
        if self._file is not None:
            return self._file.write(content)
        self._waiting += content
        if FRAGMENT in content[:BOX_HEADER_BYTES]:
            self._begin()
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset, which PyAV does only at the end."""
        return self._begin().seek(offset, whence)

    def tell(self) -> int:
        """Return where the next byte goes."""
        return len(self._waiting) if self._file is None else self._file.tell()

    def leave(self) -> None:
        """Stop writing, and remove a file without a complete first frame."""
        self._is_left = True
        if self._file is not None:
            self._file.close()
            with suppress(OSError):
                if not _has_pictures(self._path):
                    self._path.unlink()

    def close(self) -> None:
        """Write the bytes that wait, and close the file."""
        if not self._is_left:
            self._begin().close()

    def _begin(self) -> io.FileIO:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb", buffering=0)
            rest = memoryview(self._waiting)
            while rest:
                rest = rest[self._file.write(rest) :]
        return self._file


def _has_pictures(path: Path) -> bool:
    """Tell whether the first frame of a file is complete."""
    try:
        with av.open(f"file:{path}", options=READING) as container:
            return next(container.decode(video=0), None) is not None
    except FFmpegError:
        return False


class VideoWriter:
    """Writes one MP4 with the presentation times, and the sound, of its source.

    Frames with an odd side get one more row or column, a copy of the last. Metadata and rotation of
    the source are not copied: the frames are upright.

    Args:
        path: path of the file; its folder is created if missing. The file exists, and opens, once
            there are frames of half a second.
        encoding: codec and sound.
        source: the video file of the frames; None for a camera. Whichever begins first in it,
            frames or sound, is at time 0.
        is_cut: the first frame is not the source's first; then this frame is at time 0.

    Attributes:
        notes: what the user should know about the file, one line each.
    """

    def __init__(
        self, path: Path, encoding: Encoding, source: Path | None = None, *, is_cut: bool = False
    ) -> None:
        self._path, self._encoding = path, encoding
        self._is_cut = is_cut or source is None
        self.notes: list[str] = []
        self._stack = ExitStack()
        with self._stack:
            self._source = None if source is None else self._open_source(source)
            self._stack = self._stack.pop_all()
        self._file: _LateFile | None = None
        self._stream: VideoStream | None = None
        self._sound: Sound | None = None
        self._held: av.Packet[VideoStream] | None = None
        self._error: Exception | None = None
        self._converter = VideoReformatter()  # a frame's own would be set up anew for each frame
        self._delay = 0.0
        self._last_picture: Picture | None = None
        self._last_ticks, self._step, self._key_ticks = -1, 0, 0

    def add(self, seconds: float, pixels: Picture) -> None:
        """Add a frame at its presentation time, fitted to the size of the first frame.

        If the time jumps back, as after a camera restarts, it continues from the last frame.

        Args:
            seconds: time since the source's first frame.
            pixels: ``(H, W, 3)`` uint8 RGB.

        Raises:
            OSError: it cannot be written.
            DeviceError: the codec does not work on this machine. One line.
        """
        with self._failing():
            if self._stream is None:
                self._begin(seconds, pixels)
            self._encode(seconds, self._fitted(pixels))

    def repeat(self, seconds: float) -> None:
        """Repeat the last frame, if any, at the time of a missing one."""
        with self._failing():
            if self._last_picture is not None:
                self._encode(seconds, self._last_picture)

    def close(self) -> None:
        """Write the rest and end the file.

        Raises:
            OSError: it cannot be written; the file opens, without its last seconds.
        """
        with self._stack, self._failing():
            if self._stream is None:
                return
            self._mux(self._encoded(self._stream, None))
            self._mux_held(self._step)
            if self._sound is not None:
                end = self._last_ticks + self._step
                slack = float(self._step * self._time_base) / 2
                self._sound.write_rest(float(end * self._time_base), slack)
            self._output.close()

    def _open_source(self, path: Path) -> InputContainer | None:
        try:
            return self._stack.enter_context(open_container(path, READING))
        except (FFmpegError, OSError):
            return None

    def _begin(self, seconds: float, pixels: Picture) -> None:
        self._file = self._stack.enter_context(closing(_LateFile(self._path)))
        self._output = av.open(self._file, "w", format="mp4", container_options=MUXING)
        source, rate, self._time_base = self._source, USUAL_RATE, TIME_BASE
        begin = first = 0.0
        video = None if source is None else source.streams.best("video")
        if source is not None and isinstance(video, VideoStream):
            rate = rate_of(video) or USUAL_RATE
            if source.format.name != WEBP:
                self._time_base = Fraction(cast("Any", video.time_base or TIME_BASE))
            if source.format.name != avi.FORMAT:  # AVI has no times: its first frame is at 0
                first = float((video.start_time or 0) * self._time_base)
                begin = first if source.start_time is None else source.start_time / av.time_base
        if self._encoding.codec == "mpeg4" and self._time_base.denominator > FINEST_TIME_BASE:
            self._time_base = Fraction(1, FINEST_TIME_BASE)
        if self._is_cut:
            begin = first + seconds
        self._delay = first - begin
        self._step = max(1, round(1 / (rate * self._time_base)))
        self._stream = self._add_stream(rate, pixels)
        if isinstance(video, VideoStream):
            shape = pixel_shape(video, pixels.shape[:2])
            self._stream.codec_context.sample_aspect_ratio = shape
        if source is not None and self._encoding.has_sound:
            self._sound = Sound(source, self._output, begin, is_cut=self._is_cut)
            for codec in self._sound.left_out:
                self.notes.append(f"{self._path.name}: sound left out: MP4 does not hold {codec}")

    def _add_stream(self, rate: Fraction, pixels: Picture) -> VideoStream:
        codec = self._encoding.codec
        if codec == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # only errors; it is talkative by default
        stream = cast("VideoStream", self._output.add_stream(codec, rate, OPTIONS.get(codec)))
        height, width = pixels.shape[:2]
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = PIXEL_FORMAT
        context = stream.codec_context
        context.time_base, stream.time_base = self._time_base, self._time_base
        context.gop_size = max(1, round(KEY_SECONDS * rate))
        context.max_b_frames = 0  # so that each encoded frame is written at once
        context.thread_count = min(MOST_THREADS, num_cores())
        # If unset, players guess from the size, and greens and reds of a small video shift.
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        return stream

    def _fitted(self, pixels: Picture) -> Picture:
        """Return the frame in the size of the video."""
        if self._stream is None:
            raise AssertionError("begun, yet no stream")
        size = (self._stream.height, self._stream.width)
        height, width = pixels.shape[:2]
        if (height, width) == size:
            return pixels
        if not (0 <= size[0] - height <= 1 and 0 <= size[1] - width <= 1):
            scale = min(size[0] / height, size[1] / width)
            height, width = max(1, round(height * scale)), max(1, round(width * scale))
            pixels = np.asarray(cv2.resize(pixels, (width, height)), np.uint8)
            down, across = size[0] - height, size[1] - width
            return np.pad(pixels, ((0, down), (0, across), (0, 0)))
        return np.pad(pixels, ((0, size[0] - height), (0, size[1] - width), (0, 0)), "edge")

    def _encode(self, seconds: float, picture: Picture) -> None:
        if self._stream is None:
            raise AssertionError("begun, yet no stream")
        ticks = round((seconds + self._delay) / self._time_base)
        if ticks <= self._last_ticks:
            behind = self._last_ticks + self._step - ticks
            self._delay += float(behind * self._time_base)
            ticks += behind
        elif self._last_ticks >= 0:
            self._step = ticks - self._last_ticks
        frame = self._converter.reformat(
            av.VideoFrame.from_numpy_buffer(picture, format="rgb24"),
            format=PIXEL_FORMAT,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base, frame.duration = ticks, self._time_base, self._step
        self._last_picture, self._last_ticks = picture, ticks
        self._mux(self._encoded(self._stream, frame))

    def _encoded(
        self, stream: VideoStream, frame: av.VideoFrame | None
    ) -> "list[av.Packet[VideoStream]]":
        try:
            return stream.encode(frame)
        except FFmpegError as error:  # nothing is written here, so the codec failed
            reason = f"{self._encoding.codec} does not work on this machine ({error.strerror})"
            raise DeviceError(f"{self._path}: {reason}; choose another codec") from error

    def _mux(self, packets: "list[av.Packet[VideoStream]]") -> None:
        """Write packets, but hold the last one: its duration is known only with the next one."""
        for packet in packets:
            if self._held is not None and packet.pts is not None:
                self._mux_held(packet.pts - (self._held.pts or 0))
            self._held = packet

    def _mux_held(self, duration: int) -> None:
        packet, self._held = self._held, None
        if packet is None:
            return
        if self._sound is not None and packet.pts is not None:
            self._sound.write_until(float(packet.pts * self._time_base))
        packet.duration = duration
        self._output.mux(packet)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Name the file in an error; after an error, write nothing and raise it again."""
        if self._error is not None:
            raise self._error
        try:
            yield
        except (FFmpegError, OSError, DeviceError) as error:
            self._leave_file()
            self._error = self._named(error)
            raise self._error from error

    def _leave_file(self) -> None:
        """Stop writing."""
        if self._file is not None:
            self._file.leave()  # or closing the output would overwrite the beginning of the file

    def _named(self, error: Exception) -> Exception:
        if isinstance(error, FFmpegError | OSError):
            return OSError(error.errno, error.strerror, str(self._path))
        return error
