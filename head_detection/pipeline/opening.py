"""From what a user types to a source."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from head_detection.errors import SourceError
from head_detection.images.finding import VIDEO_EXTENSIONS, find_path
from head_detection.pipeline.addresses import (
    STREAMS_EXTENSION,
    Address,
    is_url,
    parse_address,
    read_streams,
)
from head_detection.pipeline.images import (
    open_file,
    open_folder,
    open_glob,
    open_paths,
    open_standard_input,
)
from head_detection.pipeline.sources import Source

STANDARD_INPUT: Final = "-"


def open_source(source: str, *more: str) -> Source:
    """Open a picture, a folder with all below it, a glob, a text list, or paths on standard input.

    Also a camera, a stream, or a ``.streams`` list of them: they are begun once they are looked at.

    Args:
        source: a path, a pattern, ``-``, the number of a camera or an address.
        more: files and folders beside it, as a shell makes them of a glob.

    Raises:
        SourceError: nothing there, nothing found, or a kind of source that is not supported.
    """
    if more:
        return open_paths([source, *more])
    if source == STANDARD_INPUT:
        return open_standard_input()
    path = find_path(source)
    if source and os.path.isdir(path):  # noqa: PTH112 - Path's own raises without permission
        return open_folder(path)
    if source and (os.path.lexists(path) or _is_kept_from_us(path)):
        if path.suffix.lower() in VIDEO_EXTENSIONS:
            raise SourceError(f"{path}: videos are not supported yet; give pictures")
        is_list = path.suffix.lower() == STREAMS_EXTENSION
        return _open_cameras(read_streams(path), path.stem) if is_list else open_file(path)
    if is_url(source) or source.isdecimal():
        return _open_cameras([parse_address(source)])
    if glob.has_magic(source):
        return open_glob(path)
    raise SourceError(
        f"{source!r}: expected a picture, a folder, a glob, a text list or -; no such file"
    )


def _open_cameras(addresses: Sequence[Address], name: str | None = None) -> Source:
    from head_detection.pipeline.cameras import Cameras  # noqa: PLC0415 - loads FFmpeg

    return Cameras(addresses, name=name)


def _is_kept_from_us(path: Path) -> bool:
    """Tell whether a path leads through a folder that may not be entered: reading it says so."""
    try:
        path.lstat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True
