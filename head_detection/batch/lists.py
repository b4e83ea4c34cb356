"""Text lists of pictures: reads their lines and resolves the paths in them."""

import os
import re
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Final

import pyarrow as pa

from head_detection.batch.items import ROWS, batch_of
from head_detection.batch.places import (
    explaining_place,
    open_place,
    protocol_of,
    shown,
    without_file_protocol,
)
from head_detection.errors import SourceError
from head_detection.images.finding import find_path
from head_detection.pipeline.images import CHECKED_LINES, are_binary, decoder_of

_READ_BYTES: Final = 1 << 20
_MAX_LINE: Final = 1 << 16
"""In characters; no path is longer."""
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_CROOKED: Final = re.compile(r"//|(?:^|/)\.\.?(?:/|$)")
"""Matches paths that are not in their shortest spelling."""
_ODD: Final = (
    "//",
    "\0",
    "\n~",
    "\n./",
    "/./",
    "/.\n",
    "\n../",
    "/../",
    "/..\n",
    "\n.\n",
    "\n..\n",
)
"""Strings in the joined lines that mean each line needs a check: URLs, and ``_CROOKED`` paths."""
_FOLDERS: Final = 4096
"""Folders whose names are cached; lists go through folders one after the other."""


def list_text(location: str, placer: "Placer") -> Iterator[pa.RecordBatch]:
    """Yield the pictures of a text with one path or URL per line, without checking that they exist.

    Args:
        location: path or URL of the text.
        placer: resolves its lines.

    Raises:
        SourceError: the text cannot be read, or is not a list of lines; in one line.
    """
    with explaining_place(location, "a text list"):
        lines = _lines(location)
        start = list(islice(lines, CHECKED_LINES))
        if are_binary(start):
            raise SourceError(
                f"{shown(location)}: expected text, a path or URL on each line; got binary data"
            )
        lines = chain(start, lines)
        while block := list(islice(lines, ROWS)):
            yield batch_of(*placer.place_all(block))


def _lines(location: str) -> Iterator[str]:
    """Yield the lines of a text that are not empty, stripped."""
    decoder, rest = None, ""
    with closing(open_place(location)) as file:
        while content := file.read(_READ_BYTES):
            if decoder is None:
                decoder, mark_bytes = decoder_of(content)
                content = content[mark_bytes:]
            text = rest + decoder.decode(content)
            *lines, rest = _LINE_END.split(text) if "\r" in text else text.split("\n")
            if len(rest) > _MAX_LINE:
                raise SourceError(
                    f"{shown(location)}: expected a path on each line; got over {_MAX_LINE:,} "
                    "letters"
                )
            yield from filter(None, map(str.strip, lines))
    if decoder is not None:
        yield from filter(None, [(rest + decoder.decode(b"", final=True)).strip()])


class Placer:
    """Resolves a path in a list to the picture's name and location.

    Relative paths start from the folder of the list, or from the working folder if the first
    picture exists only there. Names are relative to the source's folder, so that lists in several
    folders may hold the same paths.

    Args:
        location: path or URL of the list or table.
        root: folder that names are relative to, which holds the list; empty for the list's own.
        starts: lists whose paths start from another folder than their own, and that folder. What
            an earlier run found out is believed, and what is found out now is added.
    """

    def __init__(
        self, location: str, root: str = "", starts: MutableMapping[str, str] | None = None
    ) -> None:
        self._location, self._starts = location, {} if starts is None else starts
        self._is_remote = bool(protocol_of(location))
        self._base = location.rpartition("/")[0] if self._is_remote else str(Path(location).parent)
        self._root = root or self._base
        # What precedes a plain relative path in its location and in its name; the latter is None
        # if names depend on the path.
        self._start, self._prefix = f"{self._base}/", self._prefix_of_names()
        self._is_base_sure = self._is_remote
        if location in self._starts:
            self._start_from(self._starts[location])
        self._absolute = "" if self._is_remote else os.path.realpath(self._root) + os.sep
        self._name_of_folder = lru_cache(_FOLDERS)(self._relative)

    def _prefix_of_names(self) -> str | None:
        if self._is_remote:
            folder = self._base.removeprefix(self._root.rstrip("/")).strip("/")
        else:
            folder = self._relative(self._base)
        return "" if folder in ("", ".") else f"{folder}/"

    def _start_from(self, folder: str) -> None:
        self._start, self._prefix = f"{folder.rstrip('/')}/", None
        self._is_base_sure = True

    def place_all(self, texts: list[str]) -> tuple[list[str], list[str]]:
        """Return the names and locations of many pictures, as ``place`` does, but faster."""
        plain = self._placed_alike(texts)
        if plain is not None:
            return plain
        placed = [self.place(text) for text in texts]
        return [name for name, _ in placed], [place for _, place in placed]

    def _placed_alike(self, texts: list[str]) -> tuple[list[str], list[str]] | None:
        """Place texts that are all relative, or all below the list's folder, in shortest spelling.

        Return None if they are not.
        """
        self.place(texts[0])  # may find out where relative paths start
        joined = "\n".join(["", *texts, ""])
        if any(piece in joined for piece in _ODD):
            return None
        if not self._is_remote and joined.count(f"\n{self._absolute}") == len(texts):
            return [text[len(self._absolute) :] for text in texts], texts
        if "\n/" in joined or self._prefix is None:
            return None
        if os.sep != "/" and any(map(os.path.isabs, texts)):  # with a drive letter
            return None
        names = [self._prefix + text for text in texts] if self._prefix else texts
        return names, [self._start + text for text in texts]

    def place(self, text: str) -> tuple[str, str]:
        """Return a picture's name and its location."""
        text = text.replace("\0", "?")  # no file name holds a zero byte
        if "://" in text and protocol_of(text):
            return shown(text), text
        text = without_file_protocol(text)
        if self._is_remote:
            is_whole = text.startswith("/")
            return (text, text) if is_whole else (f"{self._prefix}{text}", f"{self._start}{text}")
        if text.startswith(("/", "~")) or os.path.isabs(text):  # noqa: PTH117 - one of millions
            return self._absolute_place(text)
        if not self._is_base_sure:
            self._find_base(text)
        place = f"{self._start}{text}"
        if self._prefix is None or _CROOKED.search(text):
            return self._name_of(place), place
        return f"{self._prefix}{text}", place

    def _find_base(self, text: str) -> None:
        """Find out where relative paths start, by the first of them."""
        self._is_base_sure = True
        if not os.path.lexists(os.path.join(self._base, text)) and os.path.lexists(text):  # noqa: PTH118
            self._starts[self._location] = os.getcwd()  # noqa: PTH109 - a text
            self._start_from(self._starts[self._location])

    def _absolute_place(self, text: str) -> tuple[str, str]:
        if text.startswith("~"):
            text = str(find_path(text))
        if text.startswith(self._absolute) and not _CROOKED.search(text):
            return text[len(self._absolute) :], text
        return self._name_of(text), text

    def _name_of(self, place: str) -> str:
        folder, slash, name = place.rpartition("/")
        if name in (".", ".."):
            return self._relative(place)
        above = self._name_of_folder(folder or slash)
        return name if above == "." else f"{above}/{name}"

    def _relative(self, folder: str) -> str:
        return os.path.relpath(folder or ".", self._root).replace(os.sep, "/")
