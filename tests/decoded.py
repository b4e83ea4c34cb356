"""Frames of a clip as they are decoded, for tests: ``from decoded import read``."""

from pathlib import Path
from typing import Any

from clips import number_of

from head_detection.pipeline.sources import FrameOptions
from head_detection.pipeline.video import read_video
from head_detection.structures import Frame


def read(path: Path, **options: Any) -> list[Any]:
    """Return all items of a clip."""
    return list(read_video(path, path.name, FrameOptions(**options)))


def told(frames: list[Any]) -> list[tuple[int, float]]:
    """Return number and seconds of the frames that have pixels; check that those say the number."""
    seen = [frame for frame in frames if isinstance(frame, Frame) and frame.pixels is not None]
    assert [number_of(frame.pixels) for frame in seen] == [frame.index for frame in seen]
    return [(frame.index, round(frame.seconds, 3)) for frame in seen]


def lost(frames: list[Any]) -> list[int]:
    """Return the numbers of those without."""
    return [frame.index for frame in frames if isinstance(frame, Frame) and frame.pixels is None]
