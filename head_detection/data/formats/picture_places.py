"""Where each written format expects its pictures."""

from pathlib import PurePosixPath
from typing import Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats import coco, crohd_writer, crowdhuman, voc, yolo_writer
from head_detection.data.formats.file_names import inner_name

_FOLDERS: Final = {
    "coco": coco.PICTURES,
    "voc": voc.PICTURES,
    "yolo": yolo_writer.PICTURES,
    "crowdhuman": crowdhuman.PICTURES,
    "headhunter": "",
    "brainwash": "",
}


def picture_names(annotated: AnnotatedSet, format: str) -> list[str]:  # noqa: A002 - as in DatasetConfig
    """Return the place of each picture, from the new folder or from the folder of the new file.

    Raises:
        AnnotationError: a name that leaves its folder.

    Example:
        >>> from pathlib import Path
        >>> from head_detection.data.annotations import AnnotatedImage, build_truth
        >>> image = AnnotatedImage(Path("x"), "a/1.jpg", build_truth([]))
        >>> picture_names(AnnotatedSet("mine", (image,)), "voc")
        ['JPEGImages/a/1.jpg']
    """
    if format == "crohd":
        return crohd_writer.frame_names(annotated)
    folder = PurePosixPath(_FOLDERS[format])
    return [str(folder / inner_name(i.file_name, annotated.name)) for i in annotated.images]
