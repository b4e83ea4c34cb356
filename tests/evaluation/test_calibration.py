import numpy as np
import pytest
from scipy.special import expit, logit

from head_detection.evaluation.calibration import fit_sizes


def draw(linear, quadratic, slope=1.0, number=60_000):
    """Return scores, sizes, and who is a head, where the truth is such a law."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(np.log(8), np.log(160), number))
    scores = expit(rng.normal(0, 2, number))
    octaves = np.log2(sizes / 24)
    likely = slope * (logit(scores) + linear * octaves + quadratic * octaves**2) - 0.5
    return scores.astype(np.float32), sizes, rng.random(number) < expit(likely)


@pytest.mark.parametrize(
    ("linear", "quadratic", "slope"), [(0.0, 0.0, 1.0), (-0.5, -0.2, 1.0), (0.3, -0.3, 1.5)]
)
def test_the_law_that_made_the_detections_is_found(linear, quadratic, slope):
    fit = fit_sizes(*draw(linear, quadratic, slope))
    assert fit.linear == pytest.approx(linear, abs=0.03)
    assert fit.quadratic == pytest.approx(quadratic, abs=0.03)


def test_the_range_is_that_of_nearly_all_true_heads():
    scores, sizes, is_head = draw(0.0, 0.0)
    fit = fit_sizes(scores, sizes, is_head)
    inside = (sizes[is_head] >= fit.smallest_head) & (sizes[is_head] <= fit.largest_head)
    assert inside.mean() == pytest.approx(0.98, abs=1e-3)


@pytest.mark.parametrize("right", [0, 49, 1000])
def test_too_few_are_refused(right):
    is_head = np.arange(1000) < right
    with pytest.raises(ValueError, match=rf"got {right} and {1000 - right}"):
        fit_sizes(np.full(1000, 0.5), np.full(1000, 20.0), is_head)


def test_none_are_refused():
    with pytest.raises(ValueError, match="got 0 and 0"):
        fit_sizes(np.zeros(0), np.zeros(0), np.zeros(0, bool))


def test_scores_that_say_the_contrary_are_refused():
    scores, sizes, is_head = draw(0.0, 0.0)
    with pytest.raises(ValueError, match="higher scores"):
        fit_sizes(1 - scores, sizes, is_head)
