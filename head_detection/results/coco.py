"""``coco.json``: COCO's results format, a list with ``bbox`` = left, top, width, height."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet, LabelId
from head_detection.data.formats.class_names import HEAD, choose_heads, listed
from head_detection.data.formats.coco import SCHEME
from head_detection.data.formats.label_files import as_id, read_json
from head_detection.data.formats.names import PictureNames
from head_detection.errors import AmbiguousNameError, DetectionFileError, PictureError
from head_detection.results.classes import HeadClasses, StatedClass
from head_detection.results.detection_rows import (
    DetectionRows,
    FoundElsewhere,
    KnownPictures,
    found_in_rows,
    shown,
    size_of,
)
from head_detection.results.record import JSON_ERRORS, Failure, Origin, Record, dump_json
from head_detection.results.sink import FileSink

FORM: Final = "COCO results"
CATEGORY_ID: Final = 1
OURS: Final = StatedClass(CATEGORY_ID, HEAD)


class CocoIds:
    """The ids that COCO labels give to pictures and to the head category.

    Args:
        path: the labels.

    Raises:
        AnnotationError: no such file, or not COCO labels. One line.
        DetectionFileError: pictures without id or name, or no single category of heads.
    """

    def __init__(self, path: Path) -> None:
        content = read_json(path, "COCO labels")
        lists = content if isinstance(content, dict) else {}
        self.name = path.name
        images = _entries(path, lists, "images", "file_name")
        self._ids = [key for key, _ in images]
        self._names = PictureNames([name for _, name in images])
        categories = _entries(path, lists, "categories", "name")
        heads = choose_heads(name for _, name in categories)
        chosen = [category for category in categories if category[1] in heads]
        if len(chosen) != 1:
            names = listed(name for _, name in categories)
            raise DetectionFileError(f"{path}: expected one category called head; got {names}")
        self.category = chosen[0]

    def find(self, file: str) -> LabelId | None:
        """Return the id of a picture, or None if the labels have no picture of this name.

        Raises:
            AmbiguousNameError: several match.
        """
        index = self._names.find(file)
        return None if index is None else self._ids[index]


def _entries(path: Path, lists: dict[str, Any], key: str, name: str) -> list[tuple[LabelId, str]]:
    """Return the id and name of each entry of a list in the labels."""
    entries = lists.get(key)
    if not isinstance(entries, list):
        raise DetectionFileError(f"{path}: expected COCO labels, with a list of {key}")
    pairs: list[tuple[LabelId, str]] = []
    for number, entry in enumerate(entries):
        values = entry if isinstance(entry, dict) else {}
        own_id, own_name = as_id(values.get("id")), values.get(name)
        if own_id is None or not isinstance(own_name, str):
            raise DetectionFileError(
                f"{path}: {key}[{number}]: expected id and {name}; got {shown(entry)}"
            )
        pairs.append((own_id, own_name))
    return pairs


class CocoSink(FileSink):
    """``coco.json``, and ``coco-images.json`` with the pictures, as labels without annotations.

    ``COCO("coco-images.json").loadRes("coco.json")`` of pycocotools reads both. ``image_id`` is the
    position of the picture in the source, from 1; a frame gets the next free number, and its name
    in ``images/``, such as ``street.mp4/000040.jpg``. ``file_name`` and ``category_name``, which
    COCO does not require, identify the picture and the head for labels with other ids.

    Args:
        folder: as in ``FileSink``.
        origin: as in ``FileSink``.
        labels: take the ids from these labels; a picture that they lack is a failure.
    """

    file_name = "coco.json"
    encoding_errors = JSON_ERRORS

    def __init__(self, folder: Path, origin: Origin, labels: CocoIds | None = None) -> None:
        self._separator = "\n"
        self._labels = labels
        self._failures: list[Failure] = []
        self._named: dict[LabelId, str] = {}
        self._number = 0
        self._category: tuple[LabelId, str] = (CATEGORY_ID, HEAD)
        if labels is not None:
            self._category = labels.category
        super().__init__(folder, origin)
        self._images = _ImageSink(folder, origin, self._category)
        self._stack.callback(self._images.close)

    def take_failures(self) -> list[Failure]:
        """Return the pictures that the labels lack, since the last call."""
        failures, self._failures = self._failures, []
        return failures

    def _head(self) -> str:
        return "["

    def _id_of(self, record: Record) -> LabelId:
        """Return the id of a picture.

        Raises:
            PictureError: the labels have none for it, or it is that of an earlier picture. One
                line.
        """
        if self._labels is None:
            index = 0 if record.frame is not None else record.index
            self._number = max(self._number, index) + 1
            return self._number
        start = f"{self.file_name}: no id in {self._labels.name}"
        try:
            key = self._labels.find(_name_of(record))
        except AmbiguousNameError as error:
            raise PictureError(f"{start}: {error}") from error
        if key is None:
            raise PictureError(f"{start}: there is no such picture")
        if key in self._named:
            raise PictureError(f"{start}: {key} is that of {self._named[key]} already")
        self._named[key] = _name_of(record)
        return key

    def _lines(self, record: Record) -> str:
        try:
            key = self._id_of(record)
        except PictureError as error:
            self._failures.append(
                Failure(record.index, record.file, str(error), error, record.seconds)
            )
            return ""
        self._images.next_id = key
        self._images.write(record)
        lines = ""
        for head in coco_heads(record, key, self._category):
            lines += self._separator + dump_json(head)
            self._separator = ",\n"
        return lines

    def _end(self) -> str:
        return "\n]\n"


def coco_heads(
    record: Record, image_id: LabelId, category: tuple[LabelId, str] = (CATEGORY_ID, HEAD)
) -> Iterator[dict[str, Any]]:
    """Yield the entry of each head of a picture, with the given ids of picture and category."""
    for box, score in zip(record.boxes_xywh, record.scores, strict=True):
        yield {
            "image_id": image_id,
            "file_name": _name_of(record),
            "category_id": category[0],
            "category_name": category[1],
            "bbox": box,
            "score": score,
        }


def _name_of(record: Record) -> str:
    """Return the name of a picture, or of a frame as in ``images/``."""
    return record.file if record.frame is None else f"{record.file}/{record.frame:06d}.jpg"


class _ImageSink(FileSink):
    """``coco-images.json``: the pictures and the category, without annotations.

    Attributes:
        next_id: id of the picture that is written next.
    """

    file_name = "coco-images.json"
    encoding_errors = JSON_ERRORS

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        category: tuple[LabelId, str],
    ) -> None:
        self._separator, self._category = "\n", category
        self.next_id: LabelId = 0
        super().__init__(folder, origin)

    def _head(self) -> str:
        category = {"id": self._category[0], "name": self._category[1]}
        return f'{{"info": {{}}, "categories": [{dump_json(category)}], "images": ['

    def _lines(self, record: Record) -> str:
        height, width = record.detections.image_size
        image = {
            "id": self.next_id,
            "file_name": _name_of(record),
            "width": width,
            "height": height,
        }
        separator, self._separator = self._separator, ",\n"
        return separator + dump_json(image)

    def _end(self) -> str:
        return '\n], "annotations": []}\n'


def read_coco_results(path: Path, content: list[Any], labelled: AnnotatedSet) -> FoundElsewhere:
    """Read COCO results and assign their detections to the pictures of a set.

    Pictures are matched by ``file_name`` first, then by ``image_id`` as in the labels, then by
    ``image_id`` as a file name without extension. If there are several categories, those that the
    labels call heads count, as in COCO's own evaluation by ids; others are left out and noted. A
    ``category_name`` takes precedence over ``category_id``.

    Args:
        path: the file, for errors.
        content: its parsed content.
        labelled: the pictures to evaluate on, with the ids of their labels.

    Raises:
        DetectionFileError: invalid values, pictures that the set does not have, or categories of
            which none is known to be the head. One line.
    """
    pictures = KnownPictures(path, labelled)
    by_id = _choose_ids(path, content, labelled)
    known = labelled.classes_of(SCHEME)
    is_ours = _is_ours(content) and all(entry.label_id != CATEGORY_ID for entry in known)
    stated = [
        OURS if is_ours else _class_of(entry, f"{path}: [{n}]") for n, entry in enumerate(content)
    ]
    classes = HeadClasses(path, "category", known, stated)
    rows = DetectionRows(is_xywh=True)
    for number, (entry, category) in enumerate(zip(content, stated, strict=True)):
        where = f"{path}: [{number}]"
        if not isinstance(entry, dict) or not {"bbox", "score"} <= entry.keys():
            raise DetectionFileError(f"{where}: expected image_id, bbox and score")
        name, key = entry.get("file_name"), as_id(entry.get("image_id"))
        index: int | None
        if isinstance(name, str):
            index = pictures.find(name, where)
        elif key is None:
            raise DetectionFileError(
                f"{where}: expected a number or text as image_id;"
                f" got {shown(entry.get('image_id'))}"
            )
        elif key in by_id:
            index = by_id[key]
        else:
            index = pictures.find(str(key), where, is_stem=True)
        if classes.is_head(category, where) and index is not None:
            rows.add(index, entry["bbox"], entry["score"], where)
    pictures.refuse_unknown()
    found = rows.collect([size_of(image) for image in labelled.images])
    return found_in_rows(FORM, found, labelled, classes.notes)


def _class_of(entry: Any, where: str) -> StatedClass:
    """Return the category of an entry, by name and number."""
    values = entry if isinstance(entry, dict) else {}
    name, stated = values.get("category_name"), values.get("category_id")
    label_id = as_id(stated)
    if stated is not None and label_id is None:
        raise DetectionFileError(
            f"{where}: expected a number or text as category_id; got {shown(stated)}"
        )
    return StatedClass(label_id, name if isinstance(name, str) else None)


def _is_ours(content: list[Any]) -> bool:
    """Recognise results from before ``test`` wrote category names: all are heads, numbered 1."""
    return all(
        isinstance(entry, dict)
        and isinstance(entry.get("file_name"), str)
        and entry.get("category_id") == CATEGORY_ID
        for entry in content
    )


def _choose_ids(path: Path, content: list[Any], labelled: AnnotatedSet) -> dict[LabelId, int]:
    """Return the labels' ids, or nothing if the ids of the file must be file names.

    A file uses one or the other throughout: picture 12 of the labels is not ``12.jpg``.
    """
    by_id = {
        image.label_id: index
        for index, image in enumerate(labelled.images)
        if image.label_id is not None
    }
    unnamed = [
        entry
        for entry in content
        if isinstance(entry, dict) and not isinstance(entry.get("file_name"), str)
    ]
    keys = {key for e in unnamed if (key := as_id(e.get("image_id"))) is not None}
    if keys <= by_id.keys():
        return by_id
    pictures = KnownPictures(path, labelled)
    are_stems = all(pictures.find(str(key), str(path), is_stem=True) is not None for key in keys)
    return {} if are_stems else by_id
