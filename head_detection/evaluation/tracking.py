"""Tracking measures: MOTA, IDF1, HOTA and IDEucl.

A trajectory is one true id, a track one predicted id. Detections without a track do not count,
because they are not results of the tracker. Those that match a distractor are removed first, as in
``mot``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

import numpy as np

from head_detection.boxes import overlapping_pairs
from head_detection.errors import EvaluationError
from head_detection.evaluation.matching import (
    IGNORED_SHARE,
    Float64Array,
    IntArray,
    Overlap,
    Pairs,
    heaviest_pairs,
)
from head_detection.evaluation.motchallenge import DISTRACTOR_IOU, on_distractors
from head_detection.structures import NOT_TRACKED, BoolArray, Detections, FloatArray, GroundTruth

IOU_THRESHOLD: Final = 0.5
IDEUCL_IOU: Final = 0.4
HOTA_THRESHOLDS: Final = np.arange(0.05, 0.99, 0.05)
_EPS: Final = float(np.finfo(float).eps)
_KEPT_BONUS: Final = 1000.0
"""As in TrackEval: a match that continues outweighs any IoU."""


@dataclass(frozen=True)
class TrackCounts:
    """The counts of a sequence; those of several sequences are added up.

    Attributes:
        num_heads: number of true boxes.
        num_predicted: number of boxes of tracks.
        num_found: matched pairs with an IoU of 0.5, frame by frame, preferring continued ones.
        num_switches: times that a trajectory's track differs from its previous one.
        num_identified: boxes under the right id, by one assignment over the whole sequence.
        num_matched: ``(19,)`` pairs at each threshold of HOTA.
        association: ``(19,)`` sum of these pairs' association scores.
        path_kept: path length in pixels that keeps one id.
        path: path length in pixels of all trajectories.
    """

    num_heads: int
    num_predicted: int
    num_found: int
    num_switches: int
    num_identified: int
    num_matched: Annotated[IntArray, "a"]
    association: Annotated[Float64Array, "a"]
    path_kept: float
    path: float


def track_counts(detections: Sequence[Detections], truths: Sequence[GroundTruth]) -> TrackCounts:
    """Count over one sequence.

    Args:
        detections: one per frame, in order, with ids; those of id -1 are left out, and the others
            count whatever their score.
        truths: ground truth of the same frames, with ids.

    Raises:
        EvaluationError: ground truth without ids, or the same id twice in a frame.
        ValueError: the two differ in length.
    """
    links = _Links.of([_frame(*pair) for pair in zip(detections, truths, strict=True)])
    num_found, num_switches = _clear(links)
    num_matched, association = _hota(links)
    path_kept, path = _ways(links)
    return TrackCounts(
        links.num_heads,
        links.num_predicted,
        num_found,
        num_switches,
        _identified(links),
        num_matched,
        association,
        path_kept,
        path,
    )


def track_metrics(counts: Sequence[TrackCounts]) -> dict[str, float]:
    """Return the measures of all sequences together; NaN if there is nothing to measure.

    Returns:
        ``mota``, at most 1 and below 0 if mistakes outnumber heads; ``idf1`` with ``idp`` and
        ``idr``; ``hota`` with ``deta`` and ``assa``, means over IoU .05 to .95; ``ideucl``; and
        ``id_switches``.

    Source:
        Bernardin and Stiefelhagen, CLEAR MOT, 2008; Ristani et al., arXiv 1609.01775; Luiten et
        al., HOTA, arXiv 2009.07736; Sundararaman et al., CVPR 2021, section 4, for IDEucl. The
        first three pool sequences like TrackEval, which averages IDEucl over sequences; here, path
        lengths are added up instead.

    Example:
        >>> heads = np.array([[0, 0, 9, 9], [20, 0, 29, 9]], np.float32)
        >>> ids, nothing = np.array([1, 2]), np.zeros(2, bool)
        >>> truth = GroundTruth(heads, nothing, ids=ids)
        >>> found = [Detections.from_arrays(heads, [1, 1], (50, 50), k) for k in ([7, 8], [7, 9])]
        >>> metrics = track_metrics([track_counts(found, [truth, truth])])
        >>> metrics["mota"], metrics["idf1"], metrics["id_switches"]  # one switch, of 4 heads
        (0.75, 0.75, 1.0)
    """
    heads = sum(one.num_heads for one in counts)
    predicted = sum(one.num_predicted for one in counts)
    found = sum(one.num_found for one in counts)
    switches = sum(one.num_switches for one in counts)
    identified = sum(one.num_identified for one in counts)
    mistakes = (heads - found) + (predicted - found) + switches
    nothing = np.zeros(len(HOTA_THRESHOLDS))
    matched = sum((one.num_matched for one in counts), start=nothing)
    associated = sum((one.association for one in counts), start=nothing) / np.maximum(1, matched)
    detected = matched / np.maximum(1, heads + predicted - matched)
    is_something = heads + predicted > 0
    return {
        "mota": 1 - mistakes / heads if heads else float("nan"),
        "idf1": _share(2 * identified, heads + predicted),
        "idp": _share(identified, predicted),
        "idr": _share(identified, heads),
        "hota": float(np.sqrt(detected * associated).mean()) if is_something else float("nan"),
        "deta": float(detected.mean()) if is_something else float("nan"),
        "assa": float(associated.mean()) if is_something else float("nan"),
        "ideucl": _share(sum(one.path_kept for one in counts), sum(one.path for one in counts)),
        "id_switches": float(switches),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


@dataclass(frozen=True)
class _Frame:
    """Boxes and ids of the heads and tracks that count in one frame."""

    heads: FloatArray
    trajectories: IntArray
    boxes: FloatArray
    tracks: IntArray


def _frame(found: Detections, truth: GroundTruth) -> _Frame:
    if truth.ids is None:
        raise EvaluationError("expected labels that say who each head is, by an id; got none")
    if found.ids is None:
        found = found.where(np.zeros(len(found), np.bool_))
        tracks = np.zeros(0, np.int64)
    else:
        found = found.where(found.ids != NOT_TRACKED)
        found = found.where(~_ignored(Overlap(found, truth, DISTRACTOR_IOU)))
        tracks = np.zeros(0, np.int64) if found.ids is None else found.ids
    trajectories = truth.ids[~truth.ignore]
    for what, ids in (("heads", trajectories), ("detections", tracks)):
        if len(np.unique(ids)) < len(ids):
            again = int(ids[np.argmax(np.bincount(np.unique(ids, return_inverse=True)[1]) > 1)])
            raise EvaluationError(f"expected each id once in a frame; several {what} have {again}")
    return _Frame(truth.head_boxes, trajectories, found.boxes, tracks)


def _ignored(overlap: Overlap) -> BoolArray:
    """Return ``(N,)``: detections on a distractor, or on no head and in an ignore region."""
    on_head = np.zeros(len(overlap.detections), np.bool_)
    on_head[overlap.pairs.detection[overlap.pairs.iou >= IOU_THRESHOLD]] = True
    return on_distractors(overlap) | (~on_head & (overlap.region_share > IGNORED_SHARE))


@dataclass(frozen=True)
class _Links:
    """A sequence: its heads, and the overlapping pairs of a head and a tracked box.

    Attributes:
        head_trajectory: ``(H,)`` trajectory of each head, from 0, frame by frame.
        head_center: ``(H, 2)``.
        frame_heads: ``(F,)`` number of heads in each frame.
        frame_boxes: ``(F,)`` number of tracked boxes in each frame.
        boxes_of_track: ``(T,)`` number of boxes of each track.
        frame: ``(K,)`` frame of each pair, rising.
        head: ``(K,)`` index of the head among all heads.
        track: ``(K,)`` from 0.
        iou: ``(K,)`` above 0.
    """

    head_trajectory: IntArray
    head_center: Float64Array
    frame_heads: IntArray
    frame_boxes: IntArray
    boxes_of_track: IntArray
    frame: IntArray
    head: IntArray
    track: IntArray
    iou: Float64Array

    @classmethod
    def of(cls, frames: Sequence[_Frame]) -> "_Links":
        no_ids = np.zeros(0, np.int64)
        head_ids = np.concatenate([no_ids, *(frame.trajectories for frame in frames)])
        box_ids = np.concatenate([no_ids, *(frame.tracks for frame in frames)])
        trajectory = np.unique(head_ids, return_inverse=True)[1]
        track = np.unique(box_ids, return_inverse=True)[1]
        heads = np.concatenate([np.zeros((0, 4)), *(frame.heads for frame in frames)])
        columns: list[tuple[IntArray, IntArray, IntArray, Float64Array]] = []
        first_head = first_box = 0
        for number, frame in enumerate(frames):
            head, box, iou = overlapping_pairs(frame.heads, frame.boxes, 0.0)
            frame_of = np.full(len(iou), number, np.int64)
            columns.append((frame_of, head + first_head, track[box + first_box], iou))
            first_head += len(frame.heads)
            first_box += len(frame.boxes)
        columns.append((no_ids, no_ids, no_ids, np.zeros(0)))
        frame_of, head, box_track, iou = (np.concatenate(c) for c in zip(*columns, strict=True))
        return cls(
            trajectory,
            (heads[:, :2] + heads[:, 2:]) / 2,
            np.array([len(frame.heads) for frame in frames], np.int64),
            np.array([len(frame.boxes) for frame in frames], np.int64),
            np.bincount(track),
            frame_of,
            head,
            box_track,
            iou,
        )

    @property
    def num_heads(self) -> int:
        return len(self.head_trajectory)

    @property
    def num_predicted(self) -> int:
        return int(self.frame_boxes.sum())

    @property
    def trajectory(self) -> IntArray:
        """``(K,)`` trajectory of each pair."""
        return self.head_trajectory[self.head]

    def by_frame(self) -> Iterator[slice]:
        """Yield the pairs of each frame."""
        ends = np.searchsorted(self.frame, np.arange(len(self.frame_heads) + 1))
        yield from (slice(int(start), int(end)) for start, end in pairwise(ends))

    def grouped(self, keep: BoolArray) -> tuple[Pairs, IntArray]:
        """Return trajectories and tracks that meet, how often, and each pair's index there."""
        together = np.stack([self.trajectory[keep], self.track[keep]], axis=1)
        met, meeting, times = np.unique(together, axis=0, return_inverse=True, return_counts=True)
        return Pairs(met[:, 0], met[:, 1], times.astype(np.float64)), meeting.reshape(-1)


