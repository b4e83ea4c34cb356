"""Crops, flips and colours, with numbers that can be checked by hand or by torchvision."""

from collections.abc import Callable

import numpy as np
import numpy.testing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional

from head_detection.config import AugmentationConfig
from head_detection.data.annotations import build_truth
from head_detection.data.augmentation import (
    PADDING,
    Window,
    augment,
    change_colours,
    colour_matrix,
    compress,
    crop_picture,
    crop_truth,
    darken,
    draw_window,
    flip,
    worsen,
)
from head_detection.images.reading import Picture
from head_detection.structures import GroundTruth

Noise = Callable[..., Picture]
Still = Callable[..., AugmentationConfig]


def truth_of(*boxes: tuple[float, float, float, float]) -> GroundTruth:
    return build_truth([(box, False) for box in boxes])


def test_nothing_changes_when_all_is_off(still: Still, noise: Noise) -> None:
    picture, truth = noise(20, 30), truth_of((1, 2, 3, 4))
    changed, boxes = augment(picture, truth, still(), np.random.default_rng(0))
    npt.assert_array_equal(changed, picture)
    npt.assert_array_equal(boxes.boxes, truth.boxes)


def test_same_generator_same_picture_and_the_original_stays(noise: Noise) -> None:
    picture, truth = noise(60, 80), truth_of((10, 10, 30, 30), (40, 40, 44, 44))
    before = picture.copy()
    config = AugmentationConfig(crop_size=48, blur_probability=0.5, grayscale_probability=0.5)
    seen = set()
    for seed in range(10):
        first, boxes = augment(picture, truth, config, np.random.default_rng(seed))
        second, again = augment(picture, truth, config, np.random.default_rng(seed))
        npt.assert_array_equal(first, second)
        npt.assert_array_equal(boxes.boxes, again.boxes)
        assert first.shape == (48, 48, 3)
        seen.add(first.tobytes())
    assert len(seen) == 10
    npt.assert_array_equal(picture, before)


def test_flip(noise: Noise) -> None:
    picture = noise(4, 10)
    truth = build_truth([((1, 0, 4, 2), False), ((0, 0, 10, 4), True)])
    flipped, boxes = flip(picture, truth)
    npt.assert_array_equal(flipped, picture[:, ::-1])
    npt.assert_array_equal(boxes.boxes, [[6, 0, 9, 2], [0, 0, 10, 4]])
    npt.assert_array_equal(boxes.ignore, [False, True])
    npt.assert_array_equal(flip(flipped, boxes)[1].boxes, truth.boxes)


def test_flip_happens_as_often_as_the_config_says(still: Still, noise: Noise) -> None:
    picture, truth = noise(4, 4), truth_of((0, 0, 1, 1))
    config = still(flip_probability=0.25)
    flipped = [
        augment(picture, truth, config, np.random.default_rng(seed))[1].boxes[0, 0] == 3
        for seed in range(400)
    ]
    assert 70 <= sum(flipped) <= 130, "a quarter of 400, within 3.5 standard deviations"


def test_crop_at_zoom_one_is_a_slice(noise: Noise) -> None:
    picture = noise(20, 30)
    npt.assert_array_equal(crop_picture(picture, Window(4, 3, 10), 10), picture[3:13, 4:14])


def test_crop_pads_where_it_reaches_outside(noise: Noise) -> None:
    picture = noise(6, 8)
    crop = crop_picture(picture, Window(-2, -1, 12), 12)
    npt.assert_array_equal(crop[1:7, 2:10], picture)
    padding = np.ones((12, 12), bool)
    padding[1:7, 2:10] = False
    npt.assert_array_equal(crop[padding], np.tile(PADDING, (int(padding.sum()), 1)))


def test_shrinking_takes_the_mean_and_does_not_alias() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 252
    crop = crop_picture(stripes, Window(0, 0, 64), 16)
    # a quarter of 252; without antialiasing the white columns fall between the samples
    assert np.abs(crop[:, 1:-1].astype(int) - 63).max() <= 1


def test_boxes_move_with_the_crop(still: Still) -> None:
    # The window of 20 px from (10, 5) becomes 40 px: twice as large.
    config = still(crop_size=40, min_head_size=0.0, min_visible=0.0)
    truth = truth_of((12, 7, 16, 11), (0, 0, 20, 10), (25, 20, 99, 99), (0, 0, 10, 99))
    moved = crop_truth(truth, Window(10, 5, 20), config)
    npt.assert_array_equal(moved.boxes, [[4, 4, 12, 12], [0, 0, 20, 10], [30, 30, 40, 40]])
    npt.assert_array_equal(moved.ignore, [False] * 3)


