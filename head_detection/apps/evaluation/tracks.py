"""``evaluate --protocol track``: measures how well ids are kept in labelled sequences."""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tabulate import tabulate
from tqdm import tqdm

from head_detection.apps.arguments import engine_options
from head_detection.apps.evaluation.predictions import counted, read_detections
from head_detection.apps.evaluation.result import short_name, without_nan
from head_detection.apps.evaluation.worst import safe_name
from head_detection.apps.video_options import add_tracking_options, fps, tracking_config
from head_detection.config import TRACKERS, DatasetConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats import load_annotations
from head_detection.errors import AnnotationError, EvaluationError
from head_detection.evaluation.tracking import TrackCounts, track_counts, track_metrics
from head_detection.files import write_bytes
from head_detection.images.finding import PictureFile
from head_detection.results.mot import own_name, sequences_of
from head_detection.structures import Detections

TRACK: Final = "track"
FILE: Final = "tracks.json"
ALL: Final = "all"
OF_SEQUENCES: Final = ("crohd", "vscrowd")
"""Formats of labels whose heads have ids."""
OTHER_FORMATS: Final = f"for sequences with ids: --format {' or '.join(OF_SEQUENCES)}"
COLUMNS: Final = {
    "mota": "MOTA", "idf1": "IDF1", "hota": "HOTA", "deta": "DetA", "assa": "AssA",
    "ideucl": "IDEucl", "id_switches": "switches",
}  # fmt: skip
FPS: Final = 25.0
"""The rate of CroHD's sequences."""
Sequences = Mapping[str, Sequence[int]]
"""Indices of pictures in the set, by the sequence's name."""


