"""Fetches pictures from URLs, if the service allows it, and only from public addresses.

A client that names a URL makes this machine request it (SSRF). So we connect to the very address
that was checked and do not resolve the name again, because the answer may have changed; we check
every redirect like the first URL; and we never contact an address that is not public.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import h11

from head_detection.serving.problems import ServiceError
from head_detection.version import __version__

PORTS: Final = {"http": 80, "https": 443}
"""Only the usual ports of web servers, so that nobody can scan for other services through us."""
MOST_REDIRECTS: Final = 3
CHUNK_BYTES: Final = 64 * 1024
HEADER_BYTES: Final = 32 * 1024
LONGEST_ADDRESS: Final = 2048
EMBEDDING: Final = (
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("2002::/16"),
    IPv6Network("2001::/32"),
)
"""IPv6 networks whose addresses embed an IPv4 address and lead to it: NAT64 (RFC 6052, RFC 8215),
6to4 (RFC 3056), Teredo (RFC 4380)."""


class _Place(NamedTuple):
    """A URL, resolved and checked."""

    url: SplitResult
    host: str
    address: str
    port: int


async def fetch(url: str, count: Callable[[int], None], seconds: float) -> tuple[str, bytes]:
    """Return the name and the bytes of the file at a public URL.

    Args:
        url: http or https.
        count: called with the number of bytes as they arrive; what it raises ends the fetch.
        seconds: limit for the whole fetch.

    Raises:
        ServiceError: the address does not exist, is not public, does not answer with a file,
            redirects too often, or is too slow.
    """
    try:
        async with asyncio.timeout(seconds):
            for _ in range(MOST_REDIRECTS + 1):
                place = await _look_up(url)
                answer = await _ask(place, count)
                if isinstance(answer, bytes):
                    return unquote(place.url.path.rpartition("/")[2]), answer
                url = urljoin(url, answer)
    except TimeoutError as error:
        raise _not_there(f"expected an answer within {seconds:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise _not_there(
            f"expected a certificate that this machine trusts; {error.verify_message}"
        ) from error
    except (OSError, h11.ProtocolError, ValueError) as error:
        raise _not_there("the address gives no answer that can be read") from error
    raise _not_there(f"expected at most {MOST_REDIRECTS} redirects")


def is_public(text: str) -> bool:
    """Return whether an address is public, that is, reachable from the whole internet.

    Example:
        >>> [is_public(a) for a in ("93.184.215.14", "127.0.0.1", "169.254.169.254", "10.0.0.1")]
        [True, False, False, False]
        >>> [is_public(a) for a in ("::ffff:10.0.0.1", "64:ff9b::a00:1", "fe80::1%eth0", "::")]
        [False, False, False, False]
    """
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif any(address in network for network in EMBEDDING):
            return False
    is_for_one = not (address.is_multicast or address.is_reserved or address.is_unspecified)
    return address.is_global and is_for_one


async def _look_up(url: str) -> _Place:
    """Resolve the name of a URL once; all of its addresses must be public."""
    if len(url) > LONGEST_ADDRESS or not url.isascii() or not url.isprintable() or " " in url:
        raise _refused("expected an address of ASCII letters")
    parts = urlsplit(url)
    port = PORTS.get(parts.scheme)
    if port is None or not parts.hostname or parts.username is not None:
        raise _refused("expected http://HOST/... or https://HOST/...")
    if parts.port not in (None, port):
        raise _refused(f"expected port {port}, the usual one of {parts.scheme}; got {parts.port}")
    found = await asyncio.get_running_loop().getaddrinfo(
        parts.hostname, port, type=socket.SOCK_STREAM
    )
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise _refused("expected a public address; got one of this machine or its network")
    return _Place(parts, parts.hostname, addresses[0], int(found[0][4][1]))


async def _ask(place: _Place, count: Callable[[int], None]) -> bytes | str:
    """Return the file at a place, or the URL that it redirects to."""
    async with _connected(place) as events, aclosing(events):
        body = bytearray()
        async for event in events:
            if isinstance(event, h11.Response):
                location = _checked(event)
                if location is not None:
                    return location
            elif isinstance(event, h11.Data):
                count(len(event.data))
                body += event.data
        return bytes(body)


def _checked(response: h11.Response) -> str | None:
    """Return the URL that a response redirects to; None if it is the file itself."""
    headers = {bytes(name): bytes(value).decode("latin-1") for name, value in response.headers}
    status = response.status_code
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST and b"location" in headers:
        return headers[b"location"]
    if status != HTTPStatus.OK:
        raise _not_there(f"the address answers {status}")
    if headers.get(b"content-encoding", "identity").lower() != "identity":
        raise _not_there("expected an answer without Content-Encoding")
    return None


@asynccontextmanager
async def _connected(place: _Place) -> AsyncGenerator[AsyncGenerator[h11.Event, None], None]:
    """Send the request and give the events of the response."""
    is_encrypted = place.url.scheme == "https"
    reader, writer = await asyncio.open_connection(
        place.address,
        place.port,
        ssl=ssl.create_default_context() if is_encrypted else None,
        server_hostname=place.host if is_encrypted else None,
    )
    try:
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES)
        target = (place.url.path or "/") + (f"?{place.url.query}" if place.url.query else "")
        headers = [
            ("Host", place.url.netloc),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
            ("User-Agent", f"head-detection/{__version__}"),
        ]
        writer.write(
            protocol.send(h11.Request(method="GET", target=target, headers=headers)) or b""
        )
        writer.write(protocol.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        yield _events(protocol, reader)
    finally:
        writer.transport.abort()  # closing properly would wait for the other side


async def _events(
    protocol: h11.Connection, reader: asyncio.StreamReader
) -> AsyncGenerator[h11.Event, None]:
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            protocol.receive_data(await reader.read(CHUNK_BYTES))
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) or event is h11.PAUSED:
            return
        elif isinstance(event, h11.Event):
            yield event


def _refused(text: str) -> ServiceError:
    return ServiceError(HTTPStatus.FORBIDDEN, "url", f"url: {text}")


def _not_there(text: str) -> ServiceError:
    return ServiceError(HTTPStatus.BAD_GATEWAY, "url", f"url: {text}")
