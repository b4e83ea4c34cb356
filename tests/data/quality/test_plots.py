from pathlib import Path

import pytest
from PIL import Image

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.data.quality.plots import draw_head_sizes, draw_heads_per_picture
from head_detection.data.quality.survey import SetStatistics, measure_set


def measured(name: str, *counts: int) -> SetStatistics:
    rows = [[([0, 0, 4, 9], False)] * count + [([0, 0, 9, 9], True)] for count in counts]
    images = [AnnotatedImage(Path("a"), "a", build_truth(boxes)) for boxes in rows]
    return measure_set(AnnotatedSet(name, tuple(images)))


@pytest.mark.parametrize("counts", [(), (0,), (1, 2, 30), (0, 60), (0, 1, 2000)])
@pytest.mark.parametrize("name", ["a", "_a $x^$ \u4e00\udc80"])
def test_any_set_is_drawn(counts: tuple[int, ...], name: str, tmp_path: Path) -> None:
    sets = [measured(name, *counts), measured("other")]
    draw_heads_per_picture(sets, tmp_path / "heads.png")
    draw_head_sizes(sets, tmp_path / "sizes.png", [6.0, 12.0])
    for file in tmp_path.iterdir():
        with Image.open(file) as picture:
            assert picture.size == (800, 450)
