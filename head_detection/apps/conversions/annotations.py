"""``convert annotations``: converts a data set's labels between public formats."""

import argparse
import filecmp
import shutil
from dataclasses import replace
from pathlib import Path

from head_detection.config import DatasetConfig
from head_detection.data.annotations import (
    AnnotatedImage,
    AnnotatedSet,
    in_threads,
    is_turned,
)
from head_detection.data.formats import (
    FORMATS,
    WRITERS,
    load_annotations,
    write_annotations,
)
from head_detection.data.formats.label_files import new_folder
from head_detection.errors import AnnotationError, PictureError
from head_detection.files import real_path, replacing
from head_detection.images.reading import read_picture_size

FOLDER_FORMATS = sorted(name for name in WRITERS if FORMATS[name].writes_folder)
DESCRIPTIONS = (".yaml", ".yml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--from", dest="source", required=True, choices=FORMATS, help="format to read"
    )
    parser.add_argument("--input", required=True, type=Path, help="labels: a file or folder")
    parser.add_argument(
        "--to", dest="target", required=True, choices=WRITERS, help="format to write"
    )
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        help=f"file to write; for {', '.join(FOLDER_FORMATS)} a new folder",
    )
    parser.add_argument(
        "--split", help="part of the set: train, val, trainval or test, if the format has parts"
    )
    parser.add_argument(
        "--images", type=Path, help="folder to which the picture names in the labels are relative"
    )
    parser.add_argument(
        "--check-sizes",
        action="store_true",
        help="correct the labels if they state another size than a picture has",
    )
    parser.add_argument(
        "--copy-pictures",
        action="store_true",
        help="copy the pictures to where the new labels expect them",
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert, print what was repaired or left out and a summary, and return the exit code.

    Raises:
        ValueError: a mistake of the user, in one line.
    """
    source, output = arguments.input, arguments.output
    annotated = load_annotations(
        DatasetConfig(
            path=str(source),
            format=arguments.source,
            images=None if arguments.images is None else str(arguments.images),
            split=arguments.split,
        )
    )
    _refuse_to_overwrite(annotated, source, output)
    missing = sum(not image.path.is_file() for image in annotated.images)
    missing_note = [f"pictures that are not there: {missing}"] if missing else []
    for note in [*annotated.notes, *missing_note]:
        print(f"read: {note}")
    needed = FORMATS[arguments.target].needs_sizes
    annotated, notes = _with_sizes(annotated, needed=needed, check=arguments.check_sizes)
    for note in notes:
        print(f"read: {note}")
    copies = _plan_copies(annotated, arguments) if arguments.copy_pictures else []
    for note in _write(annotated, arguments.target, output, copies):
        print(f"written: {note}")
    num_ignored = sum(len(image.truth.ignore_boxes) for image in annotated.images)
    print(
        f"{output}: {len(annotated)} pictures, {annotated.num_heads} heads,"
        f" {num_ignored} regions to ignore; {arguments.source} to {arguments.target}"
        + (f"; {len(copies)} pictures copied" if copies else "")
    )
    return 0


def _refuse_to_overwrite(annotated: AnnotatedSet, source: Path, output: Path) -> None:
    """Refuse an output that would overwrite the labels or pictures that are read."""
    target = real_path(output)
    read = {real_path(source), *(real_path(image.path) for image in annotated.images)}
    # data.yaml describes the files beside it; other label files stand alone.
    is_description = source.suffix.lower() in DESCRIPTIONS
    root = real_path(source.parent if is_description else source)
    if target in read or (target.exists() and root in target.parents):
        raise AnnotationError(
            f"{output}: expected another place for --output; this belongs to the input {source}"
        )


def _with_sizes(
    annotated: AnnotatedSet, *, needed: bool, check: bool
) -> tuple[AnnotatedSet, list[str]]:
    """Return the set with the sizes of its pictures, and notes on those the labels state wrong.

    Sizes that the labels state are compared with the pictures that are there, but kept without
    ``check``: the pictures may be smaller copies of those that were labelled.
    """
    wanted = [i for i in annotated.images if check or needed or i.image_size is not None]
    read = in_threads(
        lambda image: _size_of(image, is_needed=check or image.image_size is None),
        wanted,
        "reading sizes",
        show_progress=bool(wanted),
    )
    pairs = [(image, size) for image, size in zip(wanted, read, strict=True) if size is not None]
    # Their boxes are of the stored picture too: with its upright size, nobody would notice.
    stored = {id(image) for image, size in pairs if _states_stored(image, size)}
    sizes = {id(image): size for image, size in pairs if id(image) not in stored}
    num_wrong = sum(i.image_size not in (None, size) for i, size in pairs if id(i) in sizes)
    mend = "taken from the pictures" if check else "kept; --check-sizes takes the pictures' own"
    notes = {
        f"sizes that the labels state wrong, {mend}": num_wrong,
        "pictures that EXIF turns and their labels do not, left as they are; label them upright, "
        "or remove the orientation from their EXIF": len(stored),
    }
    images = [
        replace(image, image_size=sizes.get(id(image), image.image_size))
        if check or image.image_size is None
        else image
        for image in annotated.images
    ]
    lines = [f"{kind}: {number}" for kind, number in notes.items() if number]
    return replace(annotated, images=tuple(images)), lines


def _states_stored(image: AnnotatedImage, size: tuple[int, int]) -> bool:
    """Tell whether the labels state the size that a picture has before EXIF turns it."""
    return image.image_size == size[::-1] != size and is_turned(image.path)


def _size_of(image: AnnotatedImage, *, is_needed: bool) -> tuple[int, int] | None:
    """Return a picture's size; None if it cannot be read and need not be.

    Raises:
        AnnotationError: it cannot be read and is needed.
    """
    try:
        return read_picture_size(image.path)
    except PictureError as error:
        if not is_needed:
            return None
        raise AnnotationError(
            f"{error}; its size is needed: mend it, or take it out of the labels"
        ) from error


def _plan_copies(annotated: AnnotatedSet, arguments: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Pair each picture with the place of its copy, before anything is written."""
    output, target = arguments.output, FORMATS[arguments.target]
    root = output if target.writes_folder else output.parent
    names = target.picture_names(annotated)
    copies = [(i.path, root / name) for i, name in zip(annotated.images, names, strict=True)]
    for path, copy in copies:
        if not path.is_file():
            raise AnnotationError(f"{path}: expected a picture to copy; got no such file")
        if copy.exists() and not filecmp.cmp(path, copy, shallow=False):
            raise AnnotationError(
                f"{copy}: expected no file, or the same one; got another: choose another --output"
            )
    return [(path, copy) for path, copy in copies if not copy.exists()]


def _write(
    annotated: AnnotatedSet, target: str, output: Path, copies: list[tuple[Path, Path]]
) -> tuple[str, ...]:
    """Write labels and copies; a folder with both is written completely or not at all."""
    if not (copies and FORMATS[target].writes_folder):
        notes = write_annotations(annotated, target, output)
        _copy_all(copies)
        return notes
    with new_folder(output) as folder:
        notes = write_annotations(annotated, target, folder)
        _copy_all([(path, folder / copy.relative_to(output)) for path, copy in copies])
    return notes


def _copy_all(copies: list[tuple[Path, Path]]) -> None:
    in_threads(lambda pair: _copy(*pair), copies, "copying", show_progress=bool(copies))


def _copy(path: Path, copy: Path) -> None:
    with replacing(copy) as temporary:
        shutil.copyfile(path, temporary)
