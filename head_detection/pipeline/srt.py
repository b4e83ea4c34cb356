"""Reads SRT streams with libsrt, since PyAV's wheels come without SRT.

The machine's libsrt is loaded by ``ctypes``, as no binding on PyPI includes it. A separate program,
``ffmpeg`` or ``srt-live-transmit``, would show the passphrase in ``ps``.

Source: the API of libsrt 1.4 and 1.5, ``srt.h``, which the numbers below are from.
"""

import ctypes
import socket
import struct
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Self

import av

from head_detection.errors import SourceError
from head_detection.pipeline.addresses import shown_url
from head_detection.pipeline.srt_address import SrtAddress

LIBRARIES: Final = (
    "libsrt-gnutls.so.1.5", "libsrt-openssl.so.1.5", "libsrt.so.1.5", "libsrt-gnutls.so.1.4",
    "libsrt-openssl.so.1.4", "libsrt.so.1.4", "libsrt.so", "libsrt.1.5.dylib",
    "/opt/homebrew/lib/libsrt.dylib", "/usr/local/lib/libsrt.dylib", "srt.dll",
)  # fmt: skip
"""Its names on Debian and its derivatives, other Linux systems, macOS and Windows."""
LONGEST_MESSAGE: Final = 1456
"""Bytes of a message of a live stream (``SRT_LIVE_MAX_PLSIZE``)."""
# SRT_SOCKOPT
RECEIVE_TIMEOUT: Final = 14
PASSPHRASE: Final = 26
KEY_LENGTH: Final = 27
CONNECT_TIMEOUT: Final = 36
RECEIVE_LATENCY: Final = 43
STREAM_ID: Final = 46
IPV6_ONLY: Final = 54
# SRT_ERRNO
NO_SERVER: Final = 1001
REJECTED: Final = 1002
CONNECTION_LOST: Final = 2001
NO_CONNECTION: Final = 2002
WAITED: Final = (6002, 6003)
READABLE_OR_FAILED: Final = 0x1 | 0x8
"""SRT_EPOLL_IN, SRT_EPOLL_ERR"""
REJECTIONS: Final = {
    10: "the passphrase is another",
    11: "one side has a passphrase, the other has none",
}
"""SRT_REJECT_REASON, where libsrt's own text would tell a user nothing."""


