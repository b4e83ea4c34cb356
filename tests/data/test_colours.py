"""Changes of colour, with numbers that can be checked by hand or by torchvision."""

from collections.abc import Callable

import numpy as np
import numpy.testing as npt
import pytest
import torch
from torchvision.transforms.v2 import functional

from head_detection.config import AugmentationConfig
from head_detection.data.augmentation import change_colours, colour_matrix
from head_detection.images.reading import Picture

Noise = Callable[..., Picture]
Still = Callable[..., AugmentationConfig]


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
