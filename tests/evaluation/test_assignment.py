from itertools import combinations

import numpy as np
import pytest

from head_detection.evaluation.assignment import heaviest_pairs, most_pairs
from head_detection.evaluation.overlap import Pairs


def pairs_of(rows):
    detection, box, iou = zip(*rows, strict=True) if rows else ((), (), ())
    return Pairs(np.array(detection, int), np.array(box, int), np.array(iou, float))


def best_by_trying_all(rows, key):
    """Return the best key of all sets in which no detection and no box stands twice."""
    best = key([])
    for size in range(1, len(rows) + 1):
        for chosen in combinations(rows, size):
            detections, boxes = {row[0] for row in chosen}, {row[1] for row in chosen}
            if len(detections) == len(boxes) == size:
                best = max(best, key(chosen))
    return best


def weight(rows):
    return sum(row[2] for row in rows)


def size_then_weight(rows):
    return len(rows), weight(rows)


@pytest.mark.parametrize("seed", range(40))
def test_against_all_sets(seed):
    generator = np.random.default_rng(seed)
    places = [(d, b) for d in range(4) for b in range(4) if generator.random() < 0.55]
    rows = [(d, b, float(generator.uniform(0.1, 1))) for d, b in places[:10]]
    heaviest = [row for row, kept in zip(rows, heaviest_pairs(pairs_of(rows)), strict=True) if kept]
    assert weight(heaviest) == pytest.approx(best_by_trying_all(rows, weight))
    most = [row for row, kept in zip(rows, most_pairs(pairs_of(rows)), strict=True) if kept]
    assert size_then_weight(most) == pytest.approx(best_by_trying_all(rows, size_then_weight))


def test_the_two_differ_where_one_good_pair_stands_in_the_way_of_two_poor_ones():
    rows = [(0, 0, 0.4), (1, 0, 0.9), (1, 1, 0.4)]
    assert heaviest_pairs(pairs_of(rows)).tolist() == [False, True, False]
    assert most_pairs(pairs_of(rows)).tolist() == [True, False, True]


def test_of_equally_heavy_sets_the_larger_one():
    rows = [(0, 0, 0.5), (1, 0, 1.0), (1, 1, 0.5)]
    assert heaviest_pairs(pairs_of(rows)).tolist() == [True, False, True]


def test_nothing_to_choose():
    assert heaviest_pairs(pairs_of([])).tolist() == []
    assert most_pairs(pairs_of([])).tolist() == []
