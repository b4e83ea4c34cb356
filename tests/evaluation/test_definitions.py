"""MR^-2, CrowdHuman's AP, JI, MODA and MODP against slow code written from their definitions.

Plain Python, one box at a time, every choice tried: nothing of the package but its structures.
"""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from head_detection.evaluation.crowdhuman import (
    jaccard_counts,
    jaccard_index,
    log_average_miss_rate,
    match_as_crowdhuman,
    miss_rate_curve,
    trapezoid_average_precision,
)
from head_detection.evaluation.matching import Overlap
from head_detection.evaluation.motchallenge import (
    frame_as_headhunter,
    frame_as_motchallenge,
    mean_accuracy,
    pooled_accuracy,
)

seeds = st.integers(0, 10**6)
slow = settings(max_examples=60, deadline=None)
REFERENCES = (0.0100, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0)


def overlaps(detections, truths):
    return [Overlap(found, truth) for found, truth in zip(detections, truths, strict=True)]


def clip(box, size):
    x1, y1, x2, y2 = (float(value) for value in box)
    height, width = size
    corners = ((x1, width), (y1, height), (x2, width), (y2, height))
    return tuple(min(max(value, 0), limit) for value, limit in corners)


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def intersection(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def iou(a, b):
    together = area(a) + area(b) - intersection(a, b)
    return intersection(a, b) / together if together else 0.0


def is_inside(box, regions):
    return any(area(box) and intersection(box, region) / area(box) > 0.5 for region in regions)


def best_matching(found, heads, may_match, key, taken=()):
    """Return the pairs with the highest key, by trying each choice for each detection."""
    if len(taken) == len(found):
        return []
    number = len(taken)
    best = best_matching(found, heads, may_match, key, (*taken, None))
    for place, head in enumerate(heads):
        if place not in taken and may_match(iou(found[number], head)):
            rest = best_matching(found, heads, may_match, key, (*taken, place))
            best = max(best, [(number, place, iou(found[number], head)), *rest], key=key)
    return best


def weight(pairs):
    return sum(pair[2] for pair in pairs)


def size_then_weight(pairs):
    return len(pairs), weight(pairs)


def greedy(found, heads, may_match):
    pairs, free = [], set(range(len(heads)))
    for number, box in enumerate(found):
        wanted = [place for place in free if may_match(iou(box, heads[place]))]
        if wanted:
            best = max(wanted, key=lambda place: iou(box, heads[place]))
            free.remove(best)
            pairs.append((number, best, iou(box, heads[best])))
    return pairs


def crowdhuman_hits(found, truth):
    """Return (score, whether a hit) of each detection that is not discarded."""
    boxes = [clip(box, found.image_size) for box in found.boxes]
    heads = [clip(box, found.image_size) for box in truth.head_boxes]
    regions = [clip(box, found.image_size) for box in truth.ignore_boxes]
    hits = {pair[0] for pair in greedy(boxes, heads, lambda value: value > 0.5)}
    return [
        (score, number in hits)
        for number, (box, score) in enumerate(zip(boxes, found.scores.tolist(), strict=True))
        if number in hits or not is_inside(box, regions)
    ]


def crowdhuman_values(detections, truths):
    """Return AP and MR^-2."""
    ranked = []
    for found, truth in zip(detections, truths, strict=True):
        ranked += crowdhuman_hits(found, truth)
    ranked.sort(key=lambda entry: -entry[0])
    num_heads = sum(len(truth.head_boxes) for truth in truths)
    points, hits = [], 0
    for number, (_, is_hit) in enumerate(ranked, 1):
        hits += is_hit
        points.append((hits / num_heads, hits / number, (number - hits) / len(truths)))
    ap = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    logs = []
    for reference in REFERENCES:
        reached = [point for point in points if point[2] >= reference]
        recall = reached[0][0] if reached else points[-1][0] if points else 0.0
        logs.append(math.log(max(1 - recall, 1e-10)))
    return ap, math.exp(sum(logs) / len(logs))


@slow
@given(seeds)
def test_crowdhuman_average_precision_and_miss_rate(scene, seed):
    detections, truths = scene(seed, num_pictures=5)
    curve = miss_rate_curve(list(map(match_as_crowdhuman, overlaps(detections, truths))))
    if not any(len(truth.head_boxes) for truth in truths):
        assert curve is None
        return
    ap, miss_rate = crowdhuman_values(detections, truths)
    assert trapezoid_average_precision(curve) == pytest.approx(ap, abs=1e-12)
    assert log_average_miss_rate(curve) == pytest.approx(miss_rate, rel=1e-6)


def picture_jaccard(found, truth, threshold):
    """Return k / (m + n - k); None where nothing is there."""
    size = found.image_size
    scored = zip(found.boxes, found.scores.tolist(), strict=True)
    boxes = [clip(box, size) for box, score in scored if score > threshold]
    heads = [clip(box, size) for box in truth.head_boxes]
    regions = [clip(box, size) for box in truth.ignore_boxes]
    pairs = best_matching(boxes, heads, lambda value: value > 0.5, weight)
    k = len(pairs)
    left = set(range(len(boxes))) - {pair[0] for pair in pairs}
    heads_left = set(range(len(heads))) - {pair[1] for pair in pairs}
    n = k + sum(not is_inside(boxes[number], regions) for number in left)
    m = k + sum(not is_inside(heads[number], regions) for number in heads_left)
    return k / (m + n - k) if m + n else None


@slow
@given(seeds)
def test_jaccard_index(scene, seed):
    detections, truths = scene(seed, num_pictures=3, max_boxes=5)
    index, _ = jaccard_index([jaccard_counts(overlap) for overlap in overlaps(detections, truths)])
    means = []
    for step in range(10):
        pictures = zip(detections, truths, strict=True)
        values = [picture_jaccard(found, truth, step / 10) for found, truth in pictures]
        values = [value for value in values if value is not None]
        means.append(sum(values) / len(values) if values else 0.0)
    if math.isnan(index):
        assert max(means) == 0.0
    else:
        assert index == pytest.approx(max(means), abs=1e-12)


def motchallenge_frame(found, truth):
    """Return heads, missed, false, and the IoUs of the matched."""
    boxes = [tuple(map(float, box)) for box in found.boxes]
    heads = [tuple(map(float, box)) for box in truth.head_boxes]
    others = [tuple(map(float, box)) for box in truth.boxes[truth.distractor]]
    regions = [tuple(map(float, box)) for box in truth.boxes[truth.ignore & ~truth.distractor]]
    if others:
        pairs = best_matching(boxes, heads + others, lambda value: value >= 0.4, weight)
        removed = {pair[0] for pair in pairs if pair[1] >= len(heads)}
        boxes = [box for number, box in enumerate(boxes) if number not in removed]
    pairs = best_matching(boxes, heads, lambda value: value >= 0.5, size_then_weight)
    left = set(range(len(boxes))) - {pair[0] for pair in pairs}
    false = sum(not is_inside(boxes[number], regions) for number in left)
    return len(heads), len(heads) - len(pairs), false, [pair[2] for pair in pairs]


def approx_or_nan(value):
    return pytest.approx(value, abs=1e-12, nan_ok=True)


@slow
@given(seeds)
def test_moda_and_modp(scene, seed):
    detections, truths = scene(seed, num_pictures=3, max_boxes=5)
    frames = list(map(motchallenge_frame, detections, truths))
    num_heads = sum(frame[0] for frame in frames)
    ious = [value for frame in frames for value in frame[3]]
    mistakes = sum(frame[1] + frame[2] for frame in frames)
    moda = 1 - mistakes / num_heads if num_heads else math.nan
    modp = sum(ious) / len(ious) if ious else math.nan
    ours = pooled_accuracy(list(map(frame_as_motchallenge, overlaps(detections, truths))))
    assert ours == (approx_or_nan(moda), approx_or_nan(modp))


@slow
@given(seeds)
def test_headhunters_moda_and_modp(scene, seed):
    detections, truths = scene(seed, num_pictures=4)
    modas, modps = [], []
    for found, truth in zip(detections, truths, strict=True):
        boxes, heads, regions = found.boxes, truth.head_boxes, truth.ignore_boxes
        boxes, heads, regions = ([tuple(map(float, b)) for b in s] for s in (boxes, heads, regions))
        pairs = greedy(boxes, heads, lambda value: value >= 0.2)
        left = set(range(len(boxes))) - {pair[0] for pair in pairs}
        false = sum(not is_inside(boxes[number], regions) for number in left)
        if heads:
            modas.append(1 - (len(heads) - len(pairs) + false) / len(heads))
        if pairs:
            modps.append(weight(pairs) / len(pairs))
    ours = mean_accuracy(list(map(frame_as_headhunter, overlaps(detections, truths))))
    means = [sum(values) / len(values) if values else math.nan for values in (modas, modps)]
    assert ours == tuple(map(approx_or_nan, means))
