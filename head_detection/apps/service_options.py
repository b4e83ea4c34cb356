"""Options for the limits of ``serve`` and who may use it, and the file of keys."""

import argparse
import codecs
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from head_detection.apps.arguments import number_in, positive
from head_detection.apps.command import UsageError

LARGEST_PORT: Final = 65_535


def add_limit_options(parser: argparse._ArgumentGroup) -> None:
    """Declare the limits of a request, and who may send one."""
    parser.add_argument(
        "--max-bytes", type=positive, default=64 * 1024**2, metavar="N",
        help="bytes in a request (default: 64 MiB)",
    )  # fmt: skip
    parser.add_argument(
        "--max-pixels", type=positive, default=64_000_000, metavar="N",
        help="pixels in a picture, by its header (default: 64,000,000)",
    )  # fmt: skip
    parser.add_argument(
        "--max-files", type=positive, default=16, metavar="N",
        help="most pictures in a request (default: 16)",
    )  # fmt: skip
    parser.add_argument(
        "--deadline", type=seconds, default=30.0, metavar="SECONDS",
        help="answer a request with 504 if it takes longer (default: 30)",
    )  # fmt: skip
    parser.add_argument(
        "--api-key-file", type=Path, metavar="FILE",
        help="file of keys, one per line; a request without one of them gets 401 (default: no keys "
        "needed)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-url", action="store_true",
        help="let requests name pictures by url; they are fetched from public addresses, never "
        "from this machine or its network (default: nothing is fetched)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-origin", type=_origin, action="append", default=[], metavar="URL",
        help="let the pages of https://HOST send requests too; may be repeated (default: only the "
        "service's own page)",
    )  # fmt: skip


def _origin(text: str) -> str:
    """Return an origin as browsers send it.

    Raises:
        argparse.ArgumentTypeError: no scheme, or more than a host, which no browser would match.
    """
    origin = text.rstrip("/")
    try:
        parts = urlsplit(origin)
        is_origin = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # half an IPv6 address, for example
        is_origin = False
    if not is_origin or origin != f"{parts.scheme}://{parts.netloc}" or "*" in origin:
        raise argparse.ArgumentTypeError(f"expected https://HOST or http://HOST; got {text}")
    return origin.lower()


def add_video_limits(parser: argparse._ArgumentGroup) -> None:
    """Declare the limits of a request with a video."""
    usual = {"videos": 2, "video-bytes": 256 * 1024**2, "video-frames": 3600}
    texts = {
        "videos": "videos accepted and not yet answered; further ones get 503",
        "video-bytes": "bytes in a request with a video",
        "video-frames": "frames of a video that are processed",
    }
    for name, value in usual.items():
        parser.add_argument(
            f"--max-{name}", type=positive, default=value, metavar="N",
            help=f"{texts[name]} (default: {value:,})",
        )  # fmt: skip
    parser.add_argument(
        "--max-video-seconds", type=seconds, default=120.0, metavar="S",
        help="seconds of a video that are processed (default: 120)",
    )  # fmt: skip
    parser.add_argument(
        "--video-deadline", type=seconds, default=300.0, metavar="SECONDS",
        help="answer a video with 504 if it takes longer (default: 300)",
    )  # fmt: skip


def read_keys(path: Path) -> tuple[str, ...]:
    """Return the keys in a file, one per line; empty lines and lines that begin with # are skipped.

    Raises:
        UsageError: no keys, or one that no HTTP header can hold.
        OSError: the file cannot be read.
    """
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)  # written by Windows editors
    lines = (line.strip() for line in content.decode("latin-1").splitlines())
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys or not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise UsageError(f"--api-key-file: expected keys of ASCII letters, one a line, in {path}")
    return keys


def port(text: str, lowest: int = 0) -> int:
    """Read a port number; 0 lets the system choose a free one.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> port("8000")
        8000
    """
    number = number_in(text, lowest, LARGEST_PORT)
    if not number.is_integer():
        raise argparse.ArgumentTypeError(f"expected a whole number; got {text}")
    return int(number)


def seconds(text: str) -> float:
    """Read a number of seconds, from a hundredth to a day.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> seconds("2.5")
        2.5
    """
    return number_in(text, 0.01, 86_400.0)
