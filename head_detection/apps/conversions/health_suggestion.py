"""Lines for an experiment file that fit a data set."""

from collections.abc import Sequence

import torch
from torch import Tensor

from head_detection.config import ExperimentConfig
from head_detection.data.quality.survey import Channels, SurveyedPicture
from head_detection.models.anchors import (
    kmeans_anchor_sizes,
    levels_of_sizes,
    median_anchor_sizes,
    median_ratio,
)
from head_detection.models.transform import scale_factor


def suggest(
    pictures: Sequence[SurveyedPicture],
    pixels: tuple[Channels, Channels] | None,
    experiment: ExperimentConfig | None,
) -> tuple[str, tuple[float, ...]]:
    """Return YAML with anchors and pixel statistics, and the sizes to mark in a plot.

    Args:
        pictures: the set; heads without area and pictures of unknown size are left out.
        pixels: mean and standard deviation, if there are any.
        experiment: whose resize and number of levels the anchors are for; None takes original
            pixels and the default levels.

    Returns:
        The text, and the median sizes in original pixels; none for network pixels or few heads.
    """
    num_levels = len((experiment or ExperimentConfig()).network.backbone.strides)
    boxes = _boxes(pictures, experiment)
    lines = ["network:"]
    medians: tuple[float, ...] = ()
    if len(boxes) >= num_levels:
        frame = "original pixels" if experiment is None else "network pixels of the experiment"
        medians = median_anchor_sizes(boxes, num_levels)
        clusters = kmeans_anchor_sizes(boxes, num_levels)
        lines += [
            f"  anchors:  # of {len(boxes)} heads in {frame}",
            f"    sizes: {_levels(medians, num_levels)}  # medians of equal shares",
            f"    # sizes: {_levels(clusters, num_levels)}  # or k-means",
            f"    ratios: [{median_ratio(boxes)}]  # median height over width",
        ]
    if pixels is not None:
        mean, deviation = (list(channels) for channels in pixels)
        lines += [f"  mean: {mean}", f"  std: {deviation}"]
    text = "\n".join(lines) if len(lines) > 1 else "# nothing to suggest: no heads and no pixels"
    return text, medians if experiment is None else ()


def _levels(sizes: tuple[float, ...], num_levels: int) -> list[list[float]]:
    return [list(level) for level in levels_of_sizes(sizes, num_levels)]


def _boxes(pictures: Sequence[SurveyedPicture], experiment: ExperimentConfig | None) -> Tensor:
    resize = None if experiment is None else experiment.inference.resize
    scaled = [torch.zeros(0, 4)]
    for picture in pictures:
        boxes = torch.from_numpy(picture.image.truth.head_boxes)
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(dim=1)]
        if picture.error is None:
            factor = 1.0 if resize is None else scale_factor(resize, *picture.image_size)
            scaled.append(boxes * factor)
    return torch.cat(scaled)
