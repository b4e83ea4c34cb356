"""What a camera's process is to open, and how FFmpeg is made to open it."""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Final

import av
from av.container import InputContainer

from head_detection.images.reading import MAX_PIXELS
from head_detection.pipeline.addresses import scheme_of
from head_detection.pipeline.srt import SrtStream, is_in_ffmpeg
from head_detection.pipeline.srt_address import SrtAddress

NETWORK_PROTOCOLS: Final = (
    "http,https,httpproxy,tls,tcp,udp,rtp,rtsp,rtmp,rtmpt,rtmps,srt,crypto,data,hls"
)
"""What a stream may lead on to: a playlist of a stranger opens no file of this machine."""
MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True)
class Opening:
    """What to open, and how frames are given.

    Attributes:
        url: as FFmpeg takes it.
        device_format: FFmpeg's name of a system of devices, or None.
        is_file: a file of this machine, taken as if it were live: paced by its times.
        is_live: drop all but the newest; None is so for all but files on web servers.
        open_seconds: to wait for the first answer.
        read_seconds: to wait for more.
        resumes: a web server's connection that broke is taken up where it did, as of a file.
        start: as ``FrameOptions``.
        stride: as there.
        max_fps: as there.
        max_pixels: as there.
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

    def to_line(self) -> bytes:
        """Return a line for the process that opens it."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def connect(self) -> AbstractContextManager[str | SrtStream]:
        """Return what FFmpeg is to open: the address, or a stream by SRT, if it has no SRT itself.

        Raises:
            OSError: nobody is there, or we were refused.
        """
        if scheme_of(self.url) == "srt" and not is_in_ffmpeg():
            return SrtStream(SrtAddress.parse(self.url), self.open_seconds)
        return nullcontext(self.url)

    def open(self, place: str | SrtStream) -> InputContainer:
        """Open what ``connect`` returned.

        Raises:
            av.FFmpegError: it is not there, or holds nothing that FFmpeg knows.
        """
        options = {"probesize": "2000000", "analyzeduration": str(2 * MICROSECONDS)}
        if not self.is_file and self.device_format is None:
            options["protocol_whitelist"] = NETWORK_PROTOCOLS
        scheme = scheme_of(self.url)
        if scheme in ("rtsp", "rtsps"):
            options["rtsp_flags"] = "prefer_tcp"  # else by UDP, whose packets get lost
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
        return container
