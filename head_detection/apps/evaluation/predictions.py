"""What ``evaluate`` measures: detections in labelled pictures, found now or read from a file."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from head_detection.apps.arguments import engine_options
from head_detection.apps.evaluation.calibration import UNCALIBRATED, calibrate
from head_detection.apps.progress import SHOWN_NOTES
from head_detection.config import CalibrationConfig, override_inference
from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import EvaluationError
from head_detection.images.finding import PictureFile
from head_detection.inference.weights_files import shipped_weights
from head_detection.pipeline.sources import ItemSource
from head_detection.results.formats import read_detection_file
from head_detection.results.record import Failure
from head_detection.structures import Detections

if TYPE_CHECKING:
    from head_detection.inference.detector import HeadDetector

LOWEST_SCORE: Final = 0.02
"""The curves need low scores; below this, hardly any heads are left to find."""
OF_WEIGHTS: Final = ("engine", "precision", "compile", "set", "image_size", "tile", "tile_overlap")
"""Options that change what is found."""
CHOSEN_HERE: Final = "best F1 of the very pictures measured here"
GIVEN: Final = "--score-threshold"
STORED: Final = "stored in the weights"
OF_FILE: Final = "the detections file was cut there"


@dataclass(frozen=True)
class Predictions:
    """The detections of one detector.

    Attributes:
        path: of the weights, or of the file of detections.
        title: describes the detector in one line.
        model: describes it for ``metrics.json``.
        detections: one per picture of the labelled set.
        score_threshold: the operating point; None: it is still to be chosen on these pictures.
        threshold_origin: where the operating point comes from.
        lowest_score: detections with lower scores are missing; None if that score is not known.
        notes: what a reader of the metrics must know, one line each.
        calibration: fitted to these pictures, to be stored in the weights.
    """

    path: Path
    title: str
    model: dict[str, Any]
    detections: Sequence[Detections]
    score_threshold: float | None
    threshold_origin: str
    lowest_score: float | None
    notes: list[str] = field(default_factory=list)
    calibration: CalibrationConfig | None = None


def check_detections(arguments: argparse.Namespace) -> None:
    """Refuse a file of detections that is not there, and options that only weights heed.

    Raises:
        EvaluationError: in one line.
    """
    if not arguments.detections.exists():
        raise EvaluationError(f"--detections: {arguments.detections}: no such file")
    for name in OF_WEIGHTS:
        value = getattr(arguments, name)
        if value is not None and value is not False and value not in ("auto", []):
            option = "--" + name.replace("_", "-")
            raise EvaluationError(
                f"{option}: expected --weights; got --detections, which are found already"
            )


def detect_all(arguments: argparse.Namespace, labelled: AnnotatedSet) -> Predictions:
    """Run the weights over the labelled pictures.

    Raises:
        EvaluationError: pictures are missing.
        PictureError: one cannot be read; metrics without it would not be comparable.
        WeightsError: the weights cannot be used.
    """
    missing = [str(image.path) for image in labelled.images if not image.path.is_file()]
    if missing:  # reported before hours of work, not after
        what = f"{labelled.name}: expected the labelled pictures; missing of {len(labelled)}"
        raise EvaluationError(f"{counted(what, missing)}: name their folder with --images")
    given: float | None = arguments.score_threshold
    lowest = LOWEST_SCORE if given is None else min(given, LOWEST_SCORE)
    options = engine_options(arguments)
    if arguments.calibrate:
        options["overrides"].append(UNCALIBRATED)
    from head_detection.inference.building import describe_weights
    from head_detection.inference.detector import HeadDetector

    detector = HeadDetector.from_weights(arguments.weights, score_threshold=lowest, **options)
    weights = detector.origin["weights"]
    engine = f"{detector.origin['engine']} {detector.origin['precision']}"
    threshold, origin = given, GIVEN
    stored = describe_weights(arguments.weights or shipped_weights()).inference
    if arguments.choose_threshold:
        origin = CHOSEN_HERE
    elif given is None:
        threshold, origin = stored.score_threshold, STORED
    detections, notes = _detect(detector, labelled)
    calibration = None
    if arguments.calibrate:
        inference = override_inference(stored, options["overrides"])
        detections, calibration = calibrate(detections, labelled, inference)
    return Predictions(
        path=arguments.weights or Path(weights),
        title=f"{weights} ({detector.origin['backbone']}, {engine})",
        model=detector.origin,
        detections=detections,
        score_threshold=threshold,
        threshold_origin=origin,
        lowest_score=lowest,
        notes=notes,
        calibration=calibration,
    )


def _detect(detector: "HeadDetector", labelled: AnnotatedSet) -> tuple[list[Detections], list[str]]:
    """Return the heads of each picture, and the notes that ``test`` would print."""
    from head_detection.pipeline.run import run_pipeline

    files = [PictureFile(image.path, image.file_name) for image in labelled.images]
    found, num_heads = list[Detections](), 0
    notes: list[str] = []
    num_notes = 0
    with tqdm(total=len(files), desc="Finding heads", unit=" pictures", file=sys.stderr) as bar:
        for outcome in run_pipeline(ItemSource.of(files), detector):
            if isinstance(outcome, Failure):
                raise outcome.error
            found.append(outcome.detections)
            if outcome.note is not None:
                num_notes += 1
                if num_notes <= SHOWN_NOTES:
                    notes.append(f"{outcome.file}: {outcome.note}")
            num_heads += len(outcome.detections)
            bar.set_postfix_str(f"{num_heads} boxes", refresh=False)
            bar.update()
    if num_notes > SHOWN_NOTES:
        notes.append(f"notes on pictures: {num_notes}, of which {SHOWN_NOTES} are shown")
    return found, notes


def read_detections(arguments: argparse.Namespace, labelled: AnnotatedSet) -> Predictions:
    """Read a file of detections in the labelled pictures.

    Raises:
        DetectionFileError: the file cannot be used, or belongs to other pictures.
    """
    path: Path = arguments.detections
    read = read_detection_file(path, labelled)
    threshold, origin, cut = arguments.score_threshold, GIVEN, read.score_threshold
    if threshold is None:
        # A threshold as low as the curves need is no operating point.
        is_operating = cut is not None and cut > LOWEST_SCORE
        threshold, origin = (cut, OF_FILE) if is_operating else (None, CHOSEN_HERE)
    notes = list(read.notes)
    if read.failed:
        what = "pictures that the detector could not read, counted as without heads"
        notes.append(counted(what, read.failed))
    if read.without:
        what = f"pictures without detections in {path.name}, counted as such"
        notes.append(counted(what, read.without))
    if cut is not None and cut > LOWEST_SCORE:
        notes.append(
            f"{path.name} holds no scores under {cut:g}: its AP, MR^-2 and JI are lower than its "
            f"detector's; write it with --score-threshold {LOWEST_SCORE:g} for these"
        )
    return Predictions(
        path=path,
        title=f"{path} ({read.form})",
        model={"detections": str(path), "form": read.form, **read.model},
        detections=read.detections,
        score_threshold=threshold,
        threshold_origin=origin,
        lowest_score=cut,
        notes=notes,
    )


def counted(what: str, names: Sequence[str]) -> str:
    """Return a line with the number of names and the first one.

    Example:
        >>> counted("missing", ["a.jpg", "b.jpg"])
        'missing: 2, the first: a.jpg'
    """
    return f"{what}: {len(names)}, the first: {names[0]}"
