"""Decodes one camera, stream or file, in a process of its own that can be killed.

The process imports neither torch nor anything else that is slow. It reads requests from standard
input: one line of JSON that says what to open, then one line for each requested frame. It writes
messages to standard output: one line of JSON each, followed by the pixels if the message has some.
It ends when its input does, so that it does not outlive its parent.
"""

import errno
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from head_detection.pipeline.camera_opening import Opening
from head_detection.pipeline.sources import FrameOptions
from head_detection.pipeline.timeline import Timeline
from head_detection.pipeline.video_file import upright
from head_detection.results.containers import USUAL_RATE, is_raw, rate_of

QUEUE_FRAMES: Final = 4
"""Decoded frames that may wait if none is dropped."""
TOO_LATE_SECONDS: Final = 0.5
"""From this delay on, a stream that is decoded too slowly skips to a key frame: half of the second
that a live picture may be old."""
UNSIZED_FORMATS: Final = frozenset({"mpjpeg"})
"""A browser's multipart stream has no end, whatever its headers say."""
PLAYLISTS: Final = frozenset({"hls", "dash"})
"""The size of such a file is not that of its stream."""
UNTIMED_FORMATS: Final = frozenset({"mpjpeg", "mjpeg", "jpeg_pipe", "h264", "hevc", "m4v"})
"""They hold pictures without times: FFmpeg gives each 1/25 s, whatever the camera's rate."""


@dataclass(frozen=True)
class Decoded:
    """A frame that waits to be requested.

    Attributes:
        index: its number in the stream, from 0.
        number: its number among the frames that are taken, from 0.
        seconds: since the first frame.
        captured: when it left the camera, by the monotonic clock; None for a file.
        picture: a packet if it is decoded only on request; None if it could not be decoded.
    """

    index: int
    number: int
    seconds: float
    captured: float | None
    picture: "VideoFrame | Packet[VideoStream] | None"


class Shelf:
    """Frames that wait to be requested: the newest, or a few of which none is dropped."""

    def __init__(self, *, every_frame: bool) -> None:
        self._frames: deque[Decoded] = deque(maxlen=None if every_frame else 1)
        self._room = QUEUE_FRAMES if every_frame else None
        self._is_sending = False
        self._changed = threading.Condition()

    def put(self, frame: Decoded) -> None:
        """Add a frame; if none is dropped, wait until there is room."""
        with self._changed:
            if self._room is not None:
                self._changed.wait_for(lambda: len(self._frames) < QUEUE_FRAMES)
            self._frames.append(frame)
            self._changed.notify_all()

    def take(self) -> Decoded:
        """Wait for a frame and take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames)
            frame = self._frames.popleft()
            self._is_sending = True
            self._changed.notify_all()
            return frame

    def sent(self) -> None:
        """Note that the frame that was taken has been sent."""
        with self._changed:
            self._is_sending = False
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until all frames have been sent."""
        with self._changed:
            self._changed.wait_for(lambda: not self._frames and not self._is_sending)


