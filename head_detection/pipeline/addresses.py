"""Addresses of cameras and streams: as a user types them, as they are shown, and in lists."""

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from head_detection.errors import SourceError, hide_passwords

SCHEMES: Final = ("rtsp", "rtsps", "http", "https", "udp", "rtp", "srt", "rtmp", "tcp")
"""Schemes of addresses that are decoded; files are given by their paths."""
STREAMS_EXTENSION: Final = ".streams"
MAX_LIST_BYTES: Final = 1024 * 1024
"""A list of cameras is typed by hand: even thousands of lines are smaller."""
LONGEST_NAME: Final = 100
"""Bytes; file systems allow 255, and extensions are appended."""
MOST_DIGITS: Final = 9
"""Digits of a camera's number; Python refuses to parse thousands of them."""
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DEVICE: Final = re.compile(r"/dev/(?:video(?P<number>\d+)|v4l/by-(?:id|path)/(?P<name>[^/\s]+))")
"""A camera's path on Linux; one by id or by port stays the same, whatever else is plugged in."""
_NAMED: Final = re.compile(r"(?P<name>[^=]*?)\s*=\s*(?P<url>.*)")
_NUMBER_WITH_COMMENT: Final = re.compile(r"\d+\s+#")
_COMMENT: Final = re.compile(r"\s+#.*")
"""An address has no blanks; a # without a blank before it begins its fragment."""
_SECRET: Final = re.compile(
    r"((?:user|usr|login|pass|passwd|password|passphrase|streamid|pwd|pw|token|auth|key|apikey|secret|sig|signature)=)"
    r"[^/&;_?#\s]+",
    re.IGNORECASE,
)
"""Some cameras want name and password in the path: ``/user=admin_password=x_channel=1``."""


@dataclass(frozen=True)
class DeviceMode:
    """What is requested from a camera of this machine; None leaves it to the camera.

    Attributes:
        size: (height, width) of its frames.
        fps: frames per second; the camera takes the nearest rate that it has.
        format: FFmpeg's name of a codec or a pixel format: ``mjpeg``, ``yuyv422``.
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    format: str | None = None


@dataclass(frozen=True)
class Address:
    """Where a camera, a stream or a file is.

    Attributes:
        name: of the camera in results and messages; also valid for a folder.
        url: as FFmpeg takes it, including secrets; a path for a device or a file.
        device_format: FFmpeg's name of the system for reading devices; None if it is no device.
        mode: what is requested from a device.

    Example:
        >>> Address("door", "rtsp://me:secret@cam/1")
        Address(name='door', shown='rtsp://cam/1')
    """

    name: str
    url: str
    device_format: str | None = None
    mode: DeviceMode = DeviceMode()

    @property
    def shown(self) -> str:
        """The address without secrets."""
        return shown_url(self.url)

    @property
    def scheme(self) -> str:
        """As ``scheme_of``."""
        return scheme_of(self.url)

    @property
    def is_http(self) -> bool:
        """Whether it is on a web server, as a file or as a stream."""
        return self.scheme in ("http", "https")

    @property
    def suffix(self) -> str:
        """The extension of its path, in lower case: ``.mp4``."""
        return PurePosixPath(urlsplit(self.url).path).suffix.lower()

    def __repr__(self) -> str:
        """Return name and address without secrets, since a traceback may show them."""
        return f"Address(name={self.name!r}, shown={self.shown!r})"


def is_url(text: str) -> bool:
    """Tell an address with a scheme from a path.

    Example:
        >>> is_url("rtsp://cam/1"), is_url("C:/clips/a.mp4")
        (True, False)
    """
    return _URL.match(text) is not None


def scheme_of(url: str) -> str:
    """Return the part before ``://``, in lower case; for a path, all of it."""
    return url.partition("://")[0].lower()


def is_camera(text: str) -> bool:
    """Tell whether a text is the number or path of a camera of this machine, present or not.

    Example:
        >>> is_camera("0"), is_camera("/dev/video0"), is_camera("/dev/null"), is_camera("0.jpg")
        (True, True, False, False)
    """
    return _is_number(text) or _DEVICE.fullmatch(text) is not None


