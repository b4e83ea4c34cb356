"""Made-up videos of heads that walk, cross, hide, leave and come back on known paths."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Annotated, Final, Self

import cv2
import numpy as np
import numpy.typing as npt

from head_detection.boxes import areas, clipped, coverage
from head_detection.data.synthetic import DIMMED, DIMMED_EVERY, Portrait, sample_person
from head_detection.images.reading import Picture
from head_detection.structures import Frame, IntArray

Float64Array = npt.NDArray[np.float64]
WALKING_SPEED: Final = (3.0, 8.0)
"""In head sizes per second: 0.7 to 1.9 m/s for heads of 24 cm from chin to crown."""
LEAST_VISIBLE: Final = 0.25
"""A head with a smaller visible share is not in the ground truth."""
_WALL: Final = (96, 92, 88)
_GROUND: Final = (150, 146, 138)
_SWAY: Final = 9
"""Standard deviation of the ground's brightness."""


@dataclass(frozen=True)
class WalkingHead:
    """One person, under one id.

    Attributes:
        size: square root of the area of the head's box in pixels.
        seconds: ``(K,)`` times of the points, rising. The head is absent before the first and after
            the last.
        points: ``(K, 2)`` centres of its box in pixels, connected by straight lines.

    Raises:
        ValueError: numbers of points and times differ, or times do not rise.
    """

    size: float
    seconds: tuple[float, ...]
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.seconds) != len(self.points) or sorted(self.seconds) != list(self.seconds):
            raise ValueError(
                f"expected as many points as rising seconds; got {self.points}, {self.seconds}"
            )

    def centers(self, seconds: Float64Array) -> Float64Array:
        """Return ``(T, 2)`` centres at ``(T,)`` seconds, NaN when the head is absent.

        Example:
            >>> head = WalkingHead(20, (0, 2), ((10, 50), (30, 50)))
            >>> head.centers(np.array([1.0, 3.0])).tolist()
            [[20.0, 50.0], [nan, nan]]
        """
        columns = [
            np.interp(seconds, self.seconds, axis, left=np.nan, right=np.nan)
            for axis in np.array(self.points, np.float64).T
        ]
        return np.stack(columns, axis=1)


@dataclass(frozen=True)
class FrameHeads:
    """The heads that are visible in one frame.

    Attributes:
        index: number of the frame, from 0.
        seconds: its time.
        boxes: ``(N, 4)`` float32 xyxy in pixels, clipped to the picture.
        ids: ``(N,)``, from 1; a head keeps its id.
        visibility: ``(N,)`` in (0, 1]: the share of each box that nothing nearer covers.
    """

    index: int
    seconds: float
    boxes: Annotated[npt.NDArray[np.float32], "n 4"]
    ids: Annotated[IntArray, "n"]
    visibility: Annotated[Float64Array, "n"]


@dataclass(frozen=True)
class HeadSequence:
    """A video whose heads are known; ``replace(sequence, fps=5)`` shows the same at another rate.

    Attributes:
        heads: heads from far to near: later ones cover earlier ones. Their ids are their positions,
            from 1.
        image_size: ``(height, width)`` of every frame.
        fps: frames per second.
        duration: in seconds.
        walls: xyxy of walls that hide heads.
        name: name of the video in its frames.
    """

    heads: tuple[WalkingHead, ...]
    image_size: tuple[int, int]
    fps: float
    duration: float
    walls: tuple[tuple[int, int, int, int], ...] = ()
    name: str = "made.mp4"

    def __len__(self) -> int:
        """Return the number of frames."""
        return round(self.duration * self.fps)

    def at_fps(self, fps: float) -> Self:
        """Return the same paths at another frame rate."""
        return replace(self, fps=fps)

    @cached_property
    def _boxes(self) -> Float64Array:
        """``(T, N, 4)`` unclipped boxes in all frames, NaN when a head is absent."""
        times = np.arange(len(self)) / self.fps
        if not self.heads:
            return np.zeros((len(self), 0, 4))
        centers = np.stack([head.centers(times) for head in self.heads], axis=1)
        half_shape = _half_shape(_person())
        half = np.array([head.size for head in self.heads])[:, None] * half_shape
        return np.concatenate([centers - half, centers + half], axis=2)

    def truth(self, index: int) -> FrameHeads:
        """Return the heads of a frame with at least a quarter and the centre visible."""
        height, width = self.image_size
        whole = self._boxes[index]
        centers = (whole[:, :2] + whole[:, 2:]) / 2
        is_there = ((centers >= 0) & (centers < (width, height))).all(axis=1)
        ids = np.flatnonzero(is_there)
        boxes = clipped(whole[ids], self.image_size)
        visibility = 1 - self._covered(boxes)
        seen = visibility >= LEAST_VISIBLE
        return FrameHeads(
            index,
            index / self.fps,
            boxes[seen].astype(np.float32),
            ids[seen].astype(np.int64) + 1,
            visibility[seen],
        )

    def truths(self) -> Iterator[FrameHeads]:
        """Yield the heads of each frame."""
        return map(self.truth, range(len(self)))

    def frames(self) -> Iterator[Frame]:
        """Yield each frame as a drawing in which the detector finds the heads."""
        painter = _Painter(self)
        for index in range(len(self)):
            pixels = painter.paint(self._boxes[index])
            yield Frame(self.name, index, index / self.fps, pixels)

    def _covered(self, boxes: Float64Array) -> Float64Array:
        """Return the largest share of each box that one wall, or one nearer head, covers."""
        covered = coverage(boxes, np.array(self.walls, np.float64).reshape(-1, 4))
        own = np.maximum(areas(boxes), 1e-9)
        left_top = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        right_bottom = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        shared = np.clip(right_bottom - left_top, 0, None).prod(axis=2) / own[:, None]
        nearer = np.triu(shared, k=1)
        return np.asarray(np.maximum(covered, nearer.max(axis=1, initial=0.0)))


