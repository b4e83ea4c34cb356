"""Converts more than 8 bits to 8, by the range that the file states, else by that of its values.

A 16-bit file rarely says how many of its bits are used: cameras store 10, 12 or 14 bits, and
thermal cameras a narrow range far from 0. Divided by 257, such a picture is black, or grey without
contrast. So the range is the first of these that applies:

1. the range that the file states, if its values keep to it: TIFF's BitsPerSample, Min- and
   MaxSampleValue, SMin- and SMaxSampleValue; PNG's sBIT, if the values were not shifted to the
   upper bits as they should be;
2. 0 to the largest value of the fewest of 8, 10, 12, 14 and 16 bits that hold the values (also 0 to
   1 for floats). A dark 16-bit picture that never exceeds 16,383 cannot be told from one of 14
   bits. It is brightened, which harms no detector, while the opposite mistake would lose the
   picture;
3. the range of the values, if they would use less than an eighth of the range above, or if some are
   negative.

One value in a thousand at either end does not count, because of dead pixels and lamps. Any range
other than the full range of the type is noted.
"""

import io
import os
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from head_detection.errors import PictureError
from head_detection.images.png import significant_bits

Values = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]

NUM_VALUES: Final = 1 << 16
_WHOLE_STEPS: Final = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""The largest values of 8, 10, 12, 14 and 16 bits, which cameras have."""
_FLOAT_STEPS: Final = (1.0, *_WHOLE_STEPS)
_USUAL: Final = {"f": (1.0, 255.0, 65535.0), "u": (65535.0,), "i": (65535.0,)}
"""White levels that need no note, by the kind of number."""
_IGNORED_SHARE: Final = 0.001
_LEAST_SHARE: Final = 1 / 8
"""Of the range; less would leave under 32 levels of grey."""
_ROWS_AT_ONCE: Final = 256
_SAMPLE: Final = 1 << 22
"""Number of values from which the range of a float picture is estimated."""
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_RANGES: Final = ((280, 281), (340, 341))
"""TIFF's tags of the lowest and the highest sample value: as whole numbers, and in any type."""
_OTHER_ORDERS: Final = {
    ";16B": ";16L",
    ";16L": ";16B",
    ";16N": ";16B" if sys.byteorder == "little" else ";16L",
}
"""Pillow keeps the upper byte of a 16-bit colour; with the opposite byte order, the lower one."""
_GREY_AND_ALPHA: Final = "LA;16B"


class Levels(NamedTuple):
    """The values that become 0 and 255; black is above white if 0 is the brightest."""

    black: float
    white: float

    def apply(self, values: Values) -> npt.NDArray[np.uint8]:
        """Return the values in 8 bits; NaN becomes black.

        Example:
            >>> Levels(0, 4095).apply(np.array([0, 819, 4095, 9000], np.uint16)).tolist()
            [0, 51, 255, 255]
        """
        if values.dtype == np.uint16:
            table = self._apply(np.arange(NUM_VALUES))
            return np.asarray(table[values])
        pixels = np.empty(values.shape, np.uint8)
        for top in range(0, len(values), _ROWS_AT_ONCE):  # all at once as float64 take much memory
            pixels[top : top + _ROWS_AT_ONCE] = self._apply(values[top : top + _ROWS_AT_ONCE])
        return pixels

    def _apply(self, values: Values) -> npt.NDArray[np.uint8]:
        with np.errstate(invalid="ignore", over="ignore"):
            shares = (values.astype(np.float64) - self.black) / (self.white - self.black)
        return np.rint(255.0 * np.clip(np.nan_to_num(shares), 0.0, 1.0)).astype(np.uint8)


ALL_16_BITS: Final = Levels(0.0, NUM_VALUES - 1.0)


