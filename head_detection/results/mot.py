"""``mot.txt`` and ``mot/``: MOTChallenge text, one detection per line, frames by number.

Source:
    Dendorfer et al., MOT20, arXiv 2003.09003, section 5.
"""

import sqlite3
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Final

from head_detection.data.annotations import AnnotatedSet, LabelClass
from head_detection.data.formats.label_files import as_id, read_text
from head_detection.data.formats.names import natural_order
from head_detection.errors import DetectionFileError
from head_detection.files import replacing
from head_detection.images.finding import VIDEO_EXTENSIONS, is_video_name, natural_key
from head_detection.results.classes import HeadClasses, StatedClass
from head_detection.results.csv import csv_lines
from head_detection.results.detection_rows import (
    DetectionRows,
    FoundElsewhere,
    found_in_rows,
    size_of,
)
from head_detection.results.file_names import inside
from head_detection.results.growing_file import GrowingFile
from head_detection.results.output_folder import listed_name, mark_folder
from head_detection.results.record import Failure, Origin, Record
from head_detection.results.sink import Sink
from head_detection.structures import NOT_TRACKED

FORM: Final = "MOTChallenge text"
FILE: Final = "mot.txt"
FOLDER: Final = "mot"
PICTURES: Final = "img1"
"""Folder of a sequence's pictures in the benchmark's data."""
NUM_FIELDS: Final = 7
"""``frame,id,left,top,width,height,score``; further fields are not about the box."""
NUM_TRUTH_FIELDS: Final = 9
"""Fields of the benchmark's ground truth, with class and visibility after the score."""
HEAD_CLASS: Final = 1
ORIGIN: Final = 1.0
"""The benchmark counts pixels from 1."""
LARGEST_ID: Final = 2**53
"""Ids are read as float64, in which larger ones may coincide."""
SHOWN_CHARACTERS: Final = 80
MOST_OPEN: Final = 64
"""Videos and cameras at the same time whose files stay open."""
NO_PLACE_IN_SPACE: Final = -1


@dataclass(frozen=True)
class FrameLine:
    """A line: a detection in a frame.

    Attributes:
        picture: index of the picture.
        track: id of the head, from 0; -1 without one.
        box: left, top, width, height; pixels count from 1.
        score: confidence, 0 to 1.
        class_number: its class; None if the line has none.
        where: file and line.
    """

    picture: int
    track: int
    box: list[float]
    score: float
    class_number: int | None
    where: str


