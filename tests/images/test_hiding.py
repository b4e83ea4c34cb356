"""Heads made unrecognisable: what is left of them is counted in the pixels."""

import numpy as np
import pytest

from head_detection.errors import PictureError
from head_detection.images import hiding
from head_detection.images.hiding import hide_heads
from head_detection.images.styles import HIDING_STYLES, Hiding
from head_detection.structures import Detections

NOISE = np.random.default_rng(0).integers(1, 256, (200, 200, 3), np.uint8)
"""No pixel of it is black."""


def detections(*boxes, size=(200, 200)):
    return Detections.from_arrays(np.array(boxes).reshape(-1, 4), [0.9] * len(boxes), size)


def test_a_head_is_black_by_default_and_the_rest_as_it_was():
    """100 x 60 pixels, three tenths more: 15 and 9 on each side."""
    before = NOISE.copy()
    hidden = hide_heads(NOISE, detections((50, 40, 150, 100)))
    black = (hidden == 0).all(axis=2)
    expected = np.zeros((200, 200), bool)
    expected[31:109, 35:165] = True
    np.testing.assert_array_equal(black, expected)
    np.testing.assert_array_equal(hidden[~expected], NOISE[~expected])
    np.testing.assert_array_equal(NOISE, before)


@pytest.mark.parametrize(
    # 1.5 times 10 columns is 97.5 to 112.5, rounded outwards 97 to 113.
    ("scale", "rows", "columns"),
    [(1.0, 20, 10), (1.5, 30, 16), (2.0, 40, 20)],
)
def test_the_scale_is_of_both_sides(scale, rows, columns):
    hidden = hide_heads(NOISE, detections((100, 100, 110, 120)), Hiding(scale=scale))
    assert (hidden == 0).all(axis=2).sum() == rows * columns


@pytest.mark.parametrize("style", HIDING_STYLES)
def test_parts_of_a_pixel_are_hidden_whole(style):
    hidden = hide_heads(NOISE, detections((10.9, 10.9, 20.1, 20.1)), Hiding(style, 1.0))
    assert (hidden[10:21, 10:21] != NOISE[10:21, 10:21]).any(axis=2).mean() > 0.8
    np.testing.assert_array_equal(hidden[:, 21:], NOISE[:, 21:])
    np.testing.assert_array_equal(hidden[:, :10], NOISE[:, :10])


@pytest.mark.parametrize("side", [1, 2, 3, 7, 40, 150])
def test_a_pixelated_head_is_a_few_squares(side):
    found = detections((20, 20, 20 + side, 20 + side))
    changed = hide_heads(NOISE, found, Hiding("pixelate", 1.2))
    inside = changed[20 : 20 + side, 20 : 20 + side].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) <= 36
    assert (changed[:4] == NOISE[:4]).all()


@pytest.mark.parametrize("style", HIDING_STYLES)
def test_heads_over_the_edge_and_without_area_are_hidden_as_far_as_they_go(style):
    noise = NOISE[:50, :50]
    boxes = [(-10, -10, 20, 20), (45, 45, 70, 70), (30, 30, 30, 40), (-30, -30, -10, -10)]
    changed = hide_heads(noise, detections(*boxes, size=(50, 50)), Hiding(style))
    assert len(np.unique(changed[:20, :20].reshape(-1, 3), axis=0)) <= 36
    assert changed.shape == noise.shape


@pytest.mark.parametrize("style", HIDING_STYLES)
def test_all_heads_of_a_crowd_are_hidden_and_nothing_else(style):
    generator = np.random.default_rng(1)
    corners = generator.integers(0, 170, (60, 2))
    boxes = np.concatenate([corners, corners + generator.integers(8, 30, (60, 2))], axis=1)
    is_head = np.zeros((200, 200), bool)
    for x1, y1, x2, y2 in boxes:
        is_head[y1:y2, x1:x2] = True
    assert 0.1 < is_head.mean() < 0.9
    hidden = hide_heads(NOISE, detections(*boxes), Hiding(style, 1.0))
    np.testing.assert_array_equal(hidden[~is_head], NOISE[~is_head])
    assert (hidden != NOISE).any(axis=2)[is_head].mean() > 0.9


@pytest.mark.parametrize("style", HIDING_STYLES)
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 3)])
def test_any_size_and_no_heads(style, size):
    pixels = NOISE[: size[0], : size[1]]
    np.testing.assert_array_equal(hide_heads(pixels, Detections.empty(size), Hiding(style)), pixels)
    hide_heads(pixels, detections((0, 0, 200, 200), size=size), Hiding(style))


def test_boxes_of_another_picture_hide_nothing_and_say_so():
    """Such as those of a picture that lay on its side when it was asked for its size."""
    with pytest.raises(PictureError, match="expected boxes in 200x100 pixels; got 100x200"):
        hide_heads(NOISE[:100], detections((5, 5, 9, 9), size=(200, 100)))


def test_a_box_of_no_numbers_hides_nothing_and_says_so():
    with pytest.raises(PictureError, match="could not be hidden"):
        hide_heads(NOISE, detections((5, 5, np.nan, 9)))


def test_a_head_that_stayed_visible_is_covered(monkeypatch):
    monkeypatch.setattr(hiding, "_pixelated", lambda scene, boxes: scene)
    hidden = hide_heads(NOISE, detections((50, 40, 150, 100)), Hiding("pixelate", 1.0))
    is_black = (hidden == 0).all(axis=2)
    assert is_black[40:100, 50:150].all()
    assert is_black.sum() == 60 * 100


def test_a_head_whose_squares_its_neighbours_cut_is_black_alone():
    """Of 5 x 6 pixels: the edges of its neighbours lie between those of its own squares."""
    boxes = np.array([(50, 50, 55, 56), (57, 45, 64, 52), (49, 47, 54, 53), (47, 55, 55, 61)])
    scene = hiding._pixelated(NOISE.copy(), boxes.astype(np.float32))
    cut = [box.tolist() for box in boxes if not hiding._is_hidden(scene, box, Hiding("pixelate"))]
    assert cut == [[50, 50, 55, 56]]
    hidden = hide_heads(NOISE, detections(*boxes), Hiding("pixelate", 1.0))
    is_black = (hidden == 0).all(axis=2)
    assert is_black[50:56, 50:55].all()
    assert is_black.sum() == 5 * 6
    np.testing.assert_array_equal(hidden[~is_black], scene[~is_black])


def test_one_row_that_is_not_black_is_found():
    scene = NOISE.copy()
    scene[31:108, 35:165] = 0
    assert hiding._is_hidden(scene, [35, 31, 165, 108], Hiding())
    assert not hiding._is_hidden(scene, [35, 31, 165, 109], Hiding())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"style": "blur"}, "style: expected solid or pixelate; got 'blur'"),
        ({"scale": 0.9}, "scale: expected 1 to 10; got 0.9"),
        ({"scale": float("nan")}, "scale: expected 1 to 10; got nan"),
    ],
)
def test_other_ways_are_refused(options, line):
    with pytest.raises(ValueError, match=line):
        Hiding(**options)
