"""The names of the formats and of the files that each writes; imports nothing heavy."""

import difflib
from typing import Final

from head_detection.errors import OutputError

OUTPUTS: Final[dict[str, tuple[str, ...]]] = {
    "json": ("detections.json",),
    "csv": ("detections.csv",),
    "lines": ("detections.ndjson",),
    "counts": ("counts.csv",),
    "events": ("events.ndjson",),
    "coco": ("coco.json", "coco-images.json"),
    "mot": ("mot.txt", "mot/"),
    "yolo": ("labels/",),
    "yolo-data": ("data.yaml",),
    "images": ("images/",),
    "video": ("video/",),
    "blur": ("blur/",),
    "crops": ("crops/",),
    "heatmap": ("heatmap/",),
}
"""Files of each format, by its name for users; folders end with a slash."""
DEFAULT_FORMATS: Final = ("json", "counts", "images")
VIDEO_FORMATS: Final = ("json", "counts", "video")
MIXED_FORMATS: Final = ("json", "counts", "images", "video")
"""Together with ``video``, ``images`` holds only pictures, not frames."""
LIVE_FORMATS: Final = ("lines", "counts")
"""For sources without an end: no file that is complete only at the end, and no large videos."""
FRAME_FORMATS: Final = ("video", "heatmap", "events")
"""Formats that only frames have, not pictures."""
ON_STANDARD_OUTPUT: Final = ("lines",)


def usual_formats(unit: str, *, is_live: bool) -> tuple[str, ...]:
    """Return the default formats for a source.

    Args:
        unit: what its items are called; may contain ``pictures`` and ``frames``.
        is_live: the source is a camera.

    Example:
        >>> usual_formats("pictures", is_live=False), usual_formats("frames", is_live=False)
        (('json', 'counts', 'images'), ('json', 'counts', 'video'))
        >>> usual_formats("pictures and frames", is_live=False)
        ('json', 'counts', 'images', 'video')
    """
    if is_live:
        return LIVE_FORMATS
    if "frames" not in unit:
        return DEFAULT_FORMATS
    return MIXED_FORMATS if "pictures" in unit else VIDEO_FORMATS


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the format names of a comma-separated list without duplicates.

    Raises:
        OutputError: an unknown name, no name, or formats that cannot be combined.

    Example:
        >>> parse_formats("json, csv,json")
        ('json', 'csv')
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown or not names:
        close = [difflib.get_close_matches(name, OUTPUTS, n=1) for name in unknown]
        meant = "".join(f"; did you mean {names[0]}?" for names in close[:1] if names)
        raise OutputError(f"expected some of {','.join(OUTPUTS)}; got {text!r}{meant}")
    if "yolo-data" in names and ("yolo" not in names or "images" in names):
        raise OutputError(
            "yolo-data: expected yolo beside it, and no images: its images/ is for the pictures "
            f"as they are, not drawn on; got {','.join(names)}"
        )
    return names
