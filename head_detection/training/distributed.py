"""Data-parallel training: the processes (ranks) that train one model, and their communication.

It does the same as ``DistributedDataParallel``: every rank holds the whole model, and gradients are
summed. That class is not used because the ranks must agree on skipping a step and on each one's
share of it, a rank may have no pictures, and a parameter may have no gradient; with the latter two,
it would leave the other ranks waiting.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from head_detection.devices import find_device

Value = TypeVar("Value")
TIMEOUT = timedelta(hours=1)
"""Longer than NCCL's ten minutes, because the others wait while the first rank checks pictures."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: 0 is the first, which alone writes files and messages.
        world_size: number of processes.
        device: the device of this process.

    Example:
        >>> alone = Ranks(rank=0, world_size=1, device=torch.device("cpu"))
        >>> alone.gather("a"), alone.from_first(lambda: 3)
        (['a'], 3)
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Return whether this process writes files and messages."""
        return self.rank == 0

    def sum_in_place(self, tensor: Tensor) -> Tensor:
        """Replace the tensor with its sum over ranks."""
        if self.world_size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank, without waiting for a GPU."""
        if self.world_size == 1:
            return flag
        return bool(self.sum_in_place(torch.tensor([float(flag)])).item())

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, in order of rank, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values

    def from_first(self, function: Callable[[], Value]) -> Value:
        """Call the function on the first rank and return its value to all.

        Raises:
            ValueError, OSError: raised by the function, on the first rank, which reports it.
            SystemExit: code 2 on the other ranks, which report nothing.
        """
        if self.world_size == 1:
            return function()
        message: list[Any] = [None, None]
        if self.is_first:
            try:
                message[1] = function()
            except (ValueError, OSError) as error:
                message[0] = str(error)
                torch.distributed.broadcast_object_list(message)
                raise
        torch.distributed.broadcast_object_list(message)
        if message[0] is not None:
            raise SystemExit(2)
        return message[1]  # type: ignore[no-any-return]  # as the first rank's function gave it

    def sum_gradients(self, parameters: Iterable[nn.Parameter], share: Tensor) -> None:
        """Scale the gradients by this rank's share of the pictures and sum them over ranks."""
        if self.world_size == 1:
            return
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        self._sum_as_one(gradients, share)

    def average_buffers(self, model: nn.Module) -> None:
        """Average the statistics of trained batch norms over all ranks."""
        if self.world_size > 1:
            norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
            buffers = [b for norm in norms for b in norm.buffers() if b.is_floating_point()]
            self._sum_as_one(buffers, 1 / self.world_size)

    def copy_from_first(self, model: nn.Module) -> None:
        """Copy the first rank's parameters and buffers to every rank."""
        if self.world_size > 1:
            for tensor in [*model.parameters(), *model.buffers()]:
                torch.distributed.broadcast(tensor.data, src=0)

    def _sum_as_one(self, tensors: list[Tensor], factor: Tensor | float) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).mul_(factor)
        torch.distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


@contextmanager
def joined_ranks(device_name: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started; without torchrun, there is only this one.

    Args:
        device_name: as for ``find_device``. Under torchrun, ``auto`` and ``cuda`` give each local
            rank its own GPU.

    Raises:
        DeviceError: no such device.
    """
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = _own_device(device_name, int(os.environ.get("LOCAL_RANK", "0")), world_size)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world_size == 1:
        yield Ranks(rank=0, world_size=1, device=device)
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield Ranks(rank=rank, world_size=world_size, device=device)
    finally:
        torch.distributed.destroy_process_group()


def _own_device(name: str, local_rank: int, world_size: int) -> torch.device:
    device = find_device(name)
    if device.type == "cuda" and device.index is None:
        index = local_rank if world_size > 1 else torch.cuda.current_device()
        return find_device(f"cuda:{index}")
    return device


def local_world_size() -> int:
    """Return how many ranks share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
