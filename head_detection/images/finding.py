"""Finds picture files on disk: in a stable order, each once, counting all that are skipped."""

import errno
import glob
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path, PurePath
from typing import Final, NamedTuple

from PIL import Image

from head_detection.errors import hide_passwords
from head_detection.images.video_start import MOTION_JPEG_EXTENSIONS

VIDEO_EXTENSIONS: Final = MOTION_JPEG_EXTENSIONS | frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".dav", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265"}
    | {".hevc", ".ivf", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg"}
    | {".mts", ".mxf", ".nut", ".ogv", ".qt", ".rm", ".ts", ".vob", ".webm", ".wmv", ".wtv"}
    | {".y4m"}
)
_TRANSPORT_STREAMS: Final = frozenset({".mts", ".ts"})
"""Extensions that TypeScript programs have too."""
_SYNC_BYTE: Final = b"G"
_TIMED_PACKET_START: Final = 4
"""Where the sync byte is if a time stamp precedes it, as in files of cameras."""
OUTPUT_MARKER: Final = ".head-detection-output"
"""A file of this name marks a folder of results, whose pictures are not read as input."""
FORMATS: Final = (
    *("JPEG", "MPO", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000"),
    *("TGA", "DIB", "ICO", "CUR", "ICNS", "PSD", "QOI", "DDS", "PCX", "DCX", "PCD", "SGI", "SUN"),
    *("IM", "PIXAR", "MSP", "XBM", "XPM", "BLP", "FTEX", "FLI", "GBR"),
)
"""The formats that are decoded, all in this process, by Pillow's names, the common ones first.

Not EPS, which starts Ghostscript on an untrusted file; not IPTC, which opens whatever it holds; not
FITS and the stubs (BUFR, GRIB, HDF5, MPEG, WMF), which hand the file to any registered handler.
"""
_READ_AS_JPEG: Final = frozenset({"MPO"})
"""Several JPEGs in one file, as written by cameras with two lenses: the first is read."""
_DIGITS: Final = re.compile(r"(\d{1,1000})")  # Python refuses to parse thousands at once
_NOTHING_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF})
"""Error numbers of a path that leads nowhere, not to something that we may not read."""
_SPECIAL: Final = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
_NO_FILES: Final = "not files"


@dataclass(frozen=True)
class PictureFile:
    """A picture to read.

    Attributes:
        path: the file.
        name: its path relative to the source, with ``/``; its name in results.
        problem: why it cannot be read, if that is known already.
    """

    path: Path
    name: str
    problem: str | None = None


@cache
def picture_extensions() -> frozenset[str]:
    """Return all file name extensions that are read as pictures, lower case with the dot.

    Folders of pictures, readers of labels and the check for unlabelled pictures all use this list.

    Example:
        >>> {".jpg", ".png", ".webp"} <= picture_extensions(), ".eps" in picture_extensions()
        (True, False)
    """
    kinds = {*readable_formats(), *_READ_AS_JPEG}
    return frozenset(end for end, kind in Image.registered_extensions().items() if kind in kinds)


@cache
def readable_formats() -> tuple[str, ...]:
    """Return those of ``FORMATS`` that this Pillow can decode, as ``Image.open`` takes them.

    Example:
        >>> readable_formats()[0], "EPS" in readable_formats()
        ('JPEG', False)
    """
    Image.init()  # loads all of Pillow's plug-ins
    return tuple(name for name in FORMATS if name in Image.OPEN)


def is_picture_name(name: str) -> bool:
    """Tell whether a name ends like a picture's, in any case; a trailing blank is ignored.

    Example:
        >>> is_picture_name("a/1.JFIF"), is_picture_name("a/1.txt"), is_picture_name("1")
        (True, False, False)
    """
    return os.path.splitext(name)[1].lower().rstrip() in picture_extensions()  # noqa: PTH122 - one of millions


