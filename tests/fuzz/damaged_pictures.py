"""Damages picture files and reads them: ``python damaged_pictures.py SEED FIRST LAST``.

Case n is the same in every run of a seed: a file that fails is found again by its number. Beside
random bytes there is the damage that is known of real files and of hostile ones: cut, the size in
the header another, numbers as no honest writer has them, the beginning of one file and the end of
another, a name that says another format.
"""

import faulthandler
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from PIL import Image
from sample_pictures import SIZE, sample_pictures

from head_detection.errors import PictureError
from head_detection.images.bands import Bands
from head_detection.images.finding import readable_formats
from head_detection.images.reading import check_picture, read_picture, read_picture_size

MAX_PIXELS: Final = 4_000_000
"""What is allowed here: 12 MB as RGB."""
MAX_SECONDS: Final = 30.0
"""For one file, on a machine that does other things too; the usual one takes a thousandth."""
MAX_MEGABYTES: Final = 200
"""More than before the first file: some copies of 4 megapixels, and text of a PNG."""
HANGING_SECONDS: Final = 120.0
"""For ``CASES_A_WATCH`` files: a watch a file takes longer than the file."""
CASES_A_WATCH: Final = 50
LONGEST_LINE: Final = 1000
EXTREMES: Final = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def cut(content: bytearray, generator: np.random.Generator, other: bytes) -> None:
    del content[generator.integers(0, len(content)) :]


def flip_bits(content: bytearray, generator: np.random.Generator, other: bytes) -> None:
    for place in generator.integers(0, len(content), generator.integers(1, 20)).tolist():
        content[place] ^= 1 << int(generator.integers(0, 8))


def flip_bits_early(content: bytearray, generator: np.random.Generator, other: bytes) -> None:
    """Where the headers are."""
    for place in generator.integers(0, min(len(content), 160), generator.integers(1, 6)).tolist():
        content[place] ^= 1 << int(generator.integers(0, 8))


def write_numbers(content: bytearray, generator: np.random.Generator, other: bytes) -> None:
    """Sizes, counts and offsets as no honest writer has them."""
    for _ in range(int(generator.integers(1, 4))):
        number = EXTREMES[int(generator.integers(0, len(EXTREMES)))]
        order = "><"[int(generator.integers(0, 2))]
        form = f"{order}I" if number > 0xFFFF or generator.integers(0, 2) else f"{order}H"
        packed = struct.pack(form, number)
        start = int(generator.integers(0, max(1, min(len(content), 400))))
        content[start : start + len(packed)] = packed


def repeat_a_part(content: bytearray, generator: np.random.Generator, other: bytes) -> None:
    start, end = sorted(generator.integers(0, len(content) + 1, 2).tolist())
    content[end:end] = content[start:end] * int(generator.integers(1, 4))


def drop_a_part(content: bytearray, generator: np.random.Generator, other: bytes) -> None:
    start = int(generator.integers(0, len(content)))
    del content[start : start + int(generator.integers(1, 64))]


def splice(content: bytearray, generator: np.random.Generator, other: bytes) -> None:
    """The beginning of one format and the end of another."""
    content[generator.integers(0, len(content)) :] = other[generator.integers(0, len(other)) :]


def fill_with_noise(content: bytearray, generator: np.random.Generator, other: bytes) -> None:
    start = int(generator.integers(0, len(content)))
    content[start : start + 50] = generator.bytes(50)


def change_the_size(content: bytearray, generator: np.random.Generator, other: bytes) -> None:
    """Width or height, wherever it stands and in whichever form."""
    side = SIZE[int(generator.integers(0, 2))]
    forms = (">I", "<I", ">H", "<H")
    places = [
        (place, form)
        for form in forms
        if (place := content.find(struct.pack(form, side), 0, 500)) >= 0
    ]
    if not places:
        return
    place, form = places[int(generator.integers(0, len(places)))]
    number = EXTREMES[int(generator.integers(0, len(EXTREMES)))] or side + 1
    struct.pack_into(form, content, place, number & (0xFFFF if form.endswith("H") else 0xFFFFFFFF))


def mend_sums(content: bytearray) -> None:
    """Give the chunks of a PNG sums that fit, so that damage gets past them."""
    start = len(SIGNATURE)
    while content.startswith(SIGNATURE) and start + 12 <= len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        if end + 4 > len(content):
            break
        struct.pack_into(">I", content, end, zlib.crc32(content[start + 4 : end]))
        start = end + 4


