"""Parts of a file that follow each other."""

from typing import NamedTuple


class Parts(NamedTuple):
    """Parts that were found one behind the other, as far as they do.

    Attributes:
        places: where they begin, as FFmpeg tells it of the packets in them.
        end: of the last; beyond that of the file where it is cut off.
    """

    places: list[int]
    end: int
