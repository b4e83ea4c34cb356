"""Files of video and sound, opened for their packets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from head_detection.results import avi

STRICT_UNTIL: Final = 18
"""Major version of PyAV; later ones open files whose titles are no UTF-8 in any case, and no longer
know the word."""
ANY_NAMES: Final[dict[str, Any]] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) <= STRICT_UNTIL else {}
)


def open_container(path: Path, options: Mapping[str, str]) -> InputContainer:
    """Open a file, AVI by its index where that names all frames.

    Args:
        path: of the file.
        options: of FFmpeg.

    Raises:
        FFmpegError: it cannot be read, or is of no known format.
    """
    container = _open(path, options)
    video = container.streams.best("video")
    if not isinstance(video, VideoStream) or not avi.has_whole_index(path, container, video):
        return container
    container.close()
    return _open(path, {**options, **avi.BY_INDEX})


def _open(path: Path, options: Mapping[str, str]) -> InputContainer:
    # The protocol is named, for a file may be called like an address.
    container: InputContainer = av.open(f"file:{path}", options=dict(options), **ANY_NAMES)
    return container
