"""Public label formats, one a file."""

from pathlib import Path

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet, AnnotationError
from head_detection.data.formats.coco import read_coco
from head_detection.data.formats.headhunter import read_headhunter
from head_detection.data.formats.scut import read_scut


def load_annotations(config: DatasetConfig) -> AnnotatedSet:
    """Read one set of labelled pictures.

    Raises:
        AnnotationError: files missing or not of the format, or a split where the format has none.
    """
    path = Path(config.path)
    images = None if config.images is None else Path(config.images)
    if not path.exists():
        raise AnnotationError(f"{path}: no such file or folder")
    if images is not None and not images.is_dir():
        raise AnnotationError(f"{images}: expected the folder of the pictures of {path}")
    if config.format == "scut":
        return read_scut(path, config.split, images)
    if config.split is not None:
        raise AnnotationError(
            f"{path}: split: the format {config.format} has none; give the file of each split"
        )
    return read_coco(path, images) if config.format == "coco" else read_headhunter(path, images)
