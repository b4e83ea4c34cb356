"""``mot.txt``: MOTChallenge text, a detection a line, frames by number.

Source:
    Dendorfer et al., MOT20, arXiv 2003.09003, section 5.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.label_files import read_text
from head_detection.errors import DetectionFileError
from head_detection.results.csv import csv_lines
from head_detection.results.reading import DetectionRows, FoundElsewhere, found_in_rows, size_of
from head_detection.results.record import NOT_TRACKED, Record
from head_detection.results.sink import FileSink

FORM: Final = "MOTChallenge text"
NUM_FIELDS: Final = 7
"""``frame,id,left,top,width,height,score``; what follows says nothing of a box."""
ORIGIN: Final = 1.0
"""The benchmark counts pixels from 1."""
SHOWN_CHARACTERS: Final = 80
NO_PLACE_IN_SPACE: Final = -1


class MotSink(FileSink):
    """``mot.txt``: ``frame,id,left,top,width,height,score,-1,-1,-1``.

    Frames and pixels count from 1, as the benchmark counts; pictures that failed are frames too.
    The id is -1 for a head that is not followed.
    """

    file_name = "mot.txt"

    def _lines(self, record: Record) -> str:
        rest = [NO_PLACE_IN_SPACE] * 3
        ids = record.ids or [NOT_TRACKED] * len(record.detections)
        heads = zip(ids, record.boxes_xywh, record.scores, strict=True)
        return csv_lines(
            (record.index + 1, key, round(x + 1, 4), round(y + 1, 4), w, h, score, *rest)
            for key, (x, y, w, h), score in heads
        )


def read_mot_detections(path: Path, labelled: AnnotatedSet) -> FoundElsewhere:
    """Give each picture of a set its own of MOTChallenge text: frame n is the n-th picture.

    Where the set has several sequences (folders of pictures), a file is called after one of them,
    as the benchmark's are: ``HT21-01.txt`` for ``HT21-01/img1/000001.jpg``.

    Args:
        path: one file, or a folder with one ``.txt`` a sequence.
        labelled: the pictures to measure on.

    Raises:
        DetectionFileError: a line that is none, a frame that the sequence does not have, or a file
            of no sequence. One line.
    """
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise DetectionFileError(f"{path}: expected MOTChallenge text, one .txt a sequence")
    sequences = _sequences_of(labelled)
    rows = DetectionRows(is_xywh=True, origin=ORIGIN)
    taken: dict[int, Path] = {}
    for file in files:
        frames = _frames_of(file, sequences, is_only=len(files) == len(sequences) == 1)
        if (other := taken.setdefault(frames[0], file)) != file:
            raise DetectionFileError(f"{file}: is of the same sequence as {other}")
        _read_frames(file, frames, rows)
    found = rows.collect([size_of(image) for image in labelled.images])
    return found_in_rows(FORM, found, labelled, _frame_notes(labelled))


def _frame_notes(labelled: AnnotatedSet) -> tuple[str, ...]:
    """Return a note where the names of the pictures are numbers, but others than their frames'."""
    for frames in _sequences_of(labelled).values():
        stems = [PurePosixPath(labelled.images[index].file_name).stem for index in frames]
        numbers = [int(stem) for stem in stems if stem.isdecimal()]
        if len(numbers) == len(stems) and numbers != list(range(1, len(stems) + 1)):
            first = labelled.images[frames[0]].file_name
            return (f"frame n is the n-th picture of its sequence: frame 1 is {first}",)
    return ()


def _sequences_of(labelled: AnnotatedSet) -> dict[PurePosixPath, list[int]]:
    sequences: dict[PurePosixPath, list[int]] = defaultdict(list)
    for index, image in enumerate(labelled.images):
        sequences[PurePosixPath(image.file_name.replace("\\", "/")).parent].append(index)
    return sequences


def _frames_of(
    file: Path, sequences: dict[PurePosixPath, list[int]], *, is_only: bool
) -> Sequence[int]:
    if is_only:
        return next(iter(sequences.values()))
    fitting = [frames for folder, frames in sequences.items() if file.stem in folder.parts]
    if len(fitting) != 1:
        raise DetectionFileError(
            f"{file}: expected a file called after one of the {len(sequences)} sequences (folders "
            f"of pictures); {len(fitting)} are called {file.stem}"
        )
    return fitting[0]


def _read_frames(file: Path, frames: Sequence[int], rows: DetectionRows) -> None:
    unknown: dict[int, None] = {}
    lines = read_text(file, FORM, DetectionFileError).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file}: line {number}"
        frame, values = _parse_line(line, where)
        if frame <= len(frames):
            rows.add(frames[frame - 1], values[1:5], values[5], where)
        else:
            unknown[frame] = None
    if unknown:
        raise DetectionFileError(
            f"{file}: expected frames up to {len(frames)}, the labelled pictures of the sequence; "
            f"{len(unknown)} lie beyond, the first: {next(iter(unknown))}"
        )


def _parse_line(line: str, where: str) -> tuple[int, list[float]]:
    fields = line.replace(",", " ").split()[:NUM_FIELDS]
    try:
        numbers = [float(value) for value in fields]
    except ValueError:
        numbers = []
    if len(numbers) == NUM_FIELDS and numbers[0] >= 1 and numbers[0].is_integer():
        return int(numbers[0]), numbers[1:]
    raise DetectionFileError(
        f"{where}: expected frame,id,left,top,width,height,score; "
        f"got {line.strip()[:SHOWN_CHARACTERS]!r}"
    )
