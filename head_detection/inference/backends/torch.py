"""Running the network in PyTorch."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor, nn
from torchvision.ops import DeformConv2d, FrozenBatchNorm2d

from head_detection.devices import find_device, find_precision
from head_detection.errors import DeviceError
from head_detection.inference.backends.cpu_fusion import (
    can_fuse_in,
    fuse_for_cpu,
)
from head_detection.inference.backends.cuda_fusion import cast_and_fuse
from head_detection.inference.backends.folding import fold_batch_norm
from head_detection.inference.backends.row_blocks import score_in_blocks
from head_detection.kernels import can_run
from head_detection.models.network import DenseMaps, Network

Dense: TypeAlias = Callable[[Tensor], DenseMaps]

BATCH_SIZE: Final = 16
"""Pictures per batch on a GPU; on a CPU, batches are no faster than single pictures."""
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """The model's own network, with batch norm folded, in the device's layout and precision.

    Args:
        network: changed in place: moved to the device and optimised for it.
        size_divisor: sides of a batch are multiples of it.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto is fp16 with CUDA, bf16 on a processor that multiplies it, else fp32. Boxes
            are always float32.
        compile_network: compile the dense part with ``torch.compile`` for each size of picture (up
            to its limit of eight); for videos and cameras, which have one size.

    Raises:
        DeviceError: no such device or precision here; from ``dense``, no compiler.
    """

    name = "torch"

    def __init__(
        self,
        network: Network,
        size_divisor: int,
        *,
        device: str = "auto",
        precision: str = "auto",
        compile_network: bool = False,
    ) -> None:
        self.device = find_device(device)
        self.precision = find_precision(precision, self.device)
        self.batch_size = 1 if self.device.type == "cpu" else BATCH_SIZE
        self.takes_threads = self.device.type == "cpu" and not compile_network
        # A GPU's context and a compiler's worker processes belong to the process that began them.
        self.survives_fork = self.device.type == "cpu" and not compile_network
        self.can_be_recorded = self.device.type == "cuda"
        fold_batch_norm(network.eval().backbone)
        self._multiplied = _DTYPES[self.precision]
        self._is_cast = self._multiplied != torch.float32 and _can_be_cast(network)
        # Under autocast the network casts its input.
        self.dtype = self._multiplied if self._is_cast else torch.float32
        is_eager_cpu = self.device.type == "cpu" and not compile_network  # compilers fuse too
        # Autocast does not cover fused convolutions, so maps and weights would differ in type.
        has_one_type = self.precision == "fp32" or self._is_cast
        if is_eager_cpu and has_one_type and can_fuse_in(self._multiplied):
            fuse_for_cpu(network, size_divisor)
        self._network = network.to(self.device).to(memory_format=torch.channels_last)
        if self._is_cast and not compile_network and can_run(self.device):
            cast_and_fuse(network, self.dtype)
        elif self._is_cast:  # once; autocast would cast the weights for each picture
            network.to(self.dtype)
        self._dense: Dense = CompiledDense(network.dense) if compile_network else network.dense

    def dense(self, images: Tensor) -> DenseMaps:
        """Return the maps of ``(B, 3, H, W)`` normalised pictures."""
        with self._autocast():
            maps: DenseMaps = self._dense(images.to(self.dtype))
            return maps

    def score(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, 2)`` and deltas ``(N, 8)`` of ``(N, C, P, P)`` pooled features."""
        with self._autocast():
            if self.device.type == "cpu" and len(pooled):
                return score_in_blocks(self._network.score, pooled.to(self.dtype))
            logits, deltas = self._network.score(pooled.to(self.dtype))
            return logits, deltas

    def _autocast(self) -> AbstractContextManager[object]:
        if self._is_cast or self._multiplied == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self._multiplied)


class CompiledDense:
    """The dense part compiled by ``torch.compile``, once for each size of picture.

    A last batch may not be full, and a view may use only some pictures of a batch; each number of
    pictures would take half a minute to compile. A batch smaller than an earlier one is therefore
    padded with empty pictures.

    Args:
        dense: maps ``(B, 3, H, W)`` to the network's maps.
    """

    def __init__(self, dense: Dense) -> None:
        # The compiler takes seconds to import, and only this class needs it.
        from torch._dynamo.exc import BackendCompilerFailed  # noqa: PLC0415

        self._dense, self._failure = torch.compile(dense, dynamic=False), BackendCompilerFailed
        self._batch_sizes: dict[torch.Size, int] = {}

    def __call__(self, images: Tensor) -> DenseMaps:
        """Return the maps of ``(B, 3, H, W)`` normalised pictures.

        Raises:
            DeviceError: no compiler, or no ``Python.h``.
        """
        count, side = len(images), images.shape[1:]
        most = self._batch_sizes[side] = max(count, self._batch_sizes.get(side, 0))
        if count == most:
            return self._run(images)
        full = F.pad(images, (0, 0, 0, 0, 0, 0, 0, most - count))
        maps = self._run(full.contiguous(memory_format=torch.channels_last))
        return DenseMaps(*(tuple(level[:count] for level in levels) for levels in maps))

    def _run(self, images: Tensor) -> DenseMaps:
        try:
            return self._dense(images)
        except self._failure as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise DeviceError(
                f"compile: torch.compile cannot make the network here ({lines[0]}); it needs a "
                "C++ compiler and Python's headers (apt-get install g++ python3-dev), and Triton "
                "with CUDA; leave it out, or install them"
            ) from error


def _can_be_cast(network: Network) -> bool:
    """Tell whether no layer needs float32, as norms and torchvision's deformable kernel do."""
    kinds = (DeformConv2d, nn.BatchNorm2d, FrozenBatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    return not any(isinstance(module, kinds) for module in network.modules())
