"""Linear regression from sums, by hand."""

import pytest
import torch

from head_detection.models.least_squares import Regression


def columns(*values: list[float]) -> torch.Tensor:
    return torch.tensor(values).T


def test_a_line_through_three_points() -> None:
    """Through (0, 1), (1, 3) and (2, 2): slope 1/2, at 0 it is 3/2, and 1.5 of 2 squares are left.

    The means are 1 and 2; the products sum to 1, the squares of x to 2, those of y to 2.
    """
    regression = Regression(1, 1)
    regression.add(columns([0.0, 1.0]), columns([1.0, 3.0]))
    regression.add(columns([2.0]), columns([2.0]))  # batches add up
    solution = regression.solve()
    assert solution.weight.item() == pytest.approx(0.5, rel=1e-4)
    assert solution.bias.item() == pytest.approx(1.5, rel=1e-4)
    assert solution.left == pytest.approx(0.75, rel=1e-4)
    assert solution.mean.item() == pytest.approx(0.5, rel=1e-4)
    assert solution.variance.item() == pytest.approx(0.25 * 2 / 3, rel=1e-4)


def test_a_row_that_counts_twice_is_as_two_rows() -> None:
    once, twice = Regression(1, 1), Regression(1, 1)
    x, y = columns([0.0, 1.0, 2.0]), columns([1.0, 3.0, 2.0])
    once.add(x, y, torch.tensor([1.0, 2.0, 1.0]))
    twice.add(columns([0.0, 1.0, 1.0, 2.0]), columns([1.0, 3.0, 3.0, 2.0]))
    assert once.solve().bias.item() == pytest.approx(twice.solve().bias.item())
    assert once.solve().left == pytest.approx(twice.solve().left)


def test_inputs_that_hardly_vary_around_a_large_mean_are_fitted_as_others() -> None:
    """y = 4 (x - 1000) + 7: of 1000 squared, float32 keeps no hundredth, which is what x varies."""
    regression = Regression(2, 1)
    steps = torch.randn(2, 3000, 2, generator=torch.Generator().manual_seed(0)) / 16
    for step in steps:
        regression.add(1000 + step, 4 * step[:, :1] + 7)
    solution = regression.solve()
    assert solution.weight.tolist()[0] == pytest.approx([4.0, 0.0], abs=1e-2)
    at_mean = float(solution.weight.double().sum() * 1000 + solution.bias.double())
    assert at_mean == pytest.approx(7.0, abs=0.1)
    assert solution.mean.item() + solution.bias.item() == pytest.approx(7.0, abs=0.1)
    assert solution.variance.item() == pytest.approx(16 / 256, rel=0.05)
    assert solution.left < 1e-4
    assert regression.choose(1).tolist() == [0]


@pytest.fixture
def noisy() -> Regression:
    """y = 3 x0 - 2 x2 + 1; x1 is nearly x0, x3 is noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=generator)
    x[:, 1] = x[:, 0] + 0.3 * x[:, 1]
    regression = Regression(4, 1)
    regression.add(x, (3 * x[:, :1] - 2 * x[:, 2:3] + 1))
    return regression


def test_inputs_that_matter_are_kept_and_fitted_anew(noisy: Regression) -> None:
    assert noisy.choose(2).tolist() == [0, 2]
    solution = noisy.solve(noisy.choose(2))
    assert solution.weight.tolist()[0] == pytest.approx([3.0, -2.0], abs=1e-3)
    assert solution.bias.item() == pytest.approx(1.0, abs=1e-3)
    assert solution.left < 1e-6
    assert noisy.choose(1).tolist() == [0]
    assert noisy.choose(4).tolist() == [0, 1, 2, 3]


def test_inputs_that_depend_on_each_other_and_no_rows_give_numbers() -> None:
    regression = Regression(2, 1)
    assert regression.solve().weight.tolist() == [[0.0, 0.0]]
    assert regression.choose(1).numel() == 1
    regression.add(torch.zeros(0, 2), torch.zeros(0, 1))
    assert regression.is_empty
    regression.add(columns([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), columns([2.0, 4.0, 6.0]))
    assert not regression.is_empty
    assert regression.solve().weight.sum().item() == pytest.approx(2.0, rel=1e-3)
    assert regression.solve(regression.choose(1)).left < 1e-6