def _clear(links: _Links) -> tuple[int, int]:
    """Return the numbers of matched pairs and id switches, as TrackEval computes CLEAR."""
    num_trajectories = int(links.head_trajectory.max(initial=-1)) + 1
    last_track = np.full(num_trajectories, NOT_TRACKED)
    track_before = last_track.copy()
    num_found = num_switches = 0
    trajectory, close = links.trajectory, links.iou >= IOU_THRESHOLD - _EPS
    for number, pairs in enumerate(links.by_frame()):
        if not links.frame_heads[number] or not links.frame_boxes[number]:
            continue
        keep = close[pairs]
        heads, tracks = trajectory[pairs][keep], links.track[pairs][keep]
        goes_on = track_before[heads] == tracks
        weights = links.iou[pairs][keep] + _KEPT_BONUS * goes_on
        chosen = heaviest_pairs(Pairs(heads, tracks, weights))
        heads, tracks = heads[chosen], tracks[chosen]
        known = last_track[heads]
        num_found += len(heads)
        num_switches += int(((known != NOT_TRACKED) & (known != tracks)).sum())
        track_before[:] = NOT_TRACKED
        track_before[heads] = last_track[heads] = tracks
    return num_found, num_switches


def _identified(links: _Links) -> int:
    """Return the number of boxes under the right id, for the best assignment of tracks."""
    meetings, _ = links.grouped(links.iou >= IOU_THRESHOLD)
    return round(float(meetings.iou[heaviest_pairs(meetings)].sum()))


