"""Flash video: tags, each with a kind, a size, a time and content, followed by its length."""

from typing import Final

from head_detection.pipeline.damage.parts import Parts

FORMAT: Final = "flv"
"""FFmpeg's name of it."""
KINDS: Final = (8, 9, 18)
"""Sound, pictures, and metadata."""
HEADER: Final = 11
LENGTH: Final = 4


def begin(content: bytes) -> int:
    """Return where the first tag of a file begins."""
    return int.from_bytes(content[5:9], "big") + LENGTH


def follow(content: bytes, place: int, _size: int) -> Parts:
    """Go from tag to tag up to the first that is not one.

    Args:
        content: of a file.
        place: of a tag in it.

    Source:
        Adobe, Video File Format Specification 10.1, E.3 and E.4.
    """
    places: list[int] = []
    end = place
    while end + HEADER <= len(content):
        stream = content[end + 8 : end + HEADER]
        if content[end] & 0x1F not in KINDS or any(stream):
            break
        length = HEADER + int.from_bytes(content[end + 1 : end + 4], "big")
        again = content[end + length : end + length + LENGTH]
        if len(again) == LENGTH and int.from_bytes(again, "big") != length:
            break
        places.append(end)
        end += length + LENGTH
    return Parts(places, end)