def test_a_white_square_stays_in_its_box(still: Still) -> None:
    picture = np.zeros((100, 120, 3), np.uint8)
    picture[40:60, 50:80] = 255
    config = still(crop_size=64, zoom=(0.5, 2.0), min_visible=0.0, flip_probability=0.5)
    num_seen = 0
    for seed in range(50):
        crop, truth = augment(
            picture, truth_of((50, 40, 80, 60)), config, np.random.default_rng(seed)
        )
        rows, columns = np.nonzero(crop.min(axis=2) > 230)
        if len(rows) == 0:
            continue
        num_seen += 1
        extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        npt.assert_allclose(truth.boxes[0], extent, atol=1.6)
    assert num_seen > 40


def test_cut_heads_become_ignored(still: Still) -> None:
    config = still(crop_size=10, min_visible=0.4, min_head_size=0.0)
    # 10 px wide each; 5, 4 and 3 of them lie in the window that starts at x = 0
    truth = truth_of((-5, 0, 5, 5), (-6, 0, 4, 5), (-7, 0, 3, 5))
    cropped = crop_truth(truth, Window(0, 0, 10), config)
    npt.assert_array_equal(cropped.ignore, [False, False, True])
    npt.assert_array_equal(cropped.boxes[:, 2], [5, 4, 3])


def test_small_heads_stay_down_to_the_limit(still: Still) -> None:
    config = still(crop_size=50, min_head_size=3.0)
    # at half size: square roots of area 4, 3 and 2.9
    truth = truth_of((0, 0, 8, 8), (20, 20, 32, 23), (50, 50, 55.8, 55.8))
    cropped = crop_truth(truth, Window(0, 0, 100), config)
    npt.assert_array_equal(cropped.ignore, [False, False, True])


def test_ignored_regions_stay_ignored(still: Still) -> None:
    truth = build_truth([((0, 0, 8, 8), True)])
    cropped = crop_truth(truth, Window(0, 0, 10), still(crop_size=10))
    npt.assert_array_equal(cropped.ignore, [True])


def test_no_heads(noise: Noise) -> None:
    config = AugmentationConfig(crop_size=16)
    for seed in range(5):
        crop, truth = augment(noise(40, 30), truth_of(), config, np.random.default_rng(seed))
        assert crop.shape == (16, 16, 3)
        assert truth.boxes.shape == (0, 4)


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    crop_size=st.integers(1, 300),
    zoom=st.floats(0.1, 8.0),
    seed=st.integers(0, 2**32),
)
def test_windows_stay_inside_or_hold_the_whole_picture(
    height: int, width: int, crop_size: int, zoom: float, seed: int, still: Still
) -> None:
    head = truth_of((width / 2, height / 2, width / 2 + 1, height / 2 + 1))
    config = still(crop_size=crop_size, zoom=(zoom, zoom))
    window = draw_window((height, width), head.boxes, config, np.random.default_rng(seed))
    assert window.side == max(1, round(crop_size / zoom))
    for start, length in ((window.left, width), (window.top, height)):
        if window.side <= length:
            assert 0 <= start <= length - window.side
        else:
            assert length - window.side <= start <= 0


def test_most_crops_hold_a_head_and_some_are_anywhere(still: Still) -> None:
    head = truth_of((900, 900, 910, 910))
    config = still(crop_size=100, zoom=(1.0, 1.0))
    held = 0
    for seed in range(400):
        window = draw_window((1000, 1000), head.boxes, config, np.random.default_rng(seed))
        held += window.left + 100 >= 905 >= window.left and window.top + 100 >= 905 >= window.top
    # 0.8 near the head, and of the others (anywhere) about 1 in 90
    assert 280 <= held <= 360


def test_zoom_is_even_on_a_log_scale(still: Still) -> None:
    config = still(crop_size=1000, zoom=(0.25, 4.0))
    truth = truth_of()
    sides = [
        draw_window((9, 9), truth.boxes, config, np.random.default_rng(seed)).side
        for seed in range(400)
    ]
    assert 165 <= sum(side > 1000 for side in sides) <= 235, "half are shrunk"
    assert min(sides) >= 250
    assert max(sides) <= 4000
    assert 70 <= sum(side > 2000 for side in sides) <= 130, "a quarter below half size"


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("adjust_brightness", (1.3, 1.0, 1.0)),
        ("adjust_brightness", (0.6, 1.0, 1.0)),
        ("adjust_contrast", (1.0, 1.3, 1.0)),
        ("adjust_contrast", (1.0, 0.5, 1.0)),
        ("adjust_saturation", (1.0, 1.0, 1.3)),
        ("adjust_saturation", (1.0, 1.0, 0.0)),
    ],
)
def test_colours_agree_with_torchvision(
    name: str, factors: tuple[float, float, float], noise: Noise
) -> None:
    picture = noise(16, 16)
    factor = next(value for value in factors if value != 1.0)
    matrix = colour_matrix(picture.reshape(-1, 3).mean(axis=0), *factors, hue=0.0)
    ours = np.rint(np.clip(picture @ matrix[:, :3].T + matrix[:, 3], 0, 255))
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    theirs = getattr(functional, name)(tensor, factor).permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() <= 1.5, "torchvision truncates, and rounds grey first"


