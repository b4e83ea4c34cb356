"""What ``serve`` allows, and whom: options, and the file of keys."""

import argparse
import codecs
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from head_detection.apps.arguments import number_in, positive
from head_detection.apps.command import UsageError

LARGEST_PORT: Final = 65_535


def add_limit_options(parser: argparse._ArgumentGroup) -> None:
    """Declare how much a request may ask for, and who may."""
    parser.add_argument(
        "--max-bytes", type=positive, default=64 * 1024**2, metavar="N",
        help="of a request (default: 64 MiB)",
    )  # fmt: skip
    parser.add_argument(
        "--max-pixels", type=positive, default=64_000_000, metavar="N",
        help="of a picture, by its header (default: 64,000,000)",
    )  # fmt: skip
    parser.add_argument(
        "--max-files", type=positive, default=16, metavar="N",
        help="pictures in a request (default: 16)",
    )  # fmt: skip
    parser.add_argument(
        "--deadline", type=seconds, default=30.0, metavar="SECONDS",
        help="a request that is not answered by then is answered 504 (default: 30)",
    )  # fmt: skip
    parser.add_argument(
        "--api-key-file", type=Path, metavar="FILE",
        help="keys, one a line: who sends none of them is answered 401 (default: none asked for)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-url", action="store_true",
        help="fetch pictures from public addresses that requests name as url, never from this "
        "machine or its network (default: nothing is fetched)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-origin", type=_origin, action="append", default=[], metavar="URL",
        help="https://HOST whose pages may ask too, also several times (default: the page's own)",
    )  # fmt: skip


def _origin(text: str) -> str:
    """Return an origin as browsers send it.

    Raises:
        argparse.ArgumentTypeError: it has no scheme, or more than a host: it would let nobody in.
    """
    origin = text.rstrip("/")
    try:
        parts = urlsplit(origin)
        is_origin = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # half an IPv6 address, say
        is_origin = False
    if not is_origin or origin != f"{parts.scheme}://{parts.netloc}" or "*" in origin:
        raise argparse.ArgumentTypeError(f"expected https://HOST or http://HOST; got {text}")
    return origin.lower()


def add_video_limits(parser: argparse._ArgumentGroup) -> None:
    """Declare how much a request for a video may ask for."""
    usual = {"videos": 2, "video-bytes": 256 * 1024**2, "video-frames": 3600}
    texts = {
        "videos": "taken in and not answered yet; more are answered 503",
        "video-bytes": "of a request with a video",
        "video-frames": "of a video that are looked at",
    }
    for name, value in usual.items():
        parser.add_argument(
            f"--max-{name}", type=positive, default=value, metavar="N",
            help=f"{texts[name]} (default: {value:,})",
        )  # fmt: skip
    parser.add_argument(
        "--max-video-seconds", type=seconds, default=120.0, metavar="S",
        help="of a video that are looked at (default: 120)",
    )  # fmt: skip
    parser.add_argument(
        "--video-deadline", type=seconds, default=300.0, metavar="SECONDS",
        help="a video that is not answered by then is answered 504 (default: 300)",
    )  # fmt: skip


def read_keys(path: Path) -> tuple[str, ...]:
    """Return the keys of a file, one a line; empty lines and those that begin with # are none.

    Raises:
        UsageError: it has none, or one that no header can hold.
        OSError: it cannot be read.
    """
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)  # of Windows' editor
    lines = (line.strip() for line in content.decode("latin-1").splitlines())
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys or not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise UsageError(f"--api-key-file: expected keys of ASCII letters, one a line, in {path}")
    return keys


def port(text: str) -> int:
    """Read the number of a port.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> port("8000")
        8000
    """
    return int(number_in(text, 0, LARGEST_PORT))


def seconds(text: str) -> float:
    """Read seconds, a hundredth to a day.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> seconds("2.5")
        2.5
    """
    return number_in(text, 0.01, 86_400.0)
