"""``data.yaml`` of a YOLO set, or the folders in its place: pictures, classes, kinds of lines.

Source: docs.ultralytics.com/datasets, the pages detect, segment and pose; Darknet's ``obj.names``
and lists as CVAT exports them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

import yaml

from head_detection.config.yaml_text import parse_yaml
from head_detection.data.annotations import LabelClass
from head_detection.data.formats.class_names import HEAD, choose_heads, listed
from head_detection.data.formats.label_files import (
    TRAINVAL,
    as_id,
    check_split,
    read_lines,
    read_text,
)
from head_detection.data.formats.names import FolderIndex, choose_place, find_folder, inner_name
from head_detection.errors import AnnotationError
from head_detection.files import real_path

PICTURES: Final = "images"
SCHEME: Final = "yolo"
LABELS: Final = "labels"
FILE: Final = "data.yaml"
CLASSES: Final = "classes.txt"
_NAME_FILES: Final = (CLASSES, "obj.names", "_darknet.labels")
"""Files in which tools without ``data.yaml`` list classes, one name per line, from 0."""
_UP: Final = "../"
_MAX_KEYPOINTS: Final = 10_000
_DIMENSIONS: Final = (2, 3)
"""Numbers per keypoint: x, y, and optionally its visibility."""


@dataclass(frozen=True)
class Description:
    """A split of a YOLO set.

    Attributes:
        name: of the set.
        root: folder to which all names are relative.
        class_names: by number; empty where none are given.
        pictures: each one's name under the root, and its path.
        label_folders: folders under the root that hold labels of whole folders of pictures.
        num_keypoint_fields: numbers of the keypoints that follow a box; None where the set has
            none, and more than a box is an outline.
    """

    name: str
    root: Path
    class_names: dict[int, str]
    pictures: tuple[tuple[str, Path], ...]
    label_folders: tuple[str, ...]
    num_keypoint_fields: int | None = None

    def classes(self, path: Path) -> list[LabelClass]:
        """Return the classes; empty if no names are known.

        Args:
            path: the set, for the error.

        Raises:
            AnnotationError: several classes, none of which means head.
        """
        heads = choose_heads(self.class_names.values())
        if self.class_names and not heads:
            names = listed(self.class_names.values())
            raise AnnotationError(f"{path}: expected a class named {HEAD!r}; got {names}")
        return [LabelClass(SCHEME, n, name, name in heads) for n, name in self.class_names.items()]


def read_description(path: Path, split: str | None, images: Path | None) -> Description:
    """Read ``data.yaml`` and list the pictures of a split; those of a folder in natural order.

    Args:
        path: the file, its folder, or a folder with ``images`` and ``labels`` and no description.
        split: ``train``, ``val``, ``trainval`` or ``test``; None is ``trainval``.
        images: replaces the set's folder ``images``.

    Raises:
        AnnotationError: files missing or not of the format, or folders outside the set.
    """
    check_split(path, split)
    file = _find_file(path)
    if file is None:
        return _without_file(path, split, images)
    values = _read_values(file)
    root = file.parent
    stated = values.get("path")
    if isinstance(stated, str) and _is_folder(file.parent, stated):
        root = file.parent / stated
    pictures: dict[str, Path] = {}
    folders = []
    for source in _sources(values, split, file):
        within, where = _within(root, source, str(file)), f"{file}: {source[:80]!r}"
        if within.lower().endswith(".txt"):
            pictures |= dict(_listed(root, within, images))
            continue
        folders.append(within)
        pictures |= dict(_in_folder(root, within, images, where))
    return Description(
        f"{real_path(root).name}/{split or TRAINVAL}",
        root,
        _class_names(values, file),
        tuple(pictures.items()),
        tuple(label_place(folder) for folder in folders if has_pictures_part(folder)),
        _num_keypoint_fields(values, file),
    )


def has_pictures_part(name: str) -> bool:
    """Tell whether ``images`` is among the folders of a name, in any letter case."""
    return any(part.lower() == PICTURES for part in name.split("/"))


def label_place(name: str) -> str:
    """Return a name with ``labels`` in place of its last ``images``.

    One in another letter case counts only where none is spelt so, as trainers know no other.

    Example:
        >>> label_place("images/train/images/a"), label_place("images/Images/a")
        ('images/train/labels/a', 'labels/Images/a')
    """
    parts = name.split("/")
    spelt = parts if PICTURES in parts else [part.lower() for part in parts]
    place = max(i for i, part in enumerate(spelt) if part == PICTURES)
    return "/".join([*parts[:place], LABELS, *parts[place + 1 :]])


def _find_file(path: Path) -> Path | None:
    if path.is_file():
        return path
    found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    named = path / FILE
    if named in found or len(found) == 1:
        return named if named in found else found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise AnnotationError(f"{path}: expected one {FILE}; got {names}: give the file")
    return None


def _without_file(path: Path, split: str | None, images: Path | None) -> Description:
    own = find_folder(path, PICTURES)
    within = own.name if own is not None else PICTURES
    if own is None and images is None:
        within = "."
    if split is not None:
        within = f"{within}/{split}".removeprefix("./")
    pictures = tuple(_in_folder(path, within, images, str(path)))
    names: dict[int, str] = {}
    for file in [folder / name for folder in (path, path / LABELS) for name in _NAME_FILES]:
        if file.is_file() and not names:
            lines = read_lines(file, "a list of classes")
            names = {number: line for number, (_, line) in enumerate(lines)}
    folders = (label_place(within),) if has_pictures_part(within) else ()
    return Description(real_path(path).name, path, names, pictures, folders)


def _read_values(file: Path) -> dict[str, Any]:
    try:
        values = parse_yaml(read_text(file, "a YOLO set's data.yaml"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, AnnotationError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise AnnotationError(f"{file}: not YAML ({reason})") from error
    if not isinstance(values, dict):
        raise AnnotationError(
            f"{file}: expected keys and values: train, val, names; for Darknet's obj.data give"
            " its folder"
        )
    return values


def _is_folder(parent: Path, name: str) -> bool:
    try:
        return (parent / name).is_dir()
    except (OSError, ValueError):  # a name that no folder can have
        return False


def _sources(values: dict[str, Any], split: str | None, file: Path) -> list[str]:
    wanted = ["train", "val"] if split in (None, TRAINVAL) else [str(split)]
    found: list[str] = []
    for key in wanted:
        stated = values.get(key) or []
        sources = stated if isinstance(stated, list) else [stated]
        if not all(isinstance(source, str) for source in sources):
            raise AnnotationError(f"{file}: {key}: expected a folder, a list file or several")
        found += [source for source in sources if source not in found]
    if not found:
        raise AnnotationError(f"{file}: expected pictures under {' or '.join(wanted)}; got none")
    return found


def _within(root: Path, source: str, where: str) -> str:
    """Check a source of pictures; Roboflow's ``../train/images`` is ``train/images``."""
    name = source.replace("\\", "/")
    while name.startswith(_UP) and _is_there(root, name.removeprefix(_UP).lstrip("/")):
        name = name.removeprefix(_UP)
    return "." if name in (".", "./") else inner_name(name, where, root)