class DeepImage:
    """A picture of more than 8 bits per channel: create it before loading, use it afterwards.

    Args:
        image: a Pillow image.
    """

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self._is_inverted, self._stated = False, None
        self._bits = significant_bits(image)
        if isinstance(image, TiffImageFile):
            self._stated = _stated_by_tags(image)
            self._is_inverted = image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        self._colors = None if _is_grey(image) else _Colors(image)

    @classmethod
    def of(cls, image: Image.Image) -> Self | None:
        """Return None for 8 bits, and for loaded colours, which Pillow has reduced to 8 bits."""
        return cls(image) if _is_grey(image) or ";16" in _rawmode(image) else None

    def values(self) -> Values:
        """Return ``(H, W)`` or ``(H, W, channels)``, as uint16 if the values fit."""
        pixels = np.asarray(self._image)
        if self._colors is not None:
            return self._colors.beside(pixels)
        is_short = pixels.itemsize > 1 and pixels.dtype.kind in "iu"
        if is_short and pixels.min(initial=0) >= 0 and pixels.max(initial=0) < NUM_VALUES:
            return pixels.astype(np.uint16)
        return pixels

    def count(self, values: Values) -> Counts:
        """Return how often each of the 65,536 values of 16 bits occurs, without alpha."""
        return _count(values, self._image.mode)

    def choose_levels(
        self, values: Values, name: str, counts: Counts | None = None
    ) -> tuple[Levels, str | None]:
        """Choose what becomes black and white.

        Args:
            values: from ``values``.
            name: of the picture, for errors.
            counts: of the values of the whole picture, if ``values`` is only a part of it.

        Returns:
            The levels, and a note if they are not the usual ones.

        Raises:
            PictureError: values above 65,535, or no finite value.
        """
        if values.dtype == np.uint16:
            counts = self.count(values) if counts is None else counts
            low, high = _range_of_counts(counts)
        else:
            low, high = _range_of(values)
            if low == high == 0.0 and not np.isfinite(values).any():
                raise PictureError(f"{name}: no pixel's value is a number")
        stated = self._stated
        if counts is not None and _is_in_lower_bits(counts, self._bits):
            stated = Levels(0.0, 2.0**self._bits - 1)
        steps = _FLOAT_STEPS if values.dtype.kind == "f" else _WHOLE_STEPS
        levels = _choose(low, high, steps, stated)
        if levels is None:
            raise PictureError(f"{name}: pixels above 65535; expected 8 or 16 bits a channel")
        note = None
        if levels.black != 0.0 or levels.white not in _USUAL[values.dtype.kind]:
            reason = "as the file says" if levels == stated else f"they are {low:g} to {high:g}"
            span = f"pixel values {levels.black:g} to {levels.white:g}"
            note = f"{span} are shown as black to white ({reason})"
        return (Levels(levels.white, levels.black) if self._is_inverted else levels), note

    def to_8_bits(self, values: Values, levels: Levels) -> Image.Image:
        """Return the picture in 8 bits per channel, in mode L or in its own colour mode."""
        if self._colors is None:
            return Image.fromarray(levels.apply(values))
        if levels == ALL_16_BITS:
            return self._image  # the upper bytes
        pixels = levels.apply(values)
        if self._image.mode == "RGBA":
            alpha = values[:, :, 3]
            largest = next(step for step in _WHOLE_STEPS if alpha.max(initial=0) <= step)
            pixels[:, :, 3] = Levels(0.0, largest).apply(alpha)
        made = Image.new(self._image.mode, self._image.size)
        made.frombytes(pixels.tobytes())
        return made


def _count(values: Values, mode: str) -> Counts:
    """Count the values of a picture of this Pillow mode, without alpha.

    Example:
        >>> _count(np.array([[7, 7], [0, 65535]], np.uint16), "I;16")[[0, 7, 65535]].tolist()
        [1, 2, 1]
    """
    values = values[:, :, :3] if mode == "RGBA" else values
    counts = np.zeros(NUM_VALUES, np.int64)
    for top in range(0, len(values), _ROWS_AT_ONCE):  # NumPy converts each value to 8 bytes
        counts += np.bincount(values[top : top + _ROWS_AT_ONCE].ravel(), minlength=NUM_VALUES)
    return counts


