import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from head_detection.models.tiles import ScoredBoxes, Tile, merge_tiles, tile_views


def found(*rows):
    values = np.array(rows, np.float32).reshape(-1, 5)
    return ScoredBoxes(values[:, :4], values[:, 4])


def test_tiles_are_as_few_as_cover_the_picture_by_hand():
    # 250 pixels in tiles of 100, a fifth of which overlaps: 0, 75 and 150.
    tiles = tile_views(60, 250, 100, 0.2)
    assert tiles == (Tile(0, 0, 100, 60), Tile(75, 0, 175, 60), Tile(150, 0, 250, 60))
    assert tile_views(100, 100, 100, 0.2) == (Tile(0, 0, 100, 100),)
    assert [tile[:2] for tile in tile_views(101, 101, 100, 0.0)] == [(0, 0), (1, 0), (0, 1), (1, 1)]


@settings(deadline=None)
@given(
    height=st.integers(1, 900), width=st.integers(1, 900), tile=st.integers(40, 300),
    overlap=st.floats(0, 0.8),
)  # fmt: skip
def test_every_small_box_lies_whole_in_a_tile(height, width, tile, overlap):
    tiles = tile_views(height, width, tile, overlap)
    rows, columns = (sorted({own[axis::2] for own in tiles}) for axis in (1, 0))
    for spans, length in ((rows, height), (columns, width)):
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        assert all(end - start <= tile for start, end in spans)
        for (_, end), (start, _) in pairwise(spans):
            assert end - start >= int(tile * overlap) - 1  # whole pixels
    assert len(tiles) == len(rows) * len(columns)


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0.2), (100, 1.0), (100, -0.1)])
def test_tiles_that_do_not_cover_are_refused(tile, overlap):
    with pytest.raises(ValueError, match="expected 1 pixel or more and an overlap"):
        tile_views(100, 100, tile, overlap)


def test_what_an_edge_cuts_is_left_to_the_tile_that_has_it_whole_by_hand():
    left, right = Tile(0, 0, 100, 100), Tile(80, 0, 180, 100)
    first = found((85, 10, 100, 30, 0.9), (40, 10, 60, 30, 0.8), (60, 50, 100, 90, 0.7))
    second = found((5, 10, 25, 30, 0.6))  # the first one, whole
    merged = merge_tiles([(left, first), (right, second)], (100, 180), 0.5)
    # The last is cut by both tiles, and stays.
    assert merged.boxes.tolist() == [[40, 10, 60, 30], [60, 50, 100, 90], [85, 10, 105, 30]]
    np.testing.assert_allclose(merged.scores, [0.8, 0.7, 0.6])


def test_the_edge_of_the_picture_cuts_nothing():
    (tile,) = tile_views(100, 100, 100, 0.2)
    heads = found((0, 0, 20, 20, 0.9), (80, 80, 100, 100, 0.8))
    assert len(merge_tiles([(tile, heads)], (100, 100), 0.5).boxes) == 2


def test_a_head_of_both_tiles_and_the_whole_is_one_and_a_neighbour_within_it_stays():
    left, right = Tile(0, 0, 100, 100), Tile(60, 0, 160, 100)
    first, second = found((70, 10, 90, 30, 0.9)), found((11, 10, 30, 30, 0.8))
    # A head of 30 pixels around one of 20: its own, though it holds all of the other.
    whole = found((69, 9, 91, 31, 0.7), (60, 0, 100, 40, 0.6))
    merged = merge_tiles([(left, first), (right, second)], (100, 160), 0.5, whole)
    assert merged.boxes.tolist() == [[70, 10, 90, 30], [60, 0, 100, 40]]


def test_tiles_without_heads_have_none():
    tiles = [(tile, found()) for tile in tile_views(300, 300, 100, 0.2)]
    assert merge_tiles(tiles, (300, 300), 0.5).boxes.shape == (0, 4)
    assert merge_tiles([], (300, 300), 0.5, found()).scores.shape == (0,)


def test_a_head_that_several_tiles_see_is_one_among_25000():
    generator = np.random.default_rng(0)
    cells = generator.permutation(250 * 200)[:25_000]
    corners = np.stack((cells % 250 * 120, cells // 250 * 100), axis=1)
    corners = corners + generator.uniform(0, 20, (25_000, 2))
    heads = np.concatenate((corners, corners + generator.uniform(20, 80, (25_000, 2))), axis=1)
    tiles = []
    for tile in tile_views(20_000, 30_000, 1280, 0.2):
        seen = np.clip(heads, tile[:2] * 2, tile[2:] * 2) - tile[:2] * 2
        seen = seen[(seen[:, 2:] > seen[:, :2]).all(axis=1)]
        tiles.append((tile, found(*np.c_[seen, generator.random(len(seen))])))
    assert sum(len(own.boxes) for _, own in tiles) > 33_000
    start = time.process_time()
    merged = merge_tiles(tiles, (20_000, 30_000), 0.5)
    # A second on one core that has nothing else to do; ten times as long is another algorithm.
    assert time.process_time() - start < 10
    assert len(merged.boxes) == len(heads)
    cell_of = (merged.boxes[:, :2] // (120, 100) @ (1, 250)).argsort()
    np.testing.assert_allclose(merged.boxes[cell_of], heads[cells.argsort()], atol=0.01)
