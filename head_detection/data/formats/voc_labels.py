"""Pascal VOC's labels: reads an XML file, and finds the picture that it belongs to."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from xml.etree import ElementTree as ET

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring as parse_safely

from head_detection.data.annotations import Box, Row, build_truth, parse_box
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.foreign import foreign_xml
from head_detection.data.formats.label_files import as_count, read_lines, read_text, split_files
from head_detection.data.formats.names import FolderIndex, find_folder, inner_name
from head_detection.errors import AnnotationError
from head_detection.images.finding import is_picture_name

CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
LABELS: Final = "Annotations"
PICTURES: Final = "JPEGImages"
PICTURE_FOLDERS: Final = (PICTURES, "images")
ROOT: Final = "annotation"
DEFAULT: Final = "default"
"""Name of the only part of a set in CVAT and Datumaro."""
_LABEL_EXTENSIONS: Final = frozenset({".xml"})
_OBJECT_OR_COMMENT: Final = re.compile(r"<!--.*?-->|<(?:[\w.-]+:)?object[\s/>]", re.DOTALL)
_DECLARED: Final = re.compile(rb"""<\?xml[^>]*\sencoding\s*=\s*["']([\w.-]+)["']""", re.ASCII)
_DIFFICULT: Final = ("1", "1.0", "true", "yes")
_NOT_DIFFICULT: Final = ("", "0", "0.0", "false", "no", "unspecified")
"""labelImg and its kin leave the mark empty or say ``Unspecified``."""
_OTHER_SHAPES: Final = {"robndbox": "a rotated box", "polygon": "an outline", "mask": "a mask"}


@dataclass(frozen=True)
class VocObject:
    """One object.

    Attributes:
        name: its class as the file spells it, without blanks around.
        box: xyxy in original pixels.
        is_difficult: VOC does not count such objects.
    """

    name: str
    box: Box
    is_difficult: bool


@dataclass(frozen=True)
class VocLabel:
    """The content of an XML file.

    Attributes:
        objects: in the file's order.
        image_size: ``(height, width)``; None where it is left out or 0.
        picture_name: what the file calls its picture; often wrong, for it is not kept up to date.
        num_hollow: objects with nothing in them, which some tools write for an empty picture.
    """

    objects: tuple[VocObject, ...]
    image_size: tuple[int, int] | None
    picture_name: str
    num_hollow: int


def read_label(path: Path, first_pixel: int) -> VocLabel:
    """Read one XML file.

    Args:
        path: the file.
        first_pixel: what the set calls the first pixel. 1 is VOC's own counting, corners included:
            a box that covers pixels 1 to 10 is 0 to 10 here. 0 takes the corners as they are.

    Raises:
        AnnotationError: not XML, in another encoding than UTF-8 that it does not declare, XML that
            declares entities or is no VOC label, or an object without a box.
    """
    text = _read_xml(path)
    root = _parse_xml(text, path)
    _check_root(root, path)
    elements, lines = list(root.iter("object")), _object_lines(text)
    objects, num_hollow = [], 0
    for number, element in enumerate(elements):
        line = f"line {lines[number]}: " if len(lines) == len(elements) else ""
        if len(element):
            where = f"{path}: {line}object {number}"
            objects.append(_parse_object(element, where, first_pixel))
        else:
            num_hollow += 1
    name = (root.findtext("filename") or "").strip()
    return VocLabel(tuple(objects), _size_of(root), name, num_hollow)


@dataclass(frozen=True)
class VocFolders:
    """The folders of a set.

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


def lists_of(path: Path) -> Path:
    """Return the folder of VOC's lists, whatever its letter case; it need not be there."""
    sets = find_folder(path, "ImageSets") or path / "ImageSets"
    return find_folder(sets, "Main") or sets / "Main"


def split_names(
    folders: VocFolders, lists: Path, split: str | None, collector: Collector
) -> tuple[list[str], bool]:
    """Return the names of the labels of a split, and whether lists name them.

    Without a split and without any list every label counts. CVAT calls its only list ``default``.

    Args:
        folders: of the set.
        lists: the folder of the lists; it need not be there.
        split: the name of a list; None is train and val.
        collector: takes notes.

    Returns:
        The names in the order of the lists, or in natural order, as ``test`` counts pictures.

    Raises:
        AnnotationError: no such list, or a name outside the folder.
    """
    there = [path.name for path in lists.glob("*.txt")]
    if split is None and not there:
        return labelled_names(folders.labels), False
    only = DEFAULT if split is None and there == [f"{DEFAULT}.txt"] else split
    return listed_names(split_files(lists, "{}.txt", only), folders, collector), True


def labelled_names(labels: Path) -> list[str]:
    """Return every label's name under the folder, without its extension, in natural order."""
    names = FolderIndex(labels, _LABEL_EXTENSIONS).names()
    return [str(PurePosixPath(name).with_suffix("")) for name in names]


def listed_names(lists: Sequence[Path], folders: VocFolders, collector: Collector) -> list[str]:
    """Return the names in the lists, each once, without the extension of a picture.

    A list may give the whole path of a picture in the set. What looks like an extension stays if a
    label has that name, as that of ``1.jpg.png`` has.

    Raises:
        AnnotationError: a list that cannot be read, or a name outside the folder.
    """
    names: dict[str, None] = {}
    labels = FolderIndex(folders.labels, _LABEL_EXTENSIONS)
    for file in lists:
        for where, line in read_lines(file, "a list of pictures"):
            name = inner_name(line, where, folders.pictures)
            if is_picture_name(name) and labels.find_stem(name) is None:
                name = str(PurePosixPath(name).with_suffix(""))
            collector.note("names that a list repeats, read once", int(name in names))
            names[name] = None
    return list(names)


def read_labels(
    folders: VocFolders, names: Sequence[str], collector: Collector
) -> Iterator[tuple[str, VocLabel]]:
    """Yield each name with its label; hollow objects are left out and counted.

    Raises:
        AnnotationError: a label that is missing or cannot be read.
    """
    index = FolderIndex(folders.labels, _LABEL_EXTENSIONS)
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
    named: tuple[str, VocLabel],
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
    """Find the picture by the label's own name first, since its content is often wrong."""
    stated = PurePosixPath(label.picture_name.replace("\\", "/")).name
    beside = str(PurePosixPath(name).with_name(stated)) if _can_be_name(stated) else ""
    if beside and PurePosixPath(stated).stem == PurePosixPath(name).name and index.has(beside):
        return index.find(beside)  # 1.jpg and 1.png may both be there
    found = index.find_stem(name)
    if found is None and beside:
        found = index.find_stem(str(PurePosixPath(beside).with_suffix("")))
    return found


def _can_be_name(text: str) -> bool:
    return text not in ("", ".", "..") and "\0" not in text and text.isprintable()


def _parse_object(element: ET.Element, where: str, first_pixel: int) -> VocObject:
    corners = [element.findtext(f"bndbox/{corner}") for corner in CORNERS]
    shape = next((text for tag, text in _OTHER_SHAPES.items() if element.find(tag) is not None), "")
    if shape and element.find("bndbox") is None:
        raise AnnotationError(f"{where}: expected a box of four numbers in bndbox, got {shape}")
    x1, y1, x2, y2 = parse_box(corners, where)
    difficult = (element.findtext("difficult") or "").strip()
    if difficult.lower() not in (*_DIFFICULT, *_NOT_DIFFICULT):
        raise AnnotationError(f"{where}: expected difficult as 0 or 1, got {difficult[:40]!r}")
    name = " ".join((element.findtext("name") or "").split())
    box = (x1 - first_pixel, y1 - first_pixel, x2, y2)
    return VocObject(name, box, difficult.lower() in _DIFFICULT)


def _object_lines(text: str) -> list[int]:
    """Return the line on which each object starts, which the parser does not report."""
    lines, line, position = [], 1, 0
    for match in _OBJECT_OR_COMMENT.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        if not match[0].startswith("<!--"):
            lines.append(line)
    return lines


def _size_of(root: ET.Element) -> tuple[int, int] | None:
    height, width = (as_count(root.findtext(f"size/{side}")) for side in ("height", "width"))
    return (height, width) if height and width else None


def _check_root(root: ET.Element, path: Path) -> None:
    """Strip namespaces from names, and refuse a file that is not a VOC label.

    Without that, XML of another kind has no objects and would pass for a picture without heads.
    """
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != ROOT:
        kind = foreign_xml(root) or "XML of another kind"
        raise AnnotationError(
            f"{path}: expected a VOC label, <{ROOT}>; got <{root.tag[:40]}>: {kind}"
        )


def _read_xml(path: Path) -> str:
    """Read UTF-8, or the encoding that the file declares."""
    try:
        return read_text(path, "a VOC label")
    except AnnotationError:
        with suppress(OSError, LookupError, UnicodeError):
            content = path.read_bytes()
            if (declared := _DECLARED.match(content)) is not None:
                return content.decode(declared[1].decode("ascii"))
        raise


def _parse_xml(text: str, path: Path) -> ET.Element:
    try:
        root: ET.Element = parse_safely(text, forbid_dtd=True)
    except DefusedXmlException as error:
        raise AnnotationError(
            f"{path}: expected plain labels, got XML that declares entities"
        ) from error
    except (ET.ParseError, ValueError) as error:
        raise AnnotationError(f"{path}: not XML ({error})") from error
    return root
