"""Detections made elsewhere: our ``detections.json``, COCO results, MOTChallenge text.

Each picture of a labelled set gets its own; nothing is dropped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.label_files import read_json
from head_detection.errors import DetectionFileError
from head_detection.results.detection_rows import (
    DetectionRows,
    FoundElsewhere,
    KnownPictures,
    size_of,
)
from head_detection.results.mot_detections import frame_notes, read_mot_detections
from head_detection.structures import Detections

OWN_SCHEMA: Final = "head-detection/detections/1"
_WANTED: Final = "detections.json of this project, COCO results or MOTChallenge text (.txt)"


def read_detection_file(
    path: Path, labelled: AnnotatedSet, image_ids: Sequence[int | str] = ()
) -> FoundElsewhere:
    """Read detections and give each picture of the set its own.

    Pictures go by name, see ``PictureNames``. In COCO results a ``file_name`` comes first, then
    ``image_id`` as in the labels, then ``image_id`` as a file name without extension. For
    MOTChallenge text see ``read_mot_detections``.

    Args:
        path: the file, or a folder of MOTChallenge text.
        labelled: the pictures to be judged on.
        image_ids: of COCO labels, one a picture of the set.

    Raises:
        DetectionFileError: no such file, another format, boxes and scores that are none, or
            pictures that the set does not have. One line, with the place in the file.
    """
    if path.is_dir() or path.suffix.lower() == ".txt":
        found = read_mot_detections(path, labelled)
        return _of_form("MOTChallenge text", found, labelled, frame_notes(labelled))
    content = read_json(path, _WANTED, DetectionFileError)
    if isinstance(content, list):
        found = _read_coco_results(path, content, labelled, image_ids)
        return _of_form("COCO results", found, labelled)
    schema = content.get("schema") if isinstance(content, dict) else None
    if isinstance(content, dict) and schema == OWN_SCHEMA:
        return _read_own(path, content, labelled)
    has_labels = isinstance(content, dict) and "annotations" in content
    got = "COCO labels" if has_labels else f"JSON of schema {schema!r}"
    raise DetectionFileError(f"{path}: expected {_WANTED}; got {got}")


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


def _of_form(
    form: str, found: tuple[Detections, ...], labelled: AnnotatedSet, notes: tuple[str, ...] = ()
) -> FoundElsewhere:
    pairs = zip(labelled.images, found, strict=True)
    without = tuple(image.file_name for image, detections in pairs if not len(detections))
    return FoundElsewhere(form, found, without, notes=notes)


def _read_own(path: Path, content: dict[str, Any], labelled: AnnotatedSet) -> FoundElsewhere:
    pictures = KnownPictures(path, labelled)
    rows = DetectionRows()
    sizes: dict[int, tuple[int, int]] = {}
    for number, entry in enumerate(_list_of(content, "images", path)):
        where = f"{path}: images[{number}]"
        name, boxes, scores = _parts_of(entry, where)
        index = pictures.find(name, where)
        if index is None:
            continue
        if index in sizes:
            raise DetectionFileError(f"{where}: names the picture {name} again")
        sizes[index] = _own_size(entry, where)
        for place, (box, score) in enumerate(zip(boxes, scores, strict=True)):
            rows.add(index, box, score, f"{where}: boxes[{place}]")
    pictures.refuse_unknown()
    failed = _failed(path, content, labelled, sizes)
    without = [index for index in range(len(labelled)) if index not in sizes | failed]
    model = content.get("model")
    return FoundElsewhere(
        form="detections.json",
        detections=rows.collect(
            [sizes.get(index) or size_of(image) for index, image in enumerate(labelled.images)]
        ),
        without=tuple(labelled.images[index].file_name for index in without),
        failed=tuple(labelled.images[index].file_name for index in failed),
        model=model if isinstance(model, dict) else {},
        score_threshold=_own_threshold(path, content),
    )


def _parts_of(entry: dict[str, Any], where: str) -> tuple[str, list[Any], list[Any]]:
    name, boxes, scores = (entry.get(key) for key in ("file", "boxes", "scores"))
    if not isinstance(name, str) or not isinstance(boxes, list) or not isinstance(scores, list):
        raise DetectionFileError(f"{where}: expected file, boxes and scores")
    if len(boxes) != len(scores):
        raise DetectionFileError(
            f"{where}: expected a score a box; got {len(scores)} scores for {len(boxes)} boxes"
        )
    return name, boxes, scores


def _own_size(entry: dict[str, Any], where: str) -> tuple[int, int]:
    height, width = entry.get("height"), entry.get("width")
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    raise DetectionFileError(f"{where}: expected height and width; got {height!r} and {width!r}")


def _own_threshold(path: Path, content: dict[str, Any]) -> float:
    threshold = content.get("score_threshold")
    if isinstance(threshold, int | float) and 0 <= threshold <= 1:
        return float(threshold)
    raise DetectionFileError(f"{path}: expected a score_threshold from 0 to 1; got {threshold!r}")


def _failed(
    path: Path, content: dict[str, Any], labelled: AnnotatedSet, sizes: dict[int, tuple[int, int]]
) -> dict[int, tuple[int, int]]:
    """Return the places of the pictures that failed; one that is not labelled is not missed."""
    pictures = KnownPictures(path, labelled)
    failed = {}
    for number, entry in enumerate(_list_of(content, "failed", path)):
        where = f"{path}: failed[{number}]"
        index = pictures.find(str(entry.get("file")), where)
        if index is not None and index in sizes:
            raise DetectionFileError(f"{where}: {entry['file']} is among the images too")
        if index is not None:
            failed[index] = size_of(labelled.images[index])
    return failed


def _read_coco_results(
    path: Path, content: list[Any], labelled: AnnotatedSet, image_ids: Sequence[int | str]
) -> tuple[Detections, ...]:
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
    return rows.collect([size_of(image) for image in labelled.images])


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


def _list_of(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    values = content.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DetectionFileError(f"{path}: expected a list of objects under {key!r}")
    return values