class MotSink(Sink):
    """``frame,id,left,top,width,height,score,-1,-1,-1``, one file per sequence.

    A folder of pictures is a sequence: ``mot.txt`` holds those in the source itself, and
    ``mot/HT21-01.txt`` those in ``HT21-01`` or its ``img1``. Frame n is the n-th picture in the
    natural order of the names, including failed ones, so the files are written at the end, when the
    order is known. A video that cannot be opened is none of them. A video or camera is a sequence
    too: ``mot.txt`` if it is the only one, otherwise ``mot/street.txt`` for ``street.mp4``. Its
    lines are written at once; the first file is moved to ``mot/`` when another sequence begins.
    Frames and pixels count from 1, as in the benchmark. The id of an untracked head is -1.

    Args:
        folder: folder of the files, created if missing.
        origin: not used: the format has no place for it.

    Raises:
        OutputError: its folder holds files that are not earlier results.
    """

    def __init__(self, folder: Path, origin: Origin) -> None:  # noqa: ARG002 - as in every sink
        self._folder = folder
        if (folder / FOLDER).exists():
            mark_folder(folder / FOLDER).close()
        # A table instead of a list, because it is on the disk, whatever the number of pictures.
        self._pictures = sqlite3.connect("", isolation_level=None)
        self._pictures.execute("CREATE TABLE pictures (sequence BLOB, name BLOB, lines TEXT)")
        self._folders: dict[str, None] = {}
        self._videos: dict[str, Path] = {}
        self._names: set[str] = set()
        self._open: OrderedDict[str, GrowingFile] = OrderedDict()

    @property
    def output(self) -> str:
        """The names of the file and folder that are written."""
        files = set(self._videos.values())
        has_file = not files and not self._folders.keys() - {"."}
        has_file = has_file or "." in self._folders or self._folder / FILE in files
        has_folder = bool(self._folders.keys() - {"."} or files - {self._folder / FILE})
        return ", ".join([FILE] * has_file + [f"{FOLDER}/"] * has_folder)

    def write(self, record: Record) -> None:
        """Add a picture or frame.

        Raises:
            OSError: it cannot be written; names the file.
        """
        rest = [NO_PLACE_IN_SPACE] * 3
        ids = record.ids or [NOT_TRACKED] * len(record.detections)
        heads = zip(ids, record.boxes_xywh, record.scores, strict=True)
        number = "" if record.frame is None else record.frame + 1
        lines = csv_lines(
            (number, key, round(x + 1, 4), round(y + 1, 4), w, h, score, *rest)
            for key, (x, y, w, h), score in heads
        )
        if record.frame is None:
            self._take_picture(record.file, lines)
        else:
            self._file_of(record.file).add(lines.encode())

    def fail(self, failure: Failure) -> None:
        """Add a picture or frame that failed, without lines."""
        if failure.seconds is not None:
            self._file_of(failure.file)
        elif str(inside(failure.file)) not in self._videos and not is_video_name(failure.file):
            self._take_picture(failure.file, "")

    def close(self) -> None:
        """Write the files of pictures, and close those of videos."""
        with ExitStack() as stack:
            stack.callback(self._pictures.close)
            for file in self._open.values():
                stack.callback(file.close)
            for sequence in sorted(self._folders):
                self._write_folder(sequence)
            if not self._folders and not self._videos:
                self._write_folder(".")

    def _take_picture(self, file: str, lines: str) -> None:
        path = inside(file)
        sequence = str(path.parent)
        self._folders[sequence] = None
        self._move_first()
        row = (_as_bytes(sequence), _sort_key(path.name), lines)
        self._pictures.execute("INSERT INTO pictures VALUES (?, ?, ?)", row)

    def _file_of(self, video: str) -> GrowingFile:
        """Return the open file of a video or camera."""
        sequence = str(inside(video))
        file = self._open.get(sequence)
        if file is None:
            is_known = sequence in self._videos
            if not is_known:
                self._move_first()
                path = self._folder / FILE
                if self._videos or self._folders:
                    path = self._place_of(_video_name(sequence), sequence)
                self._videos[sequence] = path
            file = GrowingFile(self._videos[sequence], goes_on=is_known)
            self._open[sequence] = file
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(sequence)
        return file

    def _move_first(self) -> None:
        """Move the file of a video that was the only sequence so far to ``mot/``."""
        for sequence, path in self._videos.items():
            if path == self._folder / FILE:
                if sequence in self._open:
                    self._open.pop(sequence).close()
                self._videos[sequence] = self._place_of(_video_name(sequence), sequence)
                self._videos[sequence].parent.mkdir(parents=True, exist_ok=True)
                path.rename(self._videos[sequence])
                return

    def _place_of(self, *names: str) -> Path:
        """Return the file of a sequence, under the first of the names that is not in use."""
        candidates = chain(names, (f"{names[0]}~{number}" for number in count(2)))
        name = next(name for name in candidates if name.casefold() not in self._names)
        self._names.add(name.casefold())
        if name == ".":
            return self._folder / FILE
        with mark_folder(self._folder / FOLDER) as listed:
            listed.write(listed_name(f"{name}.txt"))
        return self._folder / FOLDER / f"{name}.txt"

    def _write_folder(self, sequence: str) -> None:
        rows = self._pictures.execute(
            "SELECT lines FROM pictures WHERE sequence = ? ORDER BY name, rowid",
            [_as_bytes(sequence)],
        )
        target = self._place_of(own_name(sequence), sequence)
        with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as file:
            for number, (lines,) in enumerate(rows, start=1):
                file.writelines(f"{number}{line}\n" for line in lines.splitlines())