def add_track_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for tracking heads in sequences."""
    add_tracking_options(parser)
    parser.add_argument(
        "--fps", type=fps, metavar="N",
        help=f"frames per second of the sequences, for --protocol track (default: {FPS:g})",
    )  # fmt: skip


def check_track_options(arguments: argparse.Namespace) -> None:
    """Refuse options that would have no effect.

    Raises:
        EvaluationError: in one line.
    """
    following = [] if arguments.track is None else ["--track"]
    following += [] if arguments.fps is None else ["--fps"]
    following += [f"--set {given}" for given in arguments.set if given.startswith("tracking.")]
    if following and arguments.protocol != TRACK:
        raise EvaluationError(f"{following[0]}: expected --protocol {TRACK} too; got another")
    if following and arguments.detections is not None:
        raise EvaluationError(
            f"{following[0]}: expected --weights; got --detections, whose heads already have ids"
        )
    if arguments.choose_threshold and arguments.protocol == TRACK:
        raise EvaluationError(
            f"--choose-threshold: expected a protocol of single pictures; got {TRACK}"
        )


def load_labels(arguments: argparse.Namespace) -> AnnotatedSet:
    """Read the labels.

    Raises:
        AnnotationError: as ``load_annotations``; names the formats that have ids.
    """
    config = DatasetConfig(
        path=arguments.data,
        format=arguments.format,
        images=arguments.images,
        split=arguments.split,
    )
    try:
        return load_annotations(config)
    except AnnotationError as error:
        if arguments.protocol != TRACK or arguments.format in OF_SEQUENCES:
            raise
        raise AnnotationError(f"{error}; {OTHER_FORMATS}") from error


def evaluate_tracks(arguments: argparse.Namespace, labelled: AnnotatedSet) -> int:
    """Measure tracks, print one line per sequence and one for all, and write ``tracks.json``.

    Raises:
        EvaluationError: labels or detections have no ids, or pictures are missing.
        HeadDetectionError: another mistake of the user.
    """
    sequences = _sequences_in(labelled)
    notes = list(labelled.notes)
    if arguments.detections is None:
        found: Sequence[Detections]
        title, found = _track(arguments, labelled, sequences)
    else:
        predictions = read_detections(arguments, labelled)
        title, found = predictions.title, predictions.detections
        if any(len(one) for one in found) and all(one.ids is None for one in found):
            raise EvaluationError(
                f"--detections {arguments.detections}: expected ids, that tell who is who; got "
                "none: test --track --save mot writes them"
            )
        notes += _notes_on_missed(arguments.detections, found, sequences)
        if arguments.score_threshold is not None:
            found = [one.above(arguments.score_threshold) for one in found]
            title = f"{title}, score {arguments.score_threshold:g} or more"
    counts: dict[str, TrackCounts] = {}
    for name, indices in sequences.items():
        truths = [labelled.images[index].truth for index in indices]
        try:
            counts[name] = track_counts([found[index] for index in indices], truths)
        except EvaluationError as error:
            hint = "" if arguments.format in OF_SEQUENCES else f"; {OTHER_FORMATS}"
            raise EvaluationError(f"{labelled.name}, {name}: {error}{hint}") from error
    metrics = {name: track_metrics([one]) for name, one in counts.items()}
    metrics[ALL] = track_metrics(list(counts.values()))
    print(f"{title} on {labelled.name}")
    for note in notes:
        print(f"note: {note}")
    _print_table(metrics, sequences, counts)
    weights = arguments.detections or arguments.weights
    name = safe_name("shipped" if weights is None else short_name(weights))
    default = Path("runs", "evaluate", f"{name}-{safe_name(labelled.name)}-{TRACK}")
    path: Path = (arguments.output or default) / FILE
    content = {"protocol": TRACK, "of": title, "metrics": without_nan(metrics)}
    write_bytes(path, json.dumps(content, indent=2).encode())
    print(f"\nwritten to {path}")
    return 0


def _sequences_in(labelled: AnnotatedSet) -> Sequences:
    """Return the sequences of the set; one that fills the whole set is named after its folder."""
    sequences: dict[str, Sequence[int]] = {}
    for folder, indices in sequences_of(labelled).items():
        name = own_name(str(folder))
        if name == str(Path()):
            pictures = labelled.images[indices[0]].path.absolute().parent
            name = Path(own_name(pictures.as_posix())).name or name
        sequences[name] = indices
    return sequences


def _notes_on_missed(file: Path, found: Sequence[Detections], sequences: Sequences) -> list[str]:
    """Return a line on the sequences for which a file has no detections, if there are any."""
    missed = [
        name for name, indices in sequences.items() if not any(len(found[i]) for i in indices)
    ]
    what = f"sequences without detections in {file.name}, whose heads count as missed"
    return [counted(what, missed)] if missed else []


def _print_table(
    metrics: Mapping[str, Mapping[str, float]],
    sequences: Sequences,
    counts: Mapping[str, TrackCounts],
) -> None:
    frames = {name: len(indices) for name, indices in sequences.items()}
    heads = {name: one.num_heads for name, one in counts.items()}
    frames[ALL], heads[ALL] = sum(frames.values()), sum(heads.values())
    rows = [
        (name, frames[name], heads[name], *(_shown(key, values[key]) for key in COLUMNS))
        for name, values in metrics.items()
    ]
    header = ("sequence", "frames", "heads", *COLUMNS.values())
    sides = ("left", *("right" for _ in header[1:]))
    print()
    print(tabulate(rows, header, "simple", disable_numparse=True, colalign=sides))
    print("\nIoU .50; HOTA, DetA, AssA: mean of .05 to .95; IDEucl: .40. Heads without an id are")
    print("left out; what matches a distractor is taken out first.")


def _shown(key: str, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if key == "id_switches" else f"{value:.4f}"


def _track(
    arguments: argparse.Namespace, labelled: AnnotatedSet, sequences: Sequences
) -> tuple[str, list[Detections]]:
    """Run the weights and a tracker over each labelled sequence separately."""
    missing = [str(image.path) for image in labelled.images if not image.path.is_file()]
    if missing:
        what = f"{labelled.name}: expected the labelled pictures; missing of {len(labelled)}"
        raise EvaluationError(f"{counted(what, missing)}: name their folder with --images")
    arguments.track = arguments.track or TRACKERS[0]
    engine = engine_options(arguments)
    given = [override for override in arguments.set if override.startswith("tracking.")]
    config = tracking_config(arguments, engine)
    from head_detection.inference.detector import HeadDetector

    detector = HeadDetector.from_weights(
        arguments.weights,
        score_threshold=arguments.score_threshold,
        lowest_score=None if config is None else config.lowest_score,
        **engine,
    )
    found = [Detections.empty((0, 0))] * len(labelled)
    with tqdm(total=len(labelled), desc="Following heads", unit=" frames", file=sys.stderr) as bar:
        for indices in sequences.values():
            images = [labelled.images[index] for index in indices]
            files = [PictureFile(image.path, image.file_name) for image in images]
            tracked = detector.track(
                files, arguments.track, fps=arguments.fps or FPS, overrides=given
            )
            num_read = 0
            for frame, heads in tracked:
                if frame.index != num_read:
                    break
                found[indices[num_read]] = heads
                num_read += 1
                bar.update()
            if num_read < len(files):  # those that cannot be read are left out, the last ones too
                path = files[num_read].path
                raise EvaluationError(f"{path}: expected a picture; it cannot be read")
    return f"{detector.origin['weights']} with {arguments.track}", found
