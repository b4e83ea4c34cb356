"""What ``evaluate`` judges: detections of the labelled pictures, found now or read from a file."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from head_detection.apps.arguments import engine_options
from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import EvaluationError
from head_detection.images.finding import PictureFile
from head_detection.inference.building import describe_weights
from head_detection.inference.detector import HeadDetector
from head_detection.inference.shipped_weights import shipped_weights
from head_detection.pipeline.run import run_pipeline
from head_detection.pipeline.sources import ItemSource
from head_detection.results.coco import read_image_ids
from head_detection.results.formats import read_detection_file
from head_detection.results.record import Failure
from head_detection.structures import Detections

LOWEST_SCORE: Final = 0.02
"""The curves need low scores; under this there is next to nothing to find."""
SHARED_NAMES: Final = frozenset({"best", "last", "detections", "coco", "mot"})
"""What training and test call their files, whichever run it is."""
CHOSEN_HERE: Final = "best F1 of the very pictures judged here"
GIVEN: Final = "--score-threshold"
STORED: Final = "stored in the weights"
OF_FILE: Final = "the detections file was cut there"


@dataclass(frozen=True)
class Subject:
    """A detector by its detections.

    Attributes:
        name: short, for folders.
        title: one line on what it is.
        model: for ``metrics.json``.
        detections: one a picture of the labelled set.
        score_threshold: the operating point; None is to be chosen on the judged pictures.
        threshold_origin: where that is from.
        lowest_score: heads scored lower are not among the detections; None is not known.
        notes: what a reader of the figures must know, a line each.
    """

    name: str
    title: str
    model: dict[str, Any]
    detections: Sequence[Detections]
    score_threshold: float | None
    threshold_origin: str
    lowest_score: float | None
    notes: list[str] = field(default_factory=list)


def detect_all(arguments: argparse.Namespace, labelled: AnnotatedSet) -> Subject:
    """Run the weights over the labelled pictures.

    Raises:
        EvaluationError: pictures are missing.
        PictureError: one cannot be read; figures over the others would be other figures.
        WeightsError: weights that cannot be used.
    """
    _check_pictures_are_there(labelled)
    given: float | None = arguments.score_threshold
    lowest = LOWEST_SCORE if given is None else min(given, LOWEST_SCORE)
    detector = HeadDetector.from_weights(
        arguments.weights,
        score_threshold=lowest,
        **engine_options(arguments),
    )
    weights = detector.origin["weights"]
    engine = f"{detector.origin['engine']} {detector.origin['precision']}"
    threshold, origin = given, GIVEN
    if arguments.choose_threshold:
        origin = CHOSEN_HERE
    elif given is None:
        stored = describe_weights(arguments.weights or shipped_weights())
        threshold, origin = stored.score_threshold, STORED
    return Subject(
        name=_name_of(arguments.weights or Path(weights)),
        title=f"{weights} ({detector.origin['backbone']}, {engine})",
        model=detector.origin,
        detections=_detect(detector, labelled),
        score_threshold=threshold,
        threshold_origin=origin,
        lowest_score=lowest,
    )


def _check_pictures_are_there(labelled: AnnotatedSet) -> None:
    """Say so before hours of work, not after them."""
    missing = [str(image.path) for image in labelled.images if not image.path.is_file()]
    if missing:
        what = f"{labelled.name}: expected the labelled pictures; missing of {len(labelled)}"
        raise EvaluationError(f"{_counted(what, missing)}; --images says where they are")


def _detect(detector: HeadDetector, labelled: AnnotatedSet) -> list[Detections]:
    files = [PictureFile(image.path, image.file_name) for image in labelled.images]
    found, num_heads = [], 0
    with tqdm(total=len(files), desc="Finding heads", unit=" pictures", file=sys.stderr) as bar:
        for outcome in run_pipeline(ItemSource.of(files), detector):
            if isinstance(outcome, Failure):
                raise outcome.error
            found.append(outcome.detections)
            num_heads += len(outcome.detections)
            bar.set_postfix_str(f"{num_heads} boxes", refresh=False)
            bar.update()
    return found


def read_detections(arguments: argparse.Namespace, labelled: AnnotatedSet) -> Subject:
    """Read the detections that somebody made of the labelled pictures.

    Raises:
        DetectionFileError: the file cannot be used, or is of other pictures.
    """
    path: Path = arguments.detections
    labels = Path(arguments.data)
    has_ids = arguments.format == "coco" and labels.is_file()
    read = read_detection_file(path, labelled, read_image_ids(labels) if has_ids else ())
    threshold, origin = arguments.score_threshold, GIVEN
    cut = read.score_threshold
    if threshold is None:
        # A file cut as low as for the curves has no operating point: nobody would work there.
        is_operating = cut is not None and cut > LOWEST_SCORE
        threshold, origin = (cut, OF_FILE) if is_operating else (None, CHOSEN_HERE)
    notes = list(read.notes)
    if read.failed:
        what = "pictures that the detector could not read, counted as without heads"
        notes.append(_counted(what, read.failed))
    if read.without:
        what = f"pictures without detections in {path.name}, counted as such"
        notes.append(_counted(what, read.without))
    if cut is not None and cut > LOWEST_SCORE:
        notes.append(
            f"{path.name} holds no scores under {cut:g}: its AP, MR^-2 and JI are lower than its "
            f"detector's; write it with --score-threshold {LOWEST_SCORE:g} for these"
        )
    return Subject(
        name=_name_of(path),
        title=f"{path} ({read.form})",
        model={"detections": str(path), "form": read.form, **read.model},
        detections=read.detections,
        score_threshold=threshold,
        threshold_origin=origin,
        lowest_score=cut,
        notes=notes,
    )


def label_notes(subject: Subject, labelled: AnnotatedSet) -> list[str]:
    """Return what may be wrong with the labels, a line each."""
    notes = [] if labelled.num_heads else [f"{labelled.name} has no labelled heads to find"]
    other = [
        image.file_name
        for image, found in zip(labelled.images, subject.detections, strict=True)
        if image.image_size not in (None, found.image_size)
    ]
    if other:
        notes.append(_counted("pictures of another size than their labels say", other))
    return notes


def _name_of(path: Path) -> str:
    """Return the name of a file, with its folder's where many files are called that.

    Example:
        >>> _name_of(Path("runs/train/scut/best.safetensors")), _name_of(Path("a/fast.safetensors"))
        ('scut-best', 'fast')
    """
    folder = path.resolve().parent.name
    return f"{folder}-{path.stem}" if path.stem in SHARED_NAMES else path.stem


def _counted(what: str, names: Sequence[str]) -> str:
    """Return a line with the number of names and the first.

    Example:
        >>> _counted("missing", ["a.jpg", "b.jpg"])
        'missing: 2, the first: a.jpg'
    """
    return f"{what}: {len(names)}, the first: {names[0]}"
