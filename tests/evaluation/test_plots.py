from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.evaluation.bootstrap import Difference
from head_detection.evaluation.evaluator import measure
from head_detection.evaluation.matching import Matching
from head_detection.evaluation.plots import count_mistakes, draw_comparison, draw_plots
from head_detection.structures import Detections, GroundTruth

NAMES = ["precision_recall.png", "miss_rate_fppi.png", "f1_threshold.png", "counts.png"]


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def num_coloured(path):
    """Count the pixels that are neither white, grey nor black."""
    pixels = pixels_of(path)
    return int((pixels.max(axis=2) - pixels.min(axis=2) > 60).sum())


def test_four_plots_with_something_drawn(scene, tmp_path):
    measurement = measure(*scene(1, num_pictures=60, max_boxes=40), num_resamples=0)
    paths = draw_plots(measurement, tmp_path / "new" / "plots")
    assert [path.name for path in paths] == NAMES
    assert sorted(path.name for path in (tmp_path / "new" / "plots").iterdir()) == sorted(NAMES)
    for path in paths:
        assert pixels_of(path).shape == (540, 720, 3)
        assert num_coloured(path) > 300


def test_the_reference_points_and_the_operating_point_are_there(scene, tmp_path):
    measurement = measure(*scene(1, num_pictures=60, max_boxes=40), num_resamples=0)
    for path in draw_plots(measurement, tmp_path)[1:3]:
        red = pixels_of(path)
        assert ((red[..., 0] > 180) & (red[..., 1] < 80) & (red[..., 2] < 80)).sum() > 50


@pytest.mark.parametrize("num_heads", [0, 2])
@pytest.mark.parametrize("num_found", [0, 2])
def test_little_to_draw(num_heads, num_found, tmp_path):
    boxes = np.array([[0, 0, 9, 9], [20, 20, 40, 40]], np.float32)
    truth = GroundTruth(boxes[:num_heads], np.zeros(num_heads, bool))
    found = Detections.from_arrays(boxes[:num_found], [0.9, 0.8][:num_found], (50, 50))
    assert len(draw_plots(measure([found], [truth], num_resamples=0), tmp_path)) == 4


def test_plots_of_no_images(tmp_path):
    assert len(draw_plots(measure([], [], num_resamples=0), tmp_path)) == 4


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
