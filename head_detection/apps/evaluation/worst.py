"""Draws the pictures with the most mistakes, for people to look at."""

import re
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from head_detection.apps.evaluation.result import EvaluationResult
from head_detection.errors import EvaluationError, PictureError
from head_detection.evaluation.matching import FALSE_POSITIVE, IGNORED, Matching
from head_detection.files import write_bytes
from head_detection.images.drawing import OutcomeBoxes, draw_outcome
from head_detection.images.encoding import encode_picture
from head_detection.images.finding import OUTPUT_MARKER
from head_detection.images.reading import Picture, read_picture
from head_detection.structures import Detections, GroundTruth

FOLDER: Final = "worst"
NUM_PICTURES: Final = 20
JPEG_QUALITY: Final = 90
_MARKER_TEXT: Final = "Results of head-detection: a folder of pictures to search leaves this out.\n"
_OURS: Final = "[0-9][0-9]-*.jpg"
_NOT_FOR_FILES: Final = re.compile(r"[^\w.-]+")


def draw_worst(
    folder: Path, result: EvaluationResult, num_pictures: int = NUM_PICTURES
) -> list[str]:
    """Draw the pictures with the most misses and false alarms, the worst first.

    Args:
        folder: of all results; the pictures go into its ``worst/``.
        result: of the measurement.
        num_pictures: at most; a picture without mistakes is not drawn.

    Returns:
        Messages for the user, one line each.

    Raises:
        EvaluationError: ``worst/`` holds files that are not results of an earlier run.
    """
    target = folder / FOLDER
    _empty(target)
    worst = find_worst(result, num_pictures)
    unread: list[str] = []
    for rank, index in enumerate(tqdm(worst, desc="Drawing", disable=None), start=1):
        image = result.labelled.images[index]
        try:
            drawn = _draw(read_picture(image.path), result, index, rank)
        except PictureError as error:
            unread.append(str(error))
            continue
        name = safe_name(Path(image.file_name).stem)
        write_bytes(target / f"{rank:02}-{name}.jpg", drawn)
    if not worst:
        return [f"{FOLDER}/: nothing to draw, no picture has a mistake"]
    num_drawn = len(worst) - len(unread)
    lines = [f"{FOLDER}/: {num_drawn} drawn, of those with the most misses and false alarms"]
    if unread:
        lines.append(f"{FOLDER}/: {len(unread)} cannot be drawn, the first: {unread[0]}")
    return lines


def find_worst(result: EvaluationResult, num_pictures: int) -> list[int]:
    """Return the indices of the pictures with the most mistakes at the operating threshold."""
    mistakes = np.array([o.num_missed + o.num_false for o in result.measurement.images], np.int64)
    order = np.argsort(-mistakes, kind="stable")[:num_pictures]
    return [int(index) for index in order if mistakes[index]]


def outcome_boxes(
    detections: Detections, truth: GroundTruth, matching: Matching, score_threshold: float
) -> OutcomeBoxes:
    """Sort the boxes of a picture into found, missed and false ones at a score threshold.

    Args:
        detections: of the picture, including low scores.
        truth: of the picture.
        matching: of these detections with this truth.
        score_threshold: detections with lower scores are left out.

    Example:
        >>> boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9]], np.float32)
        >>> truth = GroundTruth(boxes, np.zeros(2, bool))
        >>> found = Detections.from_arrays(boxes[:1] , [0.9], (30, 30))
        >>> matching = Matching(np.array([0]), found.scores, 2)
        >>> outcome_boxes(found, truth, matching, 0.5).missed.tolist()
        [[20.0, 0.0, 29.0, 9.0]]
    """
    kept = detections.scores >= score_threshold
    heads = truth.head_boxes
    is_missed = np.ones(len(heads), np.bool_)
    is_missed[matching.found[kept & (matching.found >= 0)]] = False
    is_false = kept & (matching.found == FALSE_POSITIVE)
    inside = detections.boxes[kept & (matching.found == IGNORED)]
    return OutcomeBoxes(
        found=detections.boxes[kept & (matching.found >= 0)],
        missed=heads[is_missed],
        false_alarms=detections.boxes[is_false],
        false_scores=detections.scores[is_false],
        not_counted=np.concatenate([truth.ignore_boxes, inside]),
    )


def safe_name(text: str) -> str:
    """Return the text as a file name that is valid on every system.

    Example:
        >>> safe_name("street 12: a/b")
        'street-12-a-b'
    """
    return _NOT_FOR_FILES.sub("-", text).strip("-.")[:60] or "picture"


def _draw(pixels: Picture, result: EvaluationResult, index: int, rank: int) -> bytes:
    image, outcome = result.labelled.images[index], result.measurement.images[index]
    threshold = result.measurement.score_threshold
    boxes = outcome_boxes(
        result.predictions.detections[index], image.truth, outcome.matching, threshold
    )
    title = (
        f"{rank}. {image.file_name}",
        f"labelled heads: {outcome.num_heads}",
        f"predicted: {outcome.num_predicted}",
        f"at score {threshold:.2f} or more, IoU 0.5",
    )
    try:
        return encode_picture(draw_outcome(pixels, boxes, title), ".jpg", JPEG_QUALITY)
    except PictureError as error:
        raise PictureError(f"{image.file_name}: {error}") from error


def _empty(target: Path) -> None:
    """Remove the pictures of an earlier run, and mark the folder as results."""
    marker = target / OUTPUT_MARKER
    if target.is_dir() and not marker.exists() and any(target.iterdir()):
        raise EvaluationError(
            f"{target}: expected a new folder or one of earlier results; it holds other files: "
            "give another --output"
        )
    for file in target.glob(_OURS):
        file.unlink()
    write_bytes(marker, _MARKER_TEXT.encode())
