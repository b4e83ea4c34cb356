"""Clips for tests, made by PyAV: ``from clips import write_clip``, in a test and in a script here.

A frame of ``numbered_frame`` says its number, and which way is up, through any codec.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

Pixels = npt.NDArray[np.uint8]
SIZE: Final = (120, 160)
"""Height and width of a clip."""
NUM_BITS: Final = 16
"""Of a frame's number: as many bars across its middle, the lowest bit at the left."""
CORNERS: Final = {
    "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255),
}  # fmt: skip
"""Patches of a quarter of the sides: top left, top right, bottom left, bottom right."""
CODECS: Final = {
    ".avi": "mjpeg", ".gif": "gif", ".webm": "libvpx-vp9", ".webp": "libwebp_anim",
    ".mpg": "mpeg2video",
}  # fmt: skip
"""By the file's end; others get H.264."""
PIXEL_FORMATS: Final = {"gif": "rgb8", "mjpeg": "yuvj420p"}
OPTIONS: Final[dict[str, dict[str, str]]] = {
    "libx264": {"preset": "veryfast", "x264-params": "scenecut=0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12", "svtav1-params": "logical-processors=1"},
}
SAMPLE_RATE: Final = 48_000
SAMPLES: Final = 1024
"""In a frame of sound."""
BEEP_SECONDS: Final = 0.1
BEEP_HERTZ: Final = 1000.0


