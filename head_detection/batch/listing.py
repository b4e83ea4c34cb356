"""Lists the pictures of a source, each once, in an order that does not change."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from head_detection.batch.items import ROWS, Columns, NameSet, batch_of
from head_detection.batch.lists import Placer, list_text
from head_detection.batch.manifest import JOB_FILE, PLAN_FOLDER
from head_detection.batch.places import (
    WEB,
    explaining_place,
    file_system,
    has_wildcard,
    matches_of,
    natural_path,
    protocol_of,
    shown,
    spelt_alike,
    without_file_protocol,
)
from head_detection.batch.tables import TABLE_EXTENSIONS, list_table
from head_detection.batch.tars import COMPRESSED_EXTENSIONS, TAR_EXTENSIONS, list_tar
from head_detection.errors import SourceError
from head_detection.images.finding import (
    OUTPUT_MARKER,
    PictureFile,
    PictureFinder,
    find_path,
    is_picture_name,
    special_kind,
)
from head_detection.pipeline.images import LIST_EXTENSIONS, fixed_part
from head_detection.pipeline.sources import describe_skipped

BESIDE: Final = "tars and Parquet files beside pictures"
"""Files in a folder that are skipped although they may hold pictures."""
_NO_PICTURES: Final = "not pictures"
_PACKED: Final = "compressed files"
_TWICE: Final = "listed twice"
_CONTAINERS: Final = LIST_EXTENSIONS | TABLE_EXTENSIONS | TAR_EXTENSIONS
_FILES: Final = _CONTAINERS | COMPRESSED_EXTENSIONS
Batches = Iterator[pa.RecordBatch]
Starts = MutableMapping[str, str]


def list_items(
    source: str,
    columns: Columns | None = None,
    skipped: Counter[str] | None = None,
    starts: Starts | None = None,
) -> Batches:
    """Yield the pictures of a source, each once, in an order that does not change.

    Pictures are not opened or checked: one that does not exist fails when it is read. Memory holds
    a batch and 16 bytes per picture; for a folder, also its names.

    Args:
        source: a folder, a text list (``.txt``), a glob, Parquet files or WebDataset tars (one, a
            folder of them, a glob, or ``{000..015}``); local, or a URL that fsspec reads.
        columns: columns of Parquet files to read.
        skipped: the numbers of skipped files are added here, by reason.
        starts: as for ``Placer``, of an earlier listing; what is found out is added.

    Yields:
        Batches of ``ITEM_SCHEMA``, at most ``ROWS`` long, none empty.

    Raises:
        SourceError: the source does not exist, has no pictures, or two have the same name; in one
            line.
        MissingPackageError: the URL's file system needs a package.
    """
    skipped = Counter() if skipped is None else skipped
    starts = {} if starts is None else starts
    columns = columns or Columns()
    source = without_file_protocol(source)
    again = partial(_listed, source, columns, Counter(), starts)
    names = NameSet()
    num_items = 0
    for batch in _listed(source, columns, skipped, starts):
        is_new = names.add(batch.column("name").to_pylist())
        if not is_new.all():
            batch = _without_repeats(  # noqa: PLW2901
                batch, is_new, again, skipped, has_names=bool(columns.name)
            )
        num_items += batch.num_rows
        if batch.num_rows:
            yield batch
    if not num_items:
        passed_over = describe_skipped(skipped)
        detail = f"; passed over: {passed_over}" if passed_over else ""
        raise SourceError(f"{shown(source)}: expected pictures, found none{detail}")


def _without_repeats(
    batch: pa.RecordBatch,
    is_new: npt.NDArray[np.bool_],
    again: Callable[[], Batches],
    skipped: Counter[str],
    *,
    has_names: bool,
) -> pa.RecordBatch:
    """Drop paths that are listed twice; refuse two pictures with the same name.

    Args:
        batch: a batch of the source.
        is_new: whether each of its names is new, ``(N,)``.
        again: lists the source again.
        skipped: the number of dropped paths is added here.
        has_names: whether names are from a column; else those of paths tell them apart.

    Raises:
        SourceError: two pictures have the same name; in one line.
    """
    for row in np.flatnonzero(~is_new).tolist():
        second = {key: batch.column(key)[row].as_py() for key in ("location", "offset")}
        name = batch.column("name")[row].as_py()
        if second["offset"] >= 0 or has_names:
            first = _first_of(name, again())
            if first != second:
                raise SourceError(
                    f"{name}: expected each name once, because results identify pictures by it; "
                    f"got it for {_described(first)} and for {_described(second)}"
                )
        skipped[_TWICE] += 1
    return batch.filter(pa.array(is_new, pa.bool_()))


def _first_of(name: str, batches: Batches) -> dict[str, Any]:
    """Return the first location of a name in a source that is listed again: none are kept."""
    for batch in batches:
        row = pc.index(batch.column("name"), name).as_py()
        if row >= 0:
            return {key: batch.column(key)[row].as_py() for key in ("location", "offset")}
    raise SourceError(
        f"{name}: expected a source that stays the same while it is listed; it changed"
    )


def _described(place: dict[str, Any]) -> str:
    where = shown(os.fsdecode(place["location"]))
    return where if place["offset"] < 0 else f"{where} at {place['offset']:,}"


def _listed(source: str, columns: Columns, skipped: Counter[str], starts: Starts) -> Batches:
    """Yield a source's pictures, perhaps some twice."""
    is_remote = bool(protocol_of(source))
    _check_web(source)
    path = spelt_alike(source) if is_remote else str(find_path(source))
    extension = _extension(path)
    if not is_remote and os.path.isdir(path):  # noqa: PTH112 - Path's own raises
        yield from _folder(path, columns, skipped, starts)
    elif extension in _CONTAINERS:
        root = _root_of(path)
        for match in matches_of(path):
            yield from _container(match, root, columns, skipped, starts, is_alone=match == path)
    elif extension in COMPRESSED_EXTENSIONS:
        raise SourceError(
            f"{shown(source)}: expected a .tar that is not compressed, in which a picture can be "
            f"read alone; got {extension}: unpack it, which makes pictures hardly larger"
        )
    elif is_remote and not has_wildcard(path) and not is_picture_name(_path_of(path)):
        yield from _remote_folder(path, columns, skipped, starts)
    elif columns.asked:
        raise _no_table(source, columns)
    elif is_remote:
        root = _root_of(path)
        places = [match for match in matches_of(path) if is_picture_name(_path_of(match))]
        yield from _singles([(_below(root, place), place) for place in places])
    else:
        yield from _local_files(path, skipped)


