"""Tracks heads from frame to frame, in several videos and cameras at once.

Source:
    The trackers are those of the ``trackers`` package: ByteTrack (Zhang et al., ECCV 2022), OC-SORT
    (Cao et al., CVPR 2023), BoT-SORT (Aharon et al., arXiv 2206.14651), C-BIoU (Yang et al., WACV
    2023). Here, each matches by C-BIoU's buffered IoU, since heads move by more than their size.
"""

import math
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol, Self

import cv2
import numpy as np
import supervision as sv

from head_detection.config import TRACKERS, TrackingConfig, override_tracking
from head_detection.errors import MissingPackageError
from head_detection.images.finding import PictureFile
from head_detection.images.reading import Picture
from head_detection.pipeline.frame_sequence import check_source, timed
from head_detection.pipeline.opening import open_source
from head_detection.pipeline.run import Detector, run_pipeline
from head_detection.pipeline.sources import ItemSource, SourceInfo
from head_detection.results.record import Record
from head_detection.structures import NOT_TRACKED, Detections, Frame, IntArray, Sighting

FRAME_RATE: Final = 20.0
"""The rate that the trackers' noise refers to, between 5 and 30; a video's own follows from its
times."""
LONGEST_BUFFERED: Final = 0.5
"""Seconds between frames beyond which boxes are enlarged no further."""
SECOND_BUFFER: Final = 5 / 3
"""C-BIoU's second pass enlarges boxes by this factor more: its authors' .5 to .3."""
SLOW_TO_BEGIN: Final = ("bytetrack", "ocsort")
"""These give the heads of the first frame no id, but ByteTrack's authors do, and so do the other
trackers. So they are shown the first frame often enough to do so."""
MOMENT: Final = 1e-6
"""Seconds between these repetitions."""
MOST_SOURCES: Final = 256
"""Videos and cameras whose heads are remembered; the one without a frame for longest is
forgotten."""


class LowScoreDetector(Detector, Protocol):
    """A detector that finds heads down to a score.

    Attributes:
        lowest_score: the lowest that may be requested.
    """

    lowest_score: float


def track_heads(
    detector: LowScoreDetector,
    source: str | Path | int | Iterable[Frame | PictureFile | Picture | str | Path],
    name: str = TRACKERS[0],
    *,
    fps: float | None = None,
    batch_size: int | None = None,
    overrides: Sequence[str] = (),
) -> Generator[tuple[Frame, Detections]]:
    """Yield each frame of a source with its heads, as ``HeadDetector.track`` says."""
    check_source(source, fps)
    config = override_tracking(overrides)
    threshold = detector.score_threshold
    lowest_score = min(max(config.lowest_score, detector.lowest_score), threshold)
    config = config.model_copy(update={"lowest_score": lowest_score})
    tracker = HeadTracker.from_config(config, name, threshold)
    if isinstance(source, str | Path | int):
        opened = open_source(str(source))
        opened = ItemSource(opened.info, timed(opened, fps), opened.skipped, opened.is_ready)
    else:
        opened = ItemSource(SourceInfo("frames", fps), timed(source, fps))
    outcomes = run_pipeline(opened, detector, None, batch_size, keep_pixels=True, tracker=tracker)
    with closing(outcomes):
        for outcome in outcomes:
            if isinstance(outcome, Record) and outcome.frame is not None:
                at = outcome.frame, outcome.seconds, outcome.pixels, outcome.path
                yield Frame(outcome.file, *at), outcome.detections


@dataclass(frozen=True)
class TrackingSettings:
    """How heads are tracked; ``TrackingConfig`` says what each value does.

    Attributes:
        start_score: tracks begin from this score on.
        lowest_score: a tracked head is followed down to this score.
        lost_seconds: a head that is not found for longer gets a new id.
        min_detections: frames in which a head is found before it gets an id, 2 or more; those of
            the first frame get theirs at once.
        min_overlap: between the expected place of a head and a detection.
        buffer: boxes are enlarged by this share of their size on each side, for matching.
        buffer_per_second: this much more per second between frames.
        camera_motion: ``botsort`` estimates the camera's motion from the picture.
    """

    start_score: float = 0.5
    lowest_score: float = 0.1
    lost_seconds: float = 1.0
    min_detections: int = 2
    min_overlap: float = 0.1
    buffer: float = 0.2
    buffer_per_second: float = 4.0
    camera_motion: bool = True


