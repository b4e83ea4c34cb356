"""Folders of results: each holds those of one run, which can be removed again."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final, TextIO

from head_detection.errors import OutputError
from head_detection.files import clear_leftovers, create_bytes, is_written_to, real_path
from head_detection.images.finding import OUTPUT_MARKER
from head_detection.results.format_names import OUTPUTS

RUN_FILE: Final = ".head-detection-run"
"""A file of this name marks a folder with a run's results, and lists them."""
MARKER_TEXT: Final = "Results of head-detection: a folder of pictures to search leaves this out.\n"
"""First line of ``OUTPUT_MARKER``; the files of the folder follow, one line of JSON each."""


def choose_folder(folder: Path, formats: Sequence[str], *, overwrite: bool = False) -> Path:
    """Return a folder for the results of a run: the requested one, or one with a number.

    If ``out`` holds the results of an earlier run, it stays as it is, and the folder is ``out-2``,
    ``out-3``, etc. In the last folder that is skipped, temporary files of a killed run are removed.

    Args:
        folder: the requested folder, which need not exist.
        formats: formats that will be written.
        overwrite: instead, remove the earlier run's results from it, and nothing else.

    Raises:
        OutputError: a file that no run wrote would be replaced, another run still writes there, or
            the path is not a folder.
    """
    _check_is_folder(folder)
    if overwrite:
        growing = [name for names in OUTPUTS.values() for name in names if not name.endswith("/")]
        if is_written_to(folder, growing):
            raise OutputError(
                f"{folder}: another run still writes here; wait for its end, or choose another "
                "folder"
            )
        clear_folder(folder)
    else:
        folder = _free_folder(folder)
    for name in (name for kind in formats for name in OUTPUTS[kind]):
        if not name.endswith("/") and (folder / name).is_file():
            raise OutputError(
                f"{folder / name}: no earlier run says that it wrote this file, which would be "
                "replaced: remove it, or choose another folder"
            )
    return folder


@contextmanager
def claiming(folder: Path | None, formats: Sequence[str]) -> Iterator[None]:
    """Mark a folder as holding a run's results; if the block, which begins them, fails, none stay.

    Args:
        folder: the folder, created if missing; None is no folder.
        formats: formats that will be written.

    Raises:
        OutputError: another run has marked it meanwhile.
    """
    if folder is None:
        yield
        return
    outputs = [name for kind in formats for name in OUTPUTS[kind]]
    try:
        create_bytes(folder / RUN_FILE, (json.dumps({"outputs": outputs}) + "\n").encode())
    except FileExistsError as error:
        raise OutputError(f"{folder}: another run writes here; choose another folder") from error
    try:
        yield
    except BaseException:
        clear_folder(folder)
        raise


def clear_folder(folder: Path) -> None:
    """Remove the files that an earlier run listed as its own; other files stay."""
    run_file = folder / RUN_FILE
    if not run_file.is_file():
        return
    try:
        outputs = list(json.loads(run_file.read_text(encoding="utf-8"))["outputs"])
    except (ValueError, KeyError, TypeError):  # cut short by a kill: its files are unknown
        outputs = []
    known = {name for names in OUTPUTS.values() for name in names}
    for name in known.intersection(map(str, outputs)):
        if name.endswith("/"):
            _clear_listed(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    run_file.unlink()


def mark_folder(folder: Path) -> TextIO:
    """Mark a folder of result files, so that it is not read as a source and may be overwritten.

    Returns:
        The open list of its files; append ``listed_name`` of each, then close it.

    Raises:
        OutputError: the folder holds files that are not results.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / OUTPUT_MARKER
    is_new = not marker.exists()
    if is_new and any(folder.iterdir()):
        raise OutputError(
            f"{folder}: expected a new folder or one of earlier results; "
            "it holds other files, which might be replaced: choose another folder"
        )
    file = marker.open("a", encoding="utf-8")
    if is_new:
        file.write(MARKER_TEXT)
        file.flush()
    return file


def listed_name(name: str) -> str:
    r"""Return a file's line in the marker of its folder, safe for any name.

    Example:
        >>> listed_name("a/b\nc.jpg")
        '"a/b\\nc.jpg"\n'
    """
    return json.dumps(name) + "\n"


def _check_is_folder(folder: Path) -> None:
    """Raise OutputError if the path exists but is not a folder."""
    if os.path.lexists(folder) and not folder.is_dir():
        is_link = folder.is_symlink() and not folder.exists()
        there = "a link that leads nowhere" if is_link else "a file"
        raise OutputError(
            f"{folder}: expected a folder, new or of earlier results; {there} is called so: choose "
            "another name"
        )


def _free_folder(folder: Path) -> Path:
    """Return the first of ``folder``, ``folder-2``, ... without results."""
    wanted = real_path(folder) if folder.name in ("", "..") else folder
    passed = None
    for number in count(2):
        if not _has_results(folder):
            break
        passed, folder = folder, wanted.with_name(f"{wanted.name}-{number}")
    if passed is not None:
        clear_leftovers(passed)
        for name in (name for names in OUTPUTS.values() for name in names if name.endswith("/")):
            for path, _, _ in os.walk(passed / name):
                clear_leftovers(Path(path))
    return folder


def _has_results(folder: Path) -> bool:
    markers = [folder / name / OUTPUT_MARKER for names in OUTPUTS.values() for name in names]
    return any(path.exists() for path in (folder / RUN_FILE, *markers))


def _clear_listed(folder: Path) -> None:
    """Remove the files that a marker lists, folders that are empty then, and the marker."""
    marker, root = folder / OUTPUT_MARKER, real_path(folder)
    if not marker.is_file():
        return
    parents: set[Path] = set()
    with marker.open(encoding="utf-8") as lines:
        next(lines, None)
        for line in lines:
            # A kill may have cut the line short, and a name may be too long for a file.
            with suppress(ValueError, OSError):
                path = folder / str(json.loads(line))
                if real_path(path.parent).is_relative_to(root) and not path.is_dir():
                    path.unlink(missing_ok=True)
                    parents.update(p for p in path.parents if p.is_relative_to(folder))
    for parent in sorted(parents - {folder}, key=lambda path: len(path.parts), reverse=True):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
    if set(folder.iterdir()) == {marker}:
        marker.unlink()
        folder.rmdir()
    else:  # files of others stay, and the folder remains marked
        marker.write_text(MARKER_TEXT, encoding="utf-8")
