"""Writes the video of a request to a file, because it may be too large for memory."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartParser

from head_detection.config.zones import MAX_BYTES, ZonesConfig, parse_zones
from head_detection.errors import ConfigError
from head_detection.serving.problems import bad_request
from head_detection.serving.requests import (
    check_fields,
    check_headers,
    clean_name,
    is_form,
    read_form,
    too_many_bytes,
    too_slow,
)
from head_detection.serving.settings import ServiceSettings

SLOWEST: Final = 256 * 1024
"""Lowest rate, in bytes per second, at which a client may send a video or read an answer; a slower
client is cut off once it has also used up ``body_seconds``."""
ZONES: Final = "zones"
"""Name of the form field with the zones file."""
FORM_FILES: Final = 2
"""The video and the zones file."""
UNNAMED: Final = "video"
"""Name of a video that is sent without one."""


@dataclass(frozen=True)
class SentVideo:
    """An uploaded video.

    Attributes:
        path: the file that holds it.
        name: the client's name for it.
        zones: lines and zones at which to count heads; None for no counting.
    """

    path: Path
    name: str
    zones: ZonesConfig | None


async def receive_video(request: Request, path: Path, settings: ServiceSettings) -> SentVideo:
    """Write the video of a request to a file; a form may also hold a zones file.

    Args:
        request: the request, whose body is read.
        path: the file to write.
        settings: the limits.

    Raises:
        ServiceError: too many bytes, none at all, a Content-Encoding, too slow, or a mistake in
            the zones.
    """
    check_headers(request, settings.max_video_bytes)
    try:
        async with asyncio.timeout(settings.body_seconds) as limit:
            chunks = _chunks(request, limit, settings)
            if is_form(request):
                return await _from_form(request, chunks, path)
            with path.open("wb") as file:
                async for chunk in chunks:
                    file.write(chunk)
    except TimeoutError as error:
        raise too_slow(settings.body_seconds) from error
    if not path.stat().st_size:
        raise bad_request("expected a video as the body, or a form with one; got nothing")
    return SentVideo(path, UNNAMED, None)


async def _chunks(
    request: Request, limit: asyncio.Timeout, settings: ServiceSettings
) -> AsyncGenerator[bytes, None]:
    start, num_bytes = asyncio.get_running_loop().time(), 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes > settings.max_video_bytes:
            raise too_many_bytes(settings.max_video_bytes)
        limit.reschedule(start + seconds_for(num_bytes, settings))
        yield chunk


async def _from_form(
    request: Request, chunks: AsyncGenerator[bytes, None], path: Path
) -> SentVideo:
    form = await read_form(MultiPartParser, request, chunks, FORM_FILES)
    try:
        check_fields(request, form)
        zones, videos = form.get(ZONES), []
        for name, part in form.multi_items():
            if isinstance(part, UploadFile) and name != ZONES:
                videos.append(part)
        if len(videos) != 1:
            raise bad_request(f"expected one video in the form, as file=@...; got {len(videos)}")
        if (times := len(form.getlist(ZONES))) > 1:
            raise bad_request(f"{ZONES}: expected once in the form; it came {times} times")
        (video,) = videos
        with path.open("wb") as file:
            await asyncio.to_thread(shutil.copyfileobj, video.file, file)
        if isinstance(zones, UploadFile):
            zones_text = await zones.read(MAX_BYTES + 1)
        else:
            zones_text = (zones or "").encode(errors="replace")
    finally:
        await form.close()
    config = None
    if zones_text.strip():
        try:
            config = parse_zones(zones_text, ZONES)
        except ConfigError as error:
            raise bad_request(str(error)) from error
    return SentVideo(path, clean_name(video.filename, UNNAMED), config)


def seconds_for(num_bytes: int, settings: ServiceSettings) -> float:
    """Return how many seconds the transfer of so many bytes may take."""
    return settings.body_seconds + num_bytes / SLOWEST
