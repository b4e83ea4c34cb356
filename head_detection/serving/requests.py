"""Reads the pictures of a request, into memory only; limits are checked before any work."""

import asyncio
import difflib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from head_detection.serving.fetching import fetch
from head_detection.serving.problems import (
    ENDED_BY_CLIENT,
    ServiceError,
    bad_request,
    queue_full,
    too_large,
)
from head_detection.serving.settings import ServiceSettings

BODY_BYTES: Final = 512 * 1024**2
"""Limit of the bodies of all requests that are being read or answered."""
MAX_FIELDS: Final = 16
"""Limit of a form's fields, beside its files; they are ignored."""
SEVERAL_TIMES: Final = "url"
"""The only parameter that a request may repeat."""
LONGEST_NAME: Final = 255
UNNAMED: Final = "picture"
"""Name of a picture that is sent without one."""

T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """An uploaded or fetched file.

    Attributes:
        name: the client's name for it.
        data: its bytes.
        error: why it could not be fetched, if so.
    """

    name: str
    data: bytes
    error: ServiceError | None = None


class _MemoryParser(MultiPartParser):
    """Reads a form; unlike its base class, it never spools large files to disk."""

    spool_max_size = BODY_BYTES + 1


class Bodies:
    """Reads the bodies of a service's requests.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._held = 0

    @asynccontextmanager
    async def reading(self, request: Request) -> AsyncIterator[list[Upload]]:
        """Give the files of a request: those of a form, or the body itself.

        Raises:
            ServiceError: too many bytes or files, none at all, a Content-Encoding, or too slow.
        """
        check_headers(request, self._settings.max_bytes)
        counted = _Count()
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                uploads = await self._read(request, counted)
            yield uploads
        except TimeoutError as error:
            raise too_slow(self._settings.body_seconds) from error
        finally:
            self._held -= counted.num_bytes

    @asynccontextmanager
    async def fetching(self, urls: Sequence[str]) -> AsyncIterator[list[Upload]]:
        """Fetch the files at some URLs, one after the other; one that has no file fails alone.

        Raises:
            ServiceError: the service does not fetch URLs, there are too many, one is not public,
                or too many bytes.
        """
        if not self._settings.allows_urls:
            text = "expected a picture; got an address, and this service fetches none (--allow-url)"
            raise ServiceError(HTTPStatus.FORBIDDEN, "url", text)
        if len(urls) > self._settings.max_files:
            raise too_large(
                f"expected at most {self._settings.max_files} addresses; got {len(urls)}"
            )
        counted = _Count()
        try:
            yield [await self._fetched(url, counted) for url in urls]
        finally:
            self._held -= counted.num_bytes

    async def _fetched(self, url: str, counted: "_Count") -> Upload:
        try:
            name, data = await fetch(
                url, partial(self._count, counted), self._settings.body_seconds
            )
        except ServiceError as error:
            if error.status != HTTPStatus.BAD_GATEWAY:
                raise
            return Upload(clean_name(url), b"", error.bare())
        return Upload(clean_name(name), data)

    async def _read(self, request: Request, counted: "_Count") -> list[Upload]:
        chunks = self._chunks(request, counted)
        if not is_form(request):
            data = b"".join([chunk async for chunk in chunks])
            if not data:
                raise bad_request("expected a picture as the body, or a form of files; got nothing")
            return [Upload(UNNAMED, data)]
        form = await read_form(_MemoryParser, request, chunks, self._settings.max_files)
        try:
            check_fields(request, form)
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            uploads = [Upload(clean_name(file.filename), await file.read()) for file in files]
        finally:
            await form.close()
        if not uploads:
            raise bad_request("expected files in the form, with file names; got none")
        return uploads

    async def _chunks(self, request: Request, counted: "_Count") -> AsyncGenerator[bytes, None]:
        async for chunk in request.stream():
            self._count(counted, len(chunk))
            yield chunk

    def _count(self, counted: "_Count", num_bytes: int) -> None:
        counted.num_bytes += num_bytes
        self._held += num_bytes
        if counted.num_bytes > self._settings.max_bytes:
            raise too_many_bytes(self._settings.max_bytes)
        if self._held > BODY_BYTES:
            raise queue_full(1)


@dataclass
class _Count:
    num_bytes: int = 0


async def check_query(request: Request) -> None:
    """Refuse unknown and repeated parameters, which would be ignored silently.

    Raises:
        ServiceError: there is such a parameter.
    """
    known = _parameters(request)
    for name in request.query_params:
        times = len(request.query_params.getlist(name))
        if name in known and name != SEVERAL_TIMES and times > 1:
            raise bad_request(f"{name}: expected once; it came {times} times")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            raise bad_request(f"{clean_name(name)}: there is no such parameter; {meant}")


def check_fields(request: Request, form: FormData) -> None:
    """Refuse parameters among a form's fields, which would be ignored silently.

    Raises:
        ServiceError: there is such a parameter.
    """
    known = _parameters(request)
    for name, part in form.multi_items():
        if isinstance(part, str) and name in known:
            raise bad_request(
                f"{name}: expected in the address, as ?{name}=...; got it in the form"
            )


def _parameters(request: Request) -> list[str]:
    """Return the names of the route's query parameters."""
    return [str(field.alias) for field in request.scope["route"].dependant.query_params]


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Return the result of the work; cancel it as soon as the client hangs up.

    Raises:
        ServiceError: the client hung up.
    """
    working: asyncio.Future[T] = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    waiting: set[asyncio.Future[Any]] = {working, leaving}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ServiceError(ENDED_BY_CLIENT, "gone", "the client hung up")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
        waiting.clear()  # else a reference cycle: their errors hold this frame, which holds them
        del work, working, leaving


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def check_headers(request: Request, max_bytes: int) -> None:
    """Refuse a body because of its headers.

    Raises:
        ServiceError: it is too long, or compressed.
    """
    encoding = request.headers.get("content-encoding", "")
    if encoding.strip().lower() not in ("", "identity"):
        raise ServiceError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoding",
            "expected a body without Content-Encoding; got a compressed one: send the file itself",
        )  # fmt: skip
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > max_bytes:
        raise too_many_bytes(max_bytes)


def has_body(request: Request) -> bool:
    """Return whether a request says that a body follows its headers."""
    is_stated = request.headers.get("content-length", "0").strip() != "0"
    return is_stated or "transfer-encoding" in request.headers


def is_form(request: Request) -> bool:
    """Return whether the body is a form with files, rather than the file itself."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def read_form(
    parser: type[MultiPartParser],
    request: Request,
    chunks: AsyncGenerator[bytes, None],
    max_files: int,
) -> FormData:
    """Return the parts of a form.

    Raises:
        ServiceError: it is damaged, or has too many parts, or one that is too large.
    """
    try:
        return await parser(
            request.headers, chunks, max_files=max_files, max_fields=MAX_FIELDS
        ).parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            text = f"expected at most {max_files} files; got more: send several requests"
            raise too_large(text) from error
        if error.message.startswith("Too many fields"):
            text = f"expected at most {MAX_FIELDS} fields in the form beside its files; got more"
            raise too_large(text) from error
        if error.message.startswith("Part exceeded"):  # only that of a field is bounded
            text = "expected files in the form with file names; got a large field without one"
            raise bad_request(text) from error
        raise bad_request("expected a form (multipart/form-data); got a damaged one") from error
    except UnicodeError as error:
        raise bad_request("expected a form in UTF-8; got another charset") from error


def too_many_bytes(max_bytes: int) -> ServiceError:
    """Return the answer to a body that is too long."""
    return too_large(f"expected at most {max_bytes:,} bytes in a request; got more")


def too_slow(seconds: float) -> ServiceError:
    """Return the answer to a body that arrives too slowly."""
    text = f"expected the whole request within {seconds:g} s; got a part"
    return ServiceError(HTTPStatus.REQUEST_TIMEOUT, "slow", text)


def clean_name(name: str | None, unnamed: str = UNNAMED) -> str:
    r"""Return a file's name as one line of a bounded length, in Unicode.

    Example:
        >>> clean_name("a  b.jpg"), clean_name(None), clean_name("\ud800.jpg")
        ('a b.jpg', 'picture', '?.jpg')
    """
    line = " ".join((name or "").split())[:LONGEST_NAME]
    return line.encode(errors="replace").decode() or unnamed
