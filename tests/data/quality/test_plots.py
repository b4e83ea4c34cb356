from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.data.quality.plots import draw_head_sizes, draw_heads_per_picture
from head_detection.data.quality.statistics import (
    SetStatistics,
    join_statistics,
    measure_set,
    spread,
)


def measured(name: str, *counts: int) -> SetStatistics:
    rows = [[([0, 0, 4, 9], False)] * count + [([0, 0, 9, 9], True)] for count in counts]
    images = [AnnotatedImage(Path("a"), "a", build_truth(boxes)) for boxes in rows]
    return measure_set(AnnotatedSet(name, tuple(images)))


def test_figures_by_hand() -> None:
    both = join_statistics("both", [measured("a", 0, 2), measured("b", 4)])
    assert both.heads_per_image.tolist() == [0, 2, 4]
    assert both.num_ignored == 3
    assert both.head_sizes.tolist() == [6.0] * 6
    assert spread(both.heads_per_image) == {
        "min": 0, "p05": 0.2, "median": 2, "p95": 3.8, "max": 4, "mean": 2
    }  # fmt: skip
    assert spread(np.zeros(0)) == {}


def test_boxes_without_area_have_no_size() -> None:
    image = AnnotatedImage(Path("a"), "a", build_truth([([5, 5, 5, 9], False)]))
    statistics = measure_set(AnnotatedSet("a", (image,)))
    assert statistics.heads_per_image.tolist() == [1]
    assert statistics.head_sizes.tolist() == []


@pytest.mark.parametrize("counts", [(), (0,), (1, 2, 30), (0, 60), (0, 1, 2000)])
@pytest.mark.parametrize("name", ["a", "_a $x^$ \u4e00\udc80"])
def test_any_set_is_drawn(counts: tuple[int, ...], name: str, tmp_path: Path) -> None:
    sets = [measured(name, *counts), measured("other")]
    draw_heads_per_picture(sets, tmp_path / "heads.png")
    draw_head_sizes(sets, tmp_path / "sizes.png", [6.0, 12.0])
    for file in tmp_path.iterdir():
        with Image.open(file) as picture:
            assert picture.size == (800, 450)
