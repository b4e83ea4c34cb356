"""The response to a request with pictures, in the requested format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from fastapi import Response
from fastapi.responses import JSONResponse

from head_detection.errors import PictureError
from head_detection.images.encoding import LARGEST_SIDES, encode_picture
from head_detection.images.heads import draw_heads
from head_detection.images.hiding import hide_heads
from head_detection.results.coco import coco_heads
from head_detection.results.csv import COLUMNS, csv_lines, head_rows
from head_detection.results.images import JPEG_QUALITY
from head_detection.results.record import JSON_ERRORS, Origin, Record, dump_json
from head_detection.serving.problems import ServiceError, unreadable

Form = Literal["json", "csv", "coco", "image", "blur"]
OF_PIXELS: Final = ("image", "blur")
"""Formats that are themselves a picture: a request may then have only one."""
HEADS_HEADER: Final = "X-Head-Count"
FAILED_HEADER: Final = "X-Failed-Pictures"
"""For formats that have no other place for this number."""


@dataclass(frozen=True)
class Failed:
    """A picture that could not be answered.

    Attributes:
        file: its name.
        error: the reason.
    """

    file: str
    error: ServiceError

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, as a failure stands in ``detections.json``."""
        return {"file": self.file, "error": self.error.text, "status": self.error.status}


Outcome = Record | Failed


def answer(form: Form, outcomes: Sequence[Outcome], origin: Origin) -> Response:
    """Return the response to a request.

    Args:
        form: json, csv or coco for any number of pictures; image or blur for one, with its pixels.
        outcomes: the result of each picture, in order.
        origin: the model that made them.

    Returns:
        Status 200 if at least one picture succeeded, else the status of the first error.

    Raises:
        ServiceError: heads could not be hidden, or the picture is too long for PNG.
    """
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    status = 200 if records else failed[0].error.status
    if form == "json":
        return _text(_as_json(records, failed, origin), "application/json", status, outcomes)
    if not records:
        return JSONResponse(failed[0].error.as_plain(), status, failed[0].error.headers)
    if form == "csv":
        return _text(_as_csv(records), "text/csv", status, outcomes)
    if form == "coco":
        return _text(_as_coco(outcomes), "application/json", status, outcomes)
    return _as_picture(records[0], hides=form == "blur")


def _text(text: str, media_type: str, status: int, outcomes: Sequence[Outcome]) -> Response:
    counts = [len(each.detections) for each in outcomes if isinstance(each, Record)]
    headers = {HEADS_HEADER: str(sum(counts)), FAILED_HEADER: str(len(outcomes) - len(counts))}
    content = text.encode("utf-8", JSON_ERRORS)
    return Response(content, status, headers, f"{media_type}; charset=utf-8")


def _as_json(records: Sequence[Record], failed: Sequence[Failed], origin: Origin) -> str:
    return dump_json(
        {
            **origin.as_plain(),
            "images": [record.as_plain() for record in records],
            "failed": [failure.as_plain() for failure in failed],
        }
    )


def _as_csv(records: Sequence[Record]) -> str:
    return csv_lines([COLUMNS, *(row for record in records for row in head_rows(record))])


def _as_coco(outcomes: Sequence[Outcome]) -> str:
    """Return COCO results; ``image_id`` is the picture's number in the request, from 1."""
    numbered = enumerate(outcomes, 1)
    found = [(number, outcome) for number, outcome in numbered if isinstance(outcome, Record)]
    return dump_json([head for number, record in found for head in coco_heads(record, number)])


def _as_picture(record: Record, *, hides: bool) -> Response:
    if record.pixels is None:
        raise ValueError("pixels: expected in the record; got none")
    try:
        if hides:
            pixels = hide_heads(record.pixels, record.to_hide or record.detections)
        else:
            pixels = draw_heads(record.pixels, record.detections)
        is_jpeg = max(pixels.shape[:2]) <= LARGEST_SIDES[".jpg"]
        content = encode_picture(pixels, ".jpg" if is_jpeg else ".png", JPEG_QUALITY)
    except PictureError as error:
        raise unreadable(str(error)) from error
    headers = {HEADS_HEADER: str(len(record.detections)), FAILED_HEADER: "0"}
    return Response(content, 200, headers, "image/jpeg" if is_jpeg else "image/png")
