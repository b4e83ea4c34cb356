"""What ``--source`` names, as picture files."""

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

from head_detection.errors import SourceError
from head_detection.images.finding import VIDEO_EXTENSIONS, PictureFile, PictureFinder

LIST_EXTENSIONS: Final = frozenset({".txt", ".lst", ".list"})
STANDARD_INPUT: Final = "-"
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Source:
    """The pictures behind ``--source``.

    Attributes:
        name: a short name, for the default output folder.
        pictures: the files in order; from standard input they come as they are read.
        num_pictures: how many, or None where that is not known yet.
        skipped: how many were passed over, by reason; complete once ``pictures`` is at its end.
    """

    name: str
    pictures: Iterable[PictureFile]
    num_pictures: int | None
    skipped: Counter[str] = field(default_factory=Counter)


def find_pictures(sources: Sequence[str]) -> Source:
    """Find the pictures of a file, a folder with all below it, a glob, a text list or ``-``.

    Order is natural (``2.jpg`` before ``10.jpg``). A file reached twice, also through a link,
    counts once. Hidden files, files that Pillow has no decoder for, and folders of results are
    passed over and counted. Listed paths start from the list's folder, else from the working one;
    those on standard input from the working one.

    Args:
        sources: one source, or several files and folders, as a shell makes them of a glob.

    Raises:
        SourceError: nothing there, nothing found, or a kind of source that is not supported.
    """
    finder = PictureFinder()
    if list(sources) == [STANDARD_INPUT]:
        typed = finder.listed(sys.stdin.buffer, [Path()])
        first = next(typed, None)
        if first is None:
            raise _no_pictures("standard input", finder.skipped)
        return Source("stdin", chain([first], typed), None, finder.skipped)
    name, found = _find(finder, sources)
    pictures = list(found)
    if not pictures:
        raise _no_pictures(" ".join(sources), finder.skipped)
    return Source(name, pictures, len(pictures), finder.skipped)


def _no_pictures(source: str, skipped: Counter[str]) -> SourceError:
    passed_over = describe_skipped(skipped)
    detail = f"; passed over: {passed_over}" if passed_over else ""
    return SourceError(f"{source}: expected pictures such as .jpg or .png, found none{detail}")


def describe_skipped(skipped: Counter[str]) -> str:
    """Return one line, empty where nothing was passed over.

    Example:
        >>> describe_skipped(Counter({"hidden": 2, "not pictures": 5}))
        '5 not pictures, 2 hidden'
    """
    return ", ".join(f"{count} {reason}" for reason, count in skipped.most_common())


def _find(finder: PictureFinder, sources: Sequence[str]) -> tuple[str, Iterator[PictureFile]]:
    if len(sources) > 1:
        return "pictures", finder.listed(map(os.fsencode, sources), [Path()])
    (source,) = sources
    path = Path(source).expanduser()
    if source and path.is_dir():
        return path.resolve().name or "root", finder.below(path, path)
    if source and path.exists():
        return path.stem, _find_in_file(finder, path)
    if glob.has_magic(source):
        root = _fixed_part(path)
        return root.resolve().name or "root", finder.matching(path, root)
    if source.isdecimal() or _URL.match(source):
        raise SourceError(f"{source}: cameras and streams are not supported yet; give pictures")
    raise SourceError(
        f"{source!r}: expected a picture, a folder, a glob, a text list or -; no such file"
    )


def _find_in_file(finder: PictureFinder, path: Path) -> Iterator[PictureFile]:
    extension = path.suffix.lower()
    if extension in VIDEO_EXTENSIONS:
        raise SourceError(f"{path}: videos are not supported yet; give pictures")
    if extension in LIST_EXTENSIONS:
        lines = path.read_bytes().removeprefix(_BYTE_ORDER_MARK).splitlines()
        return finder.listed(lines, [path.parent, Path()])
    return finder.single(path)


def _fixed_part(pattern: Path) -> Path:
    """Return the folder that a glob starts from: its parts before the first wildcard.

    Example:
        >>> _fixed_part(Path("photos/2024/*/a.jpg")).as_posix()
        'photos/2024'
    """
    fixed = Path()
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed
