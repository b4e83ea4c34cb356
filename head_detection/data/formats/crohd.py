"""CroHD, the head tracking benchmark HT21: sequences with ``gt/gt.txt``, ``img1``, ``seqinfo.ini``.

A line of ``gt.txt`` is ``frame,id,left,top,width,height,flag,class,visibility``. Frames and pixels
count from 1 (motchallenge.net/instructions). Heads are of class 1, with a flag and a visibility
above 0; whatever else is labelled (2 static, 3 ignore, 4 person on a vehicle, or a head that is
not visible) is ignored, and a distractor: what matches it is removed before anything is counted.
Heads are drawn whole: their boxes may reach outside the picture.

Source: Sundararaman et al., CVPR 2021; Dendorfer et al., "MOT20", arXiv 2003.09003, section 5; the
classes are those of TrackEval's HeadTrackingChallenge.
"""

import configparser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, Box, parse_box
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.label_files import (
    format_pixels,
    new_folder,
    parse_whole,
    read_lines,
    read_text,
    write_file,
)
from head_detection.data.formats.names import FolderIndex, natural_order
from head_detection.errors import AnnotationError
from head_detection.files import real_path
from head_detection.images.finding import is_picture_name
from head_detection.structures import GroundTruth

HEAD_CLASS: Final = 1
IGNORED_CLASS: Final = 3
TRUTH: Final = Path("gt", "gt.txt")
INFO: Final = "seqinfo.ini"
PICTURES: Final = "img1"
_NUM_DIGITS: Final = 6
"""Of a frame's number in a file name."""
_NUM_FIELDS: Final = 9
_FIRST_PIXEL: Final = 1
_MAX_FRAMES: Final = 1_000_000  # nine hours of video; a larger number is a broken file
_SHOWN: Final = 200
Rows = list[tuple[Box, bool, int]]
"""Boxes, whether each is a distractor, and its id."""


@dataclass(frozen=True)
class SequenceInfo:
    """The content of ``seqinfo.ini``; None and defaults for what is missing."""

    length: int | None = None
    image_size: tuple[int, int] | None = None
    folder: str = PICTURES
    suffix: str = ".jpg"


def read_crohd(path: Path, split: str | None = None, images: Path | None = None) -> AnnotatedSet:
    """Read one sequence, or every labelled sequence in a folder.

    A frame without lines is a picture without heads. Frames are in the order of their numbers, and
    sequences in natural order, as ``test`` finds them.

    Args:
        path: the folder of a sequence, or a folder of several.
        split: a folder in ``path`` that holds the sequences: ``train``.
        images: a folder with the pictures of one sequence, or with one folder per sequence.

    Raises:
        AnnotationError: no labelled sequence, or a line that is not of the format.
    """
    root = path if split is None else path / split
    is_one = (root / TRUTH).is_file()
    collector = Collector(leaves_out_empty=True, boxes_may_reach_outside=True)
    folders = [p for p in root.glob("*") if p.is_dir()]
    found = [root] if is_one else sorted(folders, key=lambda folder: natural_order(folder.name))
    sequences = [folder for folder in found if (folder / TRUTH).is_file()]
    if not sequences:
        raise AnnotationError(
            f"{root}: expected {TRUTH} here, or in folders of sequences; for a folder of splits"
            " give the split"
        )
    unlabelled = [p for p in found if (p / INFO).is_file() and not (p / TRUTH).is_file()]
    collector.note(f"sequences without {TRUTH}, left out", len(unlabelled))
    for folder in sequences:
        place = images if is_one or images is None else images / folder.name
        _read_sequence(folder, "" if is_one else f"{folder.name}/", place, collector)
    return collector.finish(real_path(root).name)


def write_crohd(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write ``gt/gt.txt`` and ``seqinfo.ini`` of one sequence into a new folder.

    The pictures belong into ``img1``. Pictures called ``000001.jpg`` and so on keep their frames;
    all others are numbered in the order of the set. Where a picture does not say who is who, every
    head has an id of its own. ``seqinfo.ini`` does not state a frame rate.

    Returns:
        Notes on renumbered frames and on ignore regions.

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
    truths = [image.truth for image in annotated.images]
    num_ignored = sum(int((truth.ignore & ~truth.distractor).sum()) for truth in truths)
    if num_ignored:
        notes.append(f"regions to ignore, written as distractors of class 3: {num_ignored}")
    info = _info_of(real_path(path).name, annotated, max(frames))
    pairs = sorted(zip(frames, annotated.images, strict=True), key=lambda pair: pair[0])
    with new_folder(path) as folder:
        write_file(folder / TRUTH, "".join(_lines_of(pairs)))
        write_file(folder / INFO, info)
        (folder / PICTURES).mkdir()
    return tuple(notes)


def frame_names(annotated: AnnotatedSet) -> list[str]:
    """Return the path of each picture in the folder of the sequence."""
    frames = _frames_of(annotated.images) or range(1, len(annotated) + 1)
    return [
        f"{PICTURES}/{frame:0{_NUM_DIGITS}d}{PurePosixPath(image.file_name).suffix}"
        for frame, image in zip(frames, annotated.images, strict=True)
    ]


def _read_sequence(folder: Path, prefix: str, place: Path | None, collector: Collector) -> None:
    info = _read_info(folder / INFO)
    frames = _read_truth(folder / TRUTH, info.length, collector)
    index = FolderIndex(place or folder / info.folder)
    files = _frames_on_disk(index)
    wanted = range(1, info.length + 1) if info.length else sorted({*frames, *files} - {0})
    collector.note("frames without a picture, kept", sum(frame not in files for frame in wanted))
    for frame in wanted:
        name = files.get(frame, f"{frame:0{_NUM_DIGITS}d}{info.suffix}")
        rows = frames.get(frame, [])
        flags = np.array([is_distractor for _, is_distractor, _ in rows], np.bool_)
        boxes = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4)
        ids = np.array([head_id for _, _, head_id in rows], np.int64)
        truth = GroundTruth(boxes, flags, flags.copy(), ids)
        collector.add(index.root / name, f"{prefix}{info.folder}/{name}", truth, info.image_size)


