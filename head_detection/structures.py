"""What the layers pass to each other: frames, detections and ground truth."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from head_detection.boxes import to_xywh

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
BOX_SHAPE = (4,)
BOX_DECIMALS: Final = 4
SCORE_DECIMALS: Final = 6
"""Of what is written: enough to tell two runs apart, far finer than a head is located."""
NOT_TRACKED: Final = -1
"""The id of a head that is not tracked."""
Point = tuple[float, float]
"""x and y."""
LINE_POINTS = 2


@dataclass(frozen=True)
class Frame:
    """A decoded picture: a frame of a video or a camera, or a picture made in memory.

    Attributes:
        name: what it comes from: the video's file, the camera, or the picture itself.
        index: its number in the stream, from 0; dropped and undecodable frames count too.
        seconds: its presentation time; None if it has none, as for a picture.
        pixels: ``(H, W, 3)`` uint8 RGB, upright; None if they could not be decoded or are not kept.
        path: the video file; None for a camera or a picture made in memory.
        captured: when it left the camera, by the monotonic clock; None for a file.
        share: how much of its file had been read when it was decoded, 0 to 1; None if unknown.

    Example:
        >>> Frame("street.mp4", 50, 2.0)
        Frame(name='street.mp4', index=50, seconds=2.0)
    """

    name: str
    index: int
    seconds: float | None = None
    pixels: npt.NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    path: Path | None = field(default=None, repr=False, compare=False)
    captured: float | None = field(default=None, repr=False, compare=False)
    share: float | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, repr=False, eq=False)
class Detections:
    """Heads found in one picture, best first.

    They are compared by identity, since float boxes are rarely exactly equal.

    Attributes:
        boxes: ``(N, 4)`` float32 xyxy in original pixels.
        scores: ``(N,)`` float32 in [0, 1], falling.
        image_size: ``(height, width)`` of the picture in original pixels.
        ids: ``(N,)`` int64 track id of each head, -1 for a head that is not tracked; None without
            tracking.
        note: one line to pass on with a count: heads may be missing, and why; None if complete.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> found = Detections.empty((480, 640))
        >>> len(found), found.boxes.shape
        (0, (0, 4))
        >>> found
        0 heads in 640x480
    """

    boxes: FloatArray
    scores: FloatArray
    image_size: tuple[int, int]
    ids: IntArray | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        _check_boxes(self.boxes)
        one_each = self.boxes.shape[:1]
        for name, values in (("scores", self.scores), ("ids", self.ids)):
            if values is not None and values.shape != one_each:
                raise ValueError(f"{name}: expected shape {one_each}, got {values.shape}")

    def __len__(self) -> int:
        """Return the number of heads."""
        return len(self.boxes)

    def __repr__(self) -> str:
        """Return the number of heads and the size of the picture, width first."""
        height, width = self.image_size
        heads = "head" if len(self) == 1 else "heads"
        return f"{len(self)} {heads} in {width}x{height}"

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> "Detections":
        """Return no heads for a picture of ``(height, width)``."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), image_size)

    @classmethod
    def from_arrays(
        cls,
        boxes: npt.ArrayLike,
        scores: npt.ArrayLike,
        image_size: tuple[int, int],
        ids: npt.ArrayLike | None = None,
    ) -> "Detections":
        """Sort by falling score (ties keep their order) and convert to float32, ids to int64.

        Example:
            >>> boxes = [[0, 0, 1, 1], [5, 5, 9, 9]]
            >>> Detections.from_arrays(boxes, [0.5, 0.75], (9, 9), ids=[7, 3]).ids.tolist()
            [3, 7]
        """
        boxes_array = np.asarray(boxes, np.float32).reshape(-1, 4)
        scores_array = np.asarray(scores, np.float32).reshape(-1)
        order = np.argsort(-scores_array, kind="stable")
        sorted_ids = None if ids is None else np.asarray(ids, np.int64).reshape(-1)[order]
        return cls(boxes_array[order], scores_array[order], image_size, sorted_ids)

    def above(self, score_threshold: float) -> Self:
        """Return the heads with ``score >= score_threshold``."""
        return self.where(self.scores >= score_threshold)

    def where(self, keep: BoolArray) -> Self:
        """Return the heads that a mask ``(N,)`` keeps.

        Example:
            >>> found = Detections.from_arrays([[0, 0, 1, 1], [5, 5, 9, 9]], [0.75, 0.5], (9, 9))
            >>> found.where(np.array([False, True])).scores.tolist()
            [0.5]
        """
        ids = None if self.ids is None else self.ids[keep]
        return replace(self, boxes=self.boxes[keep], scores=self.scores[keep], ids=ids)

    def scaled_to(self, image_size: tuple[int, int]) -> Self:
        """Return the heads with boxes scaled to a picture of ``(height, width)``.

        Example:
            >>> found = Detections.from_arrays([[1, 2, 3, 4]], [0.9], (10, 10))
            >>> found.scaled_to((20, 30)).boxes.tolist()
            [[3.0, 4.0, 9.0, 8.0]]
        """
        if image_size == self.image_size:
            return self
        down, across = (
            after / before for after, before in zip(image_size, self.image_size, strict=True)
        )
        factors = np.array((across, down, across, down), np.float32)
        return replace(self, boxes=self.boxes * factors, image_size=image_size)

    @property
    def boxes_xywh(self) -> FloatArray:
        """Return ``(N, 4)`` float32: left, top, width, height in original pixels."""
        return to_xywh(self.boxes)


