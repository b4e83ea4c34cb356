"""What a camera's process opens, and how FFmpeg opens it."""

import json
import re
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import Final

import av
import av.logging
from av.container import InputContainer
from av.video.stream import VideoStream

from head_detection.errors import SourceError
from head_detection.images.reading import MAX_PIXELS
from head_detection.pipeline.addresses import DeviceMode, scheme_of
from head_detection.pipeline.srt import SrtStream, is_in_ffmpeg
from head_detection.pipeline.srt_address import SrtAddress

NETWORK_PROTOCOLS: Final = (
    "http,https,httpproxy,tls,tcp,udp,rtp,rtsp,rtmp,rtmpt,rtmps,srt,crypto,data,hls"
)
"""What a stream may lead on to: an untrusted playlist must not open local files."""
MICROSECONDS: Final = 1_000_000
V4L2: Final = "v4l2"
_SIZES: Final = re.compile(r"\d+x\d+|\{\d+-\d+, \d+\}x\{\d+-\d+, \d+\}")
_OFFER: Final = re.compile(
    r"(?:Raw|Compressed) *: *(?P<name>\w+) *:.*:(?P<sizes>(?:\s*(?:" + _SIZES.pattern + r"))*)"
)


@dataclass(frozen=True)
class Opening:
    """What to open, and how frames are given.

    Attributes:
        url: as FFmpeg takes it.
        device_format: FFmpeg's name of a system of devices, or None.
        is_file: a local file, played as if it were live: paced by its times.
        is_live: drop all frames but the newest; None does so except for files on web servers.
        open_seconds: how long to wait for the first answer.
        read_seconds: how long to wait for more.
        resumes: resume a broken connection to a web server where it broke, as for a file.
        start: as ``FrameOptions``.
        stride: as there.
        max_fps: as there.
        max_pixels: as there.
        size: for a device, as ``DeviceMode``.
        fps: as there.
        format: as there.
    """

    url: str
    device_format: str | None = None
    is_file: bool = False
    is_live: bool | None = None
    open_seconds: float = 10.0
    read_seconds: float = 10.0
    resumes: bool = False
    start: float = 0.0
    stride: int = 1
    max_fps: float | None = None
    max_pixels: int = MAX_PIXELS
    size: tuple[int, int] | None = None
    fps: float | None = None
    format: str | None = None

    def to_line(self) -> bytes:
        """Return the line that tells the process what to open."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def connect(self) -> AbstractContextManager[str | SrtStream]:
        """Return what FFmpeg is to open: the address, or an ``SrtStream`` if it has no SRT itself.

        Raises:
            OSError: nobody answers, or the connection was refused.
        """
        if scheme_of(self.url) == "srt" and not is_in_ffmpeg():
            return SrtStream(SrtAddress.parse(self.url), self.open_seconds)
        return nullcontext(self.url)

    def open(self, place: str | SrtStream) -> InputContainer:
        """Open what ``connect`` returned.

        Raises:
            av.FFmpegError: it is not there, or holds nothing that FFmpeg knows.
            ValueError: a device gives frames of another size than requested.
        """
        options = {"probesize": "2000000", "analyzeduration": str(2 * MICROSECONDS)}
        if not self.is_file and self.device_format is None:
            options["protocol_whitelist"] = NETWORK_PROTOCOLS
        scheme = scheme_of(self.url)
        if self.device_format is not None:
            options.update(self._device_options(self.device_format))
        if scheme in ("rtsp", "rtsps"):
            options["rtsp_flags"] = "prefer_tcp"  # otherwise UDP, which loses packets
        elif self.resumes:
            options["reconnect"] = "1"
        elif scheme == "udp":
            options.update(overrun_nonfatal="1", fifo_size="100000")
        container = av.open(
            place,
            "r",
            format=self.device_format,
            options=options,
            timeout=(self.open_seconds, self.read_seconds),
        )
        if isinstance(place, SrtStream):
            place.set_timeout(self.read_seconds)
        video = container.streams.best("video")
        if self.size is not None and isinstance(video, VideoStream):
            asked, given = self.size, (video.codec_context.height, video.codec_context.width)
            if given != tuple(asked):  # a driver takes the nearest size that it has
                container.close()
                raise ValueError(
                    f"expected frames of {asked[1]}x{asked[0]}; got {given[1]}x{given[0]}"
                )
        return container

    def _device_options(self, system: str) -> dict[str, str]:
        asked: dict[str, str] = {}
        if self.size is not None:
            asked["video_size"] = f"{self.size[1]}x{self.size[0]}"
        if self.fps is not None:
            asked["framerate"] = f"{self.fps:g}"
        if self.format is not None:
            asked["input_format" if system == V4L2 else "pixel_format"] = self.format
        return asked


@dataclass(frozen=True)
class OfferedFormat:
    """A format that a camera of this machine can send.

    Attributes:
        name: FFmpeg's name of the codec or the pixel format.
        sizes: as FFmpeg lists them: ``640x480``, or ranges, ``{32-4096, 2}x{32-2160, 2}``: from, to
            and step. Empty if the driver does not tell.
    """

    name: str
    sizes: tuple[str, ...]

    def has(self, size: tuple[int, int]) -> bool:
        """Tell whether a (height, width) is among the sizes.

        Example:
            >>> offered = OfferedFormat("mjpeg", ("640x480", "{32-4096, 2}x{32-2160, 2}"))
            >>> offered.has((480, 640)), offered.has((1080, 1920)), offered.has((1081, 1920))
            (True, True, False)
        """
        return not self.sizes or any(_is_among(size, sizes) for sizes in self.sizes)


def check_mode(place: str, shown: str, mode: DeviceMode) -> None:
    """Refuse a mode that a Linux camera does not offer; a missing camera is not asked.

    Args:
        place: its path.
        shown: its name in errors.
        mode: what will be requested from it.

    Raises:
        SourceError: it does not offer that; one line that says what it offers.
    """
    offered = offered_formats(place)
    names = list(dict.fromkeys(one.name for one in offered))
    if mode.format is not None:
        offered = [one for one in offered if one.name == mode.format]
        if names and not offered:
            raise SourceError(
                f"{shown}: expected a format that this camera has: {', '.join(names)}; "
                f"got {mode.format}"
            )
    if mode.size is not None and offered and not any(one.has(mode.size) for one in offered):
        sizes = ", ".join(dict.fromkeys(size for one in offered for size in one.sizes))
        of = "" if mode.format is None else f" in {mode.format}"
        raise SourceError(
            f"{shown}: expected a size that this camera has{of}: {sizes}; "
            f"got {mode.size[1]}x{mode.size[0]}"
        )


def offered_formats(place: str) -> list[OfferedFormat]:
    """Return the formats of a Linux camera that FFmpeg reads; none if it cannot be asked."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # FFmpeg lists them only in log messages
    try:
        with av.logging.Capture() as messages, suppress(av.FFmpegError, OSError):
            av.open(place, format=V4L2, options={"list_formats": "all"}).close()
    finally:
        av.logging.set_level(level)
    return parse_formats("".join(message for _, _, message in messages))


def parse_formats(listing: str) -> list[OfferedFormat]:
    """Parse FFmpeg's list of a device's formats.

    Example:
        >>> parse_formats("Compressed:  mjpeg : Motion-JPEG : 640x480 1280x720")
        [OfferedFormat(name='mjpeg', sizes=('640x480', '1280x720'))]
    """
    return [
        OfferedFormat(found["name"], tuple(_SIZES.findall(found["sizes"])))
        for found in _OFFER.finditer(listing)
        if found["name"] != "Unsupported"
    ]


def _is_among(size: tuple[int, int], sizes: str) -> bool:
    numbers = [int(number) for number in re.findall(r"\d+", sizes)]
    if len(numbers) == 2:  # noqa: PLR2004 - width and height
        return size == (numbers[1], numbers[0])
    sides = zip(size[::-1], (numbers[:3], numbers[3:]), strict=True)
    return all(low <= side <= high and not (side - low) % step for side, (low, high, step) in sides)
