"""MOTA, IDF1, HOTA and IDEucl, by hand and as TrackEval and ``trackers`` have them."""

import math

import numpy as np
import pytest
from trackers.eval import (
    compute_clear_metrics,
    compute_hota_metrics,
    compute_identity_metrics,
)

from head_detection.boxes import pairwise_iou
from head_detection.errors import EvaluationError
from head_detection.evaluation.tracking import TrackCounts, track_counts, track_metrics
from head_detection.structures import Detections, GroundTruth

SIZE = (400, 600)
Heads = dict[int, tuple[float, float]]
"""Left and top by id; boxes of 20 pixels."""


def boxes_of(heads: Heads) -> np.ndarray:
    return np.array([[x, y, x + 20, y + 20] for x, y in heads.values()], np.float32).reshape(-1, 4)


def truth_of(heads: Heads, distractors: Heads | None = None) -> GroundTruth:
    everything = {**heads, **(distractors or {})}
    ignored = np.arange(len(everything)) >= len(heads)
    ids = np.array(list(everything), np.int64)
    return GroundTruth(boxes_of(everything), ignored, ignored.copy(), ids)


def found_of(heads: Heads) -> Detections:
    return Detections.from_arrays(boxes_of(heads), [0.9] * len(heads), SIZE, list(heads))


def metrics_of(found: list[Heads], truth: list[Heads]) -> dict[str, float]:
    return track_metrics([track_counts([*map(found_of, found)], [*map(truth_of, truth)])])


def test_one_switch_by_hand() -> None:
    # One head that walks 10 px a frame, five frames: id 7 for three, then 8. Nothing else.
    walk = [(10.0 * k, 0.0) for k in range(5)]
    metrics = metrics_of(
        [{7 if k < 3 else 8: at} for k, at in enumerate(walk)], [{1: at} for at in walk]
    )
    assert metrics["mota"] == pytest.approx(1 - 1 / 5)
    assert metrics["id_switches"] == 1
    assert metrics["idf1"] == pytest.approx(3 / 5)
    assert (metrics["idp"], metrics["idr"]) == (pytest.approx(3 / 5), pytest.approx(3 / 5))
    # Each pair's score: matches over all boxes of both. 3 of (5 + 3 - 3), 2 of (5 + 2 - 2).
    assert metrics["assa"] == pytest.approx((3 * 3 / 5 + 2 * 2 / 5) / 5)
    assert metrics["deta"] == 1
    assert metrics["hota"] == pytest.approx(math.sqrt(0.52))
    # Of 40 px of way, id 7 keeps two steps; id 8 one, but one trajectory takes one track.
    assert metrics["ideucl"] == pytest.approx(20 / 40)


def test_a_gap_is_bridged_by_its_straight_line() -> None:
    walk = [(0.0, 0.0), (30.0, 0.0), (30.0, 40.0), (60.0, 40.0)]
    metrics = metrics_of([{5: walk[0]}, {}, {5: walk[2]}, {5: walk[3]}], [{1: at} for at in walk])
    assert metrics["ideucl"] == pytest.approx((50 + 30) / (30 + 40 + 30))
    assert metrics["mota"] == pytest.approx(3 / 4)


def test_who_does_not_move_has_no_way() -> None:
    still = [{1: (5.0, 5.0)}] * 3
    assert math.isnan(metrics_of(still, still)["ideucl"])
    assert metrics_of(still, still)["hota"] == pytest.approx(1)


def test_a_match_that_goes_on_comes_before_a_closer_one() -> None:
    # Id 4 came first and still overlaps by 3/5 in frame 2, where 5 sits right: no switch.
    metrics = metrics_of([{4: (0, 0)}, {4: (5, 0), 5: (0, 0)}], [{1: (0, 0)}, {1: (0, 0)}])
    assert metrics["id_switches"] == 0
    assert metrics["mota"] == pytest.approx(1 - 1 / 2)


def test_distractors_and_heads_without_a_track_count_nowhere() -> None:
    truth = truth_of({1: (0, 0)}, {9: (200, 0)})
    found = found_of({4: (0, 0), 6: (203, 0), -1: (100, 100)})
    assert track_metrics([track_counts([found], [truth])])["mota"] == 1
    region = GroundTruth(truth.boxes, np.array([False, True]), np.array([False, False]), truth.ids)
    assert track_metrics([track_counts([found], [region])])["mota"] == 1


def test_nothing_there_and_nothing_found() -> None:
    nothing = metrics_of([{}], [{}])
    assert all(math.isnan(value) for key, value in nothing.items() if key != "id_switches")
    missed = metrics_of([{}, {}], [{1: (0, 0)}, {1: (9, 0)}])
    assert missed["mota"] == missed["idf1"] == missed["hota"] == missed["ideucl"] == 0
    false = metrics_of([{3: (0, 0)}], [{}])
    assert math.isnan(false["mota"])
    assert false["idf1"] == false["hota"] == 0
    untracked = Detections.from_arrays(boxes_of({1: (0, 0)}), [0.9], SIZE)
    assert track_metrics([track_counts([untracked], [truth_of({1: (0, 0)})])])["mota"] == 0
    assert math.isnan(track_metrics([])["mota"])


