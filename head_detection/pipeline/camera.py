"""One camera: decoded in a process of its own, which is watched and restarted for ever."""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Final

from head_detection.images.finding import VIDEO_EXTENSIONS
from head_detection.images.video_start import MOTION_JPEG_EXTENSIONS
from head_detection.pipeline.addresses import Address, without_secrets
from head_detection.pipeline.camera_opening import Opening
from head_detection.pipeline.camera_process import DecoderProcess, Message
from head_detection.pipeline.sources import FrameOptions, Patience
from head_detection.pipeline.srt_address import SrtAddress
from head_detection.structures import Frame

RATE_FRAMES: Final = 128
RATE_SECONDS: Final = 5.0
"""Frames and seconds over which the rate is measured, at most."""
SMALLEST_STEP: Final = 0.001
"""Seconds between the last frame of a connection and the first of the next, at least."""
SAME_RATE: Final = 0.01
"""Share by which two equal rates may differ: 30 and 29.97."""
logger = logging.getLogger(__name__)


@dataclass
class CameraCounts:
    """What became of a camera's frames.

    Attributes:
        received: frames that came, as far as they were counted.
        given: of these, the ones passed to the detector.
        dropped: of these, the ones that were wanted but replaced by newer ones, decoded or not.
        damaged: frames damaged on their way here, wanted or not; nothing replaces them.
        reconnects: how often the camera came back.
        down_seconds: time without the camera, until it came back.
        latency: seconds from the camera to results, for the last frame given.
        longest_latency: the longest for any frame.
    """

    received: int = 0
    given: int = 0
    dropped: int = 0
    damaged: int = 0
    reconnects: int = 0
    down_seconds: float = 0.0
    latency: float = 0.0
    longest_latency: float = 0.0