class Messages:
    """Writes the messages of the process, from both of its threads."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def send(
        self, kind: str, payload: npt.NDArray[np.uint8] | None = None, /, **values: Any
    ) -> None:
        """Write a message; exit if nobody is there to read it."""
        line = json.dumps({"kind": kind, **values}).encode() + b"\n"
        try:
            with self._lock:
                self._stream.write(line)
                if payload is not None:
                    self._stream.write(payload.data)
                self._stream.flush()
        except OSError:
            os._exit(0)


class Decoder:
    """Decodes a stream until it ends, and announces each frame."""

    def __init__(self, opening: Opening, messages: Messages) -> None:
        self._opening, self._messages = opening, messages
        self._shelf = Shelf(every_frame=False)
        self._converter = VideoReformatter()  # of the thread that sends
        self._timeline = Timeline(is_live=not opening.is_file)
        self._index = 0
        self._takes = FrameOptions(
            start=opening.start, stride=opening.stride, max_fps=opening.max_fps
        ).chooser()
        # Also asked about frames that are skipped undecoded, whose times are only rough.
        self._would_take = FrameOptions(stride=opening.stride, max_fps=opening.max_fps).chooser()
        self._heard_at = time.monotonic()
        self._decodes_late = self._has_times = self._is_paced = False
        self._starts: float | None = None
        self._raw_step: float | None = None  # for a file without a container, which has no times
        self._num_wanted = 0
        self._is_wanted = threading.Event()
        self._is_finite = opening.is_file

    def run(self) -> None:
        """Decode until the end, and send the reason for it."""
        opening, is_open, is_complete = self._opening, False, False
        self._messages.send("opening")
        try:
            with opening.connect() as place:
                self._messages.send("opening")  # after a call has come, the time limit starts anew
                self._heard_at = time.monotonic()
                with opening.open(place) as container:
                    stream = self._begin(container)
                    is_open, self._heard_at = True, time.monotonic()
                    self._decode(container, stream)
            reason, is_complete = "the stream ended", True
        except (av.FFmpegError, OSError, ValueError) as error:
            waited = opening.read_seconds if is_open else opening.open_seconds
            silent = time.monotonic() - self._heard_at
            is_late = silent >= waited and not isinstance(error, ConnectionError)
            if is_late or isinstance(error, (av.error.ExitError, TimeoutError)):
                reason = f"{'no data' if is_open else 'no answer'} for {waited:g} s"
            else:
                reason = _reason(error)
        if self._is_finite:
            self._shelf.drain()
        self._messages.send("end", reason=reason, is_complete=is_complete)

    def give(self) -> None:
        """Send a frame that was announced."""
        frame = self._shelf.take()
        picture = frame.picture
        if isinstance(picture, Packet):
            picture = next(self._pictures_of(picture), None)
        pixels = None
        with suppress(av.FFmpegError, MemoryError, ValueError):  # as damaged as if not decoded
            pixels = None if picture is None else upright(picture, self._converter)
        waits = self._is_paced and not self._is_wanted.is_set()
        self._messages.send(
            "pixels",
            pixels,
            index=frame.index,
            number=frame.number,
            seconds=frame.seconds,
            captured=time.monotonic() if waits else frame.captured,
            shape=None if pixels is None else pixels.shape,
        )
        self._shelf.sent()
        self._is_wanted.set()

    def _begin(self, container: InputContainer) -> VideoStream:
        """Choose the video track of what was opened, and report what it is."""
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise ValueError("the stream has no pictures")  # noqa: TRY004 - of the stream, not of an argument
        opening = self._opening
        length = None if container.duration is None else container.duration / av.time_base
        if opening.url.lower().startswith("http"):
            kind = container.format.name
            # If the server gives no size: None from PyAV 19 on, an error number before.
            has_size = (container.size or 0) > 0 and kind not in PLAYLISTS
            self._is_finite = (bool(length) or has_size) and kind not in UNSIZED_FORMATS
        every_frame = self._is_finite if opening.is_live is None else not opening.is_live
        self._shelf = Shelf(every_frame=every_frame)
        self._is_paced = self._is_finite and not every_frame
        is_live = not self._is_finite
        self._timeline = Timeline(is_live=is_live)
        stream.thread_type = "SLICE" if is_live else "AUTO"  # frame threads cost frames of delay
        self._has_times = self._is_finite or container.format.name not in UNTIMED_FORMATS
        # Frames that need no other are decoded on request, which never comes for most.
        self._decodes_late = is_live and not every_frame and stream.codec_context.codec.intra_only
        rate = float(rate_of(stream) or 0) if self._has_times else 0.0
        if self._is_finite and is_raw(stream):
            self._raw_step = 1 / (rate or float(USUAL_RATE))
        size = (stream.codec_context.height, stream.codec_context.width)
        if size[0] * size[1] > opening.max_pixels:
            raise ValueError(
                f"expected frames of at most {opening.max_pixels:,} pixels; got {size[1]}x{size[0]}"
            )
        self._messages.send(
            "opened",
            size=size if all(size) else None,
            fps=rate or None,
            is_finite=self._is_finite,
            every_frame=every_frame,
            has_sound=bool(container.streams.audio),
            length=length if self._is_finite else None,
        )
        return stream

    def _decode(self, container: InputContainer, stream: VideoStream) -> None:
        is_skipping, may_skip = False, not self._is_finite and self._opening.is_live is not False
        for packet in container.demux(stream):
            self._heard_at = time.monotonic()
            if self._decodes_late:
                if packet.size:
                    self._take(packet, self._time_of(packet.pts, stream))
                continue
            stamp = packet.pts if packet.dts is None else packet.dts
            delay = self._timeline.arrive(self._time_of(stamp, stream), self._heard_at)
            if may_skip and (is_skipping or delay > TOO_LATE_SECONDS):
                is_skipping = delay > TOO_LATE_SECONDS or not packet.is_keyframe
                if not packet.is_keyframe:
                    self._leave_out(self._time_of(stamp, stream))
                    continue
                stream.codec_context.flush_buffers()
            for picture in self._pictures_of(packet):
                stamp = packet.pts if picture is None else picture.pts
                self._take(picture, self._time_of(stamp, stream))

    def _pictures_of(self, packet: "Packet[VideoStream]") -> Iterator[VideoFrame | None]:
        """Yield the frames of a packet; None for a damaged one, which nothing replaces."""
        try:
            for picture in packet.decode():
                if isinstance(picture, VideoFrame):
                    yield None if picture.is_corrupt else picture
        except av.error.EOFError:
            return
        except av.FFmpegError:
            yield None

    def _take(
        self, picture: "VideoFrame | Packet[VideoStream] | None", time_of_frame: float | None
    ) -> None:
        now = time.monotonic()
        if self._starts is not None and time_of_frame is not None:
            now = self._wait_for(self._starts + time_of_frame)
        index, self._index = self._index, self._index + 1
        if picture is None and not self._is_finite:
            self._messages.send("damaged", index=index)
            return
        seconds = self._timeline.seconds_of(time_of_frame, now)
        captured = None if self._is_finite else self._timeline.captured_at(time_of_frame, now)
        captured = now if self._is_paced else captured
        self._would_take(index, self._rough_time(time_of_frame))
        if self._takes(index, seconds):
            number, self._num_wanted = self._num_wanted, self._num_wanted + 1
            self._shelf.put(Decoded(index, number, seconds, captured, picture))
            self._messages.send("frame", index=index, number=number, seconds=seconds)
            if self._is_paced and self._starts is None and time_of_frame is not None:
                # A file starts when its first frame is requested, not while weights are loaded.
                self._is_wanted.wait()
                self._starts = time.monotonic() - time_of_frame

    def _leave_out(self, time_of_frame: float | None) -> None:
        """Count a frame that is skipped undecoded to catch up: as dropped, if it was wanted."""
        index, self._index = self._index, self._index + 1
        is_wanted = self._would_take(index, self._rough_time(time_of_frame))
        # Before the first frame taken, it is not known whether the start has come.
        self._num_wanted += is_wanted and (self._num_wanted > 0 or self._opening.start <= 0)

    def _time_of(self, stamp: int | None, stream: VideoStream) -> float | None:
        if stamp is None and self._raw_step is not None:
            return self._index * self._raw_step
        if stamp is None or stream.time_base is None or not self._has_times:
            return None
        return float(stamp * stream.time_base)

    def _rough_time(self, time_of_frame: float | None) -> float:
        return self._heard_at if time_of_frame is None else time_of_frame

    def _wait_for(self, moment: float) -> float:
        """Wait until a file's frame is due, and return when."""
        time.sleep(max(0.0, moment - time.monotonic()))
        return time.monotonic()


def main() -> None:
    """Decode what the first line of standard input requests."""
    messages = Messages(_private_output())
    requests = sys.stdin.buffer
    opening = Opening(**json.loads(requests.readline()))
    decoder = Decoder(opening, messages)

    def answer() -> None:
        while requests.readline():
            decoder.give()
        os._exit(0)  # the parent has gone; the decoder may be waiting anywhere

    threading.Thread(target=answer, daemon=True).start()
    try:
        decoder.run()
    except Exception as error:  # noqa: BLE001 - sent to the parent: nobody sees our standard error
        fault = f"a fault of the program: {type(error).__name__}: {error}"
        messages.send("end", reason=fault, is_complete=False)
    finally:
        os._exit(0)  # at once: the other thread waits for requests


def _private_output() -> BinaryIO:
    """Reserve standard output for messages; what libraries print is discarded."""
    messages = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
    return messages


def _reason(error: Exception) -> str:
    """Return what happened, without the address that FFmpeg puts into its errors."""
    if isinstance(error, OSError) and error.errno == errno.EIO:
        return "the connection broke off"  # FFmpeg's error for most lost connections
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
