"""Parts of a file that follow each other."""

from typing import NamedTuple


class Parts(NamedTuple):
    """Parts that were found to follow each other.

    Attributes:
        places: where they begin, as FFmpeg states it for the packets in them.
        end: of the last part; beyond that of the file if it is cut off.
    """

    places: list[int]
    end: int
