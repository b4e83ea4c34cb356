"""Made-up pictures: the same each time, with boxes that fit."""

from pathlib import Path

import numpy as np
import pytest

from head_detection.data.annotations import find_problems
from head_detection.data.formats.coco import read_coco
from head_detection.data.synthetic import MAX_HEADS, synthetic_set
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
