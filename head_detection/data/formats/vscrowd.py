"""VSCrowd's text, a file per video: ``FrameID (HeadID x1 y1 x2 y2 p1 p2)*``, a line per frame.

Corners are in pixels from 0; the point of a head, ``p1 p2``, is not used. Head ids hold over a
video. A frame's picture is ``videos/<name>/<FrameID>.jpg`` beside the folder ``annotations``.

Source: Li et al., "Video Crowd Localization With Multifocus Gaussian Neighborhood Attention and a
Large-Scale Benchmark", IEEE TIP 2022; the line is as the set's own page states it.
"""

from pathlib import Path
from typing import Final

import numpy as np

from head_detection.data.annotations import AnnotatedSet, Box, parse_box
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.label_files import parse_whole, read_lines
from head_detection.data.formats.names import FolderIndex, natural_order
from head_detection.errors import AnnotationError
from head_detection.files import real_path
from head_detection.structures import GroundTruth

ANNOTATIONS: Final = "annotations"
VIDEOS: Final = "videos"
_NUM_FIELDS: Final = 7
"""Fields of each head."""
_NUM_DIGITS: Final = 6
"""Of a frame's number in a file name."""
Heads = list[tuple[int, Box]]
"""Ids and boxes."""


def read_vscrowd(path: Path, split: str | None = None, images: Path | None = None) -> AnnotatedSet:
    """Read the file of one video, or a folder of them.

    A picture without a line is a frame without heads.

    Args:
        path: a ``.txt``, the folder ``annotations``, or the folder that holds it.
        split: prefix of the videos' names, such as ``train`` of ``train_001.txt``.
        images: the folder that holds one folder of pictures per video.

    Raises:
        AnnotationError: no such file, or a line that is not of the format.
    """
    folder = path / ANNOTATIONS if (path / ANNOTATIONS).is_dir() else path
    files = [path] if path.is_file() else list(folder.glob(f"{split or ''}*.txt"))
    if not files:
        raise AnnotationError(f"{folder}: expected a text file a video, {split or 'train_001'}.txt")
    place = images or (files[0].parent.parent / VIDEOS)
    collector = Collector(leaves_out_empty=True, boxes_may_reach_outside=True)
    for file in sorted(files, key=lambda one: natural_order(one.name)):
        _read_video(file, place / file.stem, collector)
    return collector.finish(path.stem if path.is_file() else real_path(path).name)


def _read_video(file: Path, place: Path, collector: Collector) -> None:
    frames: dict[int, Heads] = {}
    for where, line in read_lines(file, "VSCrowd's text"):
        first, *rest = line.replace(",", " ").split()
        if len(rest) % _NUM_FIELDS:
            raise AnnotationError(
                f"{where}: expected FrameID (HeadID x1 y1 x2 y2 p1 p2)*; got {line[:80]!r}"
            )
        heads = frames.setdefault(parse_whole(first, where, "a frame"), [])
        for start in range(0, len(rest), _NUM_FIELDS):
            name, *corners = rest[start : start + _NUM_FIELDS - 2]
            heads.append((parse_whole(name, where, "a head's id"), parse_box(corners, where)))
    index = FolderIndex(place)
    names = [name for name in index.names() if "/" not in name] if place.is_dir() else []
    pictures = {int(stem): name for name in names if (stem := Path(name).stem).isdecimal()}
    wanted = sorted({*frames, *pictures})
    collector.note("frames without a picture, kept", sum(frame not in pictures for frame in wanted))
    for frame in wanted:
        name = pictures.get(frame, f"{frame:0{_NUM_DIGITS}d}.jpg")
        heads = frames.get(frame, [])
        truth = GroundTruth(
            np.array([box for _, box in heads], np.float32).reshape(-1, 4),
            np.zeros(len(heads), np.bool_),
            ids=np.array([head_id for head_id, _ in heads], np.int64),
        )
        collector.add(index.root / name, f"{file.stem}/{name}", truth)
