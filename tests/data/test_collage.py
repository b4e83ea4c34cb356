import numpy as np
import pytest
from torch.testing import assert_close

from head_detection.data.collage import DIMMED, Portrait, lay_out


def portrait() -> Portrait:
    """A white person on black, 40 x 40 pixels, whose head is red: 20 x 20, left of the middle."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, :, 1] = 200
    pixels[5:25, 4:24] = (255, 0, 0)
    return Portrait(pixels, np.array([4, 5, 24, 25], np.float32))


def test_heads_are_where_the_boxes_say() -> None:
    picture, truth = lay_out(portrait(), 20, rows=2, columns=3)
    assert picture.shape == (80, 120, 3)
    assert truth.boxes.shape == (6, 4)
    assert not truth.ignore.any()
    painted = np.zeros(picture.shape[:2], bool)
    for left, top, right, bottom in truth.boxes.astype(int):
        head = picture[top:bottom, left:right]
        assert (head[..., 0] >= 255 * DIMMED - 1).all()
        assert (head[..., 1] == 0).all()
        painted[top:bottom, left:right] = True
    assert (picture[~painted][:, 0] == 0).all(), "no head outside the boxes"


def test_neighbours_are_mirrored_and_the_box_with_them() -> None:
    _, truth = lay_out(portrait(), 20, rows=1, columns=2)
    assert_close(truth.boxes, np.array([[4, 5, 24, 25], [56, 5, 76, 25]], np.float32))


@pytest.mark.parametrize("size", [40, 10, 5])
def test_heads_have_the_size_that_was_asked_for(size: float) -> None:
    _, truth = lay_out(portrait(), size, rows=1, columns=1)
    sides = truth.boxes[0, 2:] - truth.boxes[0, :2]
    assert_close(sides, np.array([size, size], np.float32))


def test_the_portrait_is_left_as_it_was() -> None:
    person = portrait()
    before = person.pixels.copy()
    lay_out(person, 20, rows=3, columns=3)
    assert (person.pixels == before).all()


@pytest.mark.parametrize(("size", "rows", "columns"), [(0, 1, 1), (20, 0, 1), (20, 1, 0)])
def test_nothing_to_lay_out_is_refused(size: float, rows: int, columns: int) -> None:
    with pytest.raises(ValueError, match="rows, columns, head_size >= 1"):
        lay_out(portrait(), size, rows=rows, columns=columns)


@pytest.mark.parametrize("box", [[0, 0, 0, 5], [5, 5, 1, 9], [-1, 0, 5, 5], [0, 0, 41, 5]])
def test_a_head_must_lie_in_its_portrait(box: list[float]) -> None:
    with pytest.raises(ValueError, match="head_box"):
        Portrait(portrait().pixels, np.array(box, np.float32))
