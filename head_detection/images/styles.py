"""How heads are drawn and hidden: settings that can be read without loading anything heavy."""

from dataclasses import dataclass
from string import Formatter
from typing import Final, Literal, get_args

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
HEAD_COLOR: Final[Color] = (57, 255, 20)
DrawnPart = Literal["boxes", "ids", "traces", "zones", "count", "scores"]
DRAWN_PARTS: Final = get_args(DrawnPart)
USUAL_PARTS: Final = DRAWN_PARTS[:-1]
"""Drawn by default, as far as they exist: a picture has no ids."""
HidingStyle = Literal["solid", "pixelate"]
HIDING_STYLES: Final = get_args(HidingStyle)
HIDDEN_FROM: Final = 0.05
"""Heads are hidden from this score on, far below the threshold that counts best: a head left
visible does more harm than something hidden needlessly."""
LARGEST_STROKE: Final = 1000
"""Line width or letter size in pixels."""
LARGEST_SCALE: Final = 10.0
"""More hides the street, not the head."""


@dataclass(frozen=True)
class Drawing:
    """How heads are drawn.

    Attributes:
        color: of the boxes, red, green and blue; None is green, or for a tracked head a colour that
            depends on its id.
        width: of box lines in pixels; None depends on the picture and its heads.
        font_size: largest letter size of labels in pixels; None depends on the picture and its
            heads.
        label: text on the picture, with ``{count}`` for its number of heads; None is ``3 heads``,
            and an empty text is no label. If there is little room, only the number is written.
        parts: what is drawn: boxes of heads, their ids, their traces of the last second, zones and
            lines with their counts, the number of heads, each head's score.

    Raises:
        ValueError: a width or a size outside 1..1000, a label with anything else in braces, or an
            unknown part.
    """

    color: Color | None = None
    width: int | None = None
    font_size: int | None = None
    label: str | None = None
    parts: tuple[str, ...] = USUAL_PARTS

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("font_size", self.font_size)):
            if value is not None and not 1 <= value <= LARGEST_STROKE:
                raise ValueError(f"{name}: expected 1 to {LARGEST_STROKE}; got {value}")
        unknown = [part for part in self.parts if part not in DRAWN_PARTS]
        if unknown:
            raise ValueError(f"parts: expected some of {','.join(DRAWN_PARTS)}; got {unknown[0]}")
        if not _is_label(self.label or ""):
            raise ValueError(f"label: expected text, {{count}} in it; got {self.label}")

    def labels(self, count: int) -> tuple[str, ...]:
        """Return the possible labels of a picture, best first.

        Example:
            >>> Drawing().labels(3), Drawing(label="n={count}").labels(3)
            (('3 heads', '3'), ('n=3', '3'))
        """
        if self.label is None:
            return ("1 head" if count == 1 else f"{count} heads", str(count))
        text = self.label.format(count=count)
        texts = (text, str(count)) if "{count}" in self.label else (text,)
        return tuple(filter(None, dict.fromkeys(texts)))


def _is_label(text: str) -> bool:
    """Tell whether a text has nothing but ``{count}`` in braces: any other field may do harm.

    Example:
        >>> _is_label("{count} heads {{}}"), _is_label("{count:>9}"), _is_label("{")
        (True, False, False)
    """
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        return False
    return all(part[1:] in ((None, None, None), ("count", "", None)) for part in parts)


@dataclass(frozen=True)
class Hiding:
    """How heads are made unrecognisable.

    Attributes:
        style: ``solid`` leaves nothing of them; ``pixelate`` leaves a few squares in their colours,
            from which one may guess.
        scale: size of the hidden area relative to the head's box, in both directions, to cover
            ears, hair and an imprecise box. deface uses 1.3.

    Raises:
        ValueError: another style, or a scale outside 1..10.
    """

    style: HidingStyle = "solid"
    scale: float = 1.3

    def __post_init__(self) -> None:
        if self.style not in HIDING_STYLES:
            raise ValueError(f"style: expected {' or '.join(HIDING_STYLES)}; got {self.style!r}")
        if not 1.0 <= self.scale <= LARGEST_SCALE:
            raise ValueError(f"scale: expected 1 to {LARGEST_SCALE:g}; got {self.scale}")
