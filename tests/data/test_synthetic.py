"""Made-up pictures: the same each time, with boxes that fit; and grids of a portrait."""

from pathlib import Path

import numpy as np
import pytest
from torch.testing import assert_close

from head_detection.data.annotations import find_problems
from head_detection.data.formats.coco import read_coco
from head_detection.data.synthetic import DIMMED, MAX_HEADS, Portrait, lay_out, synthetic_set
from head_detection.images.reading import read_picture


def test_a_set_without_problems(tmp_path: Path) -> None:
    annotated = read_coco(synthetic_set(tmp_path, 12, (48, 64), seed=3))
    assert len(annotated) == 12
    assert find_problems([annotated]) == []
    counts = [len(image.truth.head_boxes) for image in annotated.images]
    assert counts[0] >= 1
    assert max(counts) <= MAX_HEADS
    assert {image.image_size for image in annotated.images} == {(48, 64)}


def test_heads_are_where_the_boxes_say(tmp_path: Path) -> None:
    image = read_coco(synthetic_set(tmp_path, 1, (64, 64), seed=0)).images[0]
    picture = read_picture(image.path).astype(int)
    x1, y1, x2, y2 = image.truth.boxes[-1].astype(int)  # drawn last, so nothing covers it
    lower_middle = picture[(y1 + 3 * y2) // 4, (x1 + x2) // 2]
    assert lower_middle[0] >= 150, "skin"
    assert lower_middle[2] == 100
    assert picture[(3 * y1 + y2) // 4, (x1 + x2) // 2].tolist() == [40, 30, 20], "hair"


def test_the_seed_decides_all(tmp_path: Path) -> None:
    sets = [
        read_coco(synthetic_set(tmp_path / name, 2, (32, 32), seed))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    first, same, other = ([i.path.read_bytes() for i in s.images] for s in sets)
    assert first == same
    assert first != other
    np.testing.assert_array_equal(sets[0].images[0].truth.boxes, sets[1].images[0].truth.boxes)


@pytest.mark.parametrize("image_size", [(16, 16), (16, 300), (300, 17)])
def test_boxes_fit_small_pictures(tmp_path: Path, image_size: tuple[int, int]) -> None:
    assert find_problems([read_coco(synthetic_set(tmp_path, 8, image_size, seed=0))]) == []


def test_no_pictures_and_too_small_ones(tmp_path: Path) -> None:
    assert len(read_coco(synthetic_set(tmp_path, 0, (32, 32), seed=0))) == 0
    with pytest.raises(ValueError, match="at least 16"):
        synthetic_set(tmp_path, 1, (15, 32), seed=0)


def portrait() -> Portrait:
    """A white person on black, 40 x 40 pixels, whose head is red: 20 x 20, left of the middle."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, :, 1] = 200
    pixels[5:25, 4:24] = (255, 0, 0)
    return Portrait(pixels, np.array([4, 5, 24, 25], np.float32))


def test_heads_of_a_grid_are_where_the_boxes_say() -> None:
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