def test_hue_keeps_grey_and_turns_red_towards_green() -> None:
    matrix = colour_matrix((0, 0, 0), 1.0, 1.0, 1.0, hue=1 / 3)
    npt.assert_allclose(matrix[:, :3] @ [100, 100, 100], [100] * 3, atol=0.5)
    red, green, blue = matrix[:, :3] @ [200, 0, 0]
    assert green > red
    assert green > blue
    half_turns = colour_matrix((0, 0, 0), 1.0, 1.0, 1.0, hue=0.5)[:, :3]
    npt.assert_allclose(half_turns @ half_turns, np.eye(3), atol=1e-9)


def test_all_factors_in_their_order() -> None:
    """Brightness 2 gives 40, 80, 120; the mean 60, 60, 60 of it is grey 60 (weights sum to .9999).

    Contrast .5 gives 50, 70, 90; saturation 0 gives the grey of it.
    """
    matrix = colour_matrix((30, 30, 30), 2.0, 0.5, 0.0, 0.0)
    grey = 0.2989 * 50 + 0.587 * 70 + 0.114 * 90
    npt.assert_allclose(matrix @ [20, 40, 60, 1], [grey] * 3, atol=0.02)


def test_each_colour_field_alone_changes_the_picture(still: Still, noise: Noise) -> None:
    picture = noise(16, 16)
    for field, value in {
        "brightness": 0.5,
        "contrast": 0.5,
        "saturation": 0.5,
        "hue": 0.2,
        "grayscale_probability": 1.0,
        "blur_probability": 1.0,
    }.items():
        config = still(**{field: value})
        changed = [
            change_colours(picture, config, np.random.default_rng(seed)).astype(int) - picture
            for seed in range(5)
        ]
        assert np.abs(changed).max() > 20, field


def test_grey_is_grey_and_blur_is_smooth(still: Still, noise: Noise) -> None:
    picture = noise(32, 32)
    generator = np.random.default_rng(0)
    grey = change_colours(picture, still(grayscale_probability=1.0), generator)
    assert np.ptp(grey.astype(int), axis=2).max() == 0
    blurred = change_colours(picture, still(blur_probability=1.0), generator)
    assert blurred.std() < 0.9 * picture.std()


def test_darkened_values_are_powers_and_black_and_white_stay() -> None:
    picture = np.array([[[0, 51, 102], [153, 204, 255]]], np.uint8)  # fifths of white
    squares = [[[0, 10, 41], [92, 163, 255]]]  # 255 times 0, 1/25, 4/25 ... rounded
    npt.assert_array_equal(darken(picture, 2.0), squares)
    npt.assert_array_equal(darken(picture, 1.0), picture)
    assert darken(np.zeros((0, 4, 3), np.uint8), 2.0).shape == (0, 4, 3)


def test_noise_is_centred_and_as_strong_as_drawn(still: Still) -> None:
    grey = np.full((100, 100, 3), 128, np.uint8)
    config = still(noise_probability=1.0)
    deviations = []
    for seed in range(20):
        change = worsen(grey, config, np.random.default_rng(seed)).astype(int) - 128
        assert abs(change.mean()) < 0.3, "four standard errors of 12 over 30,000 values"
        deviations.append(change.std())
    assert 1.9 < min(deviations) < 4.0
    assert 10.0 < max(deviations) < 12.3
    white = np.full((20, 20, 3), 255, np.uint8)
    assert worsen(white, config, np.random.default_rng(0)).min() > 150, "no value wraps around"


def test_compression_keeps_flat_colours_and_loses_detail(noise: Noise) -> None:
    red = np.tile(np.array([200, 30, 60], np.uint8), (24, 17, 1))
    assert np.abs(compress(red, 50).astype(int) - red).max() <= 4, "red stays red: RGB, not BGR"
    picture = noise(40, 33)
    losses = [
        np.abs(compress(picture, quality).astype(int) - picture).mean() for quality in (80, 20)
    ]
    assert 1 < losses[0] < losses[1]


def test_each_kind_of_damage_alone_changes_the_picture_and_leaves_the_original(
    still: Still, noise: Noise
) -> None:
    picture = noise(16, 20)
    before = picture.copy()
    for field in ("dark_probability", "noise_probability", "jpeg_probability"):
        changed = worsen(picture, still(**{field: 1.0}), np.random.default_rng(0))
        assert changed.shape == picture.shape
        assert changed.dtype == np.uint8
        assert np.abs(changed.astype(int) - picture).max() > 5, field
        npt.assert_array_equal(picture, before)


def test_damage_is_off_unless_asked_for(noise: Noise) -> None:
    picture = noise(16, 16)
    npt.assert_array_equal(worsen(picture, AugmentationConfig(), np.random.default_rng(0)), picture)
