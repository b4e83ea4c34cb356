import io
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from head_detection.data.quality.near_duplicates import (
    NearDuplicate,
    connected_groups,
    difference_hash,
    difference_hashes,
    find_near_duplicates,
)
from head_detection.data.quality.survey import make_thumbnail

Picture = npt.NDArray[np.uint8]
Draw = Callable[[int], Picture]


def save_as_jpeg(picture: Picture) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=40)
    return np.array(Image.open(file))


def brighten(picture: Picture) -> Picture:
    return (picture * 1.2 + 10).astype(np.uint8)  # at most 250: nothing is clipped


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "nothing": lambda picture: picture,
    "jpeg": save_as_jpeg,
    "smaller": lambda picture: np.asarray(cv2.resize(picture, (97, 73)), np.uint8),
    "larger": lambda picture: np.asarray(cv2.resize(picture, (500, 375)), np.uint8),
    "brighter": brighten,
    "darker": lambda picture: (picture * 0.6).astype(np.uint8),
    "grey": lambda picture: cv2.cvtColor(
        cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB
    ),
    "3 % off two edges": lambda picture: picture[6:, 8:],
    "3 % off all around": lambda picture: picture[3:-3, 4:-4],
    "all at once": lambda picture: save_as_jpeg(brighten(picture)[:-5, 7:]),
}


def find(*pictures: Picture) -> list[NearDuplicate]:
    return find_near_duplicates(np.stack([make_thumbnail(picture) for picture in pictures]))


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found(change: str, draw_scene: Draw) -> None:
    for seed in range(5):
        scene = draw_scene(seed)
        (pair,) = find(draw_scene(100), scene, draw_scene(101), CHANGES[change](scene))
        assert pair[:3] == (1, 3, False)


@pytest.mark.parametrize("change", CHANGES)
def test_a_mirrored_copy_is_found(change: str, draw_scene: Draw) -> None:
    scene = draw_scene(3)
    (pair,) = find(draw_scene(100), scene, CHANGES[change](scene[:, ::-1]))
    assert pair[:3] == (1, 2, True)


def test_other_scenes_are_not(draw_scene: Draw) -> None:
    assert find(*(draw_scene(seed) for seed in range(80))) == []


def test_one_room_with_somebody_elsewhere_is_not(draw_scene: Draw) -> None:
    first, second = draw_scene(0), draw_scene(0)
    first[60:120, 40:60] = (20, 20, 60)
    second[70:130, 150:170] = (20, 20, 60)
    assert find(first, second) == []


def test_collages_that_share_half_their_pictures_are_not(draw_scene: Draw) -> None:
    half, left, right = (draw_scene(seed) for seed in (0, 1, 2))
    assert find(np.hstack([half, left]), np.hstack([half, right])) == []


def test_the_same_pixels_have_no_misfit(draw_scene: Draw) -> None:
    (pair,) = find(draw_scene(0), draw_scene(0))
    assert pair.misfit < 0.005


def test_many_copies_of_one_picture_are_one_group(draw_scene: Draw) -> None:
    """More than are looked at for each picture."""
    pairs = find(*[draw_scene(0)] * 120)
    assert connected_groups(120, pairs) == [list(range(120))]


def test_black_and_white_alone_still_match() -> None:
    """No pixel is between the two, where tones are usually compared."""
    cells = np.random.default_rng(0).integers(0, 2, (2, 8, 8)).astype(np.uint8) * 255
    first, second = (cell.repeat(30, 0).repeat(30, 1)[:, :, None].repeat(3, 2) for cell in cells)
    (pair,) = find(first, second, first)
    assert pair[:2] == (0, 2)


def test_no_pictures_and_one(draw_scene: Draw) -> None:
    assert find_near_duplicates(np.zeros((0, 64, 64), np.uint8)) == []
    assert find(draw_scene(0)) == []


def test_groups_join_through_a_shared_picture() -> None:
    pairs = [NearDuplicate(a, b, False, 0.0) for a, b in ((4, 5), (0, 2), (2, 5), (6, 7))]
    assert connected_groups(9, pairs) == [[0, 2, 4, 5], [6, 7]]
    assert connected_groups(3, []) == []


def test_a_gradient_worked_by_hand() -> None:
    """9 x 8 pixels are taken as they are: the rows below give a byte each, from the left."""
    rising = list(range(0, 90, 10))
    rows = [
        rising,  # each pixel darker than the next: 1111 1111
        rising[::-1],  # none: 0000 0000
        [5] * 9,  # equal is not darker: 0000 0000
        [0, 1, 0, 1, 0, 1, 0, 1, 0],  # 1010 1010
        [0, 0, 0, 0, 9, 9, 9, 9, 9],  # the fourth: 0001 0000
        [1, 2, 3, 3, 3, 3, 3, 3, 3],  # 1100 0000
        [9, 9, 9, 9, 9, 9, 9, 9, 255],  # 0000 0001
        rising,
    ]
    assert difference_hash(np.array(rows, np.uint8)) == 0xFF00_00AA_10C0_01FF


def test_hashes_of_many_are_those_of_each() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.uint8)
    expected = [difference_hash(picture) for picture in pictures]
    assert difference_hashes(pictures).tolist() == expected
    assert difference_hashes(pictures[:0]).shape == (0,)
