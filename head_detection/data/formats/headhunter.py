"""HeadHunter's text format: ``# rel/path.jpg``, then a box a line: ``x1 y1 x2 y2 flag``.

Source: Sundararaman et al., "Tracking Pedestrian Heads in Dense Crowd", CVPR 2021. Deviation: a
flag below 0 marks a region to ignore, in training and in evaluation alike, and every other flag
is a head. The original trained on ignored regions as background, and its evaluation ignored each
box whose flag is not 0, which made it ignore every head of SCUT-HEAD (all flags 1).
"""

from pathlib import Path
from typing import Final

from head_detection.data.annotations import (
    AnnotatedImage,
    AnnotatedSet,
    AnnotationError,
    build_truth,
    parse_box,
)

_NUM_FIELDS: Final = 5
Rows = list[tuple[tuple[float, float, float, float], bool]]


def read_headhunter(path: Path, images: Path | None = None) -> AnnotatedSet:
    """Read one text file; a picture line without box lines is a picture without heads.

    A box line may leave the flag out.

    Args:
        path: the text file.
        images: where its picture names start from; by default the file's own folder.

    Raises:
        AnnotationError: no such file, or a line that is none of the two kinds.
    """
    folder = images or path.parent
    pictures: dict[str, Rows] = {}
    rows: Rows | None = None
    for number, line in enumerate(_read_lines(path), start=1):
        where = f"{path}: line {number}"
        if line.startswith("#"):
            name = line[1:].strip()
            if not name or name in pictures:
                problem = "names this picture again" if name else "names no picture"
                raise AnnotationError(f"{where}: {problem}: {line!r}")
            rows = pictures[name] = []
        elif line.strip():
            if rows is None:
                raise AnnotationError(f"{where}: expected '# picture' before the first box")
            rows.append(_parse_line(line, where))
    return AnnotatedSet(
        name=f"{path.resolve().parent.name}/{path.stem}",
        images=tuple(
            AnnotatedImage(folder / name, name, build_truth(rows))
            for name, rows in pictures.items()
        ),
    )


def _parse_line(line: str, where: str) -> tuple[tuple[float, float, float, float], bool]:
    fields = line.split()
    if len(fields) not in (_NUM_FIELDS - 1, _NUM_FIELDS):
        raise AnnotationError(f"{where}: expected 'x1 y1 x2 y2 flag', got {line.strip()[:80]!r}")
    try:
        flag = float(fields[4]) if len(fields) == _NUM_FIELDS else 0.0
    except ValueError as error:
        raise AnnotationError(f"{where}: expected a number as flag, got {fields[4]!r}") from error
    return parse_box(fields[:4], where), flag < 0


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise AnnotationError(f"{path}: expected a text file of boxes; {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: expected a text file of boxes; not UTF-8") from error
