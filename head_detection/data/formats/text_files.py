"""Text as label files hold it: UTF-8 with or without its mark, any line ends; errors name lines."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from head_detection.errors import AnnotationError

_DECIMALS: Final = 4
"""Of a pixel; float32 holds no more of a coordinate above 1,000."""


def read_text(path: Path, expected: str, mistake: type[ValueError] = AnnotationError) -> str:
    """Read a UTF-8 file, a byte order mark left out.

    Args:
        path: the file.
        expected: what it should be, for the error.
        mistake: what is raised, with one line.

    Raises:
        ValueError: ``mistake``: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise mistake(f"{path}: expected {expected}; {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise mistake(f"{path}: expected {expected}; not UTF-8 text") from error


def read_json(path: Path, expected: str, mistake: type[ValueError] = AnnotationError) -> Any:
    """Read a file of JSON; the arguments are those of ``read_text``.

    Raises:
        ValueError: ``mistake``: as for ``read_text``, or it is not JSON.
    """
    text = read_text(path, expected, mistake)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise mistake(f"{path}: expected {expected}; not JSON ({error})") from error


def read_lines(path: Path, expected: str) -> Iterator[tuple[str, str]]:
    """Yield ``(file and line number, line)`` for each line that is not blank, without its ends.

    Raises:
        AnnotationError: as for ``read_text``.
    """
    # splitlines() would also cut at characters that may stand in a file name, such as U+2028.
    lines = read_text(path, expected).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"{path}: line {number}", line.strip()


def round_pixels(value: float) -> float:
    """Return a coordinate as it is written, without the digits that float32 does not hold.

    Example:
        >>> round_pixels(0.20000000298023224)
        0.2
    """
    return round(value, _DECIMALS)


def format_pixels(value: float) -> str:
    """Write a coordinate, a whole one without a point.

    Example:
        >>> format_pixels(3.0), format_pixels(12.300000190734863)
        ('3', '12.3')
    """
    return repr(round_pixels(value)).removesuffix(".0")


def parse_whole(text: str, where: str, meaning: str) -> int:
    """Read a whole number; ``3.0`` is one.

    Raises:
        AnnotationError: no number, or not whole.

    Example:
        >>> parse_whole(" 3.0", "a.txt: line 1", "a frame")
        3
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value != int(value):
        raise AnnotationError(f"{where}: expected {meaning} as a whole number, got {text[:40]!r}")
    return int(value)
