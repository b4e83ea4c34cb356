"""Label files: reads their text, finds those of a split, and writes new ones completely.

Text is UTF-8 with or without its mark, with any line ends; errors name lines. A folder with a label
file a picture is written whole or not at all, and no label over another.
"""

import codecs
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.names import inner_name
from head_detection.errors import AnnotationError
from head_detection.files import replacing_folder

SPLITS: Final = ("train", "val", "trainval", "test")
TRAINVAL: Final = "trainval"
_DECIMALS: Final = 4
"""Decimals of a pixel; float32 holds no more for coordinates above 1,000."""
_WHOLE: Final = re.compile(r"(-?(?:0|[1-9][0-9]{0,17}))(?:\.0+)?")
_LARGEST_COUNT: Final = 10_000_000
"""Pixels; no picture is this wide, so a larger number is an error."""


def read_text(path: Path, expected: str, mistake: type[ValueError] = AnnotationError) -> str:
    """Read a UTF-8 file, or UTF-16 with a BOM; return it without BOM and with uniform line ends.

    Args:
        path: the file.
        expected: what it should be, for the error.
        mistake: what is raised, with one line.

    Raises:
        ValueError: ``mistake``: it cannot be read, or is not UTF-8.
    """
    try:
        content = path.read_bytes()
        has_mark = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        is_utf_16 = has_mark and len(content) > len(codecs.BOM_UTF16)
        text = content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except OSError as error:
        raise mistake(f"{path}: expected {expected}; {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise mistake(f"{path}: expected {expected}; not UTF-8 text") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
    lines = read_text(path, expected).split("\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"{path}: line {number}", line.strip()


def round_pixels(value: float) -> float:
    """Return a coordinate for writing, without the digits that float32 does not hold.

    Example:
        >>> round_pixels(0.20000000298023224)
        0.2
    """
    return round(value, _DECIMALS)


def format_pixels(value: float) -> str:
    """Format a coordinate, without a decimal point if it is whole.

    Example:
        >>> format_pixels(3.0), format_pixels(12.300000190734863)
        ('3', '12.3')
    """
    return repr(round_pixels(value)).removesuffix(".0")


def parse_whole(text: str, where: str, meaning: str) -> int:
    """Read a whole number; ``3.0`` is one.

    Raises:
        AnnotationError: not a number, or not whole.

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


def as_id(value: Any) -> int | str | None:
    """Return the id of a picture or class as the labels meant it; None if it is not an id.

    Spreadsheet programs turn 3 into ``3.0``, also in text. ``007`` is a text.

    Example:
        >>> as_id(3.0), as_id("3.0"), as_id("007"), as_id(2.5), as_id(True)
        (3, 3, '007', None, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        whole = _WHOLE.fullmatch(value)
        return int(whole[1]) if whole else value
    return value if isinstance(value, int) else None


def as_count(value: Any) -> int | None:
    """Return a number of pixels, or None if it is not a number above 0.

    Example:
        >>> as_count("40.0"), as_count(40), as_count(0), as_count("x")
        (40, 40, None, None)
    """
    number = as_id(value.strip() if isinstance(value, str) else value)
    return number if isinstance(number, int) and 0 < number <= _LARGEST_COUNT else None


def check_split(path: Path, split: str | None, allowed: Sequence[str] = SPLITS) -> None:
    """Refuse a split that the format does not have.

    Raises:
        AnnotationError: not one of ``allowed``, nor None.
    """
    if split not in (None, *allowed):
        raise AnnotationError(f"{path}: split: expected {', '.join(allowed)}; got {split!r}")


def labels_of(path: Path, pattern: str, split: str | None) -> list[Path]:
    """Return a single label file, or those of a split in a folder.

    Raises:
        AnnotationError: an unknown split, a split of one file, or no such file.
    """
    if path.is_dir():
        check_split(path, split)
        return split_files(path, pattern, split)
    if split is not None:
        raise AnnotationError(f"{path}: split: give the folder of the files, or leave split out")
    return [path]


def split_files(folder: Path, pattern: str, split: str | None) -> list[Path]:
    """Return the files of a split: its own, or those of train and val for ``trainval`` and None.

    Args:
        folder: where they lie.
        pattern: their name with ``{}`` for the split's.
        split: None never takes the test pictures by accident.

    Raises:
        AnnotationError: no such file; the message names those that are there.
    """
    wanted = split or TRAINVAL
    own = folder / pattern.format(wanted)
    if own.is_file():
        return [own]
    parts = [folder / pattern.format(part) for part in ("train", "val")]
    found = [file for file in parts if file.is_file()] if wanted == TRAINVAL else []
    if not found:
        names = sorted(file.name for file in folder.glob(pattern.format("*")))
        there = ", ".join(names[:8]) or "none"
        raise AnnotationError(f"{own}: no such list of pictures; there are: {there}")
    return found


def check_labels_differ(annotated: AnnotatedSet) -> list[str]:
    """Return each picture's name without its extension, under which its label is written.

    Raises:
        AnnotationError: two pictures would share a label, or a name that leaves its
            folder or its line.
    """
    names: dict[str, str] = {}
    for image in annotated.images:
        name = inner_name(image.file_name, annotated.name)
        if "\n" in name or "\r" in name:
            raise AnnotationError(f"{annotated.name}: expected a name on one line, got {name!r}")
        stem = str(PurePosixPath(name).with_suffix(""))
        if stem in names:
            raise AnnotationError(
                f"{annotated.name}: {names[stem]} and {name} would share one label file;"
                " rename one of them"
            )
        names[stem] = name
    return list(names)


def write_file(path: Path, text: str) -> None:
    """Write a file of a folder that ``new_folder`` gave; its own folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill, which is moved to ``path`` when it is complete.

    Raises:
        AnnotationError: ``path`` is a file, or a folder that is not empty.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise AnnotationError(f"{path}: expected a new or empty folder; nothing is written over")
    with replacing_folder(path) as folder:
        yield folder