class Camera:
    """A camera, a stream, or a file played as if it were live.

    A thread starts the decoding process, receives its messages, and restarts it when it ends. All
    state is read and changed under the condition that the cameras of a source share.

    Args:
        address: where it is.
        options: which frames are taken.
        patience: how long to wait for it.
        changed: notified of everything that may matter to whoever waits for a frame.
        is_file: a local file, paced by its presentation times.

    Attributes:
        counts: what became of its frames.
        size: (height, width), once known.
        fps: frames per second according to the stream, once known.
        is_finite: whether it is a file and has an end; None until that is known.
        every_frame: whether no frame is dropped.
        has_sound: whether its stream has sound, once known; it is not used.
        lost_because: why it was last lost.
        is_over: whether it has come to its end.
    """

    def __init__(
        self,
        address: Address,
        options: FrameOptions,
        patience: Patience,
        changed: threading.Condition,
        *,
        is_file: bool = False,
    ) -> None:
        self.address, self.counts = address, CameraCounts()
        self.size: tuple[int, int] | None = None
        self.fps: float | None = None
        self.is_finite = True if is_file else None
        self.every_frame = options.is_live is False
        self.is_over = self.has_sound = False
        self.lost_because = ""
        self._options, self._patience, self._changed = options, patience, changed
        self._opening = _opening_of(address, options, patience, is_file=is_file)
        self._process: DecoderProcess | None = None
        self._last_offered = self._last_taken = -1  # by the process's indices
        self._num_wanted = self._num_passed = 0  # of its frames; passed: given or dropped
        self._is_asked = False
        self._brought: deque[Frame] = deque()  # one, and perhaps a failed one at the end
        self._first_index = 0  # of the process's frames, over all processes
        self._first_seconds: float | None = None  # likewise; None before the first frame
        self._last_seconds = 0.0
        self._looked_from: float | None = None  # seconds of the first frame that was given
        self._began: float | None = None
        self._lost_at: float | None = None
        self._wait = patience.first_wait
        # A caller finds nobody listening between two attempts.
        is_called = address.scheme == "srt" and SrtAddress.parse(address.url).is_listener
        self._longest_wait = patience.first_wait if is_called else patience.longest_wait
        self._told = ""
        self._arrivals: deque[tuple[float, int]] = deque(maxlen=RATE_FRAMES)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=address.name, daemon=True)

    def start(self) -> None:
        """Start to decode."""
        self._thread.start()

    @property
    def is_fresh(self) -> bool:
        """Whether there is a frame that has not been taken."""
        is_offered = self._process is not None and self._last_offered > self._last_taken
        return bool(self._brought) or is_offered

    @property
    def is_lost(self) -> bool:
        """Whether it is lost, and being retried."""
        return self._lost_at is not None

    def ask(self) -> None:
        """Request the newest frame from the process, if there is one."""
        if self.is_fresh and not self._brought and not self._is_asked and self._process:
            self._is_asked = True
            self._process.ask()

    def take(self) -> Frame | None:
        """Wait for the newest frame, and take it; None if its process has just ended."""
        self.ask()
        while self._is_asked:
            self._changed.wait(1.0)  # not endlessly: on Windows no signal would get through
        frame = self._brought.popleft() if self._brought else None
        if frame is not None and frame.pixels is not None:
            self.counts.given += 1
        return frame

    def check(self, stood_still: float = 0.0) -> None:
        """Kill a process that has been silent for too long.

        Args:
            stood_still: seconds in which this process could not receive messages.
        """
        if self._process is not None:
            if (self.every_frame or self.is_finite) and self.is_fresh:
                self._process.extend()
            self._process.check(stood_still)

    def rate(self) -> float:
        """Return the current number of incoming frames per second."""
        since = time.monotonic() - RATE_SECONDS
        recent = [(moment, index) for moment, index in self._arrivals if moment > since]
        if len(recent) < 2 or self._lost_at is not None:  # noqa: PLR2004 - one gap
            return 0.0
        (first, first_index), (last, last_index) = recent[0], recent[-1]
        return (last_index - first_index) / max(last - first, SMALLEST_STEP)

    def measure(self, captured: float) -> None:
        """Note the latency of a frame captured at this time, whose results are there now."""
        counts = self.counts
        counts.latency = time.monotonic() - captured
        counts.longest_latency = max(counts.longest_latency, counts.latency)

    def close(self) -> None:
        """Kill the process at once; nothing is left of it."""
        self._closing.set()
        with self._changed:
            if self._process is not None:
                self._process.kill("")
        if self._thread.is_alive():
            self._thread.join()
        if not self.every_frame:  # frames after the last one taken are dropped
            waiting = sum(frame.pixels is not None for frame in self._brought)
            self.counts.dropped += self._num_wanted - self._num_passed + waiting
            self._num_passed = self._num_wanted
            self._brought.clear()

    def _keep(self) -> None:
        while not self._closing.is_set():
            reason = self._decode_once()
            if self._closing.is_set() or self.is_over:
                break
            self._lose(reason)
            self._closing.wait(self._wait)
            self._wait = min(2 * self._wait, self._longest_wait)
        with self._changed:
            self.is_over = True
            self._changed.notify_all()

    def _decode_once(self) -> str:
        """Decode until the process ends, and return why it did."""
        try:
            start = max(self._options.start - self._last_seconds, 0.0)
            process = DecoderProcess(replace(self._opening, start=start))
        except OSError as error:  # no memory or process ids: retried later
            return f"its process could not be started: {error.strerror}"
        with self._changed:
            self._process = process
            self._first_index, self._first_seconds = self.counts.received, None
            self._last_offered = self._last_taken = -1
            self.counts.dropped += self._num_wanted - self._num_passed  # lost with the process
            self._num_wanted = self._num_passed = 0
        if self._closing.is_set():
            process.kill("")
        reason = None
        for message in process.messages():
            with self._changed:
                if message.kind == "end":
                    reason = message.values["reason"]
                    self.is_over = self.is_finite is True and message.values["is_complete"]
                else:
                    self._take_message(message)
                self._changed.notify_all()
        reason = without_secrets(reason or process.exit_text, self.address.url)
        with self._changed:
            self._process, self._is_asked = None, False
            if self.is_finite and not self.is_over and not self._closing.is_set():
                self._end_early(reason)
            self._changed.notify_all()
        return reason

    def _take_message(self, message: Message) -> None:
        values = message.values
        match message.kind:
            case "opened":
                self._learn(values)
            case "frame":
                self._announce(values["index"], values["number"], values["seconds"])
            case "damaged":
                self.counts.damaged += 1
                self.counts.received = self._first_index + values["index"] + 1
            case "pixels":
                self._is_asked = False
                self._last_taken = values["index"]
                self.counts.dropped += values["number"] - self._num_passed
                self._num_passed = values["number"] + 1
                if message.pixels is None and not self.is_finite:
                    self.counts.damaged += 1
                    return
                seconds = round((self._first_seconds or 0.0) + values["seconds"], 6)
                if self._looked_from is None:
                    self._looked_from = seconds
                if self._is_past_end(seconds):
                    self._leave()
                    return
                frame = Frame(
                    self.address.name,
                    self._first_index + values["index"],
                    seconds,
                    message.pixels,
                    captured=values["captured"],
                )
                self._brought.append(frame)

    def _learn(self, values: dict[str, Any]) -> None:
        """Store what is known of a stream once it is open."""
        self.size = None if values["size"] is None else (values["size"][0], values["size"][1])
        self.fps = values["fps"]
        self.every_frame, self.has_sound = values["every_frame"], values["has_sound"]
        if self.is_finite is None and values["is_finite"]:
            length = values["length"]
            text = "" if length is None else f", {length:.1f} s long"
            way = "every frame" if self.every_frame else "as if it were live"
            self._tell(logging.INFO, f"it is a file{text}, not a camera: {way}")
        self.is_finite = values["is_finite"]

    def _announce(self, index: int, number: int, seconds: float) -> None:
        """Note that there is a frame; the first one shows that the camera is there."""
        now = time.monotonic()
        if self._first_seconds is None:
            self._come_back(now)
        self._last_seconds = (self._first_seconds or 0.0) + seconds
        if not self.every_frame and self._is_past_end(self._last_seconds):
            self._leave()  # otherwise the frames before it come first
            return
        self._last_offered, self._num_wanted = index, number + 1
        self.counts.received = self._first_index + index + 1
        self._arrivals.append((now, self.counts.received))

    def _leave(self) -> None:
        self.is_over = True
        if self._process is not None:
            self._process.kill("")

    def _is_past_end(self, seconds: float) -> bool:
        start, end = self._options.start, self._options.end
        if end is None or self.is_finite:
            return end is not None and seconds >= end
        # What a camera sent while weights were loaded is not part of the requested time.
        return self._looked_from is not None and seconds - self._looked_from >= end - start

    def _come_back(self, now: float) -> None:
        height, width = self.size or (0, 0)
        rate = "" if self.fps is None else f", {self.fps:.4g} frames/s"
        asked = self.address.mode.fps
        if self.fps is not None and asked is not None and abs(self.fps / asked - 1) > SAME_RATE:
            rate += f" in place of {asked:g}"
        text = f"connected: {width}x{height}{rate}"
        if self._began is None:
            self._began, self._first_seconds = now, 0.0
        else:
            self._first_seconds = max(now - self._began, self._last_seconds + SMALLEST_STEP)
            self.counts.reconnects += 1
        if self._lost_at is not None:
            down = now - self._lost_at
            self.counts.down_seconds += down
            text = f"{text}, after {down:.1f} s without"
        self._lost_at, self._wait = None, self._patience.first_wait
        self._tell(logging.INFO, text)

    def _lose(self, reason: str) -> None:
        """Note that the camera is lost, and say so once for each reason."""
        with self._changed:
            if self._lost_at is None:
                self._lost_at = time.monotonic()
            self.lost_because = reason
            state = "lost" if self._began is not None else "not there"
            self._tell(logging.WARNING, f"{state}: {reason}; tried again until it comes")

    def _end_early(self, reason: str) -> None:
        """End a file that broke off with a failed frame, so that the loss is not hidden."""
        self._tell(logging.WARNING, f"ended before its end: {reason}")
        self.is_over = True
        self._brought.append(Frame(self.address.name, self.counts.received, self._last_seconds))

    def _tell(self, level: int, text: str) -> None:
        if text != self._told:
            self._told = text
            logger.log(level, "camera %s: %s", self.address.name, text)


def _opening_of(
    address: Address, options: FrameOptions, patience: Patience, *, is_file: bool
) -> Opening:
    return Opening(
        address.url,
        address.device_format,
        is_file=is_file,
        is_live=True if is_file else options.is_live,
        open_seconds=patience.open_seconds,
        read_seconds=patience.read_seconds,
        resumes=address.is_http and address.suffix in VIDEO_EXTENSIONS - MOTION_JPEG_EXTENSIONS,
        start=options.start,
        stride=options.stride,
        max_fps=options.max_fps,
        max_pixels=options.max_pixels,
        size=address.mode.size,
        fps=address.mode.fps,
        format=address.mode.format,
    )
