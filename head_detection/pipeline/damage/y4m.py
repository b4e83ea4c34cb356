"""Raw pictures, one after the other (YUV4MPEG2)."""

from typing import Final

from head_detection.pipeline.damage.parts import Parts

FORMAT: Final = "yuv4mpegpipe"
"""FFmpeg's name of it."""
BEGIN: Final = b"FRAME"


def follow(content: bytes, place: int, size: int) -> Parts:
    """Go from picture to picture up to the first that is not one.

    Args:
        content: of a file.
        place: of a picture in it.
        size: of each.
    """
    places, end = [place], place + size
    while content.startswith(BEGIN, end) and (line_end := content.find(b"\n", end)) > 0:
        places.append(line_end + 1)
        end = places[-1] + size
    return Parts(places, end)
