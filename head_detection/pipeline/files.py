"""Files of pictures and videos as one source: their content decides which they are."""

import math
import os
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path

from head_detection.errors import PictureError, SoundError, SourceError
from head_detection.images.finding import PictureFile, is_video_name
from head_detection.images.reading import open_picture
from head_detection.images.reasons import explaining
from head_detection.images.video_start import ENOUGH_BYTES, begins_as_video, is_motion_jpeg
from head_detection.pipeline.animation import EXTENSIONS, count_animated, read_animation
from head_detection.pipeline.prefetch import run_ahead
from head_detection.pipeline.sources import FrameOptions, Item, ItemSource, SourceInfo
from head_detection.pipeline.video import read_video
from head_detection.pipeline.video_file import VideoInfo, describe_video
from head_detection.structures import Frame

SMALLEST_SHARE = 0.01
"""Share of a file that must be read before its number of frames is estimated."""
OTHER_TRACKS = "other tracks of video"
SOUND_EXTENSIONS = frozenset(
    {".aac", ".aif", ".aiff", ".amr", ".flac", ".m4a", ".mka", ".mp3", ".oga", ".ogg", ".opus"}
    | {".wav", ".wma"}
)


def open_video(path: Path, options: FrameOptions) -> ItemSource | None:
    """Open a file as a video or an animation; None if it is a picture, or neither.

    Raises:
        SourceError: it is named like a video and cannot be opened as one, or ends before the start.
    """
    num_frames = count_animated(path, options.max_pixels)
    if num_frames is not None:
        whole = VideoInfo(None, None, num_frames, None, 1)
        info = SourceInfo(path.stem, count=_count(whole, options), unit="frames")
        return ItemSource(info, _Frames(path, path.name, options, is_animation=True))
    if _is_picture(path, options.max_pixels):
        return None
    try:
        video = describe_video(path, options.max_pixels)
    except SourceError as error:
        if is_video_name(path.name) or isinstance(error, SoundError):
            raise
        if path.suffix.lower() in SOUND_EXTENSIONS and os.access(path, os.R_OK):
            raise SoundError(
                f"{path}: expected pictures; got a file with the name of a sound file"
            ) from error
        return None
    if video.size is None and not is_video_name(path.name):  # FFmpeg takes any bytes for a video
        return None
    if _ends_before(options.start, video):
        raise SourceError(
            f"{path}: expected a start before its end at {video.seconds:g} seconds; "
            f"got {options.start:g}"
        )
    count = _count(video, options)
    info = SourceInfo(path.stem, video.fps, video.size, count, unit="frames")
    skipped = Counter({OTHER_TRACKS: video.num_tracks - 1})
    frames = _Frames(path, path.name, options)
    expected = frames.expected_count if count is None and options.end is None else None
    return ItemSource(info, frames, +skipped, expected=expected)


class MixedSource:
    """Gives files in order: pictures as they are, videos as their frames.

    A GIF or WebP with more than one frame is a video. A video that cannot be opened is a failed
    item, like a picture that cannot be read.

    Args:
        files: pictures and videos, by their names.
        options: which frames are taken.

    Attributes:
        skipped: how many were skipped, by reason; complete at the end.
    """

    def __init__(self, files: ItemSource, options: FrameOptions) -> None:
        self._files, self._options = files, options
        self._info = _info_of(files)
        self._is_within_video = False
        self.skipped = files.skipped

    @property
    def info(self) -> SourceInfo:
        """What is known beforehand: the number of items only if no name is a video's."""
        return self._info

    def __iter__(self) -> Iterator[Item]:
        """Begin."""
        for file in self._files:
            if isinstance(file, PictureFile) and file.problem is None:
                yield from self._items_of(file)
            else:
                yield file

    def is_ready(self) -> bool:
        """Tell whether the next item, or the end, is at hand."""
        return self._is_within_video or self._files.is_ready()

    def expected_count(self) -> int | None:
        """Return how many items there are, if that is known."""
        return self._info.count

    def _items_of(self, file: PictureFile) -> Iterator[Item]:
        path, options = file.path, self._options
        suffix = path.suffix.lower()
        is_animation = suffix in EXTENSIONS and bool(count_animated(path, options.max_pixels))
        may_be_video = is_video_name(path.name) or _begins_as_video(path)
        is_video = may_be_video and not _is_picture(path, options.max_pixels)
        if not is_animation and not is_video:
            yield file
            return
        try:
            video = None if is_animation else describe_video(path, options.max_pixels)
        except SourceError as error:
            yield PictureFile(path, file.name, str(error).removeprefix(f"{path}: "))
            return
        if video is not None and _ends_before(options.start, video):
            self.skipped["videos that end before the start"] += 1
            return
        if video is not None and video.num_tracks > 1:
            self.skipped[OTHER_TRACKS] += video.num_tracks - 1
        self._is_within_video = True
        try:
            yield from _Frames(path, file.name, options, is_animation=is_animation)
        finally:
            self._is_within_video = False


