"""A folder of pictures without labels, whose heads are unknown."""

from pathlib import Path

from head_detection.data.annotations import AnnotatedSet, build_truth
from head_detection.data.formats.collector import Collector
from head_detection.errors import AnnotationError
from head_detection.files import real_path
from head_detection.images.finding import PictureFinder


def read_folder(path: Path, images: Path | None = None) -> AnnotatedSet:
    """Read the names of all pictures in a folder and the folders in it; none has a head.

    They are those that ``test`` finds there, in its order: natural order, where 2 is before 10.

    That the truth is not known is in the notes: metrics on such a set mean nothing, and training
    on it would teach that nobody is there.

    Args:
        path: the folder.
        images: another folder to take in its place.

    Raises:
        AnnotationError: no folder, one that cannot be read, or no picture in it.
    """
    root = images or path
    if not root.is_dir():
        raise AnnotationError(f"{root}: expected a folder of pictures")
    collector = Collector(expects_heads=False)
    for picture in PictureFinder().below(root, root):
        if picture.problem is not None:
            raise AnnotationError(f"{picture.path}: {picture.problem}")
        collector.add(picture.path, picture.name, build_truth([]))
        collector.note("pictures without labels, their heads unknown and none assumed")
    annotated = collector.finish(real_path(root).name)
    if not annotated.images:
        raise AnnotationError(f"{root}: expected a folder of pictures; there is none in it")
    return annotated
