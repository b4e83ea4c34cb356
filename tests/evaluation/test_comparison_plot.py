from pathlib import Path

import numpy as np
from PIL import Image

from head_detection.evaluation.comparison import Difference
from head_detection.evaluation.comparison_plot import count_mistakes, draw_comparison
from head_detection.evaluation.matching import Matching


def matching(found: list[int], scores: list[float], num_heads: int) -> Matching:
    return Matching(np.array(found, np.int64), np.array(scores, np.float32), num_heads)


def test_mistakes_are_misses_and_false_alarms_at_the_threshold() -> None:
    pictures = [
        matching([0, -1, -2, 1], [0.9, 0.8, 0.7, 0.3], 3),  # misses 2, 1 false, 1 ignored
        matching([-1], [0.2], 0),
        matching([], [], 0),
    ]
    assert count_mistakes(pictures, 0.5).tolist() == [3, 0, 0]
    assert count_mistakes(pictures, 0.1).tolist() == [2, 1, 0]


def test_a_png_is_written_also_of_nothing(tmp_path: Path) -> None:
    nan = float("nan")
    cases = {
        "some": (Difference("ap50", 0.5, 0.6, 0.1, 0.05, 0.15), Difference("mae", 2, 1, -1, -2, 0)),
        "unsure": (Difference("ap50", nan, nan, nan, nan, nan),),
        "none": (),
    }
    for name, differences in cases.items():
        path = tmp_path / "new" / f"{name}.png"
        pictures = [matching([0], [0.9], 1)]
        draw_comparison(path, differences, (pictures, pictures), (0.5, 0.5), ("A", "B"))
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.size[0] > 1000