def _is_there(root: Path, name: str) -> bool:
    try:
        return (root / name).exists()
    except (OSError, ValueError):
        return False


def _listed(root: Path, within: str, images: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield the pictures of a list: names start at the list's folder, or are whole paths."""
    parent = within.rpartition("/")[0]
    names = []
    for where, line in read_lines(root / within, "a list of pictures"):
        name = inner_name(line, where, root)
        is_whole = PurePath(line).is_absolute()
        names.append(name if is_whole or not parent else f"{parent}/{name}")
    prefix = "" if images is not None else choose_place([root], names)[1]
    index = FolderIndex(images or root)
    for full in names:
        name = full.removeprefix(prefix)
        first, _, short = name.partition("/")
        is_moved = images is not None and first.lower() == PICTURES
        yield name, index.root / index.find(short if is_moved else name)


def _in_folder(
    root: Path, within: str, images: Path | None, where: str
) -> Iterator[tuple[str, Path]]:
    folder = root / within
    if images is not None:
        first, _, rest = within.partition("/")
        folder = images / rest if first.lower() == PICTURES else images
    elif not folder.is_dir() and within != ".":
        folder = root / FolderIndex(root).find_folder(within)
    if not folder.is_dir():
        raise AnnotationError(f"{where}: expected the folder of the pictures {folder}")
    for name in FolderIndex(folder).names():
        yield name if within == "." else f"{within}/{name}", folder / name


def _class_names(values: dict[str, Any], file: Path) -> dict[int, str]:
    names = values.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise AnnotationError(f"{file}: expected the classes under names; got {repr(names)[:80]}")
    found: dict[int, str] = {}
    for key, name in names.items():
        number = as_id(key)
        if not isinstance(number, int):
            raise AnnotationError(f"{file}: names: expected numbers of classes as keys")
        found[number] = str(name)
    return found


def _num_keypoint_fields(values: dict[str, Any], file: Path) -> int | None:
    """Return how many numbers follow a box, the product of ``kpt_shape``."""
    shape = values.get("kpt_shape")
    if shape is None:
        return None
    numbers = [as_id(number) for number in shape] if isinstance(shape, list) else []
    whole = [number for number in numbers if isinstance(number, int)]
    if len(numbers) == len(whole) == len(("keypoints", "numbers of each")):
        count, dimensions = whole
        if 0 < count <= _MAX_KEYPOINTS and dimensions in _DIMENSIONS:
            return count * dimensions
    raise AnnotationError(
        f"{file}: kpt_shape: expected the number of keypoints, and 2 or 3 numbers of each;"
        f" got {repr(shape)[:80]}"
    )
