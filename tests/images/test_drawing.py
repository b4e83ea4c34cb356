import numpy as np
import pytest

from head_detection.images.drawing import draw_heads, pixelate_heads
from head_detection.structures import Detections

GREEN = (57, 255, 20)


def detections(boxes, size):
    return Detections.from_arrays(np.array(boxes).reshape(-1, 4), [0.9] * len(boxes), size)


def test_a_box_is_drawn_where_the_head_is_and_the_picture_is_not_changed():
    pixels = np.full((300, 400, 3), 90, np.uint8)
    drawn = draw_heads(pixels, detections([(200, 100, 260, 180)], (300, 400)))
    assert drawn.shape == pixels.shape
    assert (pixels == 90).all()
    rows, columns = (drawn == GREEN).all(axis=2).nonzero()
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (200, 100, 260, 180)
    assert (drawn[110:170, 210:250] == 90).all()


def test_small_heads_in_a_large_picture_stay_visible():
    pixels = np.full((2000, 3000, 3), 90, np.uint8)
    boxes = [(x, 1000, x + 10, 1012) for x in range(500, 1500, 20)]
    drawn = draw_heads(pixels, detections(boxes, (2000, 3000)))
    assert (drawn[1004:1008, 504:506] == 90).all()


def test_a_tiny_picture_is_enlarged_by_a_whole_number():
    drawn = draw_heads(np.full((40, 60, 3), 90, np.uint8), detections([(40, 20, 50, 35)], (40, 60)))
    assert drawn.shape == (160, 240, 3)
    rows, columns = (drawn == GREEN).all(axis=2).nonzero()
    assert (columns.min(), rows.min()) == (160, 80)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 40), (300, 400)])
@pytest.mark.parametrize("draw", [draw_heads, pixelate_heads])
def test_any_size_and_no_heads(draw, size):
    changed = draw(np.full((*size, 3), 90, np.uint8), Detections.empty(size))
    assert changed.dtype == np.uint8
    assert changed.shape[0] % size[0] == 0


def test_the_count_is_written_in_the_corner():
    pixels = np.full((300, 400, 3), 90, np.uint8)
    none = draw_heads(pixels, Detections.empty((300, 400)))
    assert (none[:5, :5] == 0).all()
    assert (none[:30, :120] == 255).any()
    one = draw_heads(pixels, detections([(200, 100, 260, 180)], (300, 400)))
    assert (one[:30, :120] != none[:30, :120]).any()


@pytest.mark.parametrize("side", [1, 2, 3, 7, 40, 150])
def test_a_pixelated_head_is_a_few_squares(side):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    changed = pixelate_heads(noise, detections([(20, 20, 20 + side, 20 + side)], (200, 200)))
    inside = changed[20 : 20 + side, 20 : 20 + side].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) <= 36
    assert (changed[:5] == noise[:5]).all()


def test_heads_over_the_edge_and_without_area_are_pixelated_as_far_as_they_go():
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    boxes = [(-10, -10, 20, 20), (45, 45, 70, 70), (30, 30, 30, 40)]
    changed = pixelate_heads(noise, detections(boxes, (50, 50)))
    assert len(np.unique(changed[:20, :20].reshape(-1, 3), axis=0)) <= 36
    assert changed.shape == noise.shape
