"""From what a user types to a source."""

import glob
import os
import re
from pathlib import Path
from typing import Final

from head_detection.errors import SourceError
from head_detection.images.finding import VIDEO_EXTENSIONS, find_path
from head_detection.pipeline.images import (
    open_file,
    open_folder,
    open_glob,
    open_paths,
    open_standard_input,
)
from head_detection.pipeline.sources import Source

STANDARD_INPUT: Final = "-"
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def open_source(source: str, *more: str) -> Source:
    """Open a picture, a folder with all below it, a glob, a text list, or paths on standard input.

    Args:
        source: a path, a pattern or ``-``.
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
        return open_file(path)
    if glob.has_magic(source):
        return open_glob(path)
    if source.isdecimal() or _URL.match(source):
        raise SourceError(f"{source}: cameras and streams are not supported yet; give pictures")
    raise SourceError(
        f"{source!r}: expected a picture, a folder, a glob, a text list or -; no such file"
    )


def _is_kept_from_us(path: Path) -> bool:
    """Tell whether a path leads through a folder that may not be entered: reading it says so."""
    try:
        path.lstat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True
