"""Middleware that checks keys, hosts and origins, and adds headers and time limits to answers."""

import asyncio
import hmac
import logging
import re
from contextlib import suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from head_detection.serving.metrics import Metrics
from head_detection.serving.problems import ENDED_BY_CLIENT, LONGEST_VALUE, ServiceError
from head_detection.serving.settings import ServiceSettings

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
OPEN: Final = ("/", "/docs", "/openapi.json", "/healthz", "/readyz")
OPEN_FOLDER: Final = "/page/"
"""Paths that need no key: they reveal nothing about pictures, and the page asks for the key."""
ABSOLUTE: Final = re.compile(rb"https?://([^/@]+)(/.*)?", re.IGNORECASE)
"""A request's target that is a whole URL, without its query. RFC 9110, 4.2.4, forbids a user."""
POLICY_VIOLATION: Final = 1008
"""Close code of a WebSocket."""

_log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware that lets requests in or refuses them.

    Args:
        app: the application.
        settings: the keys, hosts and origins that are let in.
        metrics: counts every request.
        routes: paths that are counted separately; all others count as ``other``.
    """

    def __init__(
        self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics, routes: frozenset[str]
    ) -> None:
        self._app, self._settings = app, settings
        self._metrics, self._routes = metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse an ASGI request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope = _in_origin_form(scope)
        reason = self.refusal(scope["path"], Headers(scope=scope), is_page=scope["type"] == "http")
        if scope["type"] == "websocket":
            if reason is None:
                await self._app(scope, receive, send)
            else:
                self._metrics.errors.labels(reason.kind).inc()
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        await self._answer(scope, receive, _Answering(send, self._settings.body_seconds), reason)

    async def _answer(
        self, scope: Scope, receive: Receive, answering: "_Answering", reason: ServiceError | None
    ) -> None:
        problem = reason or await self._problem(scope, receive, answering)
        if problem is not None:
            self._metrics.errors.labels(problem.kind).inc()
        if problem is not None and not answering.status:
            response = JSONResponse(problem.as_plain(), problem.status, problem.headers)
            with suppress(TimeoutError):
                await response(scope, receive, answering.send)
        path = scope["path"] if scope["path"] in self._routes else "other"
        self._metrics.requests.labels(path, str(answering.status)).inc()

    async def _problem(
        self, scope: Scope, receive: Receive, answering: "_Answering"
    ) -> ServiceError | None:
        """Pass a request on; return the error that ends it, without its traceback.

        The traceback would keep the whole request in memory until Python collects cycles.
        """
        try:
            await self._app(scope, receive, answering.send)
        except ClientDisconnect:
            answering.status = answering.status or ENDED_BY_CLIENT
        except TimeoutError as error:
            return None if answering.status else _fault(error)  # the client does not read
        except ServiceError as error:
            return error.bare()
        except Exception as error:  # noqa: BLE001 - any error is answered and logged
            return _fault(error)
        return None

    def refusal(self, path: str, headers: Headers, *, is_page: bool) -> ServiceError | None:
        """Return why a request is refused; None lets it in.

        Args:
            path: the path that it requests.
            headers: its headers.
            is_page: whether they must hold the key; a browser's WebSocket sends it later.
        """
        host, origin = headers.get("host", ""), headers.get("origin")
        if host and not self._is_known(host):  # HTTP/1.0 may leave it out; no browser does
            text = (
                f"expected a name of this machine; got the host {host[:LONGEST_VALUE]!r}, which is "
                "let in by --host or --allow-origin"
            )
            return ServiceError(HTTPStatus.FORBIDDEN, "host", text)
        is_own = origin is None or _split(origin).netloc == (host or None)
        if not is_own and origin not in self._settings.origins:
            text = "expected a page of this service; got one of another site (see --allow-origin)"
            return ServiceError(HTTPStatus.FORBIDDEN, "origin", text)
        is_open = path in OPEN or path.startswith(OPEN_FOLDER) or not is_page
        if is_open or has_key(headers, self._settings.keys):
            return None
        text = (
            "expected a key as Authorization: Bearer KEY or X-API-Key: KEY; got none that is valid"
        )
        return ServiceError(HTTPStatus.UNAUTHORIZED, "key", text)

    def _is_known(self, host: str) -> bool:
        hosts = self._settings.hosts
        return hosts is None or _split(f"//{host}").hostname in hosts


def has_key(headers: Headers, keys: tuple[str, ...]) -> bool:
    """Return whether a request has one of the keys; always true if there are no keys."""
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    given = bearer.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
    return is_key(given, keys)


def is_key(given: str, keys: tuple[str, ...]) -> bool:
    """Return whether a text is one of the keys; always true if there are none.

    The comparison takes constant time, so that a key cannot be guessed letter by letter.

    Example:
        >>> is_key("b", ("a", "b")), is_key("", ("a",)), is_key("", ())
        (True, False, True)
    """
    sent = given.encode(
        errors="replace"
    )  # JSON can hold lone surrogates, which UTF-8 cannot encode
    matches = [hmac.compare_digest(sent, key.encode()) for key in keys]
    return not keys or any(matches)


class _Answering:
    """Sends an answer with the security headers; fails if the client does not read it in time.

    Attributes:
        status: the status that was sent; 0 before that.
    """

    def __init__(self, send: Send, seconds: float) -> None:
        self._send, self._seconds = send, seconds
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self.status == HTTPStatus.UNAUTHORIZED:
                headers["WWW-Authenticate"] = "Bearer"
        async with asyncio.timeout(self._seconds):
            await self._send(message)


def _in_origin_form(scope: Scope) -> Scope:
    """Return a request with the path for its target, if that was a whole URL, as proxies send it.

    Its host replaces that of the header.

    Source:
        RFC 9112, section 3.2.2.
    """
    match = ABSOLUTE.fullmatch(scope.get("raw_path") or b"")
    if match is None:
        return scope
    host, path = match[1], match[2] or b"/"
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope,
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "headers": [(b"host", host), *others],
    }


def _split(url: str) -> SplitResult:
    """Return the parts of a URL; empty parts if the text is not a URL."""
    try:
        return urlsplit(url)
    except ValueError:  # for example an incomplete IPv6 address
        return urlsplit("")


def _fault(error: Exception) -> ServiceError:
    _log.error("a request failed", exc_info=error)
    text = "the service failed; its log says why"
    return ServiceError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", text)
