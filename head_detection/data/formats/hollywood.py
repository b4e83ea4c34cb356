"""HollywoodHeads: ``Annotations/*.xml``, ``JPEGImages/*.jpeg``, ``Splits/{train,val,test}.txt``.

The labels were written and are read by MATLAB, whose first pixel is 1. Heads that are hard to see
are marked ``difficult`` and do not count: they are regions to ignore here.

Source: Vu, Osokin, Laptev, "Context-aware CNNs for person head detection", ICCV 2015; the layout is
in the data set's README, github.com/aosokin/cnn_head_detection.
"""

from pathlib import Path
from typing import Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.label_files import TRAINVAL, check_split
from head_detection.data.formats.names import find_folder
from head_detection.data.formats.voc_labels import (
    LABELS,
    PICTURES,
    VocFolders,
    add_all_objects,
    note_unlabelled,
    split_names,
)
from head_detection.errors import AnnotationError
from head_detection.files import real_path

HEAD_NAMES: Final = frozenset({"head"})
_FIRST_PIXEL: Final = 1


def read_hollywood(
    path: Path, split: str | None = None, images: Path | None = None
) -> AnnotatedSet:
    """Read the folder as it is unpacked.

    Every object counts as a head, boxes without area and objects with nothing in them are left
    out, and all that is noted.

    Args:
        path: the folder that holds ``Annotations``, ``JPEGImages`` and ``Splits``.
        split: ``train``, ``val``, ``trainval`` or ``test``; None is ``trainval``, or every labelled
            picture where there are no lists.
        images: a folder with the pictures in place of ``JPEGImages``.

    Raises:
        AnnotationError: no such folder or list, an unknown split, or labels that cannot be read.
    """
    check_split(path, split)
    labels = find_folder(path, LABELS)
    if labels is None:
        raise AnnotationError(
            f"{path}: expected HollywoodHeads' folders Annotations, JPEGImages and Splits"
        )
    collector = Collector(leaves_out_empty=True)
    pictures = images or find_folder(path, PICTURES) or path / PICTURES
    folders = VocFolders(labels, pictures, f"{PICTURES}/", _FIRST_PIXEL)
    lists = find_folder(path, "Splits") or path / "Splits"
    names, are_listed = split_names(folders, lists, split, collector)
    added = add_all_objects(collector, folders, names, HEAD_NAMES)
    if not are_listed:
        note_unlabelled(folders, added, collector)
    return collector.finish(f"{real_path(path).name}/{split or TRAINVAL}")
