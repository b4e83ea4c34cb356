"""The shipped weights find heads: floors a little under what was measured, no data set needed."""

import hashlib
import re

import cv2
import numpy as np
import pytest

from head_detection.apps.demo import create_samples
from head_detection.data.synthetic import lay_out, sample_person
from head_detection.evaluation.average_precision import average_precision
from head_detection.evaluation.matching import match_detections
from head_detection.inference.detector import HeadDetector
from head_detection.inference.weights_files import weights_path
from head_detection.models.weights import read_description
from head_detection.structures import GroundTruth

NAMES = ("light", "fast", "accurate")
TURN = 15
"""Degrees."""
HIDDEN = 0.4
"""Of a head's height, from the chin up."""


def test_each_file_is_the_one_of_its_card(repository):
    """Of a card, the heading is the file's name and a row of its table the hash."""
    folder = repository / "weights"
    _, *sections = (folder / "README.md").read_text(encoding="utf-8").split("\n## ")
    stated = {
        section.split("\n", 1)[0]: re.findall(r"^\| SHA-256 \| `([0-9a-f]{64})` \|$", section, re.M)
        for section in sections
    }
    files = sorted(folder.glob("*.safetensors"))
    assert files
    for path in files:
        assert stated[path.name] == [hashlib.sha256(path.read_bytes()).hexdigest()], path.name
    assert sum(map(len, stated.values())) == len(files)


def turned(pixels, boxes):
    """Return the picture turned about its middle; a head is the ellipse that fills its box."""
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), TURN, 1)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 @ turn[:, :2].T + turn[:, 2]
    radii = ((boxes[:, 2:] - boxes[:, :2]) ** 2 / 4 @ (turn[:, :2].T ** 2)) ** 0.5
    moved = np.concatenate([middles - radii, middles + radii], axis=1)
    return cv2.warpAffine(pixels, turn, (width, height), borderValue=(127, 127, 127)), moved


def half_hidden(pixels, boxes):
    """Return the picture with a board before each chin; the head is all of it, as annotators do."""
    hidden = pixels.copy()
    for left, top, right, bottom in boxes.round().astype(int):
        hidden[bottom - int(HIDDEN * (bottom - top)) : bottom, left:right] = (150, 120, 90)
    return hidden, boxes


CHANGES = {
    "as it is": lambda pixels, boxes: (pixels, boxes),
    "dimmed": lambda pixels, boxes: ((pixels * 0.4).astype(np.uint8), boxes),
    "blurred": lambda pixels, boxes: (cv2.GaussianBlur(pixels, (0, 0), 1.0), boxes),
    "grey": lambda pixels, boxes: (pixels.mean(2, keepdims=True).astype("u1").repeat(3, 2), boxes),
    "turned": turned,
    "half hidden": half_hidden,
}
FAST = {
    (200, "as it is"): 0.95,
    (200, "dimmed"): 0.95,
    (200, "half hidden"): 0.95,
    (100, "as it is"): 0.95,
    (50, "as it is"): 0.95,
    (50, "dimmed"): 0.95,
    (50, "blurred"): 0.95,
    (50, "grey"): 0.95,
    (50, "turned"): 0.95,
    (50, "half hidden"): 0.95,
    (25, "as it is"): 0.95,
    (25, "dimmed"): 0.95,
    (25, "blurred"): 0.95,
    (25, "grey"): 0.95,
    (25, "turned"): 0.95,
    (25, "half hidden"): 0.88,
    (12, "as it is"): 0.75,
    (12, "dimmed"): 0.79,
    (12, "blurred"): 0.95,
    (12, "turned"): 0.61,
}
"""By head size in pixels and what is done to the picture: a little under what was measured."""
LIGHT = {case: floor for case, floor in FAST.items() if case != (25, "half hidden")} | {
    (12, "as it is"): 0.95,
    (12, "dimmed"): 0.94,
    (12, "blurred"): 0.93,
    (12, "turned"): 0.76,
}
ACCURATE = {
    **FAST,
    (25, "half hidden"): 0.95,
    (12, "as it is"): 0.95,
    (12, "dimmed"): 0.95,
    (12, "turned"): 0.95,
}
FLOORS = {
    (name, *case): floor
    for name, floors in (("light", LIGHT), ("fast", FAST), ("accurate", ACCURATE))
    for case, floor in floors.items()
}


@pytest.fixture(scope="module")
def detectors():
    options = {"device": "cpu", "precision": "fp32", "score_threshold": 0.02}
    return {name: HeadDetector.from_weights(name, **options) for name in NAMES}


@pytest.fixture(scope="module")
def thresholds():
    return {name: read_description(weights_path(name)).inference.score_threshold for name in NAMES}


@pytest.fixture(scope="module")
def samples():
    return {sample.name: sample for sample in create_samples()}


@pytest.mark.parametrize(("name", "size", "change"), FLOORS, ids=str)
def test_heads_are_found(detectors, samples, name, size, change):
    sample = samples[f"heads-of-{size}-pixels"]
    pixels, boxes = CHANGES[change](sample.pixels, sample.truth.boxes)
    boxes = boxes.astype(np.float32)
    height, width = pixels.shape[:2]
    is_inside = ((boxes > -1) & (boxes < [width + 1, height + 1] * 2)).all(axis=1)
    (found,) = detectors[name].detect([pixels])
    floor = FLOORS[name, size, change]
    assert average_precision([found], [GroundTruth(boxes, ~is_inside)]) >= floor


@pytest.fixture(scope="module")
def int8():
    """Refuses to be built where its export is of other weights than those beside it."""
    pytest.importorskip("openvino", reason="needs the export extra")
    options = {"precision": "int8", "score_threshold": 0.02}
    return {name: HeadDetector.from_weights(name, **options) for name in ("light", "fast")}


@pytest.mark.parametrize(
    ("name", "size"), [("light", 200), ("light", 50), ("fast", 200), ("fast", 50), ("fast", 25)]
)
def test_heads_are_found_in_int8(int8, samples, name, size):
    sample = samples[f"heads-of-{size}-pixels"]
    (found,) = int8[name].detect([sample.pixels])
    truth = GroundTruth(sample.truth.boxes, np.zeros(len(sample.truth.boxes), bool))
    assert average_precision([found], [truth]) >= 0.95


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("enlarged", [1, 2, 3])
def test_a_portrait_of_any_size_is_one_head(detectors, thresholds, samples, name, enlarged):
    sample = samples["portrait"]
    pixels = cv2.resize(sample.pixels, None, fx=enlarged, fy=enlarged)
    (found,) = detectors[name].detect([pixels])
    truth = GroundTruth(sample.truth.boxes * enlarged, np.zeros(1, bool))
    assert len(found.above(thresholds[name])) == 1
    assert average_precision([found], [truth]) >= 0.99


@pytest.mark.parametrize("name", NAMES)
def test_a_sky_has_no_heads(detectors, thresholds, name):
    sky = np.tile(np.linspace(120, 220, 640).astype(np.uint8)[:, None, None], (1, 800, 3))
    (found,) = detectors[name].detect([sky])
    assert len(found.above(thresholds[name])) == 0


def test_a_dense_crowd_is_not_cut_off(detectors, thresholds):
    """600 heads of 20 pixels: limits that do not grow leave 472 of them."""
    pixels, truth = lay_out(sample_person(), 20, rows=20, columns=30)
    (found,) = detectors["fast"].detect([pixels])
    found = found.above(thresholds["fast"])
    assert found.note is None
    assert 590 <= len(found) <= 610
    assert int((match_detections(found, truth).found >= 0).sum()) >= 590