def own_name(sequence: str) -> str:
    """Return the name of the file for a folder of pictures.

    Example:
        >>> own_name("train/HT21-01/img1"), own_name("photos"), own_name("img1")
        ('train/HT21-01', 'photos', '.')
    """
    path = PurePosixPath(sequence)
    return str(path.parent if path.name == PICTURES else path)


def _video_name(file: str) -> str:
    """Return the name of the file for a video or camera.

    Example:
        >>> _video_name("a/street.mp4"), _video_name("door.2")
        ('a/street', 'door.2')
    """
    path = PurePosixPath(file)
    return str(path.with_suffix("") if path.suffix.lower() in VIDEO_EXTENSIONS else path)


def _sort_key(name: str) -> bytes:
    """Return bytes that sort as ``natural_key`` does.

    Example:
        >>> _sort_key("frame2.jpg") < _sort_key("frame10.jpg") < _sort_key("frames.jpg")
        True
    """
    key = b""
    for kind, number, text in natural_key(name):
        digits = str(number).encode()
        value = _as_bytes(text) + b"\0" if kind else len(digits).to_bytes(4, "big") + digits
        key += bytes([kind + 1]) + value
    return key


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def read_mot_detections(path: Path, labelled: AnnotatedSet) -> FoundElsewhere:
    """Read MOTChallenge text and assign its detections to a set: frame n is the n-th picture.

    Pictures are counted in natural order (``frame2.jpg`` before ``frame10.jpg``), independent of
    the labels, as ``test`` counts the pictures of a folder. If a line has nine fields, the eighth
    is a class, as in the benchmark's ground truth: of several classes, class 1 is the head.

    If the set has several sequences (folders of pictures), each file is named after one of them, as
    in the benchmark: ``HT21-01.txt`` for ``HT21-01/img1/000001.jpg``.

    Args:
        path: one file, or a folder with one ``.txt`` per sequence, nested as by ``test`` or flat.
        labelled: the pictures to evaluate on.

    Raises:
        DetectionFileError: an invalid line, a frame that the sequence does not have, or a file that
            matches no sequence. One line.
    """
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise DetectionFileError(f"{path}: expected MOTChallenge text, one .txt a sequence")
    sequences = sequences_of(labelled)
    rows = DetectionRows(is_xywh=True, origin=ORIGIN)
    lines: list[FrameLine] = []
    taken: dict[int, Path] = {}
    for file in files:
        name = file.relative_to(path) if path.is_dir() else Path(file.name)
        is_only = len(files) == len(sequences) == 1
        frames = _frames_of(file, name.with_suffix("").parts, sequences, is_only=is_only)
        if (other := taken.setdefault(frames[0], file)) != file:
            raise DetectionFileError(f"{file}: is of the same sequence as {other}")
        lines += _read_frames(file, frames)
    classes = _classes_of(path, lines)
    for line in lines:
        if classes.is_head(StatedClass(line.class_number), line.where):
            rows.add(line.picture, line.box, line.score, line.where, line.track)
    found = rows.collect([size_of(image) for image in labelled.images])
    return found_in_rows(FORM, found, labelled, (*_frame_notes(labelled), *classes.notes))


def _classes_of(path: Path, lines: Sequence[FrameLine]) -> HeadClasses:
    """Return the meaning of the classes, if every line has one: of several, 1 is the head."""
    numbers = {line.class_number for line in lines}
    known: list[LabelClass] = []
    if len(numbers) > 1 and None not in numbers and HEAD_CLASS in numbers:
        whole = sorted(number for number in numbers if number is not None)
        known = [LabelClass(FORM, number, str(number), number == HEAD_CLASS) for number in whole]
    stated = [StatedClass(number) for number in numbers if None not in numbers]
    return HeadClasses(path, "class", known, stated)


