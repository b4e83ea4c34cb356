"""Pascal VOC's folders: which labels a list names, and where their pictures lie."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from head_detection.data.annotations import Row, build_truth
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.file_names import (
    FolderIndex,
    has_picture_suffix,
    inner_name,
)
from head_detection.data.formats.splits import split_files
from head_detection.data.formats.text_files import read_lines
from head_detection.data.formats.voc_label import VocLabel, read_label
from head_detection.errors import AnnotationError

LABEL_SUFFIXES: Final = frozenset({".xml"})
NamedLabel = tuple[str, VocLabel]


@dataclass(frozen=True)
class VocFolders:
    """Where a set's parts lie.

    Attributes:
        labels: folder of the XML files.
        pictures: folder of the pictures; sub-folders repeat those of the labels.
        prefix: goes before a picture's name within the set; empty or with ``/`` at its end.
        first_pixel: see ``read_label``.
    """

    labels: Path
    pictures: Path
    prefix: str
    first_pixel: int

    def __post_init__(self) -> None:
        if not self.pictures.is_dir():
            raise AnnotationError(f"{self.pictures}: expected the folder of the pictures")


def split_names(
    labels: Path, lists: Path, split: str | None, collector: Collector
) -> tuple[list[str], bool]:
    """Return the names of the labels of a split, and whether lists name them.

    Without a split and without any list every label counts.

    Raises:
        AnnotationError: no such list, or a name outside the folder.
    """
    if split is None and not any(lists.glob("*.txt")):
        return labelled_names(labels), False
    return listed_names(split_files(lists, "{}.txt", split), collector), True


def labelled_names(labels: Path) -> list[str]:
    """Return every label's name under the folder, without its extension, in order."""
    names = FolderIndex(labels, LABEL_SUFFIXES).names()
    return [str(PurePosixPath(name).with_suffix("")) for name in names]


def listed_names(lists: Sequence[Path], collector: Collector) -> list[str]:
    """Return the names in the lists, each once, without the extension of a picture.

    Raises:
        AnnotationError: a list that cannot be read, or a name outside the folder.
    """
    names: dict[str, None] = {}
    for file in lists:
        for where, line in read_lines(file, "a list of pictures"):
            name = inner_name(line, where)
            if has_picture_suffix(name):
                name = str(PurePosixPath(name).with_suffix(""))
            collector.note("names that a list repeats, read once", int(name in names))
            names[name] = None
    return list(names)


def read_labels(
    folders: VocFolders, names: Sequence[str], collector: Collector
) -> Iterator[NamedLabel]:
    """Yield each name with its label; hollow objects are left out and counted.

    Raises:
        AnnotationError: a label that is missing or cannot be read.
    """
    index = FolderIndex(folders.labels, LABEL_SUFFIXES)
    for name in names:
        label = read_label(
            folders.labels / (index.find_stem(name) or f"{name}.xml"), folders.first_pixel
        )
        collector.note("objects with nothing in them, left out", label.num_hollow)
        collector.note("labels without their picture's size", int(label.image_size is None))
        yield name, label


def add_all_objects(
    collector: Collector, folders: VocFolders, names: Sequence[str], known: Collection[str]
) -> list[str]:
    """Add the pictures of a set that labels nothing but heads: every object counts as one.

    Args:
        collector: takes the pictures, and a count of each class name that is not ``known``.
        folders: of the set.
        names: of its labels.
        known: the class names of the set, lower case.

    Returns:
        The pictures' names in their folder.
    """
    added = []
    index = FolderIndex(folders.pictures)
    for name, label in read_labels(folders, names, collector):
        for item in label.objects:
            if item.name.lower() not in known:
                collector.note(f"objects named {item.name[:40]!r}, taken for heads")
        rows = [(item.box, item.is_difficult) for item in label.objects]
        added.append(add_picture(collector, folders, index, (name, label), rows))
    return added


def add_picture(
    collector: Collector,
    folders: VocFolders,
    index: FolderIndex,
    named: NamedLabel,
    rows: Sequence[Row],
) -> str:
    """Add one picture and return its name; ``index`` is that of the folder of the pictures."""
    name, label = named
    picture = _picture_of(index, name, label)
    collector.note("labels without a picture, kept", int(picture is None))
    picture = picture or f"{name}.jpg"
    collector.add(
        folders.pictures / picture, folders.prefix + picture, build_truth(rows), label.image_size
    )
    return picture


def note_unlabelled(folders: VocFolders, added: Sequence[str], collector: Collector) -> None:
    """Count the pictures without a label, where no list says which belong to the set."""
    labelled = set(added)
    missing = sum(name not in labelled for name in FolderIndex(folders.pictures).names())
    collector.note("pictures without a label, left out", missing)


def _picture_of(index: FolderIndex, name: str, label: VocLabel) -> str | None:
    """Look for the label's own name first: what it says of its picture is wrong in many sets."""
    found = index.find_stem(name)
    if found is None and label.picture_name:
        stated = PurePosixPath(label.picture_name.replace("\\", "/")).name
        found = index.find_stem(str(PurePosixPath(name).with_name(stated).with_suffix("")))
    return found
