"""Folders with a label file a picture: written whole or not at all, no label over another."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.file_names import inner_name
from head_detection.errors import AnnotationError

_FOLDER_MODE: Final = 0o755
_SHOWN_NAME: Final = 20


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
    """Give a temporary folder beside ``path`` to fill, then put it in its place.

    After an error nothing is left behind; after a kill the temporary one may be, and nothing reads
    it. What is in it reaches the disk before it takes its name.

    Raises:
        AnnotationError: ``path`` is a file, or a folder that is not empty.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise AnnotationError(f"{path}: expected a new or empty folder; nothing is written over")
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name[:_SHOWN_NAME]}."
    temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=".part", dir=path.parent))
    try:
        temporary.chmod(_FOLDER_MODE)  # mkdtemp makes it private
        yield temporary
        if hasattr(os, "sync"):
            os.sync()  # once for all: to sync each of thousands of files takes minutes
        if path.exists():
            path.rmdir()
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