def _check_web(source: str) -> None:
    """Raise SourceError for a folder on a web server."""
    is_file = is_picture_name(_path_of(source)) or _extension(source) in _FILES
    if protocol_of(source) in WEB and not is_file:
        raise SourceError(
            f"{shown(source)}: expected a list (.txt), a Parquet file, a .tar or a picture: a web "
            "server does not tell what is in a folder"
        )


def _container(
    location: str,
    root: str,
    columns: Columns,
    skipped: Counter[str],
    starts: Starts,
    *,
    is_alone: bool = False,
) -> Batches:
    """Yield the pictures of a list, table or tar; their names are relative to a folder above it."""
    extension, label = _extension(location), _below(root, location)
    if extension in TABLE_EXTENSIONS:
        placer = Placer(location, root, starts)
        yield from list_table(location, label, columns, placer.place, is_alone=is_alone)
    elif columns.asked:
        raise _no_table(location, columns)
    elif extension in TAR_EXTENSIONS:
        yield from list_tar(location, label, skipped, is_alone=is_alone)
    else:
        yield from list_text(location, Placer(location, root, starts))


def _no_table(location: str, columns: Columns) -> SourceError:
    return SourceError(
        f"{shown(location)}: expected a Parquet file with the column {columns.asked}; got "
        "something else: name a Parquet file, or leave the column out"
    )


def _local_files(path: str, skipped: Counter[str]) -> Batches:
    """Yield a single picture, or those that a glob or braces match."""
    finder = PictureFinder()
    if special := special_kind(path):
        raise SourceError(f"{path}: expected a file or a folder; it is {special}")
    if os.path.lexists(path):
        yield from _found(finder.single(Path(path)))
    elif has_wildcard(path):
        yield from _found(finder.matching(Path(path), fixed_part(Path(path))))
    elif len(spelt := matches_of(path)) > 1:
        root = _root_of(path)
        yield from _singles([(_below(root, place), place) for place in spelt])
    else:
        raise SourceError(
            f"{path!r}: expected a folder, a text list, a glob, a Parquet file, a .tar or a URL; "
            "no such file"
        )
    skipped.update(finder.skipped)


def _folder(path: str, columns: Columns, skipped: Counter[str], starts: Starts) -> Batches:
    """Yield the pictures below a folder or, if there are none, those in its tables and tars.

    If a column is given, yield only those in its tables.
    """
    finder, has_any = PictureFinder(), False
    for batch in () if columns.asked else _found(finder.below(Path(path), Path(path))):
        has_any = True
        yield batch
    is_to_search = not has_any or finder.skipped[_NO_PICTURES]
    found = _containers_below(path, _wanted(columns)) if is_to_search else []
    containers = [place for place in found if _extension(place) not in COMPRESSED_EXTENSIONS]
    if columns.asked and not containers:
        raise _no_table(path, columns)
    apart = Counter({BESIDE: len(containers) * has_any, _PACKED: len(found) - len(containers)})
    skipped.update(finder.skipped - Counter({_NO_PICTURES: len(found)}) + apart)
    for container in () if has_any else containers:
        yield from _container(container, path, columns, skipped, starts)


