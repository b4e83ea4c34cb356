"""What callers may pass to ``HeadDetector``: mistakes are told in one line each."""

from collections.abc import Iterable
from io import IOBase
from numbers import Integral, Real
from pathlib import Path

from head_detection.errors import hide_passwords
from head_detection.images.finding import is_video_name
from head_detection.images.reasons import is_address
from head_detection.inference.loading import NO_FILE, is_single


def check_batch_size(batch_size: object) -> None:
    """Check the most pictures of a batch.

    Raises:
        TypeError: not a whole number.
        ValueError: less than 1.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, Integral):
        raise TypeError(f"batch_size: expected a whole number; got {batch_size!r:.40}")
    if int(batch_size) < 1:
        raise ValueError(f"batch_size: expected 1 or more; got {batch_size}")


def check_score(name: str, score: float) -> None:
    """Check a score.

    Args:
        name: of the argument.
        score: its value.

    Raises:
        TypeError: not a number.
        ValueError: outside 0..1.
    """
    check_number(name, score)
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"{name}: expected 0 to 1; got {score}")


def check_number(name: str, score: object) -> None:
    """Check that a score is a number, of any size.

    Raises:
        TypeError: it is not, but text or a list, say.
    """
    if isinstance(score, bool) or not isinstance(score, Real):
        raise TypeError(f"{name}: expected a number from 0 to 1; got {score!r:.40}")


def check_images(images: object, *, are_many: bool = False) -> None:
    """Check for a picture or a list of pictures; what is in the list is checked as it is read.

    Args:
        images: as passed by the caller.
        are_many: a single picture is a mistake too.

    Raises:
        TypeError: something else, such as an open file, a video, or an address.
    """
    if isinstance(images, IOBase):
        raise TypeError("images: expected a path or bytes; got an open file: give its read()")
    if isinstance(images, str | Path):
        _refuse_sources(hide_passwords(str(images)))
    if not isinstance(images, Iterable) and not is_single(images):
        raise TypeError(
            f"images: expected a picture or a list of them; got {type(images).__name__}"
            f"{NO_FILE if images is None else ''}"
        )
    if are_many and is_single(images):
        raise TypeError(
            "images: expected a list of pictures, got one; write detector(picture) or "
            "detector.detect([picture])"
        )


def _refuse_sources(name: str) -> None:
    """Refuse an address, and the path of a video: ``track`` takes them."""
    if is_address(name):
        got = f"an address, {name!r}: download the picture; for a video, camera or stream"
    elif is_video_name(Path(name).name):
        got = f"a video, {name!r}:"
    else:
        return
    raise TypeError(
        f"images: expected a picture or a list of them; got {got} write detector.track({name!r})"
    )
