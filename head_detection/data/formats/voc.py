"""Pascal VOC folders as most labelling tools write them, and a writer of the same.

``Annotations/*.xml`` with ``JPEGImages/*`` (or ``images/*``) and lists in ``ImageSets/Main/*.txt``;
or XML files beside their pictures. Sub-folders are kept: ``a/1.xml`` belongs to ``a/1.jpg``.

VOC counts pixels from 1 and a box includes its last one: pixels 1 to 10 are 0 to 10 here.

Source: Everingham, Winn, "The PASCAL Visual Object Classes Challenge 2012 Development Kit",
section 10.
"""

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Final
from xml.etree import ElementTree as ET

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.formats.class_names import HEAD, SHOWN, means_head, other_than_head
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.foreign import refuse_foreign
from head_detection.data.formats.label_files import (
    TRAINVAL,
    check_labels_differ,
    format_pixels,
    new_folder,
    write_file,
)
from head_detection.data.formats.names import FolderIndex, find_folder
from head_detection.data.formats.voc_labels import (
    CORNERS,
    LABELS,
    PICTURE_FOLDERS,
    PICTURES,
    VocFolders,
    add_picture,
    lists_of,
    note_unlabelled,
    read_label,
    read_labels,
    split_names,
)
from head_detection.errors import AnnotationError
from head_detection.files import real_path
from head_detection.images.finding import is_picture_name

_FIRST_PIXEL: Final = 1


def read_voc(path: Path, split: str | None = None, images: Path | None = None) -> AnnotatedSet:
    """Read VOC folders.

    Objects whose name means head count, see ``class_names``; others are other things and are left
    out. Where no name does, every object counts. All of that is noted with names. ``difficult``
    objects are regions to ignore. Folders may be in any letter case.

    Args:
        path: the folder that holds ``Annotations``, or XML files beside their pictures.
        split: the name of a list in ``ImageSets/Main``; None is ``trainval``, or every labelled
            picture where there are no lists, in natural order.
        images: a folder with the pictures in place of the set's own.

    Raises:
        AnnotationError: no labels, no such list, or labels that cannot be read or are another
            tool's.
    """
    folders = _find_folders(path, images)
    collector = Collector()
    names, are_listed = split_names(folders, lists_of(path), split, collector)
    labels = list(read_labels(folders, names, collector))
    if not labels:
        expected = f"XML files in {LABELS}, or beside pictures"
        refuse_foreign(path, expected)
        raise AnnotationError(f"{path}: expected {expected}")
    heads = _head_names(
        Counter(item.name for _, label in labels for item in label.objects), collector
    )
    index, added = FolderIndex(folders.pictures), []
    for name, label in labels:
        rows = [(item.box, item.is_difficult) for item in label.objects if item.name in heads]
        added.append(add_picture(collector, folders, index, (name, label), rows))
    if not are_listed:
        note_unlabelled(folders, added, collector)
    return collector.finish(f"{real_path(path).name}/{split or TRAINVAL}")


def write_voc(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write ``Annotations`` and ``ImageSets/Main/trainval.txt`` into a new folder.

    The pictures belong into ``JPEGImages``, under the names they have in the set. Regions to ignore
    become ``difficult`` objects.

    Returns:
        Nothing to note.

    Raises:
        AnnotationError: a folder with something in it, a picture of unknown size, or two pictures
            that would share a label.
    """
    stems = check_labels_differ(annotated)
    with new_folder(path) as folder:
        for stem, image in zip(stems, annotated.images, strict=True):
            text = _format_label(image, PurePosixPath(image.file_name).name)
            write_file(folder / LABELS / f"{stem}.xml", text)
        lines = "".join(f"{stem}\n" for stem in stems)
        write_file(folder / "ImageSets" / "Main" / "trainval.txt", lines)
        (folder / PICTURES).mkdir(exist_ok=True)
    return ()


def _format_label(image: AnnotatedImage, picture_name: str) -> str:
    """Write a label as ``read_voc`` reads it back.

    Raises:
        AnnotationError: the picture's size is not known.
    """
    if image.image_size is None:
        raise AnnotationError(f"{image.file_name}: VOC needs the picture's size")
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = picture_name
    size = ET.SubElement(root, "size")
    height, width = image.image_size
    for key, value in (("width", width), ("height", height), ("depth", 3)):
        ET.SubElement(size, key).text = str(value)
    truth = image.truth
    for (x1, y1, x2, y2), is_ignored in zip(
        truth.boxes.tolist(), truth.ignore.tolist(), strict=True
    ):
        element = ET.SubElement(root, "object")
        ET.SubElement(element, "name").text = HEAD
        ET.SubElement(element, "difficult").text = str(int(is_ignored))
        bounds = ET.SubElement(element, "bndbox")
        for corner, value in zip(CORNERS, (x1 + 1, y1 + 1, x2, y2), strict=True):
            ET.SubElement(bounds, corner).text = format_pixels(value)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _find_folders(path: Path, images: Path | None) -> VocFolders:
    if path.is_file():
        if path.suffix.lower() == ".xml":
            read_label(path, _FIRST_PIXEL)
        raise AnnotationError(f"{path}: expected the folder of the labels; this is a file")
    labels = find_folder(path, LABELS)
    if labels is None:
        return VocFolders(path, images or path, "", _FIRST_PIXEL)
    own = find_folder(path, *PICTURE_FOLDERS)
    if own is None and any(
        place.is_file() and is_picture_name(place.name) for place in path.iterdir()
    ):
        own = path
    return VocFolders(labels, images or own or path / PICTURES, "", _FIRST_PIXEL)


def _head_names(names: Counter[str], collector: Collector) -> frozenset[str]:
    """Return the names that count as heads: those that mean head, otherwise all."""
    heads = frozenset(filter(means_head, names)) or frozenset(names)
    for name in sorted(heads):
        if other_than_head(name):
            collector.note(f"objects named {name[:SHOWN]!r}, taken for heads", names[name])
    for name, count in names.items():
        if name not in heads:
            collector.note(f"objects named {name[:SHOWN]!r}, no heads, left out", count)
    return heads
