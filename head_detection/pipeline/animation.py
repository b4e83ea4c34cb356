"""Reads animated GIF and WebP as videos, with Pillow, which also reads them as pictures."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image

from head_detection.errors import PictureError
from head_detection.images.finding import PictureFile
from head_detection.images.reading import decode_picture, open_picture
from head_detection.images.reasons import explaining
from head_detection.pipeline.sources import FrameOptions, Item
from head_detection.structures import Frame

ANIMATED: Final = frozenset({"GIF", "WEBP"})
"""By Pillow's names. Animations in other formats are read as pictures: their first frame."""
EXTENSIONS: Final = frozenset({".gif", ".webp"})
RIFF: Final = struct.Struct("<4sI4s")
CHUNK: Final = struct.Struct("<4sI")
FRAME: Final = b"ANMF"
"""Of WebP: the header of a file, the kind and size of a chunk, and the kind of a frame's chunk."""
EXTENDED: Final = b"VP8X"
FLAGS_AT: Final = RIFF.size + CHUNK.size
ANIMATION_FLAG: Final = 0x02
"""Of WebP: the first chunk of a file with more than one plain picture, and the flags in it."""
SHORTEST_MS: Final = 10
USUAL_MS: Final = 100
"""The duration that browsers give to a frame of the shortest duration or less."""


def count_animated(path: Path, max_pixels: int) -> int | None:
    """Return how many frames an animation has; None if a file is not one, or cannot be read."""
    try:
        with explaining(str(path), max_pixels):
            if not _may_be_animated(path):
                return None
            cut = _whole_frames(path)
            with open_picture(cut or path, max_pixels) as image:
                is_animated = image.format in ANIMATED and getattr(image, "is_animated", False)
                return int(getattr(image, "n_frames", 1)) if is_animated or cut else None
    except PictureError:
        return None


def read_animation(path: Path, name: str, options: FrameOptions) -> Iterator[Item]:
    """Decode the requested frames of an animation, once through.

    If it is damaged, an item at the end says so.

    Args:
        path: the file.
        name: of the frames.
        options: which frames are taken.
    """
    takes = options.chooser()
    try:
        with explaining(str(path), options.max_pixels):
            cut, index = _whole_frames(path), 0
            with open_picture(cut or path, options.max_pixels) as image:
                for index, seconds in _shown(image):
                    if options.end is not None and seconds >= options.end:
                        return
                    if takes(index, seconds):
                        pixels = decode_picture(image, str(path), options.max_pixels).pixels
                        yield Frame(name, index, seconds, pixels, path)
        if cut:
            problem = f"it ends early: the file was cut short after frame {index}"
            yield PictureFile(path, name, problem)
    except PictureError as error:
        yield PictureFile(path, name, str(error).removeprefix(f"{path}: "))


def _may_be_animated(path: Path) -> bool:
    """Tell by the first bytes, because Pillow reads a whole WebP to open it.

    Source:
        RFC 9649, section 2.7: without the flag, a decoder ignores all frames.
    """
    with path.open("rb") as file:
        start = file.read(FLAGS_AT + 1)
    if len(start) <= FLAGS_AT:
        return False
    riff, size, webp = RIFF.unpack_from(start)
    if (riff, webp) != (b"RIFF", b"WEBP"):
        return start.startswith(b"GIF")
    is_cut = size + CHUNK.size > path.stat().st_size
    has_flag = bool(start[FLAGS_AT] & ANIMATION_FLAG)
    return is_cut or (start[RIFF.size :].startswith(EXTENDED) and has_flag)


def _whole_frames(path: Path) -> bytes | None:
    """Return a truncated animated WebP without its incomplete frame; None for all other files.

    The decoder refuses a file that is shorter than it says.

    Source:
        RFC 9649, section 2.3 to 2.7: RIFF's header, and chunks of even length.
    """
    with path.open("rb") as file:
        header = file.read(RIFF.size)
        if len(header) < RIFF.size:
            return None
        riff, size, webp = RIFF.unpack(header)
        content = header
        if (riff, webp) == (b"RIFF", b"WEBP") and size + 8 > path.stat().st_size:
            content += file.read()
    end, has_frames = RIFF.size, False
    while end + CHUNK.size <= len(content):
        kind, size = CHUNK.unpack_from(content, end)
        if end + CHUNK.size + size + size % 2 > len(content):
            break
        has_frames |= kind == FRAME
        end += CHUNK.size + size + size % 2
    return RIFF.pack(riff, end - 8, webp) + content[RIFF.size : end] if has_frames else None


def _shown(image: Image.Image) -> Iterator[tuple[int, float]]:
    """Go through the frames; yield the number of each and when it is shown, in seconds."""
    milliseconds = 0
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        image.load()  # a WebP frame has its duration only now
        yield index, milliseconds / 1000
        duration = int(image.info.get("duration") or 0)
        milliseconds += duration if duration > SHORTEST_MS else USUAL_MS