def is_video_name(name: str) -> bool:
    """Tell whether a name ends like a video's, in any case.

    Example:
        >>> is_video_name("a/1.MOV"), is_video_name("a/1.gif")
        (True, False)
    """
    return PurePath(name).suffix.lower().rstrip() in VIDEO_EXTENSIONS


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts numbers in a name by value and letters without their case.

    Example:
        >>> sorted(["b2", "b10", "A"], key=natural_key)
        ['A', 'b2', 'b10']
    """
    parts = _DIGITS.split(name)
    key = [(0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts]
    return (*key, (2, 0, name))


def find_path(text: str, bases: Sequence[Path] = (Path(),)) -> Path:
    """Return the path that a text means: a file of exactly this name comes first.

    Args:
        text: as given; ``~`` is the home folder unless a file has this name.
        bases: folders from which a relative path may start; the first that has the file is used.

    Returns:
        The path of the file, or from the first base if there is none. A name finds its file even if
        its accents are composed differently on disk (Unicode's NFC and NFD).
    """
    expanded = os.path.expanduser(text)  # noqa: PTH111 - Path's own raises for ~unknown
    spellings = dict.fromkeys(t for name in (text, expanded) for t in spellings_of(name))
    paths = (base / spelling for spelling in spellings for base in bases)
    return next((path for path in paths if os.path.lexists(path)), bases[0] / expanded)


def spellings_of(name: str) -> tuple[str, ...]:
    """Return a name as it is, then with composed accents (NFC), then with separate ones (NFD).

    Example:
        >>> [len(name) for name in spellings_of("caf\u00e9.jpg")], spellings_of("a.jpg")
        ([8, 8, 9], ('a.jpg',))
    """
    if name.isascii():
        return (name,)
    return (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))


def special_kind(path: str | Path) -> str | None:
    """Return what is there instead of a file: opening or reading it may never end.

    None for files and folders, if nothing is there, and if the system does not tell.

    Example:
        >>> special_kind("/dev/null"), special_kind("/"), special_kind("/nothing")
        ('a device', None, None)
    """
    try:
        return _SPECIAL.get(stat.S_IFMT(os.stat(path).st_mode))  # noqa: PTH116 - a text, as others
    except (OSError, ValueError):
        return None


class PictureFinder:
    """Gives each picture file once, and counts what it skips.

    Args:
        with_videos: give video files too.

    Attributes:
        skipped: how many were skipped, by reason.
    """

    def __init__(self, *, with_videos: bool = False) -> None:
        self.skipped: Counter[str] = Counter()
        self._with_videos = with_videos
        self._seen: set[str] = set()

    def single(self, path: Path) -> Iterator[PictureFile]:
        """Give a file that the user named, whatever its extension."""
        yield from self._once(path, _relative(path, path.parent), _real_path(path))

    def below(self, folder: Path, root: Path) -> Iterator[PictureFile]:
        """Give the pictures of a folder and of all folders in it, following links."""
        base = _real_path(folder)
        waiting = [_Found(str(folder), _relative(folder, root), base)]
        while waiting:
            found = waiting.pop()
            try:
                is_folder = not found.is_file and _is_folder(found.real)
                if is_folder and self._is_to_open(found.real, is_root=found.real == base):
                    waiting.extend(reversed(self._children(found, base)))
            except OSError as error:
                kept = isinstance(error, PermissionError)
                problem = "no permission to read it" if kept else error.strerror or str(error)
                yield PictureFile(Path(found.path), found.name, problem)
                continue
            if is_folder:
                continue
            if not found.is_file and special_kind(found.real):
                self.skipped[_NO_FILES] += 1
            elif self._is_picture(found.path, named=False):
                yield from self._once(found.path, found.name, found.real)

    def matching(self, pattern: Path, root: Path) -> Iterator[PictureFile]:
        """Give what a glob matches, and the pictures below the folders that it matches."""
        # After **, a final * or ** already matches the files of the folders that it matches.
        gives_files = "**" in pattern.parts and pattern.name in ("*", "**")
        found = glob.iglob(str(pattern), recursive=True)  # noqa: PTH207 - Path.glob gives hidden files
        matches = map(Path, set(found))
        for path in sorted(matches, key=lambda match: [natural_key(p) for p in match.parts]):
            inner = [p for p in (path, *path.parents) if p != root and p.is_relative_to(root)]
            if any(_is_output(_real_path(folder)) for folder in inner):
                self.skipped["results of an earlier run"] += 1
            elif special_kind(path):
                self.skipped[_NO_FILES] += 1
            elif not os.path.isdir(path):  # noqa: PTH112 - Path's own raises without permission
                if self._is_picture(str(path), named=True):
                    yield from self._once(path, _relative(path, root), _real_path(path))
            elif not gives_files:
                yield from self.below(path, root)

    def listed(self, lines: Iterable[str], bases: Sequence[Path]) -> Iterator[PictureFile]:
        """Give listed pictures, and those of listed folders.

        A line that leads nowhere is given too, as it may be a picture's name in quotes: it fails.

        Args:
            lines: one path each; empty ones are ignored. Blanks around a path belong to it only if
                there is such a file.
            bases: folders from which relative paths may start; the first that has the file is used.
                Names are relative to the first of them.
        """
        for line in lines:
            text = line.replace("\0", "?")  # no file name holds a zero byte
            if text.strip():
                path = find_path(text, bases)
                is_there = os.path.lexists(path)
                yield from self._at(path if is_there else find_path(text.strip(), bases), bases)

    def named(self, paths: Iterable[str]) -> Iterator[PictureFile]:
        """Give the pictures, and those of folders, that arguments of a command name literally.

        Names are relative to the working folder. A missing file is given too, whatever its
        extension: it fails when it is read.
        """
        for path in paths:
            if not path:
                yield PictureFile(Path(), "", "expected a path; got an empty one")
            else:
                yield from self._at(find_path(path), [Path()])

    def _at(self, path: Path, bases: Sequence[Path]) -> Iterator[PictureFile]:
        if not os.path.lexists(path):
            yield from self._once(path, _missing_name(path, bases[0]), _real_path(path))
        elif os.path.isdir(path):  # noqa: PTH112 - Path's own raises without permission
            yield from self.below(path, bases[0])
        elif special := special_kind(path):
            yield PictureFile(path, _relative(path, bases[0]), f"expected a file; it is {special}")
        elif self._is_picture(str(path), named=True):
            yield from self._once(path, _relative(path, bases[0]), _real_path(path))

    def _is_to_open(self, real: str, *, is_root: bool) -> bool:
        if real in self._seen:
            self.skipped["folders reached twice"] += 1
            return False
        self._seen.add(real)
        if not is_root and _is_output(real):
            self.skipped["folders of results"] += 1
            return False
        return True

    def _children(self, folder: "_Found", base: str) -> "list[_Found]":
        """Return the entries of a folder, without links to what is found at its own place."""
        if not os.access(folder.real, os.R_OK | os.X_OK):
            raise PermissionError(f"{folder.path}: it may not be looked into")
        with os.scandir(folder.real) as scan:
            entries = sorted(scan, key=lambda entry: natural_key(entry.name))
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        if len(visible) < len(entries):
            self.skipped["hidden"] += len(entries) - len(visible)
        above = "" if folder.name == "." else f"{folder.name}/"
        children = []
        for entry in visible:
            is_link = entry.is_symlink()
            end = _real_path(entry.path) if is_link else entry.path
            if end == entry.path or not self._is_found_itself(end, base):
                path = os.path.join(folder.path, entry.name)  # noqa: PTH118 - a text, one of millions
                # The listing of the folder already tells which are plain files.
                is_file = not is_link and entry.is_file()
                children.append(_Found(path, f"{above}{entry.name}", end, is_file))
            else:
                is_folder = os.path.isdir(end)  # noqa: PTH112 - Path's own raises
                self.skipped["folders reached twice" if is_folder else "reached twice"] += 1
        return children

    def _is_found_itself(self, end: str, base: str) -> bool:
        """Tell whether the target of a link is given under its own name, which labels use."""
        if not end.startswith(base + os.sep):
            return False
        *folders, name = Path(end).relative_to(base).parts
        if any(part.startswith(".") for part in (*folders, name)):
            return False
        parents = accumulate(folders, os.path.join, initial=base)
        if any(_is_output(parent) for parent in parents if parent != base):
            return False
        if os.path.isdir(end):  # noqa: PTH112 - Path's own raises
            return True
        is_given = is_picture_name(name) or (self._with_videos and is_video_name(name))
        return is_given and os.path.exists(end)  # noqa: PTH110 - as above

    def _is_picture(self, path: str, *, named: bool) -> bool:
        """Decide by the extension; a file that was named explicitly may have none."""
        if is_picture_name(path) or (named and not PurePath(path).suffix):
            return True
        is_video = is_video_name(path) and (named or not _is_program(Path(path)))
        if is_video and self._with_videos:
            return True
        self.skipped["videos" if is_video else "not pictures"] += 1
        return False

    def _once(self, path: str | Path, name: str, real: str) -> Iterator[PictureFile]:
        if real in self._seen:
            self.skipped["reached twice"] += 1
            return
        self._seen.add(real)
        yield PictureFile(Path(path), name)


class _Found(NamedTuple):
    """An entry of a tree, as texts: there may be millions.

    Attributes:
        path: below the path by which the tree was named.
        name: relative to the source, with ``/``.
        real: the path with links resolved.
        is_file: known not to be a folder.
    """

    path: str
    name: str
    real: str
    is_file: bool = False


def _is_folder(path: str) -> bool:
    """Tell a folder from a file or a broken link.

    Raises:
        OSError: the system does not tell, usually a PermissionError.
    """
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - a text, one of very many
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return False
        raise


def _is_program(path: Path) -> bool:
    """Tell a program in TypeScript from a transport stream."""
    if path.suffix.lower() not in _TRANSPORT_STREAMS:
        return False
    try:
        with path.open("rb") as file:
            start = file.read(_TIMED_PACKET_START + 1)
    except OSError:  # reported when it is read
        return False
    return _SYNC_BYTE not in (start[:1], start[_TIMED_PACKET_START:])


def _is_output(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, OUTPUT_MARKER))  # noqa: PTH110, PTH118 - never raises


def _real_path(path: str | Path) -> str:
    return os.path.realpath(path)


def _missing_name(path: Path, root: Path) -> str:
    """Name a missing file: it may be a mistyped address, whose password must not be written."""
    return hide_passwords(_relative(path, root))


def _relative(path: Path, root: Path) -> str:
    try:
        relative = os.path.relpath(path, root)
    except ValueError:  # Windows: another drive
        relative = str(path.absolute())
    return relative.replace(os.sep, "/")
