import numpy as np
import pytest

from head_detection.data.quality.fingerprint import (
    difference_hash,
    difference_hashes,
    is_blank,
    make_thumbnail,
)


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


def test_a_thumbnail_is_the_mean_of_what_it_covers() -> None:
    picture = np.zeros((128, 256, 3), np.uint8)
    picture[:, ::4] = 200  # one column of four: 50
    thumbnail = make_thumbnail(picture)
    assert thumbnail.shape == (64, 64)
    assert (thumbnail == 50).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3, 2)])
def test_tiny_pictures_have_a_thumbnail(size: tuple[int, int]) -> None:
    assert make_thumbnail(np.full((*size, 3), 9, np.uint8)).shape == (64, 64)


def test_blank() -> None:
    noise = np.random.default_rng(0).integers(14, 19, (64, 64)).astype(np.uint8)
    assert is_blank(noise)
    noise[:, :32] += 10
    assert not is_blank(noise)
