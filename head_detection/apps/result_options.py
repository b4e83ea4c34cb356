"""Options for what ``test`` writes, and where.

Nothing here may import torch or another slow module, so that options are parsed quickly.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import ImageColor

from head_detection.apps.arguments import number_in, positive, probability
from head_detection.apps.command import UsageError
from head_detection.errors import OutputError
from head_detection.files import real_path
from head_detection.images.styles import (
    DRAWN_PARTS,
    HIDDEN_FROM,
    HIDING_STYLES,
    LARGEST_SCALE,
    USUAL_PARTS,
    Color,
    Drawing,
    Hiding,
)
from head_detection.results.format_names import (
    DEFAULT_FORMATS,
    LIVE_FORMATS,
    OUTPUTS,
    VIDEO_FORMATS,
    parse_formats,
    usual_formats,
)
from head_detection.results.output_folder import choose_folder

if TYPE_CHECKING:
    from head_detection.apps.window import Window
    from head_detection.results.formats import SinkOptions

STANDARD_OUTPUT: Final = Path("-")


_OF_FORMATS: Final = {
    "--ids": ("coco",),
    "--yolo-scores": ("yolo",),
    "--counts-every": ("counts",),
    "--video-codec": ("video", "blur"),
    "--no-audio": ("video", "blur"),
    "--draw": ("images", "video"),
    "--draw-color": ("images", "video"),
    "--draw-width": ("images", "video"),
    "--draw-font-size": ("images", "video"),
    "--draw-label": ("images", "video"),
    "--blur-style": ("blur",),
    "--blur-scale": ("blur",),
    "--blur-threshold": ("blur",),
}
"""Options that only these formats use; none has a default."""


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for what is written, and where."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--output", type=Path, metavar="DIR",
        help="folder for results (default: runs/test/<name of the source>); with --save lines, - "
        "is standard output",
    )  # fmt: skip
    place.add_argument(
        "--name", type=folder_name, metavar="NAME", help="short for --output runs/test/NAME"
    )
    parser.add_argument(
        "--overwrite", action="store_true",
        help="remove the results of an earlier run from the folder (default: write to DIR-2, "
        "DIR-3 ... instead)",
    )  # fmt: skip
    usual = (DEFAULT_FORMATS, VIDEO_FORMATS, LIVE_FORMATS)
    pictures, videos, cameras = (",".join(formats) for formats in usual)
    parser.add_argument(
        "--save", metavar="LIST",
        help=f"what to write, separated by commas: {', '.join(OUTPUTS)} (default: {pictures} for "
        f"pictures, {videos} for videos, {cameras} for cameras)",
    )  # fmt: skip
    parser.add_argument(
        "--ids", type=Path, metavar="LABELS.json",
        help="COCO labels whose picture and category ids --save coco uses",
    )  # fmt: skip
    parser.add_argument(
        "--yolo-scores", action="store_true",
        help="let --save yolo add the score as a sixth number, for measuring but not for training",
    )  # fmt: skip


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for drawing and hiding heads, in pictures and in videos."""
    _add_drawing_options(parser)
    _add_hiding_options(parser)
    written = parser.add_argument_group("written videos (--save video, blur)")
    written.add_argument(
        "--video-codec", metavar="NAME",
        help="FFmpeg encoder, such as libx265, libsvtav1 or h264_nvenc (default: libx264)",
    )  # fmt: skip
    written.add_argument("--no-audio", action="store_true", help="leave out the sound")


def _add_drawing_options(parser: argparse.ArgumentParser) -> None:
    drawn = parser.add_argument_group("drawings (--save images, video)")
    drawn.add_argument(
        "--draw-color", type=color, metavar="COLOR", help="colour of boxes: a name or #rrggbb"
    )
    drawn.add_argument(
        "--draw-width", "--line-width", type=positive, metavar="N", help="line width in pixels"
    )
    drawn.add_argument(
        "--draw-font-size",
        type=positive,
        metavar="N",
        help="font size in pixels; less where there is little room",
    )
    drawn.add_argument(
        "--draw-label", metavar="TEXT", help="text for the count (default: '{count} heads')"
    )
    drawn.add_argument(
        "--draw", type=drawn_parts, metavar="LIST",
        help=f"what to draw, separated by commas: {', '.join(DRAWN_PARTS)} "
        f"(default: {','.join(USUAL_PARTS)})",
    )  # fmt: skip
    drawn.add_argument(
        "--show", action="store_true", help="also show drawings in a window while running; q ends"
    )


def _add_hiding_options(parser: argparse.ArgumentParser) -> None:
    usual = Hiding()
    hidden = parser.add_argument_group("hidden heads (--save blur)")
    hidden.add_argument(
        "--blur-threshold", type=probability, metavar="X",
        help="also hide heads that score too low to be counted, down to this score "
        f"(default: {HIDDEN_FROM})",
    )  # fmt: skip
    hidden.add_argument(
        "--blur-style", choices=HIDING_STYLES,
        help="cover heads in solid black, or show coarse squares of their colours "
        f"(default: {usual.style})",
    )  # fmt: skip
    hidden.add_argument(
        "--blur-scale", type=scale, metavar="X",
        help=f"size of the hidden area, in sizes of the head's box (default: {usual.scale})",
    )  # fmt: skip


