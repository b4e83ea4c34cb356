"""One sequence as CroHD has it, for tools that read MOTChallenge's truth."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.formats.crohd import HEAD_CLASS, INFO, TRUTH
from head_detection.data.formats.label_folders import new_folder, write_file
from head_detection.data.formats.text_files import format_pixels
from head_detection.errors import AnnotationError

IGNORED_CLASS: Final = 3
PICTURES: Final = "img1"
_FIRST_PIXEL: Final = 1
_NUM_DIGITS: Final = 6


def write_crohd(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write ``gt/gt.txt`` and ``seqinfo.ini`` of one sequence into a new folder.

    The pictures belong into ``img1``. Pictures called ``000001.jpg`` and so on keep their frames;
    all others are numbered in the order of the set. Who is who is not known: every head has an id
    of its own. ``seqinfo.ini`` does not state a frame rate.

    Returns:
        What became of frames and of regions to ignore.

    Raises:
        AnnotationError: no pictures, pictures of several folders, or of several sizes or
            extensions.
    """
    if not annotated.images:
        raise AnnotationError(f"{annotated.name}: expected the pictures of a sequence; got none")
    folders = sorted({str(PurePosixPath(i.file_name).parent) for i in annotated.images})
    if len(folders) > 1:
        raise AnnotationError(
            f"{annotated.name}: expected the pictures of one sequence, in one folder;"
            f" got {', '.join(folders[:8])}"
        )
    frames = _frames_of(annotated.images)
    notes = [f"frames numbered in the order of the set: {len(annotated)}"] if not frames else []
    frames = frames or list(range(1, len(annotated) + 1))
    num_ignored = sum(len(image.truth.ignore_boxes) for image in annotated.images)
    if num_ignored:
        notes.append(f"regions to ignore, written as distractors of class 3: {num_ignored}")
    info = _info_of(path.resolve().name, annotated, max(frames))
    pairs = sorted(zip(frames, annotated.images, strict=True), key=lambda pair: pair[0])
    with new_folder(path) as folder:
        write_file(folder / TRUTH, "".join(_lines_of(pairs)))
        write_file(folder / INFO, info)
        (folder / PICTURES).mkdir()
    return tuple(notes)


def frame_names(annotated: AnnotatedSet) -> list[str]:
    """Return the place of each picture in the folder of the sequence."""
    frames = _frames_of(annotated.images) or range(1, len(annotated) + 1)
    return [
        f"{PICTURES}/{frame:0{_NUM_DIGITS}d}{PurePosixPath(image.file_name).suffix}"
        for frame, image in zip(frames, annotated.images, strict=True)
    ]


def _lines_of(pairs: Sequence[tuple[int, AnnotatedImage]]) -> list[str]:
    lines: list[str] = []
    for frame, image in pairs:
        truth = image.truth
        for (x1, y1, x2, y2), is_ignored in zip(
            truth.boxes.tolist(), truth.ignore.tolist(), strict=True
        ):
            box = [x1 + _FIRST_PIXEL, y1 + _FIRST_PIXEL, x2 - x1, y2 - y1]
            numbers = ",".join(format_pixels(value) for value in box)
            ending = f"0,{IGNORED_CLASS}" if is_ignored else f"1,{HEAD_CLASS}"
            lines.append(f"{frame},{len(lines) + 1},{numbers},{ending},1\n")
    return lines


def _frames_of(images: Sequence[AnnotatedImage]) -> list[int]:
    """Return the frames that the names state; empty where they are no frames."""
    stems = [PurePosixPath(image.file_name).stem for image in images]
    if not all(stem.isdecimal() and len(stem) == _NUM_DIGITS and int(stem) for stem in stems):
        return []
    return [int(stem) for stem in stems] if len(set(stems)) == len(stems) else []


def _info_of(name: str, annotated: AnnotatedSet, length: int) -> str:
    sizes = {image.image_size for image in annotated.images}
    suffixes = {PurePosixPath(image.file_name).suffix for image in annotated.images}
    if len(sizes) > 1 or len(suffixes) > 1:
        raise AnnotationError(
            f"{annotated.name}: expected pictures of one size and one extension in a sequence;"
            f" got {len(sizes)} sizes and {', '.join(sorted(suffixes))}"
        )
    (size,), (suffix,) = sizes, suffixes
    lines = [f"name={name}", f"imDir={PICTURES}", f"seqLength={length}"]
    if size is not None:
        lines += [f"imWidth={size[1]}", f"imHeight={size[0]}"]
    return "".join(f"{line}\n" for line in ["[Sequence]", *lines, f"imExt={suffix}"])
