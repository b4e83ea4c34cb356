"""What the two parts of a network are given for pictures, to quantise or compare them."""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from head_detection.images.reading import read_picture
from head_detection.inference.backends.graph_shapes import DENSE, SCORE
from head_detection.models.faster_rcnn import FasterRCNN

MOST_BOXES: Final = 256
"""Proposals of a picture that the second part gets, spread over all by objectness."""


def read_sample(path: Path) -> Tensor:
    """Return a picture as ``(3, H, W)`` uint8.

    Raises:
        PictureError: it cannot be read.
    """
    return torch.from_numpy(read_picture(path)).permute(2, 0, 1)


@torch.inference_mode()
def inputs_of(model: FasterRCNN, image: Tensor) -> dict[str, npt.NDArray[np.float32]]:
    """Return what each part gets for a picture, by the name of its input, as the graphs take it.

    Args:
        model: float32, on CPU: finds the proposals.
        image: ``(3, H, W)``.
    """
    batch, _ = model.transform([image])
    maps = model.network.dense(batch.tensors)
    height, width = batch.tensors.shape[2:]
    boxes = model.decoder.propose(maps, (height, width), batch.image_sizes).boxes
    step = max(1, -(-boxes.shape[1] // MOST_BOXES))
    pooled = model.decoder.pool(maps.features, boxes[:, ::step], None)
    if not len(pooled):  # a box of zeros: no library calibrates with nothing
        pooled = pooled.new_zeros((1, *pooled.shape[1:]))
    return {
        DENSE: batch.tensors.numpy(),
        SCORE: pooled.permute(0, 2, 3, 1).contiguous().numpy(),
    }
