from importlib.util import find_spec

import pytest
import torch

from head_detection.config import SuppressionConfig
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.onnx import OnnxBackend
from head_detection.inference.backends.parity import TOLERANCE, Parity, measure_parity
from head_detection.models.faster_rcnn import assemble
from head_detection.models.network import DenseMaps
from head_detection.structures import Detections


def test_parity_by_hand():
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    expected = Detections.from_arrays(boxes, [0.9, 0.8, 0.45], (50, 100))
    moved = [[0, 0, 10, 12], [40, 0, 50, 10], [70, 0, 80, 10]]
    found = Detections.from_arrays(moved, [0.85, 0.55, 0.6], (50, 100))
    parity = Parity()
    parity.add(expected, found, score_threshold=0.5)
    # The first is 2 pixels off, the second is missing, the last is new; the third is a head for one
    # side, and not far under the threshold for the other.
    assert (parity.heads, parity.missing, parity.extra) == (2, 1, 1)
    assert parity.box == 2.0
    assert parity.score == pytest.approx(0.05)


def test_where_no_head_is_compared_it_says_so():
    assert (
        Parity(outputs=1e-6)
        .as_line(2, 0.3)
        .endswith(
            "1.0e-06 of their largest value; neither finds a head scored 0.3 or more, so none is "
            "compared: choose pictures with heads"
        )
    )
    line = Parity(extra=1).as_line(2, 0.3)
    assert "of 0 heads scored 0.3 or more 0 are missing, 1 are new" in line


class Other:
    """A network whose logits of a head are lower by one number."""

    name, device, precision, batch_size = "other", torch.device("cpu"), "fp32", 1
    takes_threads = False
    dtype = torch.float32

    def __init__(self, network, lower):
        self._network, self._lower = network, lower

    def dense(self, images) -> DenseMaps:
        return self._network.dense(images)

    def score(self, pooled):
        logits, deltas = self._network.score(pooled)
        return logits - torch.tensor([0.0, self._lower]), deltas


@pytest.fixture
def scenes(draw_scene):
    return [torch.from_numpy(draw_scene(seed)).permute(2, 0, 1) for seed in range(2)]


def test_a_network_is_like_itself(build, scenes):
    tiny = build()
    parity = measure_parity(tiny.model, Other(tiny.network, 0.0), scenes, 0.3)
    assert parity.heads > 0
    assert parity == Parity(heads=parity.heads)


def test_a_network_that_says_less_misses_heads(build, scenes):
    tiny = build()
    parity = measure_parity(tiny.model, Other(tiny.network, 9.0), scenes, 0.3)
    assert parity.missing == parity.heads > 0
    assert parity.outputs > 1


def test_a_score_a_little_under_the_threshold_is_not_missing(build, scenes):
    """Also where the model's own parts would drop it: they are asked for less."""
    tiny = build()
    strict = tiny.inference.model_copy(update={"suppression": SuppressionConfig()})
    model = assemble(tiny.network, tiny.config, strict).eval()
    lower = 0.01
    for threshold in (0.04, 0.3):
        parity = measure_parity(model, Other(tiny.network, lower), scenes, threshold)
        assert parity.heads > 0
        assert parity.missing == 0
        # A logit lower by d lowers a score s by s (1 - s) d, at most d / 4.
        assert 0 < parity.score <= lower / 4


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs the export extra")
def test_an_export_is_within_tolerance(build, scenes):
    tiny = build()
    backend = OnnxBackend(to_onnx(tiny.network, tiny.config))
    parity = measure_parity(tiny.model, backend, scenes, 0.3)
    assert 0 < parity.outputs <= TOLERANCE
    assert (parity.missing, parity.extra) == (0, 0)
    assert parity.box < 0.01


def test_no_pictures_are_no_differences(build):
    tiny = build()
    assert measure_parity(tiny.model, Other(tiny.network, 1.0), [], 0.3) == Parity()
