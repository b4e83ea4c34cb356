"""``data.yaml``: which pictures a split of a YOLO set has, and what its classes are called."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from head_detection.config.yaml_text import parse_yaml
from head_detection.data.formats.file_names import FolderIndex, inner_name
from head_detection.data.formats.splits import TRAINVAL, check_split
from head_detection.data.formats.text_files import read_lines, read_text
from head_detection.errors import AnnotationError

DESCRIPTION: Final = "data.yaml"
_IMAGES, _LABELS = "images", "labels"
_UP: Final = "../"


@dataclass(frozen=True)
class YoloDescription:
    """A split of a YOLO set.

    Attributes:
        name: of the set.
        root: what all names start from.
        class_names: by number; empty where none are given.
        pictures: each one's name under the root, and where it lies.
        label_folders: folders under the root that hold labels of whole folders of pictures.
    """

    name: str
    root: Path
    class_names: dict[int, str]
    pictures: tuple[tuple[str, Path], ...]
    label_folders: tuple[str, ...]


def read_description(path: Path, split: str | None, images: Path | None) -> YoloDescription:
    """Read ``data.yaml`` and list the pictures of a split.

    Args:
        path: the file, its folder, or a folder with ``images`` and ``labels`` and no description.
        split: ``train``, ``val``, ``trainval`` or ``test``; None is ``trainval``.
        images: replaces the set's folder ``images``.

    Raises:
        AnnotationError: files missing or not of the format, or places outside the set.
    """
    check_split(path, split)
    file = _find_file(path)
    if file is None:
        return _without_file(path, split, images)
    values = _read_values(file)
    root = file.parent
    stated = values.get("path")
    if isinstance(stated, str) and (file.parent / stated).is_dir():
        root = file.parent / stated
    places = _places(values, split, file)
    pictures: dict[str, Path] = {}
    folders = []
    for place in places:
        within, where = _within(root, place, str(file)), f"{file}: {place!r}"
        if within.lower().endswith(".txt"):
            pictures |= dict(_listed(root, within, images))
            continue
        folders.append(within)
        pictures |= dict(_in_folder(root, within, images, where))
    return YoloDescription(
        f"{root.resolve().name}/{split or TRAINVAL}",
        root,
        _class_names(values, file),
        tuple(pictures.items()),
        tuple(_label_folder(folder) for folder in folders if _IMAGES in folder.split("/")),
    )


def _find_file(path: Path) -> Path | None:
    if path.is_file():
        return path
    found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    named = path / DESCRIPTION
    if named in found or len(found) == 1:
        return named if named in found else found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise AnnotationError(f"{path}: expected one {DESCRIPTION}; got {names}: give the file")
    return None


def _without_file(path: Path, split: str | None, images: Path | None) -> YoloDescription:
    within = "." if not (path / _IMAGES).is_dir() and images is None else _IMAGES
    if split is not None:
        within = f"{within}/{split}".removeprefix("./")
    pictures = tuple(_in_folder(path, within, images, str(path)))
    names: dict[int, str] = {}
    for place in (path, path / _LABELS):
        if (place / "classes.txt").is_file():
            lines = read_lines(place / "classes.txt", "a list of classes")
            names = {number: line for number, (_, line) in enumerate(lines)}
    folders = (_label_folder(within),) if within.startswith(_IMAGES) else ()
    return YoloDescription(path.resolve().name, path, names, pictures, folders)


def _read_values(file: Path) -> dict[str, Any]:
    try:
        values = parse_yaml(read_text(file, "a YOLO set's data.yaml"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, AnnotationError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise AnnotationError(f"{file}: not YAML ({reason})") from error
    if not isinstance(values, dict):
        raise AnnotationError(f"{file}: expected keys and values: train, val, names")
    return values


def _places(values: dict[str, Any], split: str | None, file: Path) -> list[str]:
    wanted = ["train", "val"] if split in (None, TRAINVAL) else [str(split)]
    found: list[str] = []
    for key in wanted:
        stated = values.get(key) or []
        places = stated if isinstance(stated, list) else [stated]
        if not all(isinstance(place, str) for place in places):
            raise AnnotationError(f"{file}: {key}: expected a folder, a list file or several")
        found += [place for place in places if place not in found]
    if not found:
        raise AnnotationError(f"{file}: expected pictures under {' or '.join(wanted)}; got none")
    return found


def _within(root: Path, place: str, where: str) -> str:
    """Check a place of pictures; Roboflow's ``../train/images`` is ``train/images``."""
    name = place.replace("\\", "/")
    while name.startswith(_UP) and (root / name.removeprefix(_UP).lstrip("/")).exists():
        name = name.removeprefix(_UP)
    return "." if name in (".", "./") else inner_name(name, where)


def _listed(root: Path, within: str, images: Path | None) -> Iterator[tuple[str, Path]]:
    index, own = FolderIndex(images or root), FolderIndex(images or root / _IMAGES)
    parent = within.rpartition("/")[0]
    for where, line in read_lines(root / within, "a list of pictures"):
        name = inner_name(f"{parent}/{line}" if parent else line, where)
        inner_name(line, where)
        if name.startswith(f"{_IMAGES}/"):
            short = name.removeprefix(f"{_IMAGES}/")
            yield name, own.root / own.find(short)
        else:
            yield name, index.root / index.find(name)


def _in_folder(
    root: Path, within: str, images: Path | None, where: str
) -> Iterator[tuple[str, Path]]:
    place = root / within
    if images is not None:
        first, _, rest = within.partition("/")
        place = images / rest if first == _IMAGES else images
    if not place.is_dir():
        raise AnnotationError(f"{where}: expected the folder of the pictures {place}")
    for name in FolderIndex(place).names():
        yield name if within == "." else f"{within}/{name}", place / name


def _label_folder(folder: str) -> str:
    parts = folder.split("/")
    parts[len(parts) - 1 - parts[::-1].index(_IMAGES)] = _LABELS
    return "/".join(parts)


def _class_names(values: dict[str, Any], file: Path) -> dict[int, str]:
    names = values.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise AnnotationError(f"{file}: expected the classes under names; got {names!r}")
    if not all(isinstance(number, int) for number in names):
        raise AnnotationError(f"{file}: names: expected numbers of classes as keys")
    return {number: str(name) for number, name in names.items()}
