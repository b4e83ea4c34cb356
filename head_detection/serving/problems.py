"""Errors of a request, or of one of its pictures: an HTTP status, a kind and one line of text."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

ENDED_BY_CLIENT: Final = 499
"""The client hung up. Not an HTTP status and never sent; nginx counts it under this number."""

LONGEST_VALUE: Final = 60
"""Characters of a wrong value that an error repeats."""


class ServiceError(Exception):
    """An error that a client receives in place of an answer.

    Args:
        status: HTTP status.
        kind: a word by which programs and metrics recognise the error.
        text: one line: expected, came, what to do.
        retry_after: seconds after which the client may try again; None for no such hint.
    """

    def __init__(self, status: int, kind: str, text: str, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.status, self.kind, self.text = int(status), kind, text
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    def bare(self) -> "ServiceError":
        """Return a copy without traceback and cause, which would keep the request in memory."""
        return ServiceError(self.status, self.kind, self.text, self.retry_after)

    def as_plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"error": self.text, "kind": self.kind}


def queue_full(retry_after: int) -> ServiceError:
    """Return the answer to a request that the queue has no room for now."""
    text = f"too many pictures wait already; try again in {retry_after} s"
    return ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "queue_full", text, retry_after)


def too_many_videos() -> ServiceError:
    """Return the answer to a video that there is no room for now."""
    text = "too many videos are being answered already; try again in 10 s"
    return ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "queue_full", text, 10)


def not_ready() -> ServiceError:
    """Return the answer while the network warms up, or the service ends."""
    text = "the service is starting or stopping; try again in a second"
    return ServiceError(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", text, 1)


def too_late(seconds: float) -> ServiceError:
    """Return the answer to a request whose deadline passed."""
    text = (
        f"expected an answer within {seconds:g} s; got none: send smaller files, or fewer at once"
    )
    return ServiceError(HTTPStatus.GATEWAY_TIMEOUT, "deadline", text)


def detector_failed() -> ServiceError:
    """Return the answer for a picture on which the detector itself failed."""
    text = "the detector failed on this picture; the log of the service says why"
    return ServiceError(HTTPStatus.INTERNAL_SERVER_ERROR, "detector", text)


def unreadable(text: str) -> ServiceError:
    """Return the answer for a damaged picture, or a file that is not a picture."""
    return ServiceError(HTTPStatus.UNPROCESSABLE_ENTITY, "picture", text)


def video_for_track() -> ServiceError:
    """Return the answer to a video where pictures are expected."""
    text = "expected a picture; got a video: send it to /track"
    return ServiceError(HTTPStatus.UNPROCESSABLE_ENTITY, "video", text)


def too_large(text: str) -> ServiceError:
    """Return the answer for too many bytes, pixels, frames or files."""
    return ServiceError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", text)


def bad_value(fault: Mapping[str, Any]) -> ServiceError:
    """Return the answer to a wrong value of a parameter, from pydantic's description of it.

    Example:
        >>> fault = {"loc": ("query", "end"), "type": "greater_than", "input": "-1"}
        >>> bad_value(fault | {"ctx": {"gt": 0.0}}).text
        "end: expected more than 0; got '-1'"
    """
    limits = fault.get("ctx", {})
    match fault["type"]:
        case "literal_error":
            expected = str(limits["expected"])
        case "float_parsing":
            expected = "a number"
        case "greater_than":
            expected = f"more than {limits['gt']:g}"
        case "greater_than_equal":
            expected = f"{limits['ge']:g} or more"
        case _:
            return bad_request(f"{fault['loc'][-1]}: {fault['msg']}")
    came = repr(fault["input"])[:LONGEST_VALUE]
    return bad_request(f"{fault['loc'][-1]}: expected {expected}; got {came}")


def bad_request(text: str) -> ServiceError:
    """Return the answer for a request that cannot be understood."""
    return ServiceError(HTTPStatus.BAD_REQUEST, "request", text)
