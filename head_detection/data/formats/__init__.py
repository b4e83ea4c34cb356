"""Public label formats, one a file."""

from pathlib import Path

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet, AnnotationError
from head_detection.data.formats.coco import read_coco


def load_annotations(config: DatasetConfig) -> AnnotatedSet:
    """Read one set of labelled pictures.

    Raises:
        AnnotationError: files missing or not of the format. One line.
    """
    images = None if config.images is None else Path(config.images)
    if config.format == "coco":
        return read_coco(Path(config.path), images)
    raise AnnotationError(f"{config.path}: the format {config.format} cannot be read")