def _read_truth(path: Path, length: int | None, collector: Collector) -> dict[int, Rows]:
    frames: dict[int, Rows] = {}
    for where, line in read_lines(path, "MOTChallenge's truth"):
        fields = line.split(",") if "," in line else line.split()
        if len(fields) != _NUM_FIELDS:
            raise AnnotationError(
                f"{where}: expected frame,id,left,top,width,height,flag,class,visibility;"
                f" got {line[:80]!r}"
            )
        frame = parse_whole(fields[0], where, "a frame")
        if not 1 <= frame <= (length or _MAX_FRAMES):
            raise AnnotationError(
                f"{where}: expected a frame from 1 to {length or _MAX_FRAMES}, got {frame}"
            )
        head_id = parse_whole(fields[1], where, "an id")
        left, top, width, height = parse_box(fields[2:6], where)
        flag, _, visibility, _ = parse_box([fields[6], 0, fields[8], 0], where)
        kind = parse_whole(fields[7], where, "a class")
        x1, y1 = left - _FIRST_PIXEL, top - _FIRST_PIXEL
        is_distractor = kind != HEAD_CLASS or visibility <= 0 or flag <= 0
        if is_distractor:
            why = f"class {kind}" if kind != HEAD_CLASS else "not visible, or flag 0"
            collector.note(f"boxes ignored as distractors ({why})")
        row = (x1, y1, x1 + width, y1 + height), is_distractor, head_id
        frames.setdefault(frame, []).append(row)
    return frames


def _frames_on_disk(index: FolderIndex) -> dict[int, str]:
    names = [name for name in index.names() if "/" not in name] if index.root.is_dir() else []
    return {int(stem): name for name in names if (stem := Path(name).stem).isdecimal()}


def _read_info(path: Path) -> SequenceInfo:
    if not path.is_file():
        return SequenceInfo()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path, "a sequence's seqinfo.ini"))
        values = parser["Sequence"]
    except (configparser.Error, KeyError) as error:
        reason = " ".join(str(error).split())[:_SHOWN]
        raise AnnotationError(f"{path}: expected a section [Sequence] ({reason})") from error
    numbers = [
        parse_whole(values.get(key) or "0", f"{path}: {key}", "a number")
        for key in ("seqLength", "imHeight", "imWidth")
    ]
    suffix, folder = values.get("imExt", ".jpg"), values.get("imDir", PICTURES)
    if not is_picture_name(f"1{suffix}") or Path(folder).name != folder or folder == "..":
        raise AnnotationError(f"{path}: expected a folder's name and an extension of pictures")
    if numbers[0] > _MAX_FRAMES:
        raise AnnotationError(f"{path}: expected a sequence of frames, got {numbers[0]} of them")
    size = (numbers[1], numbers[2]) if numbers[1] > 0 and numbers[2] > 0 else None
    return SequenceInfo(numbers[0] if numbers[0] > 0 else None, size, folder, suffix)


def _lines_of(pairs: Sequence[tuple[int, AnnotatedImage]]) -> list[str]:
    lines: list[str] = []
    known = [image.truth.ids for _, image in pairs if image.truth.ids is not None]
    largest = max((int(ids.max(initial=0)) for ids in known), default=0)
    for frame, image in pairs:
        truth = image.truth
        fresh = range(largest + len(lines) + 1, largest + len(lines) + 1 + len(truth.boxes))
        ids = fresh if truth.ids is None else truth.ids.tolist()
        for head_id, (x1, y1, x2, y2), is_ignored in zip(
            ids, truth.boxes.tolist(), truth.ignore.tolist(), strict=True
        ):
            box = [x1 + _FIRST_PIXEL, y1 + _FIRST_PIXEL, x2 - x1, y2 - y1]
            numbers = ",".join(format_pixels(value) for value in box)
            ending = f"0,{IGNORED_CLASS}" if is_ignored else f"1,{HEAD_CLASS}"
            lines.append(f"{frame},{head_id},{numbers},{ending},1\n")
    return lines


def _frames_of(images: Sequence[AnnotatedImage]) -> list[int]:
    """Return the frame numbers in the names; empty if the names are not frame numbers."""
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