def test_labels_need_ids_and_frames_each_id_once() -> None:
    plain = GroundTruth(boxes_of({1: (0, 0)}), np.zeros(1, np.bool_))
    with pytest.raises(EvaluationError, match="labels that say who each head is"):
        track_counts([found_of({})], [plain])
    twice = Detections.from_arrays(boxes_of({1: (0, 0), 2: (50, 0)}), [0.9, 0.8], SIZE, [7, 7])
    with pytest.raises(EvaluationError, match="several detections have 7"):
        track_counts([twice], [truth_of({})])


def made_sequence(phase: int) -> tuple[list[Detections], list[GroundTruth]]:
    """Return 20 frames of 9 heads that walk and meet, with misses, switches and false tracks."""
    found, truth = [], []
    for frame in range(20):
        heads, tracks = {}, {}
        for head in range(9):
            # Whole pixels: exact in any precision.
            x = (30 + 60 * head + (frame * (6 + head) if head % 2 else -frame * 7)) % 580
            y = 40 + 30 * (head % 3) + (frame * 3 if head % 3 == 0 else 0)
            if not (head == 4 and frame > 12):
                heads[head + 1] = (float(x), float(y))
            shift = (head * 7 + frame * (3 + phase)) % 9 - 4
            is_missed = (head * 5 + frame * 7 + phase) % 8 == 0
            name = 10 + head
            if frame >= 9 and head in (1, 2):
                name = 10 + (3 - head)  # they change places
            if frame >= 14 and head == 5 + phase:
                name = 30 + head
            if not is_missed:
                tracks[name] = (float(x + shift), float(y + shift // 2))
        if frame % 3 == 0:
            tracks[50 + frame // 6] = (float(5 * frame), 300.0)
        found.append(found_of(tracks))
        truth.append(truth_of(heads))
    return found, truth


# trackeval 1.3.0 from PyPI: metrics CLEAR, Identity, HOTA and IDEucl of these sequences.
TRACKEVAL = (
    {
        "mota": 0.76878613, "id_switches": 5.0, "idf1": 0.76557864, "idp": 0.78658537,
        "idr": 0.74566474, "hota": 0.52277813, "deta": 0.56753021, "assa": 0.48387304,
        "ideucl": 0.91035915,
    },
    {
        "mota": 0.76878613, "id_switches": 5.0, "idf1": 0.77151335, "idp": 0.79268293,
        "idr": 0.75144509, "hota": 0.52297288, "deta": 0.57059161, "assa": 0.47954749,
        "ideucl": 0.92556234,
    },
)  # fmt: skip
TRACKEVAL_BOTH = {
    "mota": 0.76878613, "id_switches": 10.0, "idf1": 0.76854599, "idp": 0.78963415,
    "idr": 0.74855491, "hota": 0.52294077, "deta": 0.56905253, "assa": 0.48151836,
}  # fmt: skip


@pytest.mark.parametrize("phase", [0, 1])
def test_as_trackeval_has_it(phase: int) -> None:
    metrics = track_metrics([track_counts(*made_sequence(phase))])
    assert {key: metrics[key] for key in TRACKEVAL[phase]} == pytest.approx(
        TRACKEVAL[phase], abs=1e-6
    )


def test_two_sequences_as_trackeval_pools_them() -> None:
    counts: list[TrackCounts] = [track_counts(*made_sequence(phase)) for phase in (0, 1)]
    metrics = track_metrics(counts)
    assert {key: metrics[key] for key in TRACKEVAL_BOTH} == pytest.approx(TRACKEVAL_BOTH, abs=1e-6)


def test_as_trackers_has_it() -> None:
    found, truth = made_sequence(0)
    ids = [one.ids for one in truth], [one.ids for one in found]
    overlaps = [pairwise_iou(t.boxes, f.boxes) for t, f in zip(truth, found, strict=True)]
    clear = compute_clear_metrics(*ids, overlaps)
    hota = compute_hota_metrics(*ids, overlaps)
    identity = compute_identity_metrics(*ids, overlaps)
    metrics = track_metrics([track_counts(found, truth)])
    assert metrics["mota"] == pytest.approx(clear["MOTA"])
    assert metrics["id_switches"] == clear["IDSW"]
    for name, values in (("IDF1", identity), ("IDP", identity), ("IDR", identity)):
        assert metrics[name.lower()] == pytest.approx(values[name])
    for name in ("HOTA", "DetA", "AssA"):
        assert metrics[name.lower()] == pytest.approx(hota[name])