def parse_address(text: str, name: str | None = None) -> Address:
    """Read an address as a user types it: a camera of this machine, or a URL.

    Args:
        text: ``0``, ``/dev/video0``, ``/dev/v4l/by-id/...`` or ``rtsp://...``.
        name: None derives it from the address.

    Raises:
        SourceError: another scheme, or no host. One line, without secrets.

    Example:
        >>> parse_address("rtsp://me:secret@cam.local:554/live/1").name
        'cam.local-554-live-1'
    """
    if _is_number(text):
        return _device(int(text), name)
    if sys.platform == "linux" and (device := _DEVICE.fullmatch(text)):
        known = device["name"] or f"camera-{device['number']}"
        return Address(name or _name_of(f"://{known}"), text, "v4l2")
    scheme = scheme_of(text)
    if not is_url(text) or scheme not in SCHEMES:
        raise SourceError(
            f"{shown_url(text)}: expected a camera's number or an address that begins with "
            f"{', '.join(f'{known}://' for known in SCHEMES)}"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
        has_place = bool(parts.hostname) or port is not None
    except ValueError:
        has_place = False
    if not has_place or any(ord(letter) < ord("!") for letter in text):
        raise SourceError(
            f"{shown_url(text)}: expected {scheme}://host:port/path, without blanks; in "
            "user and password, write / @ : # % ? as %2F %40 %3A %23 %25 %3F"
        )
    # FFmpeg knows schemes only in lower case.
    return Address(name or _name_of(text), scheme + text[len(scheme) :])


def read_streams(path: Path) -> list[Address]:
    """Read a ``.streams`` list: one ``name=URL`` or ``URL`` per line.

    A line that begins with a # is a comment, and so is what follows a blank and a # after an
    address.

    Raises:
        SourceError: not a text, no addresses, a wrong line, or a name that is used twice; one line
            that names the file and the line.
    """
    with path.open("rb") as file:
        content = file.read(MAX_LIST_BYTES + 1)
    expected = f"{path}: expected a list of cameras, name=URL or URL a line"
    if len(content) > MAX_LIST_BYTES:
        raise SourceError(f"{expected}; got more than {MAX_LIST_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{expected}, in UTF-8; got another text at byte {error.start}"
        ) from error
    addresses: list[Address] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            addresses.append(_parse_line(line.strip(), f"{path}: line {number}", addresses))
    if not addresses:
        raise SourceError(f"{expected}; got none")
    return addresses


def distinct(addresses: Iterable[Address]) -> list[Address]:
    """Give each address a unique name: ``cam``, ``cam-2`` ..."""
    taken: list[Address] = []
    for address in addresses:
        name, number = address.name, 1
        while any(name.casefold() == other.name.casefold() for other in taken):
            number += 1
            name = f"{address.name}-{number}"
        taken.append(replace(address, name=name))
    return taken


def shown_url(url: str) -> str:
    """Return an address without user, password and query, which may hold secrets.

    A text without ``://``, which may be a mistyped address or a path, keeps its query.

    Example:
        >>> shown_url("rtsp://me:se/cr@et@cam:554/live?token=1")
        'rtsp://cam:554/live'
        >>> shown_url("rtsp://cam/user=admin_password=x_channel=1")
        'rtsp://cam/user=*_password=*_channel=1'
        >>> shown_url("rtsp:/me:my secret@cam/1")
        'rtsp:/*@cam/1'
    """
    scheme, separator, rest = url.partition("://")
    if separator:
        if scheme.lower() == "srt":  # it has no user, and names of its streams may hold an @
            rest = rest.partition("?")[0]
        # Everything up to the last @ goes: a password may hold an unescaped / or ?.
        rest = rest.rpartition("@")[2]
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    elif ":" in url.rpartition("@")[0]:
        before, at, behind = url.rpartition("@")
        scheme = hide_passwords("".join(before.split()) + at) + behind  # whole, despite blanks
    text = f"{scheme}{separator}{rest}"
    text = "".join(c if c.isprintable() else "?" for c in text)
    return _SECRET.sub(r"\1*", hide_passwords(text))


def without_secrets(text: str, url: str) -> str:
    """Return a library's message without the secrets of an address.

    Example:
        >>> without_secrets("cannot open rtsp://me:secret@cam/1", "rtsp://me:secret@cam/1")
        'cannot open rtsp://cam/1'
    """
    text = text.replace(url, shown_url(url))
    user_info = url.partition("://")[2].rpartition("@")[0]
    query = parse_qs(url.partition("?")[2])
    secrets = {user_info, *user_info.split(":", 1)[1:], *query.get("passphrase", ())}
    for secret in sorted({*secrets, *map(unquote, secrets)} - {""}, key=len, reverse=True):
        text = text.replace(secret, "*")
    return _SECRET.sub(r"\1*", text)


def _parse_line(line: str, where: str, before: Sequence[Address]) -> Address:
    named = _NAMED.fullmatch(line)
    name, url = None, line
    if named is not None and not is_url(line) and not _NUMBER_WITH_COMMENT.match(line):
        name, url = named["name"].strip(), named["url"]
        _check_name(name, where)
    try:
        address = parse_address(_COMMENT.sub("", url), name)
    except SourceError as error:
        raise SourceError(f"{where}: {error}") from error
    if name is not None and any(name.casefold() == other.name.casefold() for other in before):
        raise SourceError(f"{where}: expected a name for each camera; got {name} twice")
    return address


def _check_name(name: str, where: str) -> None:
    is_short = 0 < len(name.encode()) <= LONGEST_NAME
    is_plain = name.isprintable() and not set(name) & set('/\\:*?"<>|') and name.strip(".") != ""
    if not is_short or not is_plain:
        shown = shown_url(name)[:LONGEST_NAME]  # it may be an address with a = in its query
        raise SourceError(
            f"{where}: expected a name of letters and digits, at most {LONGEST_NAME} bytes, before "
            f"the =; got {shown!r}"
        )


def _name_of(url: str) -> str:
    """Return a name that is valid for a folder."""
    name = re.sub(r"[^\w.-]+", "-", shown_url(url).partition("://")[2]).strip("-.")
    return name.encode()[:LONGEST_NAME].decode(errors="ignore") or "stream"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS


def _device(number: int, name: str | None) -> Address:
    name = name or f"camera-{number}"
    if sys.platform == "darwin":
        return Address(name, f"{number}:none", "avfoundation")
    if sys.platform == "win32":
        raise SourceError(
            f"{number}: expected the address of a stream; got a camera's number, which Windows "
            "does not have: serve the camera as http:// or rtsp://"
        )
    return Address(name, f"/dev/video{number}", "v4l2")
