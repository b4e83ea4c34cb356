"""Files as a source: single, in folders, globs and lists, and by paths on standard input."""

import codecs
import glob
import os
import re
import select
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

from head_detection.errors import SourceError
from head_detection.files import real_path
from head_detection.images.finding import PictureFile, PictureFinder, special_kind
from head_detection.pipeline.addresses import shown_url
from head_detection.pipeline.sources import ItemSource, SourceInfo, describe_skipped

LIST_EXTENSIONS: Final = frozenset({".txt", ".lst", ".list"})
READ_BYTES: Final = 64 * 1024
_MARKS: Final = (
    (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks and the encodings that they show; PowerShell writes lists in UTF-16."""
_MARK_BYTES: Final = 4
"""Enough to tell the mark."""
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_CONTROL: Final = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")
CHECKED_LINES: Final = 1000
"""Lines at the start of a list that show whether it is text."""


def open_file(path: Path, *, with_videos: bool = False) -> ItemSource:
    """Open a picture, or a text list of paths, told by its extension.

    Listed paths start from the list's folder, or else from the working folder.

    Raises:
        SourceError: a list without pictures; a named pipe, a socket or a device.
    """
    if special := special_kind(path):
        raise SourceError(
            f"{path}: expected a file or a folder; it is {special}; - takes paths on standard input"
        )
    finder = PictureFinder(with_videos=with_videos)
    if path.suffix.lower() not in LIST_EXTENSIONS:
        return _collect(finder, path.stem, finder.single(path), str(path))
    decoder, start = decoder_of(content := path.read_bytes())
    lines = _LINE_END.split(decoder.decode(content[start:], final=True))
    if are_binary(lines[:CHECKED_LINES]):
        raise SourceError(f"{path}: expected text, a path on each line; got binary data")
    return _collect(finder, path.stem, finder.listed(lines, [path.parent, Path()]), str(path))


def are_binary(lines: Sequence[str]) -> bool:
    """Tell whether more than half of the lines have characters that no text has.

    Each line of a file of another kind would be a picture that fails.

    Example:
        >>> are_binary(["a.jpg", "b.jpg"]), are_binary([chr(0), "a.jpg", chr(1)])
        (False, True)
    """
    return 2 * sum(_CONTROL.search(line) is not None for line in lines) > len(lines)


def open_folder(path: Path, *, with_videos: bool = False) -> ItemSource:
    """Open the pictures of a folder and of all folders in it, and if asked the videos.

    The order is natural (``2.jpg`` before ``10.jpg``). A file reached twice, also through a link,
    counts once. Hidden files, files that Pillow cannot decode, and folders of results are skipped
    and counted.

    Raises:
        SourceError: there are none.
    """
    finder = PictureFinder(with_videos=with_videos)
    return _collect(finder, real_path(path).name or "root", finder.below(path, path), str(path))


def open_glob(pattern: Path, *, with_videos: bool = False) -> ItemSource:
    """Open what a glob matches; folders that it matches are opened as by ``open_folder``.

    Raises:
        SourceError: nothing matches.
    """
    finder = PictureFinder(with_videos=with_videos)
    root = fixed_part(pattern)
    found = finder.matching(pattern, root)
    return _collect(finder, real_path(root).name or "root", found, str(pattern))


def open_paths(paths: Sequence[str], *, with_videos: bool = False) -> ItemSource:
    """Open several files and folders, as a shell expands a glob; each name is taken literally.

    Names start from the working folder. A file outside it is named by the shortest unique end of
    its path, all files of a folder by ends of the same length.

    Raises:
        SourceError: no pictures among them.
    """
    finder = PictureFinder(with_videos=with_videos)
    found = name_outside(list(finder.named(paths)))
    return _collect(finder, "pictures", found, " ".join(paths))


def name_outside(files: Sequence[PictureFile]) -> Iterator[PictureFile]:
    """Give files with unique names that do not lead out of the working folder.

    Example:
        >>> paths = ("/far/a/1.jpg", "/far/a/2.jpg", "/near/1.jpg")
        >>> files = [PictureFile(Path(path), f"../..{path}") for path in paths]
        >>> [file.name for file in name_outside(files)]
        ['a/1.jpg', 'a/2.jpg', 'near/1.jpg']
    """
    if not any(_leads_out(file.name) for file in files):
        yield from files
        return
    parts = [_parts_of(file.path) for file in files]
    waiting = [number for number, file in enumerate(files) if _leads_out(file.name)]
    lengths: dict[tuple[str, ...], int] = {}
    length = 0
    while waiting:
        length += 1
        ends = Counter(path[-length:] for path in parts)
        lengths |= {parts[n][:-1]: length for n in waiting}
        waiting = [n for n in waiting if ends[parts[n][-length:]] > 1 and parts[n][:-length]]
    for path, file in zip(parts, files, strict=True):
        end = path[-lengths[path[:-1]] :] if _leads_out(file.name) else ()
        yield replace(file, name="/".join(end)) if end else file


def _leads_out(name: str) -> bool:
    return name.startswith("../") or Path(name).is_absolute()


def _parts_of(path: Path) -> tuple[str, ...]:
    """Return the parts of the absolute path, with links as typed, without the root."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - Path's own follows links
    return whole.relative_to(whole.anchor).parts


def open_standard_input(*, with_videos: bool = False) -> ItemSource:
    """Open pictures by paths on standard input: waits for the first, gives each as it comes.

    Each line is answered, even if it repeats a picture: the file may have changed, and remembering
    an endless input would take endless memory.

    Raises:
        SourceError: the input ends without a picture, or is closed.
    """
    if sys.stdin is None:  # the caller closed it
        raise SourceError("standard input: expected paths of pictures; it is closed")
    typed = _TypedPictures(sys.stdin.fileno(), with_videos=with_videos)
    first = next(typed, None)
    if first is None:
        raise _no_pictures("standard input", typed.skipped)
    info = SourceInfo("stdin")
    return ItemSource(info, chain([first], typed), typed.skipped, typed.is_ready)


def decoder_of(start: bytes) -> tuple[codecs.IncrementalDecoder, int]:
    """Return the decoder for a list of paths, by its first bytes, and the length of its mark.

    Without a mark, the text has the file system's encoding, unless a zero byte shows UTF-16: no
    path holds one.
    """
    mark, encoding = next((pair for pair in _MARKS if start.startswith(pair[0])), (b"", ""))
    if not mark and b"\0" in start[:2]:
        encoding = "utf-16-be" if start[0] == 0 else "utf-16-le"
    if encoding:
        return codecs.getincrementaldecoder(encoding)("replace"), len(mark)
    system = codecs.getincrementaldecoder(sys.getfilesystemencoding())
    return system(sys.getfilesystemencodeerrors()), len(mark)


def _collect(
    finder: PictureFinder, name: str, found: Iterable[PictureFile], source: str
) -> ItemSource:
    files = list(found)
    if not files:
        raise _no_pictures(source, finder.skipped)
    return ItemSource(SourceInfo(name, count=len(files)), files, finder.skipped)


def _no_pictures(source: str, skipped: Counter[str]) -> SourceError:
    passed_over = describe_skipped(skipped)
    detail = f"; passed over: {passed_over}" if passed_over else ""
    return SourceError(
        f"{shown_url(source)}: expected pictures or videos such as .jpg or .mp4, found none{detail}"
    )


def fixed_part(pattern: Path) -> Path:
    """Return the folder that a glob starts from: its parts before the first wildcard.

    Example:
        >>> fixed_part(Path("photos/2024/*/a.jpg")).as_posix()
        'photos/2024'
    """
    fixed = Path()
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed


class _TypedPictures:
    """Pictures by the lines of a file descriptor; paths start from the working folder.

    Attributes:
        skipped: how many were skipped, by reason.
    """

    def __init__(self, descriptor: int, *, with_videos: bool) -> None:
        self.skipped: Counter[str] = Counter()
        self._with_videos = with_videos
        self._lines = _Lines(descriptor)
        self._of_line: Iterator[PictureFile] = iter(())
        self._next: PictureFile | None = None

    def __iter__(self) -> Iterator[PictureFile]:
        return self

    def __next__(self) -> PictureFile:
        while not self._has_next():
            self._of_line = self._find(next(self._lines))
        picture, self._next = self._next, None
        if picture is None:
            raise AssertionError("found, yet not there")
        return picture

    def is_ready(self) -> bool:
        """Tell whether a picture, or the end, is ready; lines without a picture do not count."""
        while not self._has_next():
            if not self._lines.is_ready():
                return False
            line = next(self._lines, None)
            if line is None:
                return True
            self._of_line = self._find(line)
        return True

    def _has_next(self) -> bool:
        if self._next is None:
            self._next = next(self._of_line, None)
        return self._next is not None

    def _find(self, line: str) -> Iterator[PictureFile]:
        finder = PictureFinder(
            with_videos=self._with_videos
        )  # a new one, which has only seen this line
        yield from finder.listed([line], [Path()])
        self.skipped.update(finder.skipped)


class _Lines:
    """Lines of a file descriptor, and whether the next is there already."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._undecoded = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._text = ""
        self._is_at_end = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while not self._has_line():
            self._read()
        if not self._text:
            raise StopIteration
        line, _, self._text = self._text.partition("\n")
        return line.removesuffix("\r")

    def is_ready(self) -> bool:
        """Tell whether a whole line, or the end, is at hand."""
        while not self._has_line():
            if not self._can_read():
                return False
            self._read()
        return True

    def _has_line(self) -> bool:
        return self._is_at_end or "\n" in self._text

    def _read(self) -> None:
        more = os.read(self._descriptor, READ_BYTES)
        self._is_at_end = not more
        self._undecoded += more
        if self._decoder is None:
            is_enough = len(self._undecoded) >= _MARK_BYTES or b"\n" in self._undecoded
            if not (is_enough or self._is_at_end):
                return
            self._decoder, start = decoder_of(self._undecoded)
            self._undecoded = self._undecoded[start:]
        self._text += self._decoder.decode(self._undecoded, final=self._is_at_end)
        self._undecoded = b""

    def _can_read(self) -> bool:
        try:
            return bool(select.select([self._descriptor], [], [], 0)[0])
        except (OSError, ValueError):  # Windows can only ask sockets: wait for each line
            return False