def _hota(links: _Links) -> tuple[IntArray, Float64Array]:
    """Return the number of matches and the sum of their association scores at each threshold."""
    everything = np.ones(len(links.iou), np.bool_)
    meetings, meeting = links.grouped(everything)
    num_of_trajectory = np.bincount(links.head_trajectory)
    sizes = num_of_trajectory[meetings.detection] + links.boxes_of_track[meetings.box]
    potential = np.bincount(meeting, _shares_of_frame(links), len(sizes))
    weights = (potential / (sizes - potential))[meeting] * links.iou
    chosen = np.zeros(len(weights), np.bool_)
    for pairs in links.by_frame():
        here = Pairs(links.head[pairs], links.track[pairs], weights[pairs])
        chosen[pairs] = heaviest_pairs(here)
    num_matched = np.zeros(len(HOTA_THRESHOLDS), np.int64)
    association = np.zeros(len(HOTA_THRESHOLDS))
    for place, threshold in enumerate(HOTA_THRESHOLDS):
        counts = np.bincount(
            meeting[chosen & (links.iou >= threshold - _EPS)], minlength=len(sizes)
        )
        num_matched[place] = counts.sum()
        association[place] = (counts * (counts / np.maximum(1, sizes - counts))).sum()
    return num_matched, association


def _shares_of_frame(links: _Links) -> Float64Array:
    """Return ``(K,)``: each pair's share of the IoU of all pairs of its head or its box."""
    num_tracks = len(links.boxes_of_track)
    box = np.unique(links.frame * num_tracks + links.track, return_inverse=True)[1]
    of_head = np.bincount(links.head, links.iou)[links.head]
    of_box = np.bincount(box, links.iou)[box]
    return np.asarray(links.iou / (of_head + of_box - links.iou))


def _ways(links: _Links) -> tuple[float, float]:
    """Return the path length in pixels that keeps one id, and that of all trajectories."""
    by_trajectory = np.argsort(links.head_trajectory, kind="stable")
    path = _lengths(links.head_center[by_trajectory], links.head_trajectory[by_trajectory]).sum()
    close = links.iou >= IDEUCL_IOU
    meetings, meeting = links.grouped(close)
    order = np.argsort(meeting, kind="stable")
    lengths = _lengths(links.head_center[links.head[close][order]], meeting[order])
    kept = np.bincount(meeting[order][1:], lengths, len(meetings.iou)) if len(lengths) else 0.0
    meetings = Pairs(meetings.detection, meetings.box, np.zeros(len(meetings.iou)) + kept)
    return float(meetings.iou[heaviest_pairs(meetings)].sum()), float(path)


def _lengths(points: Float64Array, way: IntArray) -> Float64Array:
    """Return ``(K - 1,)``: the distance of successive points; 0 where another path begins."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return np.asarray(np.where(way[1:] == way[:-1], steps, 0.0))
