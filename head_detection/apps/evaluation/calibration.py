"""``evaluate --calibrate``: makes scores of all head sizes comparable, on the measured pictures."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from head_detection.config import CalibrationConfig, InferenceConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import EvaluationError
from head_detection.evaluation.calibration import fit_sizes
from head_detection.evaluation.matching import IGNORED, match_detections
from head_detection.structures import Detections

UNCALIBRATED: Final = "inference.calibration=null"
"""The override that keeps the network's own scores."""
DECIMALS: Final = 4
"""Far finer than the fit is certain."""


def calibrate(
    detections: Sequence[Detections], labelled: AnnotatedSet, inference: InferenceConfig
) -> tuple[list[Detections], CalibrationConfig]:
    """Fit a calibration to detections, and return them with calibrated scores.

    Args:
        detections: one per picture, with the network's own scores.
        labelled: the pictures and their truth.
        inference: the settings that the detections were made with.

    Raises:
        EvaluationError: too few heads, or scores that carry no information.
    """
    import torch

    from head_detection.models.calibration import build_calibration
    from head_detection.models.transform import build_resize

    resize = build_resize(inference.resize)
    factors = [resize.factor(*found.image_size) for found in detections]
    sizes = [
        np.sqrt(np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)) * factor
        for found, factor in zip(detections, factors, strict=True)
    ]
    matched = np.concatenate(
        [
            match_detections(found, image.truth).found
            for found, image in zip(detections, labelled.images, strict=True)
        ]
    )
    counts = matched != IGNORED
    scores = np.concatenate([found.scores for found in detections])
    try:
        fit = fit_sizes(scores[counts], np.concatenate(sizes)[counts], matched[counts] >= 0)
    except ValueError as error:
        raise EvaluationError(f"--calibrate: {labelled.name}: {error}") from error
    config = CalibrationConfig(**{k: round(v, DECIMALS) for k, v in fit._asdict().items()})
    calibration = build_calibration(config)
    assert calibration is not None  # noqa: S101 - None only without a config
    calibrated = [
        Detections.from_arrays(
            found.boxes,
            calibration.scores(torch.from_numpy(found.scores), torch.from_numpy(size)).numpy(),
            found.image_size,
        )
        for found, size in zip(detections, sizes, strict=True)
    ]
    return calibrated, config
