"""Answers requests with videos: a few at once, each in a thread beside the pictures.

Each video and its answer lie in a temporary folder. It is removed once the answer is sent or nobody
waits for it any more. What a killed process leaves behind, the next one removes.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

from fastapi import Request, Response
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from head_detection.serving.batcher import Batcher
from head_detection.serving.folders import temporary_folder
from head_detection.serving.metrics import Metrics
from head_detection.serving.problems import not_ready, too_late, too_many_videos
from head_detection.serving.requests import unless_gone
from head_detection.serving.settings import ServiceSettings
from head_detection.serving.tracking import Describing, Tracking, TrackOptions
from head_detection.serving.video_answers import FORMS
from head_detection.serving.video_requests import receive_video, seconds_for


class Videos:
    """Answers requests with videos.

    Args:
        batcher: finds the heads.
        metrics: counts videos, frames and heads.
        settings: the limits.
    """

    def __init__(self, batcher: Batcher, metrics: Metrics, settings: ServiceSettings) -> None:
        self._batcher, self._metrics, self._settings = batcher, metrics, settings
        self._room = Semaphore(settings.max_videos)
        self._threads = ThreadPoolExecutor(settings.max_videos, thread_name_prefix="video")

    async def answer(self, request: Request, asked: TrackOptions) -> Response:
        """Return the answer to a request with a video.

        Raises:
            ServiceError: there is no room for the video, it breaks a limit, cannot be read, or
                took too long.
        """
        if not self._batcher.is_ready:
            raise not_ready()
        with ExitStack() as stack:  # held until the answer is sent, or the thread has ended
            self._enter(stack)
            with Describing():
                folder = stack.enter_context(temporary_folder())
                # The suffix of a video, so that a damaged file is reported as one.
                sent = await receive_video(request, folder / "video.mp4", self._settings)
            held = stack.pop_all()
        ended = Event()
        work = Tracking(self._batcher, self._metrics, self._settings, sent, asked, ended)
        future = self._threads.submit(work.run, folder / "answer")
        try:
            async with asyncio.timeout(self._settings.video_deadline):
                headers = await unless_gone(request, asyncio.wrap_future(future))
            kind = FORMS[asked.form]
            name = Path(sent.name).stem + kind.suffix
            return _HeldFile(
                folder / "answer", headers, kind.media_type, name, held, self._settings
            )
        except BaseException as error:
            ended.set()
            future.cancel()
            future.add_done_callback(lambda _: held.close())
            del future  # else a reference cycle: it holds the error, which holds this frame
            if isinstance(error, TimeoutError):
                raise too_late(self._settings.video_deadline) from error
            raise

    def close(self) -> None:
        """Accept no more videos, and cancel those that have not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _enter(self, held: ExitStack) -> None:
        if not self._room.acquire(blocking=False):
            raise too_many_videos()
        held.callback(self._room.release)
        self._metrics.videos.inc()
        held.callback(self._metrics.videos.dec)


class _HeldFile(FileResponse):
    """A file that is removed once it is sent, or its client has gone."""

    def __init__(
        self,
        path: Path,
        headers: dict[str, str],
        media_type: str,
        name: str,
        held: ExitStack,
        settings: ServiceSettings,
    ) -> None:
        super().__init__(path, 200, headers, media_type, filename=name)
        self._held = held
        self._seconds = seconds_for(path.stat().st_size, settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError as error:
            raise too_late(self._seconds) from error
        finally:
            self._held.close()


def limits_of(settings: ServiceSettings) -> dict[str, Any]:
    """Return the limits of videos, as ``/models`` shows them."""
    names = ("max_video_bytes", "max_video_seconds", "max_video_frames", "video_deadline")
    return {name: getattr(settings, name) for name in names}