class HeadTracker:
    """Gives ids to heads, from 1 on for each video and camera; ``Frame.name`` tells them apart.

    Args:
        name: one of ``TRACKERS``.
        settings: how heads are tracked.

    Attributes:
        lowest_score: heads down to this score are used.

    Raises:
        MissingPackageError: the ``track`` extra is not installed.
        ValueError: no such tracker.
    """

    def __init__(self, name: str = TRACKERS[0], settings: TrackingSettings | None = None) -> None:
        if name not in TRACKERS:
            raise ValueError(f"tracker: expected one of {', '.join(TRACKERS)}; got {name!r}")
        settings = TrackingSettings() if settings is None else settings
        self.lowest_score = min(settings.lowest_score, settings.start_score)
        self._is_by_picture = settings.camera_motion and name == "botsort"
        self._name, self._settings = name, settings
        self._library = _import_trackers()
        self._followers: OrderedDict[str, _Follower] = OrderedDict()

    @classmethod
    def from_config(cls, config: TrackingConfig, name: str, score_threshold: float) -> Self:
        """Build the tracker of a config, for a detector of this score threshold.

        Raises:
            MissingPackageError: as the class.
            ValueError: as the class.
        """
        settings = TrackingSettings(
            start_score=score_threshold if config.start_score is None else config.start_score,
            lowest_score=config.lowest_score,
            lost_seconds=config.lost_seconds,
            min_detections=config.min_detections,
            min_overlap=config.min_overlap,
            buffer=config.buffer,
            buffer_per_second=config.buffer_per_second,
            camera_motion=config.camera_motion,
        )
        return cls(name, settings)

    def follow(self, frame: Frame, found: Detections) -> Detections:
        """Return the same heads in the same order, with ids; -1 for one that is not tracked.

        A frame without a time, or with one that is not after that of the frame before, is assumed
        to come a twentieth of a second after it.
        """
        follower = self._followers.get(frame.name)
        if follower is None:
            follower = _Follower(self._library, self._name, self._settings)
            self._followers[frame.name] = follower
            if len(self._followers) > MOST_SOURCES:
                self._followers.popitem(last=False)
        self._followers.move_to_end(frame.name)
        pixels = frame.pixels if self._is_by_picture else None
        ids = follower.follow(found, frame.seconds, pixels)
        follower.look_back(frame, found.image_size)
        return replace(found, ids=ids)

    def sightings(self, name: str) -> tuple[Sighting, ...]:
        """Return the earlier positions of heads that got their id in a source's last frame."""
        follower = self._followers.get(name)
        return () if follower is None else follower.sightings


