"""HeadHunter's text format: ``# rel/path.jpg``, then one box per line, ``x1 y1 x2 y2 flag``.

Corners are continuous and count from 0: the original computes a width as ``x2 - x1``.

Source: Sundararaman et al., "Tracking Pedestrian Heads in Dense Crowd", CVPR 2021. Deviation: a
flag below 0 marks a region to ignore, in training and in evaluation alike, and every other flag
is a head. The original trained on ignored regions as background, and its evaluation ignored each
box whose flag is not 0, which made it ignore every head of SCUT-HEAD (all flags 1).
"""

from pathlib import Path
from typing import Final

from head_detection import files
from head_detection.data.annotations import AnnotatedSet, Box, Row, build_truth, parse_box
from head_detection.data.formats.collector import Collector
from head_detection.data.formats.label_files import format_pixels, read_lines
from head_detection.data.formats.names import choose_place, inner_name
from head_detection.errors import AnnotationError
from head_detection.files import real_path

_NUM_FIELDS: Final = 5
_HEAD: Final = 0
"""The flag that the original neither leaves out in training nor ignores in evaluation."""
_IGNORED: Final = -1


def read_headhunter(path: Path, images: Path | None = None) -> AnnotatedSet:
    """Read one text file; a picture line without box lines is a picture without heads.

    A box line may leave the flag out. Pictures are in the order of the file.

    Args:
        path: the text file.
        images: where its picture names start from; by default the file's own folder.

    Raises:
        AnnotationError: no such file, or a line that is neither of the two kinds.
    """
    pictures: dict[str, list[Row]] = {}
    rows: list[Row] | None = None
    for where, line in read_lines(path, "a text file of boxes"):
        if line.startswith("#"):
            name = line[1:].strip()
            if not name:
                raise AnnotationError(f"{where}: names no picture: {line!r}")
            name = inner_name(name, where, images or path.parent)
            if name in pictures:
                raise AnnotationError(f"{where}: names this picture again: {line[:80]!r}")
            rows = pictures[name] = []
        elif rows is None:
            raise AnnotationError(f"{where}: expected '# picture' before the first box")
        else:
            rows.append(_parse_line(line, where))
    index, prefix = choose_place([images or path.parent], list(pictures))
    collector = Collector()
    for stated, found in pictures.items():
        name = stated.removeprefix(prefix)
        collector.add(index.root / index.find(name), name, build_truth(found))
    return collector.finish(f"{real_path(path).parent.name}/{path.stem}")


def write_headhunter(path: Path, annotated: AnnotatedSet) -> tuple[str, ...]:
    """Write a set that ``read_headhunter`` reads back: flag 0 for heads, -1 for ignore regions.

    Returns:
        Nothing to note.

    Raises:
        AnnotationError: a name that leaves its folder, or that two pictures share.
    """
    lines: list[str] = []
    names: set[str] = set()
    for image in annotated.images:
        name = inner_name(image.file_name, annotated.name)
        if name in names or "\n" in name or "\r" in name:
            raise AnnotationError(f"{annotated.name}: expected one line a picture, got {name!r}")
        names.add(name)
        lines.append(f"# {name}")
        for box, is_ignored in zip(
            image.truth.boxes.tolist(), image.truth.ignore.tolist(), strict=True
        ):
            corners = " ".join(format_pixels(value) for value in box)
            lines.append(f"{corners} {_IGNORED if is_ignored else _HEAD}")
    files.write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
    return ()


def _parse_line(line: str, where: str) -> tuple[Box, bool]:
    fields = line.split()
    if len(fields) not in (_NUM_FIELDS - 1, _NUM_FIELDS):
        raise AnnotationError(f"{where}: expected 'x1 y1 x2 y2 flag', got {line[:80]!r}")
    try:
        flag = float(fields[4]) if len(fields) == _NUM_FIELDS else _HEAD
    except ValueError as error:
        raise AnnotationError(
            f"{where}: expected a number as flag, got {fields[4][:40]!r}"
        ) from error
    return parse_box(fields[:4], where), flag < 0
