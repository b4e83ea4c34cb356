import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from head_detection.config import (
    CalibrationConfig,
    InferenceConfig,
    NetworkConfig,
    override_inference,
)
from head_detection.errors import ConfigError
from head_detection.models.calibration import SizeCalibration, build_calibration
from head_detection.models.decoder import build_decoder
from head_detection.models.nms import EMPTY
from head_detection.models.suppression import Candidates, Heads


class Counting(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def square(side, left=0.0):
    return [left, 0.0, left + side, side]


def test_a_score_changes_by_the_size_of_the_head_by_hand():
    # 48 px: one octave, -1.5 * 1 + 0.25 * 1 = -1.25; 96 px: two, -3 + 1 = -2.
    calibration = SizeCalibration(-1.5, 0.25, 8.0, 160.0)
    scores = calibration.scores(torch.tensor([0.5, 0.5, 0.8]), torch.tensor([48.0, 96.0, 24.0]))
    expected = [1 / (1 + math.exp(1.25)), 1 / (1 + math.exp(2)), 0.8]
    assert scores.tolist() == pytest.approx(expected, abs=1e-6)


def test_beyond_the_sizes_of_the_fit_nothing_more_changes():
    calibration = SizeCalibration(-1.0, -1.0, 12.0, 96.0)
    even = torch.full((4,), 0.7)
    tiny, smallest, largest, huge = calibration.scores(even, torch.tensor([1.0, 12, 96, 9000.0]))
    assert (tiny, largest) == (smallest, huge)


def test_scores_stay_numbers_at_both_ends():
    calibration = SizeCalibration(-9.0, 3.0, 1.0, 1000.0)
    scores = calibration.scores(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 1000.0, 0.0]))
    assert scores.isfinite().all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_heads_are_sorted_anew_and_empty_slots_stay_empty():
    boxes = torch.tensor([[square(96), square(24, 200.0), [0.0] * 4]])
    heads = Heads(boxes, torch.tensor([[0.8, 0.6, EMPTY]]))
    found = SizeCalibration(-1.0, 0.0, 8.0, 160.0)(heads)
    # The larger one falls by two to a logit of ln 4 - 2 = -0.61, the other keeps its score.
    assert found.scores[0].tolist() == pytest.approx([0.6, 1 / (1 + math.exp(2) / 4), EMPTY])
    assert found.boxes[0].tolist() == [square(24, 200.0), square(96), [0.0] * 4]


def test_no_heads_at_all():
    none = Heads(torch.zeros(2, 0, 4), torch.zeros(2, 0))
    assert SizeCalibration(1.0, 1.0, 8.0, 160.0)(none).scores.shape == (2, 0)


def test_the_decoder_calibrates_what_it_has_suppressed():
    config = InferenceConfig(calibration=CalibrationConfig(linear=-1.0))
    candidates = Candidates(torch.tensor([[square(96)]]), torch.tensor([[0.5]]))
    plain = build_decoder(NetworkConfig(), InferenceConfig()).suppress(candidates)
    calibrated = build_decoder(NetworkConfig(), config).suppress(candidates)
    assert plain.scores.item() == 0.5
    assert calibrated.scores.item() == pytest.approx(1 / (1 + math.exp(2)))


def test_a_batch_costs_as_many_operators_as_a_picture():
    counts = []
    for batch in (1, 8):
        heads = Heads(torch.rand(batch, 5, 4), torch.rand(batch, 5))
        with Counting() as counting:
            SizeCalibration(1.0, 1.0, 8.0, 160.0)(heads)
        counts.append(counting.count)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inference.calibration.smallest_head=0", "greater than 0"),
        ("inference.calibration={smallest_head: 50, largest_head: 20}", "at most largest_head"),
        ("inference.calibration.cubic=1", "cubic"),
    ],
)
def test_what_is_no_calibration_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        override_inference(InferenceConfig(calibration=CalibrationConfig()), [override])


def test_without_a_config_there_is_none():
    assert build_calibration(None) is None
