"""What gives pictures and frames, one by one."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from head_detection.images.finding import PictureFile
from head_detection.structures import Frame

Item = PictureFile | Frame
"""A picture to read, or a frame that is decoded already."""


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a source before its first item.

    Attributes:
        name: short, for folders and files.
        fps: frames a second; None for pictures, and where it is not known or not steady.
        size: (height, width) of every frame; None where that is not known.
        count: how many items; None where that is not known, or there is no end.
        is_live: the items come as they happen, and the newest counts: ``is_ready`` never tells of
            the next of the same camera, for a frame that waits for another is old.
    """

    name: str
    fps: float | None = None
    size: tuple[int, int] | None = None
    count: int | None = None
    is_live: bool = False


class Source(Protocol):
    """Gives items in order, once."""

    @property
    def info(self) -> SourceInfo:
        """What is known beforehand."""
        ...

    @property
    def skipped(self) -> Counter[str]:
        """How many were passed over, by reason; complete at the end."""
        ...

    def __iter__(self) -> Iterator[Item]:
        """Begin."""
        ...

    def is_ready(self) -> bool:
        """Tell whether the next item, or the end, is at hand, so that taking it does not wait."""
        ...


@dataclass(frozen=True)
class ItemSource:
    """Items of a sequence or an iterator.

    Attributes:
        info: what is known of them.
        items: in order.
        skipped: how many were passed over, by reason; complete once ``items`` is at its end.
        ready: tells whether the next is at hand; None is always.
    """

    info: SourceInfo
    items: Iterable[Item]
    skipped: Counter[str] = field(default_factory=Counter)
    ready: Callable[[], bool] | None = None

    @classmethod
    def of(cls, items: Sequence[Item], name: str = "items") -> Self:
        """Make a source of what is there already."""
        return cls(SourceInfo(name, count=len(items)), items)

    def __iter__(self) -> Iterator[Item]:
        """Begin."""
        return iter(self.items)

    def is_ready(self) -> bool:
        """Tell whether the next item, or the end, is at hand."""
        return self.ready is None or self.ready()


def describe_skipped(skipped: Counter[str]) -> str:
    """Return one line, empty where nothing was passed over.

    Example:
        >>> describe_skipped(Counter({"hidden": 2, "not pictures": 5}))
        '5 not pictures, 2 hidden'
    """
    return ", ".join(f"{count} {reason}" for reason, count in skipped.most_common())