def _info_of(files: ItemSource) -> SourceInfo:
    """Return what is known beforehand. It looks at every name: call it once, not for each item."""
    info, items = files.info, files.items
    if isinstance(items, list) and not any(is_video_name(file.name) for file in items):
        return info
    return SourceInfo(
        info.name, unit="pictures and frames" if isinstance(items, list) else info.unit
    )


class _Frames:
    """The frames of one file, decoded ahead in a thread once the first is requested."""

    def __init__(
        self, path: Path, name: str, options: FrameOptions, *, is_animation: bool = False
    ) -> None:
        self._path, self._name, self._options = path, name, options
        self._read = read_animation if is_animation else read_video
        self._shares: list[float] = []
        self._num_taken, self._is_over = 0, False

    def __iter__(self) -> Generator[Item]:
        items = self._read(self._path, self._name, self._options)
        with closing(run_ahead(items, _num_bytes)) as ahead:
            for item in ahead:
                share = item.share if isinstance(item, Frame) else None
                self._num_taken += 1
                if share is not None:
                    self._shares = [*self._shares[:1], share]
                yield item
        self._is_over = True

    def expected_count(self) -> int | None:
        """Estimate how many there are, as if frames to come had as many bytes as those before."""
        if self._is_over:
            return self._num_taken
        first, last = self._shares[:1], self._shares[1:]
        if not last or last[0] - first[0] < SMALLEST_SHARE:
            return None
        part = (last[0] - first[0]) / (1 - first[0])
        return max(self._num_taken, 1 + round((self._num_taken - 1) / part))


def _num_bytes(item: Item) -> int:
    has_pixels = isinstance(item, Frame) and item.pixels is not None
    return item.pixels.nbytes if has_pixels else 0  # type: ignore[union-attr]


def _is_picture(path: Path, max_pixels: int) -> bool:
    if is_motion_jpeg(path):
        return False
    try:
        with explaining(str(path), max_pixels), open_picture(path, max_pixels):
            return True
    except PictureError:
        return False


def _begins_as_video(path: Path) -> bool:
    with suppress(OSError, ValueError):  # reported when it is read
        # Reading a pipe would wait, and take away its content.
        if path.is_file():
            with path.open("rb") as file:
                return begins_as_video(file.read(ENOUGH_BYTES))
    return False


def _ends_before(start: float, video: VideoInfo) -> bool:
    return start > 0 and video.seconds is not None and start >= video.seconds


def _count(video: VideoInfo, options: FrameOptions) -> int | None:
    """Return how many frames will be taken, as far as the header tells; None if it does not.

    Example:
        >>> video = VideoInfo(None, 25.0, 100, 4.0, 1)
        >>> _count(video, FrameOptions(start=1, end=3, stride=10))
        5
        >>> _count(video, FrameOptions(max_fps=5)), _count(video, FrameOptions(max_fps=50))
        (20, 100)
    """
    if video.count is None:
        return None
    first, behind, fps = 0, video.count, video.fps
    if fps is None and (options.start > 0 or options.end is not None or options.max_fps):
        return None
    if fps is not None and options.start > 0:
        first = math.ceil(options.start * fps)
    if fps is not None and options.end is not None:
        behind = min(behind, math.ceil(options.end * fps))
    if fps is not None and options.max_fps is not None and options.max_fps < fps:
        return max(0, math.ceil((behind - first) / fps * options.max_fps))
    return max(0, -(-behind // options.stride) - -(-first // options.stride))