def _wanted(columns: Columns) -> frozenset[str]:
    """Return the extensions of what else than pictures may be meant in a folder."""
    return TABLE_EXTENSIONS if columns.asked else _FILES - LIST_EXTENSIONS


def _containers_below(path: str, extensions: frozenset[str]) -> list[str]:
    found: list[str] = []
    for folder, folders, files in os.walk(path):
        is_job = JOB_FILE in files and PLAN_FOLDER in folders
        if is_job or OUTPUT_MARKER in files:  # results, perhaps of this very source
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        tables = (os.path.join(folder, n) for n in files if _is_container(n, extensions))  # noqa: PTH118
        found.extend(table for table in tables if not special_kind(table))
    return sorted(found, key=natural_path)


def _remote_folder(path: str, columns: Columns, skipped: Counter[str], starts: Starts) -> Batches:
    """Yield the pictures below a URL, folder by folder, as ``_folder`` does."""
    pictures: list[tuple[str, str]] = []
    containers, has_any = [], False
    with explaining_place(path, "pictures"):
        for place in _remote_tree(path, skipped):
            if _is_container(place, COMPRESSED_EXTENSIONS):
                skipped[_PACKED] += 1
            elif _is_container(place, _wanted(columns)):
                containers.append(place)
            elif is_picture_name(place) and not columns.asked:
                pictures.append((_below(path, place), place))
            else:
                skipped[_NO_PICTURES] += 1
            if len(pictures) == ROWS:
                has_any = True
                yield from _singles(pictures)
                pictures = []
    yield from _singles(pictures)
    if columns.asked and not containers:
        raise _no_table(path, columns)
    if pictures or has_any:
        skipped.update({BESIDE: len(containers)} if containers else {})
        return
    for container in containers:
        yield from _container(container, path, columns, skipped, starts)


def _remote_tree(path: str, skipped: Counter[str]) -> Iterator[str]:
    """Yield the files below a URL in natural order; skip hidden ones and results."""
    system = file_system(path)
    waiting = [(path, True)]
    while waiting:
        place, is_folder = waiting.pop()
        if not is_folder:
            yield place
            continue
        entries = system.ls(place, detail=True)
        system.invalidate_cache(place)
        children: list[tuple[str, bool]] = []
        for entry in sorted(entries, key=lambda entry: natural_path(entry["name"])):
            name = PurePosixPath(entry["name"]).name
            if name == OUTPUT_MARKER and place != path:
                skipped["folders of results"] += 1
                children = []
                break
            if name.startswith("."):
                skipped["hidden"] += 1
            else:
                child = system.unstrip_protocol(entry["name"])
                children.append((child, entry["type"] == "directory"))
        waiting.extend(reversed(children))


def _found(files: Iterator[PictureFile]) -> Batches:
    while block := list(islice(files, ROWS)):
        problems = [file.problem or "" for file in block]
        yield batch_of([f.name for f in block], [str(f.path) for f in block], problems=problems)


def _singles(pictures: list[tuple[str, str]]) -> Batches:
    for start in range(0, len(pictures), ROWS):
        block = pictures[start : start + ROWS]
        yield batch_of([name for name, _ in block], [place for _, place in block])


def _is_container(place: str, extensions: frozenset[str]) -> bool:
    is_hidden = place.rpartition("/")[2].startswith(("_", "."))  # as Spark hides its own files
    return _extension(place) in extensions and not is_hidden


def _extension(path: str) -> str:
    """Return the extension of a path, in lower case."""
    return PurePosixPath(_path_of(path)).suffix.lower()


def _path_of(place: str) -> str:
    """Return an http URL without its query; other locations unchanged."""
    return re.split("[?#]", place, maxsplit=1)[0] if protocol_of(place) in WEB else place


def _root_of(pattern: str) -> str:
    """Return the folder that names are relative to: the part before any wildcard or brace.

    Example:
        >>> _root_of("s3://lake/*/list.txt"), _root_of("/{a,b}.tar"), _root_of("*/list.txt")
        ('s3://lake', '/', '.')
    """
    start = pattern
    if not os.path.lexists(pattern):
        start = re.split(r"[*?\[{]", pattern, maxsplit=1)[0] if has_wildcard(pattern) else pattern
        start = start.partition("{")[0]
    return start.rpartition("/")[0] or ("/" if start.startswith("/") else ".")


def _below(root: str, place: str) -> str:
    """Return a location relative to a folder above it."""
    prefix = root.rstrip("/") + "/"
    return shown(place.removeprefix(prefix))