class _Follower:
    """The heads of one video or camera.

    Attributes:
        sightings: earlier positions of the heads that got their id in the last frame.
    """

    def __init__(self, library: ModuleType, name: str, settings: TrackingSettings) -> None:
        self._name, self._settings = name, settings
        make = {
            "bytetrack": _make_bytetrack,
            "ocsort": _make_ocsort,
            "botsort": _make_botsort,
            "cbiou": _make_cbiou,
        }[name]
        self._tracker, self._overlaps = make(library, settings)
        self.sightings: tuple[Sighting, ...] = ()
        self._unnamed: dict[Any, list[Sighting]] = {}  # by the library's tracks without an id
        self._image_size: tuple[int, int] | None = None
        self._tracker.maximum_time_without_update = settings.lost_seconds
        self._clock = 0.0
        self._last_seconds: float | None = None

    def follow(self, found: Detections, seconds: float | None, pixels: Picture | None) -> IntArray:
        """Return ``(N,)`` ids."""
        is_first, gap = self._clock == 0, self._gap_to(seconds)
        self._clock += gap
        buffer = self._settings.buffer
        buffer += self._settings.buffer_per_second * min(gap, LONGEST_BUFFERED)
        for overlap, factor in self._overlaps:
            overlap.buffer_ratio = buffer * factor
        places = np.flatnonzero(found.scores >= self._settings.lowest_score)
        heads = sv.Detections(
            xyxy=found.boxes[places],
            confidence=found.scores[places],
            class_id=places,  # comes back beside the id, to identify heads
        )
        bgr = None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        tracked = self._tracker.update(heads, bgr, self._clock)
        if is_first and self._name in SLOW_TO_BEGIN:
            for _ in range(1, self._settings.min_detections):
                self._clock += MOMENT
                tracked = self._tracker.update(heads, bgr, self._clock)
        ids = np.full(len(found), NOT_TRACKED, np.int64)
        if len(tracked):
            is_followed = tracked.tracker_id >= 0
            ids[tracked.class_id[is_followed]] = tracked.tracker_id[is_followed] + 1
        return ids

    def look_back(self, frame: Frame, image_size: tuple[int, int]) -> None:
        """Note where heads without an id are, and report it for those that have one now."""
        if image_size != self._image_size:
            self._image_size = image_size
            self._unnamed.clear()
        told: list[Sighting] = []
        unnamed = {}
        for track in self._tracker.tracks:
            before = self._unnamed.get(track, [])
            if track.tracker_id != NOT_TRACKED:
                told += [replace(sighting, head=int(track.tracker_id) + 1) for sighting in before]
                continue
            if track.time_since_update == 0 and frame.seconds is not None:
                x1, y1, x2, y2 = track.get_state_bbox().tolist()
                middle = (x1 + x2) / 2, (y1 + y2) / 2
                before = [*before, Sighting(NOT_TRACKED, frame.index, frame.seconds, middle)]
            unnamed[track] = before
        self.sightings, self._unnamed = tuple(told), unnamed

    def _gap_to(self, seconds: float | None) -> float:
        """Return the seconds since the frame before, whatever the source's clock does."""
        last, gap = self._last_seconds, 1 / FRAME_RATE
        if seconds is not None and math.isfinite(seconds):
            if last is not None and seconds > last:
                gap = seconds - last
            self._last_seconds = seconds
        return gap


Made = tuple[Any, list[tuple[Any, float]]]
"""A tracker, and the overlap measures that it uses, each with the factor of its buffer."""


def _make_bytetrack(library: ModuleType, settings: TrackingSettings) -> Made:
    overlap = library.BIoU()
    tracker = library.ByteTrackTracker(
        **_common(settings),
        minimum_consecutive_frames=settings.min_detections,
        track_activation_threshold=settings.start_score,
        minimum_iou_threshold=settings.min_overlap,
        iou=overlap,
    )
    return tracker, [(overlap, 1.0)]


def _make_ocsort(library: ModuleType, settings: TrackingSettings) -> Made:
    overlap = library.BIoU()
    tracker = library.OCSORTTracker(
        **_common(settings),
        # It counts matches; the first detection is not one.
        minimum_consecutive_frames=max(1, settings.min_detections - 1),
        minimum_iou_threshold=settings.min_overlap,
        iou=overlap,
    )
    return tracker, [(overlap, 1.0)]


def _make_botsort(library: ModuleType, settings: TrackingSettings) -> Made:
    overlap = library.BIoU()
    tracker = library.BoTSORTTracker(
        **_common(settings),
        **_by_score(settings),
        enable_cmc=settings.camera_motion,
        iou=overlap,
    )
    return tracker, [(overlap, 1.0)]


def _make_cbiou(library: ModuleType, settings: TrackingSettings) -> Made:
    tracker = library.CBIoUTracker(**_common(settings), **_by_score(settings))
    return tracker, [(tracker.iou_first, 1.0), (tracker.iou_second, SECOND_BUFFER)]


def _common(settings: TrackingSettings) -> dict[str, Any]:
    return {"frame_rate": FRAME_RATE, "high_conf_det_threshold": settings.start_score}


def _by_score(settings: TrackingSettings) -> dict[str, Any]:
    return {
        "minimum_consecutive_frames": settings.min_detections,
        "track_activation_threshold": settings.start_score,
        "minimum_iou_threshold_first_assoc": settings.min_overlap,
        "minimum_iou_threshold_second_assoc": settings.min_overlap,
        "minimum_iou_threshold_unconfirmed_assoc": settings.min_overlap,
    }


def _import_trackers() -> ModuleType:
    """Import the ``trackers`` package.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return import_module("trackers")
    except ImportError as error:
        raise MissingPackageError(
            f"expected the package trackers, to track heads; it is not installed ({error}): "
            "pip install 'head-detection[track]'"
        ) from error
