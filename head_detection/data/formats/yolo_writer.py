"""YOLO's text labels for a set of heads."""

from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from head_detection.config.yaml_text import dump_yaml
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.label_folders import check_labels_differ, new_folder, write_file
from head_detection.data.formats.yolo_description import DESCRIPTION
from head_detection.errors import AnnotationError

LIST: Final = "train.txt"
PICTURES: Final = "images"
_DIGITS: Final = 10
"""After the point: a box of a picture of 10,000 pixels comes back to 1e-6 of a pixel."""


def write_yolo(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write ``data.yaml``, ``train.txt`` and ``labels`` into a new folder.

    The pictures belong into ``images``, under the names they have in the set. Trainers refuse
    pictures whose boxes reach outside, so boxes are clipped.

    Returns:
        Counts of clipped boxes, of boxes outside and of regions to ignore, which have no place.

    Raises:
        AnnotationError: a folder with something in it, a picture of unknown size, or two pictures
            that would share a label.
    """
    stems = check_labels_differ(annotated)
    notes = Collector()
    with new_folder(path) as folder:
        for stem, image in zip(stems, annotated.images, strict=True):
            text = "".join(_lines_of(image, notes))
            write_file(folder / "labels" / f"{stem}.txt", text)
        names = "".join(f"./{PICTURES}/{PurePosixPath(i.file_name)}\n" for i in annotated.images)
        description = dump_yaml({"train": LIST, "val": LIST, "names": {0: "head"}})
        write_file(folder / LIST, names)
        write_file(folder / DESCRIPTION, description)
        (folder / PICTURES).mkdir()
    return notes.finish(annotated.name).notes


def _lines_of(image: AnnotatedImage, notes: Collector) -> list[str]:
    if image.image_size is None:
        raise AnnotationError(f"{image.file_name}: YOLO needs the picture's size")
    height, width = image.image_size
    notes.note("regions to ignore, which YOLO cannot hold, left out", len(image.truth.ignore_boxes))
    boxes = image.truth.head_boxes.astype(np.float64)
    clipped = np.clip(boxes, 0, [width, height] * 2)
    has_area = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    notes.note("boxes without area in their picture, left out", int((~has_area).sum()))
    notes.note(
        "boxes clipped to their picture", int((clipped != boxes).any(axis=1)[has_area].sum())
    )
    x1, y1, x2, y2 = (clipped[has_area] / ([width, height] * 2)).T
    shares = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)
    return [
        "0 " + " ".join(f"{share:.{_DIGITS}f}" for share in row) + "\n" for row in shares.tolist()
    ]
