"""Linear regression from sums over rows that do not fit into memory, and the choice of inputs."""

from dataclasses import dataclass
from typing import Annotated, Final

import torch
from torch import Tensor

RIDGE: Final = 1e-5
"""Added to the squares, as a share of their mean, so that inputs may depend on each other."""
LEAST_SQUARE: Final = 1e-9
"""A mean below this counts as this, so that inputs may be all zero."""


@dataclass(frozen=True)
class Solution:
    """Outputs as linear functions of inputs, float32.

    Attributes:
        weight: ``(M, K)``, one row per output.
        bias: ``(M,)``.
        mean: ``(M,)`` means of the outputs without the bias.
        variance: ``(M,)`` variances of the outputs.
        left: the share of the variance of what was wanted that the outputs leave, 0 to 1.
    """

    weight: Annotated[Tensor, "m k"]
    bias: Annotated[Tensor, "m"]
    mean: Annotated[Tensor, "m"]
    variance: Annotated[Tensor, "m"]
    left: float


class Regression:
    """Sums over rows of inputs and wanted outputs, float64.

    Args:
        num_inputs: columns of the inputs.
        num_outputs: columns of the wanted outputs.

    Example:
        >>> regression = Regression(1, 1)
        >>> regression.add(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [3.0], [5.0]]))
        >>> solution = regression.solve()
        >>> round(solution.weight.item(), 3), round(solution.bias.item(), 3)
        (2.0, 1.0)
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        self._moments = torch.zeros(num_inputs + 1, num_inputs + 1, dtype=torch.float64)
        self._products = torch.zeros(num_inputs + 1, num_outputs, dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)
        self._origin = torch.zeros(num_inputs), torch.zeros(num_outputs)
        """What the sums are taken from: near the means, so that rounding does not hide how inputs
        vary that hardly do."""

    def add(
        self,
        inputs: Annotated[Tensor, "n k"],
        wanted: Annotated[Tensor, "n m"],
        weights: Annotated[Tensor, "n"] | None = None,
    ) -> None:
        """Add rows, of which each counts ``weights`` times."""
        if len(inputs) == 0:
            return
        if self.is_empty:
            self._origin = inputs.mean(0), wanted.mean(0)
        inputs, wanted = inputs - self._origin[0], wanted - self._origin[1]
        rows = torch.cat((inputs, inputs.new_ones(len(inputs), 1)), dim=1)
        counted = rows if weights is None else rows * weights[:, None]
        self._moments += (counted.T @ rows).double()
        self._products += (counted.T @ wanted).double()
        squares = wanted.double().square().sum(1)
        self._squares += (squares if weights is None else squares * weights).sum()

    @property
    def is_empty(self) -> bool:
        """Return whether no row has been added."""
        return not self._moments[-1, -1]

    @property
    def _count(self) -> Tensor:
        return self._moments[-1, -1].clamp(min=1)

    def solve(self, kept: Annotated[Tensor, "k"] | None = None, ridge: float = RIDGE) -> Solution:
        """Return the best outputs from all inputs, or from those with the indices ``kept``."""
        constant = len(self._moments) - 1
        chosen = torch.arange(constant) if kept is None else kept
        means = self._moments[-1, chosen] / self._count
        moments = self._centred[chosen][:, chosen]
        targets = self._products[-1] / self._count
        products = self._products[chosen] / self._count - torch.outer(means, targets)
        weight = torch.linalg.solve(_with_ridge(moments, ridge), products).T
        mean = weight @ (means + self._origin[0][chosen])
        total = self._squares / self._count - targets.square().sum()
        variance = ((weight @ moments) * weight).sum(1)
        error = total - 2 * (weight.T * products).sum() + variance.sum()
        return Solution(
            weight.float(),
            (targets + self._origin[1] - mean).float(),
            mean.float(),
            variance.clamp(min=0).float(),
            float((error / total.clamp(min=LEAST_SQUARE)).clamp(0, 1)),
        )

    @property
    def _centred(self) -> Tensor:
        """Return the covariances of the inputs."""
        means = self._moments[-1, :-1] / self._count
        return self._moments[:-1, :-1] / self._count - torch.outer(means, means)

    def choose(self, count: int) -> Annotated[Tensor, "k"]:
        """Return the sorted indices of ``count`` inputs that together give the outputs well.

        One input after the other is dropped, each time the one without which the error grows least.

        Source:
            Hassibi and Stork, Optimal Brain Surgeon, NeurIPS 1992: the growth in closed form.
        """
        inverse = torch.linalg.inv(_with_ridge(self._centred, RIDGE))
        weight = self.solve().weight.T.double()
        dropped = torch.zeros(len(weight), dtype=torch.bool)
        for _ in range(len(weight) - count):
            growth = weight.square().sum(1) / inverse.diagonal()
            least = int(growth.masked_fill(dropped, torch.inf).argmin())
            column = inverse[:, least] / inverse[least, least]
            weight -= torch.outer(column, weight[least])
            inverse -= torch.outer(column, inverse[least])
            dropped[least] = True
            inverse[least, least] = 1.0  # its row and column are 0 now
        return (~dropped).nonzero().flatten()


def _with_ridge(moments: Tensor, ridge: float) -> Tensor:
    added = ridge * moments.diagonal().mean().clamp(min=LEAST_SQUARE)
    return moments + added * torch.eye(len(moments), dtype=moments.dtype)