def crossing_heads(
    number: int,
    image_size: tuple[int, int] = (1080, 1920),
    fps: float = 25.0,
    duration: float = 10.0,
    sizes: tuple[float, float] = (20.0, 40.0),
    seed: int = 0,
) -> HeadSequence:
    """Return a sequence in which a given number of people walk through the picture at a time.

    Each enters at a random edge, walks at constant speed to a point inside and on to an edge; then
    the next one enters, under another id. At the start, they are on their way.

    Args:
        number: people in the picture at a time.
        image_size: ``(height, width)``.
        fps: frames per second.
        duration: in seconds.
        sizes: sizes of the smallest and the largest head, in pixels.
        seed: seed of all random choices.

    Example:
        >>> sequence = crossing_heads(10, fps=5, duration=2)
        >>> len(sequence), len(sequence.truth(0).ids)
        (10, 10)
    """
    generator = np.random.default_rng(seed)
    heads: list[WalkingHead] = []
    for _ in range(number):
        is_first, now = True, 0.0
        while now < duration:
            size = float(generator.uniform(*sizes))
            points = np.stack(
                [
                    _at_edge(image_size, generator),
                    generator.uniform((0, 0), image_size[::-1]),
                    _at_edge(image_size, generator),
                ]
            )
            speed = size * generator.uniform(*WALKING_SPEED)
            lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
            times = np.concatenate([[0.0], np.cumsum(np.maximum(lengths, 1e-3) / speed)])
            # The first are on their way, but not near an edge, so that all are visible at first.
            start = now - generator.uniform(0.1, 0.9) * times[-1] if is_first else now
            times = times + start
            path = tuple((float(x), float(y)) for x, y in points)
            heads.append(WalkingHead(size, tuple(times.tolist()), path))
            is_first, now = False, float(times[-1])
    heads.sort(key=lambda head: head.size)  # the larger is nearer
    return HeadSequence(tuple(heads), image_size, fps, duration, name=f"crossing-{number}.mp4")


def door_scene(fps: float = 10.0, image_size: tuple[int, int] = (240, 320)) -> HeadSequence:
    """Return 8 seconds of five people at a door, the vertical line through the middle.

    Heads are a tenth of the picture's width. By id: 1 and 2 walk from left to right; 3 walks from
    right to left and hides 1 when they meet; 4 walks from right to left, leaves, and comes back two
    seconds later; 5 walks from left to right, for a second behind a wall left of the middle. The
    line is crossed 4 times to the right (1, 2, 5, and 4 on its way back) and twice to the left (3,
    4).

    Example:
        >>> [len(door_scene(fps=1).truth(second).ids) for second in range(8)]
        [0, 3, 4, 4, 2, 4, 2, 2]
    """
    height, width = image_size
    size = width / 10
    left, right = -size, width + size
    rows = [height * share for share in (0.2, 0.45, 0.225, 0.8, 0.625)]
    walks: list[tuple[tuple[float, ...], tuple[float, ...]]] = [
        ((0.0, 4.0), (left, right)),
        ((1.0, 6.0), (left, right)),
        ((0.5, 5.5), (right, left)),
        ((0.0, 2.5, 4.5, 7.5), (right, left, left, right)),
        ((2.5, 7.5), (left, right)),
    ]
    heads = tuple(
        WalkingHead(size, times, tuple((x, y) for x in across))
        for (times, across), y in zip(walks, rows, strict=True)
    )
    row = rows[-1]
    top, bottom = round(row - 0.63 * size), round(row + 0.63 * size)
    wall = (round(0.15 * width), top, round(0.45 * width), bottom)
    return HeadSequence(heads, image_size, fps, 8.0, (wall,), name="door.mp4")