class SrtStream:
    """A connection that is read like a file: ``av.open(stream)``.

    Args:
        address: whom to call, or where to wait for a call.
        seconds: time limit for this, and then for each message.

    Raises:
        OSError: nobody there, a wrong passphrase, a port in use ...; its text has no secrets.
    """

    def __init__(self, address: SrtAddress, seconds: float) -> None:
        library = load_library()
        if library is None:
            raise OSError("libsrt is not there")
        self._library, self._address = library, address
        self._buffer = ctypes.create_string_buffer(LONGEST_MESSAGE)
        self._rest = b""
        library.srt_startup()
        places = self._resolve()
        # A name may have several addresses, of which the first may lead nowhere.
        for number, (family, place) in enumerate(places, start=1):
            try:
                self._open(family, place, seconds / len(places))
            except OSError:
                self.close()
                if number == len(places):
                    raise
            else:
                break
        self.set_timeout(seconds)

    def set_timeout(self, seconds: float) -> None:
        """Set the time limit for each message."""
        self._set(RECEIVE_TIMEOUT, _milliseconds(seconds))

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``; none at the end.

        Raises:
            TimeoutError: nothing came for too long.
            OSError: libsrt failed.
        """
        content = self._rest
        if not content:
            length = self._library.srt_recvmsg(self._socket, self._buffer, LONGEST_MESSAGE)
            if length < 0:
                if self._library.srt_getlasterror(None) in (CONNECTION_LOST, NO_CONNECTION):
                    return b""
                self._check(length)
            content = self._buffer.raw[:length]
        content, self._rest = content[:size], content[size:]
        return content

    def close(self) -> None:
        """Close the connection, and tell the other side."""
        self._library.srt_close(self._socket)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _resolve(self) -> list[tuple[int, bytes]]:
        """Return the family of each address, with the C ``sockaddr`` of it."""
        address = self._address
        found = socket.getaddrinfo(
            address.host or None,
            address.port,
            type=socket.SOCK_DGRAM,
            flags=socket.AI_PASSIVE if address.is_listener else 0,
        )
        # An unused address gives no error, so try IPv4 first, which more cameras have.
        found.sort(key=lambda one: one[0] != socket.AF_INET)
        places = [(int(family), _packed(family, place)) for family, _, _, _, place in found]
        return places[:1] if address.is_listener else places

    def _open(self, family: int, place: bytes, seconds: float) -> None:
        library, address = self._library, self._address
        self._socket = library.srt_create_socket()
        self._set(CONNECT_TIMEOUT, _milliseconds(seconds))
        if address.latency is not None:
            self._set(RECEIVE_LATENCY, _milliseconds(address.latency / 1_000_000))
        if address.passphrase is not None:
            self._set(PASSPHRASE, address.passphrase.encode())
            self._set(KEY_LENGTH, address.key_length)
        if address.stream_id is not None:
            self._set(STREAM_ID, address.stream_id.encode())
        if address.is_listener:
            self._listen(family, place, seconds)
        else:
            self._check(library.srt_connect(self._socket, place, len(place)))

    def _listen(self, family: int, place: bytes, seconds: float) -> None:
        library, listener = self._library, self._socket
        if family == socket.AF_INET6:
            self._set(IPV6_ONLY, 0)
        self._check(library.srt_bind(listener, place, len(place)))
        self._check(library.srt_listen(listener, 1))
        poll = library.srt_epoll_create()
        library.srt_epoll_add_usock(poll, listener, ctypes.byref(ctypes.c_int(READABLE_OR_FAILED)))
        ready, count = (ctypes.c_int * 1)(), ctypes.c_int(1)
        num_ready = library.srt_epoll_wait(
            poll, ready, ctypes.byref(count), None, None, _milliseconds(seconds),
            None, None, None, None,
        )  # fmt: skip
        library.srt_epoll_release(poll)
        if num_ready <= 0:
            raise ConnectionError(f"nobody connected within {seconds:g} s")
        connection = library.srt_accept(listener, None, None)
        self._check(connection)
        self._socket = connection
        library.srt_close(listener)

    def _set(self, option: int, value: int | bytes) -> None:
        content = value if isinstance(value, bytes) else struct.pack("=i", value)
        self._check(self._library.srt_setsockflag(self._socket, option, content, len(content)))

    def _check(self, result: int) -> None:
        """Raise an error if a call went wrong."""
        if result >= 0:
            return
        code = self._library.srt_getlasterror(None)
        if code == NO_SERVER or code in WAITED:
            raise TimeoutError
        if code == REJECTED:
            number = self._library.srt_getrejectreason(self._socket)
            reason = REJECTIONS.get(number) or self._library.srt_rejectreason_str(number).decode()
            raise ConnectionRefusedError(f"the connection was refused: {reason}")
        raise ConnectionError(self._library.srt_getlasterror_str().decode(errors="replace"))


@cache
def load_library() -> ctypes.CDLL | None:
    """Load libsrt; None if this machine has none."""
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        for text in (library.srt_getlasterror_str, library.srt_rejectreason_str):
            text.restype = ctypes.c_char_p
        library.srt_epoll_wait.argtypes = [
            ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
            ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        return library
    return None


@cache
def is_in_ffmpeg() -> bool:
    """Tell whether PyAV's FFmpeg was built with SRT."""
    try:
        av.open("srt://").close()
    except av.error.ProtocolNotFoundError:
        return False
    except (av.FFmpegError, OSError, ValueError):
        return True  # SRT is known; this address just has no host
    return True


def check_address(url: str) -> None:
    """Refuse an address that no waiting would help to open.

    Raises:
        SourceError: an unknown option, or no libsrt on this machine; one line, without secrets.
    """
    SrtAddress.parse(url)
    if not is_in_ffmpeg() and load_library() is None:
        raise SourceError(
            f"{shown_url(url)}: expected libsrt, which PyAV's wheels lack; it is not on this "
            "machine: apt-get install libsrt1.5-gnutls (Debian, Ubuntu), dnf install srt-libs "
            "(Fedora), brew install srt (macOS)"
        )


def _packed(family: int, place: Sequence[Any]) -> bytes:
    host, port, *more = place
    number = socket.inet_pton(family, str(host).partition("%")[0])
    if family == socket.AF_INET:
        content = struct.pack("!H4s8x", port, number)
    else:
        flow, scope = more
        content = struct.pack("!HI16s", port, flow, number) + struct.pack("=I", scope)
    if sys.platform == "darwin":
        return struct.pack("=BB", len(content) + 2, family) + content
    return struct.pack("=H", family) + content


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