@dataclass(frozen=True)
class RegionCount:
    """A zone or a line in a picture or a frame, with its counts so far.

    Attributes:
        name: as the user gave it.
        points: in original pixels: the two ends of a line, in order, or three or more corners of a
            zone.
        now: heads in the zone; None for a line.
        num_in: crossings of the line to its *in* side, or heads that entered the zone.
        num_out: crossings the other way, or heads that left the zone.
        is_followed: whether heads are tracked; otherwise entries and exits are unknown.

    Example:
        >>> RegionCount("door", ((0, 9), (8, 9)), num_in=5, num_out=2).text
        'door: 5 in, 2 out'
        >>> RegionCount("hall", ((0, 0), (9, 0), (9, 9)), now=3, num_in=5, num_out=2).text
        'hall: 3 now, 5 in, 2 out'
        >>> RegionCount("hall", ((0, 0), (9, 0), (9, 9)), now=3, is_followed=False).text
        'hall: 3 now'
    """

    name: str
    points: tuple[Point, ...]
    now: int | None = None
    num_in: int = 0
    num_out: int = 0
    is_followed: bool = True

    @property
    def is_line(self) -> bool:
        """Whether it is a line, not a zone."""
        return len(self.points) == LINE_POINTS

    @property
    def text(self) -> str:
        """Name and counts in one line; only the name if nothing is counted."""
        counts = [] if self.now is None else [f"{self.now} now"]
        counts += [f"{self.num_in} in", f"{self.num_out} out"] if self.is_followed else []
        return f"{self.name}: {', '.join(counts)}" if counts else self.name

    @property
    def inward(self) -> Point:
        """A vector as long as the line, towards its *in* side: the left when walking along it.

        y points down, so for a line from left to right, the *in* side is above.

        Example:
            >>> RegionCount("door", ((0, 9), (8, 9))).inward
            (0, -8)
        """
        (start_x, start_y), (end_x, end_y) = self.points
        return end_y - start_y, start_x - end_x


@dataclass(frozen=True)
class Event:
    """Something that a tracked head did at a line or in a zone.

    Attributes:
        kind: ``crossing`` of a line; ``entry`` into a zone and ``exit`` from it; ``appearance``: it
            was first seen on the *in* side of a line without crossing it.
        region: the name of the line or the zone.
        head: its id.
        frame: the frame in which it happened, some frames before that is certain.
        seconds: the presentation time of that frame.
        position: the centre of its box in that frame, in original pixels.
        direction: of a crossing.
        dwell: seconds from entry to exit.
        is_lost: for an exit: the head was still in the zone when it was last seen.
    """

    kind: Literal["crossing", "entry", "exit", "appearance"]
    region: str
    head: int
    frame: int
    seconds: float
    position: Point
    direction: Literal["in", "out"] | None = None
    dwell: float | None = None
    is_lost: bool = False


@dataclass(frozen=True)
class Sighting:
    """Where a head was before its track was confirmed and it got its id.

    Attributes:
        head: its id.
        frame: the number of the frame.
        seconds: the presentation time of that frame.
        position: the centre of its box, in original pixels.
    """

    head: int
    frame: int
    seconds: float
    position: Point


@dataclass(frozen=True)
class GroundTruth:
    """Labelled heads of one picture.

    Attributes:
        boxes: ``(N, 4)`` float32 xyxy in original pixels.
        ignore: ``(N,)`` bool: regions that are neither a head to find nor background.
        distractor: ``(N,)`` bool: ignored boxes that each hold one object of another class, whose
            matches MOTChallenge removes; none by default.
        ids: ``(N,)`` int64 identities, the same from frame to frame; None if not labelled.

    Raises:
        ValueError: the shapes do not match, or a distractor is not ignored.
    """

    boxes: FloatArray
    ignore: BoolArray
    distractor: BoolArray = field(default_factory=lambda: np.zeros(0, np.bool_))
    ids: IntArray | None = None

    def __post_init__(self) -> None:
        _check_boxes(self.boxes)
        if not self.distractor.size:
            object.__setattr__(self, "distractor", np.zeros(len(self.boxes), np.bool_))
        one_each = self.boxes.shape[:1]
        for name in ("ignore", "distractor", "ids"):
            values = getattr(self, name)
            if values is not None and values.shape != one_each:
                raise ValueError(f"{name}: expected shape {one_each}, got {values.shape}")
        if (self.distractor & ~self.ignore).any():
            raise ValueError("distractor: expected boxes that are ignored too")

    @property
    def head_boxes(self) -> FloatArray:
        """Return the boxes that count, without the ignored ones."""
        return self.boxes[~self.ignore]

    @property
    def ignore_boxes(self) -> FloatArray:
        """Return only the ignored boxes."""
        return self.boxes[self.ignore]


def rounded(values: npt.NDArray[Any], decimals: int) -> list[Any]:
    """Return an array of any shape as plain numbers, for files.

    In float64: multiplied by a power of ten, as rounding does, a float32 is exact there.

    Example:
        >>> rounded(np.array([[0.1, 2.00006]], np.float32), 4)
        [[0.1, 2.0001]]
    """
    numbers: list[Any] = np.round(values.astype(np.float64), decimals).tolist()
    return numbers


def _check_boxes(boxes: FloatArray) -> None:
    if boxes.shape[1:] != BOX_SHAPE:
        raise ValueError(f"boxes: expected shape (N, 4), got {boxes.shape}")