def _frame_notes(labelled: AnnotatedSet) -> tuple[str, ...]:
    """Return a note if the pictures are named by numbers that differ from their frames'."""
    for frames in sequences_of(labelled).values():
        stems = [PurePosixPath(labelled.images[index].file_name).stem for index in frames]
        numbers = [int(stem) for stem in stems if stem.isdecimal()]
        if len(numbers) == len(stems) and numbers != list(range(1, len(stems) + 1)):
            first = labelled.images[frames[0]].file_name
            return (f"frame n is the n-th picture of its sequence: frame 1 is {first}",)
    return ()


def sequences_of(labelled: AnnotatedSet) -> dict[PurePosixPath, list[int]]:
    """Return the pictures of each folder, in natural order."""
    names = [image.file_name.replace("\\", "/") for image in labelled.images]
    order = sorted(range(len(names)), key=lambda index: natural_order(names[index]))
    sequences: dict[PurePosixPath, list[int]] = defaultdict(list)
    for index in order:
        sequences[PurePosixPath(names[index]).parent].append(index)
    return sequences


def _frames_of(
    file: Path,
    name: tuple[str, ...],
    sequences: dict[PurePosixPath, list[int]],
    *,
    is_only: bool,
) -> Sequence[int]:
    """Return the pictures of the sequence that a file is for: the only one, or that of its name."""
    if is_only:
        return next(iter(sequences.values()))
    own = {folder: PurePosixPath(own_name(str(folder))).parts for folder in sequences}
    if name == (PurePosixPath(FILE).stem,):
        name = () if () in own.values() else name
    rules = (
        lambda folder: own[folder] == name,
        lambda folder: bool(name) and own[folder][-len(name) :] == name[-len(own[folder]) :] != (),
        lambda folder: file.stem in folder.parts,
    )
    fitting: list[PurePosixPath] = []
    for rule in rules:
        fitting = fitting or list(filter(rule, sequences))
    least = min((len(folder.parts) for folder in fitting), default=0)
    fitting = [folder for folder in fitting if len(folder.parts) == least]
    if len(fitting) != 1:
        raise DetectionFileError(
            f"{file}: expected a file called after one of the {len(sequences)} sequences (folders "
            f"of pictures); {len(fitting)} are called {file.stem}"
        )
    return sequences[fitting[0]]


def _read_frames(file: Path, frames: Sequence[int]) -> list[FrameLine]:
    """Return the lines of a sequence, with pictures as indices into the set."""
    found: list[FrameLine] = []
    unknown: dict[int, None] = {}
    lines = read_text(file, FORM, DetectionFileError).splitlines()
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        line = _parse_line(text, f"{file}: line {number}")
        if line.picture <= len(frames):
            found.append(replace(line, picture=frames[line.picture - 1]))
        else:
            unknown[line.picture] = None
    if unknown:
        raise DetectionFileError(
            f"{file}: expected frames up to {len(frames)}, the labelled pictures of the sequence; "
            f"{len(unknown)} lie beyond, the first: {next(iter(unknown))}"
        )
    return found


def _parse_line(text: str, where: str) -> FrameLine:
    """Return a line, with the frame's number as its picture."""
    fields = text.replace(",", " ").split()
    try:
        numbers = [float(value) for value in fields[:NUM_FIELDS]]
    except ValueError:
        numbers = []
    if len(numbers) != NUM_FIELDS:
        raise DetectionFileError(
            f"{where}: expected frame,id,left,top,width,height,score; "
            f"got {text.strip()[:SHOWN_CHARACTERS]!r}"
        )
    (frame, track), texts = numbers[:2], [field[:SHOWN_CHARACTERS] for field in fields[:2]]
    if not frame.is_integer() or frame < 1:
        raise DetectionFileError(f"{where}: expected a frame's number, from 1 on; got {texts[0]}")
    if not track.is_integer() or abs(track) > LARGEST_ID:
        raise DetectionFileError(f"{where}: expected a whole number as id; got {texts[1]}")
    stated = as_id(fields[NUM_FIELDS]) if len(fields) == NUM_TRUTH_FIELDS else None
    class_number = stated if isinstance(stated, int) and stated >= 0 else None
    track_id = max(int(track), NOT_TRACKED)
    return FrameLine(int(frame), track_id, numbers[2:6], numbers[6], class_number, where)
