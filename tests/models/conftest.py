"""What tests of the models share."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

FETCHES = {"_local_scalar_dense", "nonzero", "lift_fresh"}
"""Operations that on a GPU hand something to the processor or back, and wait for it."""


class _Waits(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        places = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        self.count += name in FETCHES
        self.count += sum(isinstance(p, Tensor) and p.dtype == torch.bool for p in places)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def count_waits() -> Callable[[Callable[[], object]], int]:
    """A function that tells how often another would wait for a GPU, seen on the CPU."""

    def count(work: Callable[[], object]) -> int:
        with _Waits() as waits:
            work()
        return waits.count

    return count
