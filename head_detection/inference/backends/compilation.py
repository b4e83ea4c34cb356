"""The dense part as ``torch.compile`` makes it: once for each size of picture."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed

from head_detection.errors import DeviceError
from head_detection.models.network import DenseMaps

Dense = Callable[[Tensor], DenseMaps]


class CompiledDense:
    """Runs a compiled network, and makes it anew for no batch that is smaller than another was.

    A last batch is not full, and further views are of some pictures of a batch: each number of
    pictures would be half a minute of compiling. Such batches are filled up with nothing.

    Args:
        dense: from ``(B, 3, H, W)`` to maps.
    """

    def __init__(self, dense: Dense) -> None:
        self._dense = torch.compile(dense, dynamic=False)
        self._batch_sizes: dict[torch.Size, int] = {}

    def __call__(self, images: Tensor) -> DenseMaps:
        """Return the maps of ``(B, 3, H, W)`` normalised pictures.

        Raises:
            DeviceError: nothing to compile with.
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
        except BackendCompilerFailed as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise DeviceError(
                f"compile: torch.compile cannot make the network here ({lines[0]}); it needs a "
                "C++ compiler on cpu and Triton with CUDA; leave it out, or install them"
            ) from error
