"""One label of Pascal VOC: the objects of a picture in an XML file."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from head_detection.data.annotations import AnnotatedImage, Box, parse_box
from head_detection.data.formats.text_files import format_pixels, read_text
from head_detection.errors import AnnotationError

CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_OBJECT_OR_COMMENT: Final = re.compile(r"<!--.*?-->|<object[\s/>]", re.DOTALL)
_NOT_DIFFICULT: Final = ("", "0", "Unspecified")
"""labelImg and its kin leave the mark empty or say ``Unspecified``."""


@dataclass(frozen=True)
class VocObject:
    """One object.

    Attributes:
        name: its class as the file spells it, without blanks around.
        box: xyxy in original pixels.
        is_difficult: VOC leaves such objects out of the judgement.
    """

    name: str
    box: Box
    is_difficult: bool


@dataclass(frozen=True)
class VocLabel:
    """What an XML file says of its picture.

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
        AnnotationError: not XML, XML that declares entities, or an object without a box.
    """
    text = read_text(path, "a VOC label")
    root = _parse_xml(text, path)
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


def format_label(image: AnnotatedImage, picture_name: str) -> str:
    """Write a label as ``read_label(path, first_pixel=1)`` reads it back.

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
        ET.SubElement(element, "name").text = "head"
        ET.SubElement(element, "difficult").text = str(int(is_ignored))
        bounds = ET.SubElement(element, "bndbox")
        for corner, value in zip(CORNERS, (x1 + 1, y1 + 1, x2, y2), strict=True):
            ET.SubElement(bounds, corner).text = format_pixels(value)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _parse_object(element: ET.Element, where: str, first_pixel: int) -> VocObject:
    corners = [element.findtext(f"bndbox/{corner}") for corner in CORNERS]
    x1, y1, x2, y2 = parse_box(corners, where)
    difficult = (element.findtext("difficult") or "").strip()
    if difficult not in ("1", *_NOT_DIFFICULT):
        raise AnnotationError(f"{where}: expected difficult as 0 or 1, got {difficult[:40]!r}")
    name = " ".join((element.findtext("name") or "").split())
    return VocObject(name, (x1 - first_pixel, y1 - first_pixel, x2, y2), difficult == "1")


def _object_lines(text: str) -> list[int]:
    """Return the line on which each object starts, which the parser does not tell."""
    lines, line, position = [], 1, 0
    for match in _OBJECT_OR_COMMENT.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        if match[0].startswith("<object"):
            lines.append(line)
    return lines


def _size_of(root: ET.Element) -> tuple[int, int] | None:
    height, width = ((root.findtext(f"size/{side}") or "").strip() for side in ("height", "width"))
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        return None
    return int(height), int(width)


def _parse_xml(text: str, path: Path) -> ET.Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise AnnotationError(f"{path}: expected plain labels, got XML that declares entities")
    try:
        return ET.fromstring(text)  # noqa: S314 - entities, which could blow up, are refused above
    except (ET.ParseError, ValueError) as error:
        raise AnnotationError(f"{path}: not XML ({error})") from error
