"""SCUT-HEAD's own folders, which are Pascal VOC's.

``Annotations/*.xml``, ``JPEGImages/*.jpg`` and ``ImageSets/Main/{train,val,trainval,test}.txt``.
The published labels have boxes without area, sizes of 0x0, wrong file names and a class called
``persondddddaaddwwddd``: all are repaired and counted.

Source: Peng et al., "Detecting Heads using Feature Refine Net and Cascaded Multi-scale
Architecture", ICPR 2018; github.com/HCIILAB/SCUT-HEAD-Dataset-Release.
"""

from pathlib import Path
from typing import Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.label_files import TRAINVAL, check_split
from head_detection.data.formats.names import find_folder, natural_order
from head_detection.data.formats.voc_labels import (
    LABELS,
    PICTURES,
    VocFolders,
    add_all_objects,
    lists_of,
    note_unlabelled,
    split_names,
)
from head_detection.errors import AnnotationError
from head_detection.files import real_path

HEAD_NAMES: Final = frozenset({"person", "head"})
"""SCUT-HEAD calls its heads ``person``."""
_FIRST_PIXEL: Final = 0


def read_scut(path: Path, split: str | None = None, images: Path | None = None) -> AnnotatedSet:
    """Read part A, part B, or a folder that holds both.

    Corners are taken as they are: their difference is a head's width, as in the work that reports
    results on this set. Every object counts as a head; names other than SCUT-HEAD's own are noted.
    Objects marked ``difficult`` are regions to ignore, boxes without area are left out.

    Args:
        path: a folder with ``Annotations`` in it, or in folders one or two levels below it, which
            are taken in natural order.
        split: ``train``, ``val``, ``trainval`` or ``test``; None is ``trainval``, or every labelled
            picture where the folder has no lists.
        images: a folder with the pictures in place of ``JPEGImages``.

    Raises:
        AnnotationError: no such folder or list, an unknown split, or labels that cannot be read.
    """
    check_split(path, split)
    levels = ([path], path.glob("*"), path.glob("*/*"))
    found = ([place for place in level if find_folder(place, LABELS)] for level in levels)
    parts = next((folders for folders in found if folders), [])
    parts.sort(key=lambda part: natural_order(str(part)))
    if not parts:
        raise AnnotationError(
            f"{path}: expected SCUT-HEAD's folders Annotations, JPEGImages and ImageSets here, "
            "or in the folders of its parts"
        )
    collector = Collector(leaves_out_empty=True)
    for part in parts:
        prefix = (part.relative_to(path) / PICTURES).as_posix() + "/"
        labels = find_folder(part, LABELS) or part / LABELS
        pictures = images or find_folder(part, PICTURES) or part / PICTURES
        folders = VocFolders(labels, pictures, prefix, _FIRST_PIXEL)
        names, are_listed = split_names(folders, lists_of(part), split, collector)
        added = add_all_objects(collector, folders, names, HEAD_NAMES)
        if not are_listed:
            note_unlabelled(folders, added, collector)
    return collector.finish(f"{real_path(path).name}/{split or TRAINVAL}")
