"""``coco.json``: COCO's results format, a list of ``bbox`` = left, top, width, height."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.label_files import read_json
from head_detection.errors import DetectionFileError
from head_detection.results.reading import (
    DetectionRows,
    FoundElsewhere,
    KnownPictures,
    found_in_rows,
    size_of,
)
from head_detection.results.record import JSON_ERRORS, Origin, Record, dump_json
from head_detection.results.sink import FileSink

FORM: Final = "COCO results"
CATEGORY_ID: Final = 1


class CocoSink(FileSink):
    """``coco.json``.

    ``image_id`` is the picture's number in the source, from 1; ``file_name``, which COCO does not
    ask for, says which picture that is.
    """

    file_name = "coco.json"
    encoding_errors = JSON_ERRORS

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._separator = "\n"
        super().__init__(folder, origin)

    def _head(self) -> str:
        return "["

    def _lines(self, record: Record) -> str:
        lines = ""
        for box, score in zip(record.boxes_xywh, record.scores, strict=True):
            head = {
                "image_id": record.index + 1,
                "file_name": record.file,
                "category_id": CATEGORY_ID,
                "bbox": box,
                "score": score,
            }
            lines += self._separator + dump_json(head)
            self._separator = ",\n"
        return lines

    def _tail(self) -> Iterator[str]:
        yield "\n]\n"


def read_image_ids(path: Path) -> list[int | str]:
    """Return the image ids of a COCO labels file, in the order of its images.

    Raises:
        DetectionFileError: no such file, or not JSON of that kind.
    """
    wanted = "COCO labels with image ids"
    content = read_json(path, wanted, DetectionFileError)
    try:
        return [image["id"] for image in content["images"]]
    except (TypeError, KeyError) as error:
        raise DetectionFileError(f"{path}: expected {wanted}") from error


def read_coco_results(
    path: Path, content: list[Any], labelled: AnnotatedSet, image_ids: Sequence[int | str] = ()
) -> FoundElsewhere:
    """Give each picture of a set its own of COCO results.

    A ``file_name`` comes first, then ``image_id`` as in the labels, then ``image_id`` as a file
    name without extension.

    Args:
        path: the file, for errors.
        content: what it holds.
        labelled: the pictures to measure on.
        image_ids: of COCO labels, one a picture of the set.

    Raises:
        DetectionFileError: values that are none, or pictures that the set does not have. One line.
    """
    pictures = KnownPictures(path, labelled)
    by_id = _choose_ids(path, content, labelled, image_ids)
    rows = DetectionRows(is_xywh=True)
    for number, entry in enumerate(content):
        where = f"{path}: [{number}]"
        if not isinstance(entry, dict) or not {"bbox", "score"} <= entry.keys():
            raise DetectionFileError(f"{where}: expected image_id, bbox and score")
        name, key = entry.get("file_name"), entry.get("image_id")
        index: int | None
        if isinstance(name, str):
            index = pictures.find(name, where)
        elif not isinstance(key, int | str) or isinstance(key, bool):
            raise DetectionFileError(f"{where}: expected a number or text as image_id; got {key!r}")
        elif key in by_id:
            index = by_id[key]
        else:
            index = pictures.find(str(key), where, is_stem=True)
        if index is not None:
            rows.add(index, entry["bbox"], entry["score"], where)
    pictures.refuse_unknown()
    found = rows.collect([size_of(image) for image in labelled.images])
    return found_in_rows(FORM, found, labelled)


def _choose_ids(
    path: Path, content: list[Any], labelled: AnnotatedSet, image_ids: Sequence[int | str]
) -> dict[int | str, int]:
    """Return the labels' ids, or none where every id of the file can only be a file name.

    One file means one or the other: picture 12 of the labels is not the picture ``12.jpg``.
    """
    by_id = {key: index for index, key in enumerate(image_ids)}
    entries = [entry for entry in content if isinstance(entry, dict)]
    keys = {str(e["image_id"]): e["image_id"] for e in entries if "image_id" in e}
    if all(isinstance(key, int | str) and key in by_id for key in keys.values()):
        return by_id
    pictures = KnownPictures(path, labelled)
    are_stems = all(pictures.find(key, str(path), is_stem=True) is not None for key in keys)
    return {} if are_stems else by_id