CHANGES: Final[tuple[Callable[[bytearray, np.random.Generator, bytes], None], ...]] = (
    *(cut, flip_bits, flip_bits_early, flip_bits_early, write_numbers, write_numbers),
    *(repeat_a_part, drop_a_part, splice, fill_with_noise, change_the_size, change_the_size),
)


def damaged_files(seed: int, first: int, last: int) -> Iterator[tuple[int, str, str, bytes]]:
    """Yield some of the cases: number, what was done to which file, its new name, its content."""
    files = sample_pictures()
    names = sorted(files)
    for number in range(first, last):
        generator = np.random.default_rng((seed, number))
        name = names[number % len(names)]
        other = names[int(generator.integers(0, len(names)))]
        content, done = bytearray(files[name]), []
        for _ in range(int(generator.integers(1, 4))):
            change = CHANGES[int(generator.integers(0, len(CHANGES)))]
            if content:
                change(content, generator, files[other])
                done.append(change.__name__)
        if generator.integers(0, 2):
            mend_sums(content)
        suffix = Path(name if generator.integers(0, 2) else other).suffix
        yield number, f"{name} ({', '.join(done)})", f"damaged{suffix}", bytes(content)


def read_bands(path: Path) -> tuple[int, int]:
    """Read a picture from the top down."""
    with Bands(path, MAX_PIXELS) as bands:
        height, width = bands.image_size
        for top in range(0, height, 500):
            assert bands.read(top, min(top + 500, height)).shape[1:] == (width, 3)
        return bands.image_size


WAYS: Final[tuple[Callable[[Path], tuple[int, ...]], ...]] = (
    lambda path: read_picture(path, MAX_PIXELS).shape[:2],
    lambda path: read_picture(path.read_bytes(), MAX_PIXELS).shape[:2],
    lambda path: read_picture_size(path, MAX_PIXELS),
    read_bands,
)


def check(path: Path) -> bool:
    """Read a file in every way and tell whether it can be read.

    Raises:
        AssertionError: a message of several lines, or sizes that differ.
    """
    sizes = []
    for read in WAYS:
        try:
            sizes.append(read(path))
        except PictureError as error:
            text = str(error)
            assert text.isprintable(), text
            assert len(text) < LONGEST_LINE, text
            sizes.append(())
    assert len({size for size in sizes if size}) <= 1, sizes
    assert not sizes[0] or sizes[2], sizes
    return bool(sizes[0])


def check_samples(folder: Path) -> None:
    """Make sure that the files are of every format, and whole before they are damaged."""
    kinds = {"DIB"} if "DIB" in readable_formats() else set()
    for name, content in sample_pictures().items():
        path = folder / name
        path.write_bytes(content)
        assert check(path), name
        check_picture(path)
        with Image.open(path, formats=readable_formats()) as image:
            kinds.add(image.format or "")
        path.unlink()
    assert set(readable_formats()) <= kinds, set(readable_formats()) - kinds


def peak_megabytes() -> int:
    """Return the most memory that this process has had; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


def problem_of(path: Path, most_memory: int) -> tuple[bool, str]:
    """Tell whether a file could be read, and what went wrong; empty if nothing did."""
    start = time.monotonic()
    try:
        is_read, problem = check(path), ""
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        is_read, problem = False, f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - start
    if not problem and seconds > MAX_SECONDS:
        problem = f"took {seconds:.1f} seconds"
    if not problem and peak_megabytes() > most_memory:
        problem = f"memory grew over {MAX_MEGABYTES} MB"
    return is_read, problem


def run_cases(folder: Path, seed: int, first: int, last: int) -> int:
    """Run cases in this process; write one line for each that fails and return how many did."""
    num_failed = num_read = 0
    most_memory = peak_megabytes() + MAX_MEGABYTES
    for number, description, name, content in damaged_files(seed, first, last):
        if number % CASES_A_WATCH == 0:  # one that hangs ends the process
            faulthandler.dump_traceback_later(HANGING_SECONDS, exit=True)
        path = folder / name
        path.write_bytes(content)
        sys.stdout.write(f"\r{number}")  # of a crash this is what is left
        sys.stdout.flush()
        is_read, problem = problem_of(path, most_memory)
        path.unlink()
        num_read += is_read
        if problem:
            num_failed += 1
            sys.stdout.write(f"\rcase {number}: {description}: {problem}\n")
    sys.stdout.write(f"\r{last - first} files, {num_read} read, {num_failed} failed\n")
    return num_failed


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        check_samples(Path(folder))
        sys.exit(run_cases(Path(folder), *map(int, sys.argv[1:4])) > 0)