class _Colors:
    """The colours of a picture of 16 bits per channel, of which Pillow keeps the upper bytes.

    The lower bytes are decoded only where they matter: in a picture that is dark or low in
    contrast.
    """

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self._format, self._frame, self._rawmode = image.format, image.tell(), _rawmode(image)
        path = getattr(image, "filename", "")
        self._source = Path(os.fsdecode(path)) if path else io.BytesIO(_content_of(image))

    def beside(self, upper: Values) -> npt.NDArray[np.uint16]:
        values: npt.NDArray[np.uint16] = np.left_shift(upper, 8, dtype=np.uint16)
        low, high = _range_of_counts(_count(upper, self._image.mode))
        if 4 * (high + 1) <= NUM_VALUES >> 8 or high - low < _LEAST_SHARE * (NUM_VALUES >> 8):
            lower = self._decode_lower()
            if lower.shape == upper.shape:  # the file may have been replaced meanwhile
                values |= lower
        return values

    def _decode_lower(self) -> Values:
        end = self._rawmode[-len(";16B") :]
        other = self._rawmode.removesuffix(end) + _OTHER_ORDERS.get(end, end)
        if self._rawmode == _GREY_AND_ALPHA:
            other = "RGBA"  # its four bytes are the two of grey and the two of alpha
        with Image.open(self._source, formats=[self._format or ""]) as image:
            image.seek(self._frame)
            image.tile = [
                tile._replace(args=_replaced(tile.args, self._rawmode, other))
                for tile in image.tile
            ]
            lower = np.asarray(image)
        return lower[:, :, [1, 1, 1, 3]] if self._rawmode == _GREY_AND_ALPHA else lower


def _is_grey(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _rawmode(image: Image.Image) -> str:
    """Return Pillow's name of the byte layout of a picture that is not loaded."""
    tiles = getattr(image, "tile", None)
    args = tiles[0].args if tiles else None
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _replaced(args: Any, old: str, new: str) -> Any:
    if isinstance(args, tuple):
        return tuple(new if part == old else part for part in args)
    return new if args == old else args


def _content_of(image: Image.Image) -> bytes:
    file = getattr(image, "fp", None)
    if file is None:
        return b""
    position = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(position)
    return content


def _stated_by_tags(image: TiffImageFile) -> Levels | None:
    bits = np.ravel(image.tag_v2.get(_BITS, NUM_VALUES))
    levels = Levels(0.0, 2.0 ** bits.max() - 1) if bits.size and 0 < bits.max() < 16 else None  # noqa: PLR2004
    for lowest, highest in _RANGES:
        try:
            white = float(np.max(np.asarray(image.tag_v2.get(highest, np.nan), np.float64)))
            black = float(np.min(np.asarray(image.tag_v2.get(lowest, 0.0), np.float64)))
        except (TypeError, ValueError):  # a tag of the wrong type
            continue
        if np.isfinite(black) and np.isfinite(white) and black < white:
            levels = Levels(black, white)
    return levels


def _is_in_lower_bits(counts: Counts, bits: int) -> bool:
    """Tell whether values use the lower ``bits``; shifted up, their lowest bits would be 0."""
    if not 0 < bits < 16 or counts[1 << bits :].any():  # noqa: PLR2004
        return False
    return bool((np.flatnonzero(counts) & ((1 << (16 - bits)) - 1)).any())


def _range_of_counts(counts: Counts) -> tuple[float, float]:
    total = np.cumsum(counts)
    ends = (_IGNORED_SHARE * total[-1], (1 - _IGNORED_SHARE) * total[-1])
    low = np.searchsorted(total, ends[0], side="right")
    high = np.searchsorted(total, ends[1], side="left")
    return float(low), float(high)


def _range_of(values: Values) -> tuple[float, float]:
    """Return the range without one value in a thousand at either end; 0 and 0 if none is finite."""
    sample = values.ravel()[:: max(1, values.size // _SAMPLE)]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 0.0
    shares = (_IGNORED_SHARE, 1 - _IGNORED_SHARE)
    low, high = np.quantile(sample, shares, method="inverted_cdf").tolist()
    return float(low), float(high)


def _choose(
    low: float, high: float, steps: tuple[float, ...], stated: Levels | None
) -> Levels | None:
    """Choose the levels as the module says; None if the values are above all steps.

    Example:
        >>> _choose(0, 3900, _WHOLE_STEPS, None), _choose(29000, 31000, _WHOLE_STEPS, None)
        (Levels(black=0.0, white=4095.0), Levels(black=29000, white=31000))
    """
    if stated is not None and stated.black <= low and high <= stated.white:
        levels = stated
    else:
        largest = next((step for step in steps if high <= step), None)
        if largest is None:
            return None
        levels = Levels(0.0, largest)
    is_flat = high - low < _LEAST_SHARE * (levels.white - levels.black)
    return Levels(low, high) if low < high and (low < levels.black or is_flat) else levels