def sink_options(arguments: argparse.Namespace, unit: str) -> "SinkOptions":
    """Return how results are to be written, from the options.

    Raises:
        UsageError: a label that cannot be drawn, or a codec that is not available.
        HeadDetectionError: ``--ids`` names no COCO labels.
    """
    from head_detection.results.coco import CocoIds
    from head_detection.results.encoding import Encoding
    from head_detection.results.formats import SinkOptions

    drawn = _given(
        color=arguments.draw_color,
        width=arguments.draw_width,
        font_size=arguments.draw_font_size,
        label=arguments.draw_label,
        parts=arguments.draw,
    )
    hidden = _given(style=arguments.blur_style, scale=arguments.blur_scale)
    try:
        encoding = Encoding(**_given(codec=arguments.video_codec), has_sound=not arguments.no_audio)
    except OutputError as error:
        raise UsageError(f"--video-{error}") from error
    try:
        drawing = Drawing(**drawn)
    except ValueError as error:
        raise UsageError(f"--draw-{error}") from error
    return SinkOptions(
        drawing=drawing,
        hiding=Hiding(**hidden),
        labels=None if arguments.ids is None else CocoIds(arguments.ids),
        encoding=encoding,
        has_yolo_scores=arguments.yolo_scores,
        has_frames_alone=unit == "frames",
        **_given(counts_every=arguments.counts_every),
    )


def _given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None: others are left to their own defaults."""
    return {name: value for name, value in values.items() if value is not None}


def open_window(arguments: argparse.Namespace, options: "SinkOptions") -> "Window":
    """Return the window that shows results; without ``--show``, it shows nothing.

    Raises:
        UsageError: there is no display, or OpenCV was built without windows.
    """
    from head_detection.apps.window import Window

    return Window(options.drawing if arguments.show else None)


def choose_formats(arguments: argparse.Namespace, unit: str, *, is_live: bool) -> tuple[str, ...]:
    """Return the formats to write: those of ``--save``, else the defaults for the source.

    Raises:
        OutputError: an unknown name.
    """
    with naming_option("--save"):
        given = None if arguments.save is None else parse_formats(arguments.save)
    return given or usual_formats(unit, is_live=is_live)


def note_unused(arguments: argparse.Namespace, formats: Sequence[str]) -> None:
    """Name on standard error the options that no chosen format uses."""
    shown = ("images", "video") if arguments.show else ()  # the window draws as these do
    for option, kinds in _OF_FORMATS.items():
        value = getattr(arguments, option.removeprefix("--").replace("-", "_"))
        is_given = value is not None and value is not False
        if is_given and not {*formats, *shown} & {*kinds}:
            line = f"note: {option} changes nothing without --save {' or '.join(kinds)}"
            print(line, file=sys.stderr)


@contextmanager
def naming_option(option: str) -> Iterator[None]:
    """Prefix output errors in the block with the option that caused them."""
    try:
        yield
    except OutputError as error:
        raise OutputError(f"{option}: {error}") from error


def results_folder(
    arguments: argparse.Namespace, formats: Sequence[str], source_name: str
) -> Path | None:
    """Choose the folder of the results; None is standard output.

    Raises:
        UsageError: ``--overwrite`` would remove the source.
        OutputError: files that no run wrote would be replaced.
    """
    note_unused(arguments, formats)  # here, when all other options are known to be right
    wanted: Path = arguments.output or Path("runs", "test", arguments.name or source_name)
    if wanted == STANDARD_OUTPUT:
        return None
    places = [real_path(wanted / name) for names in OUTPUTS.values() for name in names]
    for source in map(Path, arguments.source) if arguments.overwrite else ():
        if any(real_path(source).is_relative_to(place) for place in places):
            raise UsageError(
                f"--overwrite: expected a source outside the results; got {source}, to be removed"
            )
    folder = choose_folder(wanted, formats, overwrite=arguments.overwrite)
    if folder != wanted:
        line = f"note: {wanted} holds the results of an earlier run; these go to {folder}"
        print(f"{line} (--overwrite replaces them)", file=sys.stderr)
    return folder


def blur_threshold(arguments: argparse.Namespace, formats: Sequence[str]) -> float | None:
    """Return the score from which heads are hidden; None without ``--save blur``."""
    if "blur" not in formats:
        return None
    given: float | None = arguments.blur_threshold
    return HIDDEN_FROM if given is None else given


def drawn_parts(text: str) -> tuple[str, ...]:
    """Read the names of the parts to draw, separated by commas.

    Raises:
        argparse.ArgumentTypeError: an unknown name, or none.

    Example:
        >>> drawn_parts("boxes, ids")
        ('boxes', 'ids')
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or not set(names) <= set(DRAWN_PARTS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(DRAWN_PARTS)}; got {text!r}")
    return names


def folder_name(text: str) -> str:
    """Read the name of a single folder.

    Raises:
        argparse.ArgumentTypeError: a path, or an empty name.

    Example:
        >>> folder_name("mine")
        'mine'
    """
    if text in ("", ".", "..") or Path(text).name != text:
        raise argparse.ArgumentTypeError(f"expected a name; got {text!r}: give a path as --output")
    return text


def color(text: str) -> Color:
    """Read a colour by its name or as #rrggbb.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> color("red"), color("#39ff14")
        ((255, 0, 0), (57, 255, 20))
    """
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected a color such as red or #ff0000; got {text}"
        ) from error
    return red, green, blue


def scale(text: str) -> float:
    """Read a number from 1 to 10.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> scale("1.3")
        1.3
    """
    return number_in(text, 1.0, LARGEST_SCALE)
