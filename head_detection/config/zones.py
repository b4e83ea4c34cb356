"""The zones file: named polygons and lines in which heads are counted; no pixels are read here."""

import math
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from head_detection.config.section import NonNegativeFloat, PositiveInt, Section
from head_detection.config.validation import read_values, validate
from head_detection.errors import ConfigError
from head_detection.structures import Point

MAX_BYTES: Final = 256 * 1024
"""Enough for thousands of corners; a larger file is not a zones file."""
LONGEST_NAME: Final = 60
MAX_CORNERS: Final = 200
SMALLEST_SHARE: Final = 0.001
"""Smallest extent of a line or zone as a share of the picture, a pixel or two; less is a slip."""
SMALLEST_PIXELS: Final = 1


class _RegionConfig(Section):
    """What zones and lines share; ``name: [[x, y], ...]`` is short for only the points."""

    points: tuple[Point, ...]
    """Corners, x and y from the top left."""
    min_frames: PositiveInt = 2
    """A head counts after this many consecutive frames on the new side, so a flicker does not."""
    confirm_seconds: NonNegativeFloat = 0.2
    """And after at least this time, so someone who sways across a line and returns sooner does not
    count. At 5 frames a second this is two frames."""


class ZoneConfig(_RegionConfig):
    """A polygon. Counts the heads in it, those that enter and leave, and times their stay."""

    min_seconds: NonNegativeFloat = 0.0
    """The shortest stay that counts, so that walking through does not."""

    @model_validator(mode="after")
    def _check(self) -> "ZoneConfig":
        number = len(self.points)
        if not 3 <= number <= MAX_CORNERS:  # noqa: PLR2004 - a triangle
            raise ValueError(
                f"points: expected 3 to {MAX_CORNERS} corners of a zone; got {number}"
                + ("; a line goes under lines" if number == 2 else "")  # noqa: PLR2004
            )
        corners = list(self.points)
        for index, (start, end) in enumerate(_edges(corners)):
            if start == end:
                raise ValueError(f"points: corner {index + 1} and the next are the same, {start}")
        for first, second in combinations(_edges(corners), 2):
            if _cross(*first, *second):
                raise ValueError(
                    f"points: the sides cross or touch: {_side(*first)} and {_side(*second)}; "
                    "give the corners in their order around the zone"
                )
        return self


class LineConfig(_RegionConfig):
    """A line. Counts the heads that cross it, by direction.

    *In* is on the left when going from the first point to the second: for a line drawn from left to
    right, the upper side. Reversing the points swaps *in* and *out*.
    """

    @model_validator(mode="after")
    def _check(self) -> "LineConfig":
        if len(self.points) != 2 or self.points[0] == self.points[1]:  # noqa: PLR2004 - its ends
            raise ValueError(f"points: expected two ends of a line; got {list(self.points)}")
        return self


class SourceZones(Section):
    """Zones and lines of one or more sources."""

    units: Literal["shares", "pixels"] | None = None
    """``shares`` of the picture, 0 to 1, fit pictures of any size; null takes the file's unit."""
    size: tuple[PositiveInt, PositiveInt] | None = None
    """Width and height of the picture that the pixels refer to; the zones are scaled to frames of
    another size. Null does not scale them."""
    zones: dict[str, ZoneConfig] = Field(default_factory=dict)
    lines: dict[str, LineConfig] = Field(default_factory=dict)

    @property
    def regions(self) -> dict[str, ZoneConfig | LineConfig]:
        """Both, by name."""
        return {**self.zones, **self.lines}


class ZonesConfig(SourceZones):
    """The whole file. Zones and lines at its top level apply to every source."""

    sources: dict[str, SourceZones] = Field(default_factory=dict)
    """More of them, by the name of a video or camera, or a pattern with ``*`` and ``?``."""

    @model_validator(mode="after")
    def _check(self) -> "ZonesConfig":
        for path, part in self.parts():
            where = f"{path}: " if path else ""
            if (twice := sorted(part.zones.keys() & part.lines.keys())) or (
                path and (twice := sorted(part.regions.keys() & self.regions.keys()))
            ):
                raise ValueError(f"{where}the name {twice[0]!r} twice; each needs its own")
            if part.size is not None and self.are_shares(part):
                raise ValueError(f"{where}size: expected with units: pixels alone")
            for kind, named in (("zones", part.zones), ("lines", part.lines)):
                for name, region in named.items():
                    start = f"{path}.{kind}.{name}".removeprefix(".")
                    _check_name(name, start)
                    _check_span(region.points, start, are_shares=self.are_shares(part))
                    if self.are_shares(part):
                        _check_shares(region.points, start)
                    else:
                        _check_pixels(region.points, self.size_of(part), start)
        if not any(part.regions for _, part in self.parts()):
            raise ValueError("expected zones or lines; got none")
        return self

    def parts(self) -> Iterator[tuple[str, SourceZones]]:
        """Yield the key path and the zones of the top level, then of each pattern."""
        yield "", self
        for pattern, part in self.sources.items():
            yield f"sources.{pattern}", part

    def are_shares(self, part: SourceZones) -> bool:
        """Whether the points of a part (the top level or a source) are shares of the picture."""
        return (part.units or self.units or "shares") == "shares"

    def size_of(self, part: SourceZones) -> tuple[int, int] | None:
        """Return the width and height that a part's points refer to; None if not given."""
        return (1, 1) if self.are_shares(part) else part.size or self.size

    @property
    def has_lines(self) -> bool:
        """Whether there are lines, which only tracked heads can cross."""
        return any(part.lines for _, part in self.parts())