def _at_edge(image_size: tuple[int, int], generator: np.random.Generator) -> Float64Array:
    """Return a point on one of the four edges."""
    height, width = image_size
    place = float(generator.uniform(0, 2 * (width + height)))
    for x, y in ((place, 0), (place - width, height)):
        if 0 <= x < width:
            return np.array((x, y), np.float64)
    down = (place - 2 * width) % height
    return np.array((0.0 if place < 2 * width + height else width, down), np.float64)


@cache
def _person() -> Portrait:
    return sample_person()


def _half_shape(portrait: Portrait) -> Float64Array:
    """Return half the width and half the height of a head whose size is 1."""
    left, top, right, bottom = portrait.head_box
    return np.array((right - left, bottom - top), np.float64) / (2 * portrait.head_size)


class _Painter:
    """Draws the frames of a sequence: a static ground, people on it, and walls in front of them."""

    def __init__(self, sequence: HeadSequence) -> None:
        self._walls = sequence.walls
        self._ground = _draw_ground(sequence.image_size)
        self._sprites = [
            _draw_sprite(head.size, number) for number, head in enumerate(sequence.heads)
        ]

    def paint(self, boxes: Float64Array) -> Picture:
        """Return a frame with heads in ``(N, 4)`` boxes, NaN for absent heads."""
        picture = self._ground.copy()
        for (colors, opacity, corner), box in zip(self._sprites, boxes, strict=True):
            if not np.isnan(box[0]):
                left, top = (round(float(value)) for value in box[:2] - corner)
                _paste(picture, colors, opacity, left, top)
        for left, top, right, bottom in self._walls:
            picture[top:bottom, left:right] = _WALL
        return picture


def _draw_ground(image_size: tuple[int, int]) -> Picture:
    """Return a ground with soft patches, from which camera motion could be estimated."""
    generator = np.random.default_rng(0)
    height, width = image_size
    coarse = generator.normal(0, _SWAY, (height // 16 + 2, width // 16 + 2)).astype(np.float32)
    patches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    ground = np.array(_GROUND, np.float32) + np.asarray(patches, np.float32)[..., None]
    return np.asarray(np.clip(ground, 0, 255), np.uint8)


def _draw_sprite(
    size: float, number: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Float64Array]:
    """Return colours, opacity and the corner of the head's box; consecutive numbers differ."""
    scaled = _person().scaled_to(size)
    colors = scaled.pixels.astype(np.float32)
    if number % DIMMED_EVERY == 0:
        colors = colors * DIMMED
    left, top, right, bottom = (float(value) for value in scaled.head_box)
    height, width = colors.shape[:2]
    opacity = np.zeros((height, width), np.float32)
    middle = (round((left + right) / 2), round((top + bottom) / 2))
    half = (round(0.55 * (right - left)), round(0.54 * (bottom - top)))
    cv2.ellipse(opacity, middle, half, 0, 0, 360, 1.0, cv2.FILLED)
    shoulders = (middle[0], height), (width // 2, round(height - bottom + 0.1 * size))
    cv2.ellipse(opacity, *shoulders, 0, 0, 360, 1.0, cv2.FILLED)
    if number % 2:
        colors, opacity, left = colors[:, ::-1], opacity[:, ::-1], width - right
    return colors, opacity[..., None], np.array((left, top))


def _paste(
    picture: Picture,
    colors: npt.NDArray[np.float32],
    opacity: npt.NDArray[np.float32],
    left: int,
    top: int,
) -> None:
    """Blend colours over a picture, clipped to it."""
    height, width = picture.shape[:2]
    rows = slice(max(0, -top), max(0, min(len(colors), height - top)))
    columns = slice(max(0, -left), max(0, min(colors.shape[1], width - left)))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    there = picture[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    part = opacity[rows, columns]
    there[:] = (part * colors[rows, columns] + (1 - part) * there).astype(np.uint8)
