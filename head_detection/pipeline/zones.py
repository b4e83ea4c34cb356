"""Counts at lines and in zones, in several videos and cameras at once."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

import numpy as np

from head_detection.config.zones import ZoneConfig, ZonesConfig, matches
from head_detection.errors import ConfigError
from head_detection.pipeline.crossings import AT_ONCE, Confirmation, LineCounter, Moment, Points
from head_detection.pipeline.stays import ZoneCounter
from head_detection.results.record import Record
from head_detection.structures import NOT_TRACKED, Detections, Event, Point, RegionCount, Sighting

FORGET_SECONDS: Final = 10.0
"""A head not seen for this long is forgotten: longer than trackers look for a lost one."""
MAX_SOURCES: Final = 1000
"""Sources counted separately; of more, as in a folder of videos, the oldest are kept as sums."""
SHOWN_SOURCES: Final = 10
"""Sources in a summary, before the sum of all."""
ONE: Final = (1, 1)
"""The size that shares of a picture refer to."""


@dataclass(frozen=True)
class Region:
    """A zone or a line as given, before a picture is known.

    Attributes:
        pattern: of the sources that it is in; None for all.
        name: as displayed, and in files.
        points: the two ends of a line, or the corners of a zone.
        size: width and height that the points refer to; None for pixels of any picture.
        confirmation: when it is certain that a head has come there.
        min_seconds: the shortest stay that counts.
    """

    pattern: str | None
    name: str
    points: tuple[Point, ...]
    size: tuple[int, int] | None = ONE
    confirmation: Confirmation = AT_ONCE
    min_seconds: float = 0.0

    def place(self, source: str, image_size: tuple[int, int]) -> tuple[Point, ...]:
        """Return the points in pixels of a picture of ``(height, width)``.

        Raises:
            ConfigError: pixels outside it.

        Example:
            >>> Region(None, "door", ((0, 0.5), (1, 0.5))).place("a.mp4", (480, 640))
            ((0.0, 240.0), (640.0, 240.0))
        """
        height, width = image_size
        if self.size is not None:
            across, down = width / self.size[0], height / self.size[1]
            return tuple((x * across, y * down) for x, y in self.points)
        for x, y in self.points:
            if not (0 <= x <= width and 0 <= y <= height):
                raise ConfigError(
                    f"{self.name}: expected points inside {source}, {width}x{height} pixels; got "
                    f"{x:g}, {y:g}; give the size that the points are of, or shares of the picture"
                )
        return self.points


def build_region_counter(config: ZonesConfig, lost_seconds: float = 0.0) -> "RegionCounter":
    """Return the counter for the zones and lines of a file.

    Args:
        config: content of the file.
        lost_seconds: how long a tracker looks for a lost head.
    """
    return RegionCounter(list(_regions_of(config)), max(FORGET_SECONDS, 2 * lost_seconds))


class RegionCounter:
    """Counts heads at lines and in zones; a head is where the centre of its box is.

    Each source is counted separately. Memory does not grow with time or the number of heads.
    Pictures only have counts of the moment.

    Args:
        regions: of all sources.
        forget_seconds: a head not seen for this long is forgotten.
    """

    def __init__(self, regions: Sequence[Region], forget_seconds: float = FORGET_SECONDS) -> None:
        self._regions = regions
        self._forget_seconds = forget_seconds
        self._sources: OrderedDict[str, _SourceCounter] = OrderedDict()
        self._past: dict[str, Total] = {}
        self._pictures: dict[str, list[int]] = {}
        self._unused = {region.pattern for region in regions} - {None}

    def count(self, record: Record) -> Record:
        """Return the record with the counts of its zones and lines, and its events.

        Raises:
            ConfigError: points outside the picture, or two regions of one name in its source.
                Nothing is counted then; later records may be.
        """
        if record.seconds is None:
            regions = self._start(record).look(record.detections)
            self._add_picture(regions)
            return replace(record, regions=regions)
        counter = self._sources.get(record.file) or self._start(record)
        self._sources[record.file] = counter
        self._sources.move_to_end(record.file)
        if len(self._sources) > MAX_SOURCES:
            _, oldest = self._sources.popitem(last=False)
            _add(self._past, oldest.totals())
        moment = Moment(record.index, record.seconds)
        events = tuple(counter.follow(moment, record.detections, record.sightings))
        return replace(record, regions=counter.look(record.detections), events=events)

    def regions_in(self, source: str, image_size: tuple[int, int]) -> tuple[RegionCount, ...]:
        """Return the zones and lines of a source in its pixels, without counts.

        Raises:
            ConfigError: as ``count``.
        """
        found = Detections.empty(image_size)
        counted = _SourceCounter(source, image_size, self._choose(source)).look(found)
        return tuple(replace(region, now=None) for region in counted)

    def summary(self) -> list[str]:
        """Return a readable summary: one line per region of each source, and sums."""
        lines: list[str] = []
        sums: dict[str, Total] = {}
        _add(sums, self._past)
        is_alone = len(self._sources) == 1 and not self._past
        for number, (name, counter) in enumerate(self._sources.items()):
            totals = counter.totals()
            _add(sums, totals)
            if number < SHOWN_SOURCES:
                start = "" if is_alone else f"{name}: "
                lines += [f"{start}{region}: {total.text}" for region, total in totals.items()]
        if not is_alone:
            lines += [f"all sources: {region}: {total.text}" for region, total in sums.items()]
        for name, (num_heads, num_pictures, most) in self._pictures.items():
            lines.append(f"pictures: {name}: {num_heads} in {num_pictures}, at most {most} in one")
        lines += [f"no source is called {name}: nothing counted" for name in self.unused]
        return lines

    @property
    def unused(self) -> list[str]:
        """The patterns that no source has matched so far."""
        return sorted(pattern for pattern in self._unused if pattern is not None)

    def _add_picture(self, regions: Sequence[RegionCount]) -> None:
        """Add up heads, pictures and the most heads in one, for each zone."""
        for name, now in [(zone.name, zone.now) for zone in regions if zone.now is not None]:
            num_heads, num_pictures, most = self._pictures.get(name, (0, 0, 0))
            self._pictures[name] = [num_heads + now, num_pictures + 1, max(most, now)]

    def _start(self, record: Record) -> "_SourceCounter":
        size = record.detections.image_size
        return _SourceCounter(record.file, size, self._choose(record.file), self._forget_seconds)

    def _choose(self, source: str) -> list[Region]:
        """Return the regions of a source."""
        chosen = [r for r in self._regions if r.pattern is None or matches(r.pattern, source)]
        self._unused -= {region.pattern for region in chosen}
        names = Counter(region.name for region in chosen)
        if twice := [name for name, number in names.items() if number > 1]:
            raise ConfigError(
                f"{twice[0]}: expected each name once for {source}; several patterns have this one"
            )
        return chosen


@dataclass
class Total:
    """The counts of a line or a zone, for a summary.

    Attributes:
        is_line: whether it is a line, not a zone.
        num_in: crossings, or heads that came.
        num_out: crossings the other way, or heads that left.
        now: heads in the zone.
        num_appeared: heads first seen on the *in* side of the line.
        seconds: the sum of all stays.
        longest: the longest of them.
    """

    is_line: bool
    num_in: int = 0
    num_out: int = 0
    now: int = 0
    num_appeared: int = 0
    seconds: float = 0.0
    longest: float = 0.0

    @property
    def text(self) -> str:
        """The counts in one line.

        Example:
            >>> Total(True, 5, 2, num_appeared=1).text
            '5 in, 2 out; 1 first seen on the in side'
            >>> Total(False, 2, 1, 3, seconds=5.0, longest=4.0).text
            '3 now, 2 in, 1 out; stayed 2.5 s on average, 4.0 s at most'
        """
        counts = f"{self.num_in} in, {self.num_out} out"
        if self.is_line:
            appeared = (
                f"; {self.num_appeared} first seen on the in side" if self.num_appeared else ""
            )
            return f"{counts}{appeared}"
        mean = self.seconds / max(1, self.num_in)
        stayed = f"; stayed {mean:.1f} s on average, {self.longest:.1f} s at most"
        return f"{self.now} now, {counts}{stayed if self.num_in else ''}"

    def add(self, other: "Total") -> None:
        """Add the counts of another total."""
        self.num_in += other.num_in
        self.num_out += other.num_out
        self.now += other.now
        self.num_appeared += other.num_appeared
        self.seconds += other.seconds
        self.longest = max(self.longest, other.longest)


@dataclass
class _SourceCounter:
    """The zones and lines of one source, and the heads seen there lately.

    Attributes:
        source: its name.
        image_size: (height, width) of its frames.
        regions: as given.
        forget_seconds: a head not seen for this long is forgotten.
    """

    source: str
    image_size: tuple[int, int]
    regions: list[Region]
    forget_seconds: float = FORGET_SECONDS
    _seen: OrderedDict[int, float] = field(default_factory=OrderedDict)
    _is_placed: bool = True

    def __post_init__(self) -> None:
        self._counters: list[LineCounter | ZoneCounter] = [
            _counter_of(region, region.place(self.source, self.image_size))
            for region in self.regions
        ]

    def look(self, found: Detections) -> tuple[RegionCount, ...]:
        """Take the positions of all heads in a frame, and return the counts so far."""
        positions, is_followed = centres(found), found.ids is not None
        for counter in self._counters:
            if isinstance(counter, ZoneCounter):
                counter.look(positions)
        counts = (counter.count for counter in self._counters)
        return tuple(replace(count, is_followed=is_followed) for count in counts)

    def follow(
        self, moment: Moment, found: Detections, sightings: Iterable[Sighting]
    ) -> Iterator[Event]:
        """Take a frame and the earlier positions of its new heads, and yield the events.

        Raises:
            ConfigError: points outside it; counts stay, for frames that they fit.
        """
        if found.image_size != self.image_size or not self._is_placed:
            self._is_placed = False  # a head that keeps its id was in other pixels meanwhile
            places = [region.place(self.source, found.image_size) for region in self.regions]
            self._is_placed, self.image_size = True, found.image_size
            sightings = ()
            yield from self._forget(lambda _: True)
            for counter, points in zip(self._counters, places, strict=True):
                counter.place(points)
        heads: list[int] = []
        positions = centres(found)
        if found.ids is not None:
            is_followed = found.ids != NOT_TRACKED
            heads, positions = found.ids[is_followed].tolist(), positions[is_followed]
        for head in heads:
            self._seen[head] = moment.seconds
            self._seen.move_to_end(head)
        # Time may go back too, if a camera restarts.
        yield from self._forget(lambda seen: abs(moment.seconds - seen) > self.forget_seconds)
        for sighting in sightings:
            before = Moment(sighting.frame, sighting.seconds)
            for counter in self._counters:
                yield from counter.follow(before, [sighting.head], np.array([sighting.position]))
        if heads:
            for counter in self._counters:
                yield from counter.follow(moment, heads, positions)

    def totals(self) -> dict[str, Total]:
        """Return the counts by name."""
        totals = {}
        for counter in self._counters:
            count = counter.count
            total = Total(count.is_line, count.num_in, count.num_out, count.now or 0)
            if isinstance(counter, LineCounter):
                total.num_appeared = counter.num_appeared
            else:
                total.seconds, total.longest = counter.dwell
            totals[count.name] = total
        return totals

    def _forget(self, is_old: Callable[[float], bool]) -> Iterator[Event]:
        """Forget the heads that were seen longest ago."""
        while self._seen and is_old(next(islice(self._seen.values(), 1))):
            head, _ = self._seen.popitem(last=False)
            for counter in self._counters:
                yield from counter.forget(head)


def centres(found: Detections) -> Points:
    """Return the positions of heads: ``(N, 2)`` centres of their boxes in original pixels.

    Example:
        >>> centres(Detections.from_arrays([[10, 20, 30, 50]], [0.9], (99, 99))).tolist()
        [[20.0, 35.0]]
    """
    boxes = found.boxes.astype(np.float64)
    middles: Points = (boxes[:, :2] + boxes[:, 2:]) / 2
    return middles


def _counter_of(region: Region, points: tuple[Point, ...]) -> LineCounter | ZoneCounter:
    if RegionCount(region.name, points).is_line:
        return LineCounter(region.name, points, region.confirmation)
    return ZoneCounter(region.name, points, region.confirmation, region.min_seconds)


def _regions_of(config: ZonesConfig) -> Iterator[Region]:
    for pattern, part in [(None, config), *config.sources.items()]:
        for name, region in part.regions.items():
            stay = region.min_seconds if isinstance(region, ZoneConfig) else 0.0
            sure = Confirmation(region.min_frames, region.confirm_seconds)
            yield Region(pattern, name, region.points, config.size_of(part), sure, stay)


def _add(sums: dict[str, Total], totals: dict[str, Total]) -> None:
    for name, total in totals.items():
        sums.setdefault(name, Total(total.is_line)).add(total)
