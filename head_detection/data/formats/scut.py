"""SCUT-HEAD's own folders, which are Pascal VOC's.

``Annotations/*.xml``, ``JPEGImages/*.jpg`` and ``ImageSets/Main/{train,val,trainval,test}.txt``.

Source: Peng et al., "Detecting Heads using Feature Refine Net and Cascaded Multi-scale
Architecture", ICPR 2018; github.com/HCIILAB/SCUT-HEAD-Dataset-Release.
"""

from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from head_detection.data.annotations import (
    AnnotatedImage,
    AnnotatedSet,
    AnnotationError,
    build_truth,
    parse_box,
)

SPLITS: Final = ("train", "val", "trainval", "test")
HEAD_NAMES: Final = ("person", "head")
"""SCUT-HEAD calls its heads ``person``."""
_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")


def read_scut(path: Path, split: str | None = None, images: Path | None = None) -> AnnotatedSet:
    """Read part A, part B, or a folder that holds both.

    Corners are taken as they are: their difference is a head's width. Objects marked ``difficult``
    are regions to ignore.

    Args:
        path: a folder with ``Annotations`` in it, or in folders one or two levels below it.
        split: ``train``, ``val``, ``trainval`` or ``test``; None is ``trainval``, or every labelled
            picture where the folder has no lists.
        images: a folder with the pictures in place of ``JPEGImages``.

    Raises:
        AnnotationError: no such folder or list, an unknown split, or labels that cannot be read.
    """
    if split not in (None, *SPLITS):
        raise AnnotationError(f"{path}: split: expected {', '.join(SPLITS)}; got {split!r}")
    patterns = ("Annotations", "*/Annotations", "*/*/Annotations")
    found = [sorted(f.parent for f in path.glob(p) if f.is_dir()) for p in patterns]
    parts = next((folders for folders in found if folders), [])
    if not parts:
        raise AnnotationError(
            f"{path}: expected SCUT-HEAD's folders Annotations, JPEGImages and ImageSets here, "
            "or in the folders of its parts"
        )
    return AnnotatedSet(
        name=f"{path.resolve().name}/{split or 'trainval'}",
        images=tuple(image for part in parts for image in _read_part(part, path, split, images)),
    )


def _read_part(
    part: Path, root: Path, split: str | None, images: Path | None
) -> list[AnnotatedImage]:
    folder = images or part / "JPEGImages"
    if not folder.is_dir():
        raise AnnotationError(f"{folder}: expected the folder of the pictures")
    files = {file.stem: file for file in sorted(folder.iterdir()) if file.is_file()}
    annotated = []
    for name in _names_of(part, split):
        file = files.get(name, folder / f"{name}.jpg")
        label = part / "Annotations" / f"{name}.xml"
        within = (part.relative_to(root) / "JPEGImages" / file.name).as_posix()
        annotated.append(_read_label(label, file, within))
    return annotated


def _names_of(part: Path, split: str | None) -> list[str]:
    folder = part / "ImageSets" / "Main"
    if split is None and not any(folder.glob("*.txt")):
        return sorted(file.stem for file in (part / "Annotations").glob("*.xml"))
    wanted = split or "trainval"
    lists = [folder / f"{wanted}.txt"]
    if wanted == "trainval" and not lists[0].is_file():
        lists = [f for f in (folder / "train.txt", folder / "val.txt") if f.is_file()]
    if not lists or not lists[0].is_file():
        raise AnnotationError(f"{folder / wanted}.txt: no such list of pictures")
    lines = [line.strip() for file in lists for line in _read_text(file).splitlines()]
    names = [line for line in lines if line]
    for name in names:
        if name in (".", "..") or "/" in name or "\\" in name:
            raise AnnotationError(f"{lists[0]}: expected names of pictures, got {name!r}")
    return names


def _read_label(label: Path, picture: Path, file_name: str) -> AnnotatedImage:
    root = _parse_xml(label)
    rows = []
    for number, element in enumerate(root.iter("object")):
        where = f"{label}: object {number}"
        name = (element.findtext("name") or "").strip()
        if name.lower() not in HEAD_NAMES:
            raise AnnotationError(f"{where}: expected {' or '.join(HEAD_NAMES)}, got {name!r}")
        corners = [element.findtext(f"bndbox/{corner}") for corner in _CORNERS]
        is_difficult = (element.findtext("difficult") or "0").strip() != "0"
        rows.append((parse_box(corners, where), is_difficult))
    return AnnotatedImage(picture, file_name, build_truth(rows), _size_of(root))


def _size_of(root: ET.Element) -> tuple[int, int] | None:
    height, width = ((root.findtext(f"size/{side}") or "").strip() for side in ("height", "width"))
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        return None
    return int(height), int(width)


def _parse_xml(path: Path) -> ET.Element:
    text = _read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise AnnotationError(f"{path}: expected plain labels, got XML that declares entities")
    try:
        return ET.fromstring(text)  # noqa: S314 - entities, which could blow up, are refused above
    except (ET.ParseError, ValueError) as error:
        raise AnnotationError(f"{path}: not XML ({error})") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: expected UTF-8 text") from error
