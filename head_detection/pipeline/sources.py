"""Sources of pictures and frames, one by one."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from head_detection.images.finding import PictureFile
from head_detection.images.reading import MAX_PIXELS
from head_detection.structures import Frame

Item = PictureFile | Frame
"""A picture to read, or a frame that is already decoded."""
MAX_FPS_SLACK: Final = 0.05
"""How much too early a frame may come, as a share of the time between frames."""


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a source before its first item.

    Attributes:
        name: short, for folders and files.
        fps: frames per second; None for pictures, or if unknown or not steady.
        size: (height, width) of every frame; None if unknown.
        count: how many items; None if unknown or endless.
        unit: what the items are called: ``pictures``, ``frames`` or ``pictures and frames``.
        is_live: items come as they happen, and the newest counts: ``is_ready`` never reports the
            next frame of a camera whose last one still waits, since that one would get old.
    """

    name: str
    fps: float | None = None
    size: tuple[int, int] | None = None
    count: int | None = None
    is_live: bool = False
    unit: str = "pictures"


@dataclass(frozen=True)
class FrameOptions:
    """Which frames of videos and cameras are taken; all pictures are.

    Frames that are left out keep their numbers, so the numbers of taken frames have gaps.

    Attributes:
        start: seconds to leave out at the beginning of a video.
        end: seconds from the beginning at which to stop; a frame shown exactly then is left out, so
            that two parts of a video share none. None goes on to the end. For a camera, frames are
            taken for ``end`` minus ``start`` seconds from the first one that was looked at.
        stride: one frame of this many is taken, the first of them.
        max_fps: at most this many frames per second are taken, from the start on; None is all.
        max_pixels: larger frames are refused.
        is_live: the newest frame is taken and older ones are dropped; False waits for every frame;
            None depends on the kind of source.
    """

    start: float = 0.0
    end: float | None = None
    stride: int = 1
    max_fps: float | None = None
    max_pixels: int = MAX_PIXELS
    is_live: bool | None = None

    def chooser(self) -> Callable[[int, float], bool]:
        """Return a function of each frame's number and seconds, in order: whether it is taken.

        Example:
            >>> takes = FrameOptions(max_fps=10).chooser()
            >>> [index for index in range(8) if takes(index, index / 25)]
            [0, 3, 5]
            >>> takes = FrameOptions(start=0.15, max_fps=10).chooser()
            >>> [index for index in range(12) if takes(index, index / 25)]
            [4, 7, 9]
        """
        last = -1

        def takes(index: int, seconds: float) -> bool:
            nonlocal last
            has_begun = self.start <= max(seconds, 0.0)
            is_within = has_begun and (self.end is None or seconds < self.end)
            if not is_within or index % self.stride:
                return False
            if self.max_fps is None:
                return True
            # Times are rounded to the file's clock: .1 s may have become .0999.
            slot = int((seconds - self.start) * self.max_fps + MAX_FPS_SLACK)
            is_due, last = slot > last, max(slot, last)
            return is_due

        return takes


@dataclass(frozen=True)
class Patience:
    """How long to wait for a camera.

    Attributes:
        open_seconds: time limit for its first answer.
        read_seconds: time limit for its next frame.
        first_wait: seconds before a lost camera is tried again; doubled with each attempt.
        longest_wait: the longest such wait, in seconds.
    """

    open_seconds: float = 10.0
    read_seconds: float = 10.0
    first_wait: float = 1.0
    longest_wait: float = 30.0


class Source(Protocol):
    """Gives items in order, once."""

    @property
    def info(self) -> SourceInfo:
        """What is known beforehand."""
        ...

    @property
    def skipped(self) -> Counter[str]:
        """How many were skipped, by reason; complete at the end."""
        ...

    def __iter__(self) -> Iterator[Item]:
        """Begin."""
        ...

    def is_ready(self) -> bool:
        """Tell whether the next item, or the end, is ready, so that taking it does not wait."""
        ...

    def expected_count(self) -> int | None:
        """Estimate how many items there are, by what was read so far; None if nothing tells."""
        ...


@dataclass(frozen=True)
class ItemSource:
    """Items of a sequence or an iterator.

    Attributes:
        info: what is known of them.
        items: in order.
        skipped: how many were skipped, by reason; complete once ``items`` is at its end.
        ready: tells whether the next is ready; None is always.
        expected: estimates how many there are, by what was read so far; None is as ``info`` says.
    """

    info: SourceInfo
    items: Iterable[Item]
    skipped: Counter[str] = field(default_factory=Counter)
    ready: Callable[[], bool] | None = None
    expected: Callable[[], int | None] | None = None

    @classmethod
    def of(cls, items: Sequence[Item], name: str = "items") -> Self:
        """Make a source of items that are there already."""
        return cls(SourceInfo(name, count=len(items)), items)

    def __iter__(self) -> Iterator[Item]:
        """Begin."""
        return iter(self.items)

    def is_ready(self) -> bool:
        """Tell whether the next item, or the end, is ready."""
        return self.ready is None or self.ready()

    def expected_count(self) -> int | None:
        """Return how many items there are, as far as known by now."""
        return self.info.count if self.expected is None else self.expected()


def describe_skipped(skipped: Counter[str]) -> str:
    """Return one line, empty if nothing was skipped.

    Example:
        >>> describe_skipped(Counter({"hidden": 1, "not pictures": 5}))
        'not pictures: 5, hidden: 1'
    """
    return ", ".join(f"{reason}: {count}" for reason, count in skipped.most_common())