def write_clip(
    path: str | Path,
    frames: int | Iterable[Pixels] = 10,
    *,
    fps: int | Fraction = 10,
    size: tuple[int, int] = SIZE,
    times: Sequence[float] | None = None,
    codec: str | None = None,
    pixel_format: str | None = None,
    rotation: int = 0,
    audio: bool = False,
    gop: int = 10,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Write a clip and return its path.

    Args:
        path: its end decides the container; ``.mp4``, ``.mkv``, ``.webm``, ``.avi``, ``.gif`` ...
        frames: ``(H, W, 3)`` uint8 RGB each, all of one size; a number is so many numbered ones.
        fps: frames a second, without ``times``.
        size: (height, width) of numbered frames.
        times: when each frame is shown, in seconds: a variable rate.
        codec: PyAV's name of an encoder; None is by the container.
        pixel_format: FFmpeg's name, ``yuv420p10le`` say; None is what suits the codec.
        rotation: degrees clockwise that a player turns the frames by (the display matrix): the
            frames are stored as they are given.
        audio: whether it has sound: a beep of .1 s at the start of each second.
        gop: frames from one key frame to the next.
        options: of the encoder, beside those that make it quick.
        container_options: of the muxer: ``{"movflags": "frag_keyframe+empty_moov"}``, say.
    """
    path = Path(path)
    if isinstance(frames, int):
        frames = (numbered_frame(index, size) for index in range(frames))
    codec = codec or CODECS.get(path.suffix.lower(), "libx264")
    num_written = 0
    with av.open(str(path), "w", container_options=dict(container_options or {})) as container:
        video = sound = None
        for index, pixels in enumerate(frames):
            if video is None:
                given = OPTIONS.get(codec, {}) | dict(options or {})
                video = container.add_stream(codec, rate=fps, options=given)
                height, width = pixels.shape[:2]
                _set_up(video, height, width, gop, pixel_format or PIXEL_FORMATS.get(codec))
                video.codec_context.time_base = _time_base(path, codec, fps, times)
                if rotation:
                    video.set_display_rotation(-rotation)  # theirs is counter-clockwise
                sound = _add_sound(container, path) if audio else None
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            seconds = index / Fraction(fps) if times is None else Fraction(times[index])
            picture.time_base = video.codec_context.time_base
            picture.pts = round(seconds / picture.time_base)
            container.mux(video.encode(picture))
            num_written = index + 1
        if video is None:
            raise ValueError(f"{path}: expected frames, got none")
        container.mux(video.encode(None))
        if sound is not None:
            last = num_written / fps if times is None else times[-1] + 1 / fps
            for frame in beeps(float(last)):
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def _set_up(
    video: VideoStream, height: int, width: int, gop: int, pixel_format: str | None
) -> None:
    video.width, video.height = width, height
    video.pix_fmt = pixel_format or ("yuv420p" if height % 2 == width % 2 == 0 else "yuv444p")
    video.gop_size = gop
    video.codec_context.thread_count = 1


def _time_base(
    path: Path, codec: str, fps: int | Fraction, times: Sequence[float] | None
) -> Fraction:
    if times is None:
        return 1 / Fraction(fps)
    if codec == "gif":
        return Fraction(1, 100)
    return Fraction(1, 1000 if path.suffix.lower() in (".webm", ".mkv", ".webp") else 90_000)


def _add_sound(container: OutputContainer, path: Path) -> AudioStream:
    codec = {".webm": "libopus", ".mpg": "mp2"}.get(path.suffix.lower(), "aac")
    sound = container.add_stream(codec, rate=SAMPLE_RATE)
    assert isinstance(sound, AudioStream)
    sound.layout = "mono"
    return sound


def beeps(seconds: float) -> Iterator[AudioFrame]:
    """Make sound of so many seconds: a beep at the start of each."""
    for start in range(0, math.ceil(seconds * SAMPLE_RATE), SAMPLES):
        time = np.arange(start, start + SAMPLES) / SAMPLE_RATE
        wave = 0.5 * np.sin(2 * np.pi * BEEP_HERTZ * time) * (time % 1 < BEEP_SECONDS)
        frame = AudioFrame.from_ndarray(
            wave[np.newaxis].astype(np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        frame.time_base = Fraction(1, SAMPLE_RATE)
        yield frame


def heard(path: str | Path) -> list[float]:
    """Return when beeps begin in a file, in seconds to some hundredths; none without sound.

    What is damaged is passed over.
    """
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        is_on, starts, silent_until = False, [], 0.0
        for frame in _decoded(container):
            values = np.abs(np.asarray(frame.to_ndarray(), np.float64)).max(axis=0)
            scale = 1.0 if frame.format.name.startswith("flt") else 32768.0
            for offset in range(0, len(values), 64):
                seconds = float(frame.time) + offset / frame.sample_rate
                was_on, is_on = is_on, bool((values[offset : offset + 64] > 0.2 * scale).any())
                if is_on and not was_on and seconds >= silent_until:
                    starts.append(seconds)
                if is_on:
                    silent_until = seconds + BEEP_SECONDS / 2
    return starts


def _decoded(container: InputContainer) -> Iterator[AudioFrame]:
    for packet in container.demux(audio=0):
        with suppress(FFmpegError):
            yield from packet.decode()


def packets(path: str | Path, kind: str = "audio") -> list[bytes]:
    """Return the coded packets of a file's first ``video`` or ``audio`` track, as they are."""
    with av.open(str(path)) as container:
        wanted: dict[str, Any] = {kind: 0}
        return [bytes(packet) for packet in container.demux(**wanted) if packet.size]


def numbered_frame(index: int, size: tuple[int, int] = SIZE) -> Pixels:
    """Draw a frame that says its number (from 0, 16 bits), and whose corners say which is which.

    Example:
        >>> number_of(numbered_frame(40_000)), corners_of(numbered_frame(0))
        (40000, ['red', 'green', 'blue', 'white'])
    """
    height, width = size
    pixels = np.full((height, width, 3), 90, np.uint8)
    down, across = height // 4, width // 4
    for place, color in zip(_corners(down, across), CORNERS.values(), strict=True):
        pixels[place] = color
    edges = np.linspace(0, width, NUM_BITS + 1).round().astype(int)
    for bit in range(NUM_BITS):
        pixels[height // 3 : 2 * height // 3, edges[bit] : edges[bit + 1]] = 235 * (
            index >> bit & 1
        )
    return pixels


def busy(count: int) -> Iterator[Pixels]:
    """Draw numbered frames that need some bytes each, 240 by 320."""
    texture = np.random.default_rng(0).integers(0, 256, (30, 80, 3), np.uint8)
    for index in range(count):
        frame = numbered_frame(index, (240, 320))
        frame[160:220, 80:240] = np.roll(texture, index, axis=1).repeat(2, 0).repeat(2, 1)
        yield frame


def number_of(pixels: Pixels) -> int:
    """Return the number that a frame says, after coding too."""
    height, width = pixels.shape[:2]
    edges = np.linspace(0, width, NUM_BITS + 1)
    centres = ((edges[1:] + edges[:-1]) / 2).astype(int)
    bars = pixels[4 * height // 9 : 5 * height // 9, centres].mean(axis=(0, 2))
    return sum(1 << bit for bit, value in enumerate(bars) if value > 128)


def corners_of(pixels: Pixels) -> list[str]:
    """Return the colours of the corners: top left, top right, bottom left, bottom right."""
    height, width = pixels.shape[:2]
    seen = [pixels[place].mean(axis=(0, 1)) for place in _corners(height // 8, width // 8)]
    names, colors = list(CORNERS), np.array(list(CORNERS.values()))
    return [names[int(np.abs(colors - color).sum(axis=1).argmin())] for color in seen]


def _corners(down: int, across: int) -> list[tuple[slice, slice]]:
    rows, columns = (
        (slice(None, down), slice(-down, None)),
        (slice(None, across), slice(-across, None)),
    )
    return [(row, column) for row in rows for column in columns]