def load_zones(path: Path) -> ZonesConfig:
    """Read a zones file and check everything that can be checked without a picture.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, points that form no zone or line or lie
            outside the picture, a name used twice. One line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: expected a YAML file of zones; {error.strerror}") from error
    return parse_zones(content, str(path))


def parse_zones(content: bytes, name: str) -> ZonesConfig:
    """Parse the content of a zones file.

    Args:
        content: the file, or its first ``MAX_BYTES + 1`` bytes.
        name: the file's name in errors.

    Raises:
        ConfigError: as in ``load_zones``.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{name}: expected a YAML file of zones; it has over {MAX_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: expected a YAML file of zones; not UTF-8 text") from error
    values = read_values(text, name)
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: expected zones: and lines:; got {type(values).__name__}")
    return validate(ZonesConfig, _spell_out(values), name)


def matches(pattern: str, source: str) -> bool:
    """Tell whether a pattern matches the full name of a source, or only its file name.

    Example:
        >>> matches("door*", "monday/door1.mp4"), matches("monday/*", "monday/door1.mp4")
        (True, True)
        >>> matches("door", "monday/door1.mp4")
        False
    """
    names = (source, source.rpartition("/")[2])
    return pattern in names or any(fnmatchcase(name, pattern) for name in names)


def _spell_out(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with the short form of a region expanded to ``points:``."""
    full = dict(values)
    for kind in ("zones", "lines"):
        if isinstance(named := values.get(kind), dict):
            full[kind] = {
                name: {"points": region} if isinstance(region, list) else region
                for name, region in named.items()
            }
    if isinstance(sources := values.get("sources"), dict):
        full["sources"] = {
            pattern: _spell_out(part) if isinstance(part, dict) else part
            for pattern, part in sources.items()
        }
    return full


def _check_name(name: str, where: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise ValueError(
            f"{where}: expected a name of 1 to {LONGEST_NAME} letters in one line; got {name!r:.80}"
        )


def _check_span(points: Sequence[Point], where: str, *, are_shares: bool) -> None:
    span = max(max(values) - min(values) for values in zip(*points, strict=True))
    if span < (SMALLEST_SHARE if are_shares else SMALLEST_PIXELS):
        smallest = f"{SMALLEST_SHARE:g} of the picture" if are_shares else "1 pixel"
        raise ValueError(f"{where}.points: expected points at least {smallest} apart; got {span:g}")


def _check_shares(points: Sequence[Point], where: str) -> None:
    outside = [(x, y) for x, y in points if not (0 <= x <= 1 and 0 <= y <= 1)]
    if outside:
        raise ValueError(
            f"{where}.points: expected shares of the picture, 0 to 1; got {outside[0][0]:g}, "
            f"{outside[0][1]:g}; for pixels write units: pixels at the top of the file"
        )


def _check_pixels(points: Sequence[Point], size: tuple[int, int] | None, where: str) -> None:
    if all(x <= 1 and y <= 1 for x, y in points):
        raise ValueError(
            f"{where}.points: expected pixels; got a region of one pixel at most; for shares of "
            "the picture write units: shares"
        )
    width, height = size or (math.inf, math.inf)
    outside = [(x, y) for x, y in points if not (0 <= x <= width and 0 <= y <= height)]
    if outside:
        limits = f" of {size[0]}x{size[1]} pixels" if size else ""
        raise ValueError(
            f"{where}.points: expected inside the picture{limits}; got {outside[0][0]:g}, "
            f"{outside[0][1]:g}"
        )


def _edges(corners: Sequence[Point]) -> list[tuple[Point, Point]]:
    return list(zip(corners, [*corners[1:], corners[0]], strict=True))


def _side(start: Point, end: Point) -> str:
    return f"{start[0]:g}, {start[1]:g} to {end[0]:g}, {end[1]:g}"


def _turn(a: Point, b: Point, c: Point) -> float:
    """Return twice the signed area of a triangle: 0 where the three lie on one line."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Tell whether two sides of a polygon share more than the corner where they meet."""
    if b in (c, d) or a in (c, d):  # neighbours: one may fold back onto the other
        corner, near, far = (
            (b, a, d if b == c else c) if b in (c, d) else (a, b, d if a == c else c)
        )
        is_back = (near[0] - corner[0]) * (far[0] - corner[0]) + (near[1] - corner[1]) * (
            far[1] - corner[1]
        ) > 0
        return _turn(near, corner, far) == 0 and is_back
    turns = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if all(turns):
        return (turns[0] > 0) != (turns[1] > 0) and (turns[2] > 0) != (turns[3] > 0)
    touching = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    return any(
        turn == 0
        and min(p[0], q[0]) <= r[0] <= max(p[0], q[0])
        and min(p[1], q[1]) <= r[1] <= max(p[1], q[1])
        for turn, (p, q, r) in zip(turns, touching, strict=True)
    )
