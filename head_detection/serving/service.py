"""The handlers of the service's routes: from a request's body to its answer."""

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Query, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse, JSONResponse

from head_detection.config import TRACKERS, TrackerName
from head_detection.images.styles import HIDDEN_FROM
from head_detection.inference.detector import HeadDetector
from head_detection.results.record import Origin, Record
from head_detection.serving.answers import OF_PIXELS, Failed, Form, Outcome, answer
from head_detection.serving.batcher import Batcher
from head_detection.serving.metrics import Metrics
from head_detection.serving.problems import ServiceError, bad_request, too_late
from head_detection.serving.requests import Bodies, Upload, has_body, unless_gone
from head_detection.serving.settings import ServiceSettings
from head_detection.serving.tracking import TrackOptions
from head_detection.serving.video_answers import VideoForm
from head_detection.serving.videos import Videos, limits_of
from head_detection.version import __version__

PAGE: Final = Path(__file__).parent / "page"


class Service:
    """Answers requests.

    Args:
        detector: finds the heads; only the batcher's threads use it.
        settings: the limits.

    Attributes:
        batcher: batches the pictures of all requests.
        metrics: the metrics so far.
        settings: the limits.
        videos: answers requests with videos.
    """

    def __init__(self, detector: HeadDetector, settings: ServiceSettings) -> None:
        detector.max_pixels = settings.max_pixels
        self.settings, self.metrics = settings, Metrics()
        self.batcher = Batcher(
            detector,
            self.metrics,
            max_batch=settings.max_batch,
            max_delay=settings.max_delay,
            queue=settings.queue,
        )
        self.videos = Videos(self.batcher, self.metrics, settings)
        self._detector, self._bodies = detector, Bodies(settings)
        self._pages = Environment(
            loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined
        )

    async def detect(
        self,
        request: Request,
        score_threshold: Annotated[
            float | None,
            Query(description="Lowest score of heads to return; else the weights' own."),
        ] = None,
        form: Annotated[
            Form, Query(alias="format", description="image and blur take one picture.")
        ] = "json",
        url: Annotated[
            list[str] | None,
            Query(description="Public addresses of pictures, in place of a body, if allowed."),
        ] = None,
    ) -> Response:
        """Find the heads in one or more pictures; an unreadable one does not affect the others."""
        threshold = self.checked(score_threshold)
        with self.batcher.admitting(1):  # before the body is read
            pass
        if url and has_body(request):
            raise bad_request("url: expected in place of a body; got both")
        sent = self._bodies.fetching(url) if url else self._bodies.reading(request)
        async with sent as uploads:
            if form in OF_PIXELS and len(uploads) > 1:
                raise bad_request(f"format={form}: expected one picture; got {len(uploads)}")
            outcomes = await unless_gone(request, self._detect_all(uploads, threshold, form))
        origin = Origin(self._detector.origin, threshold)
        with self.metrics.timing("answer"):
            return await asyncio.to_thread(answer, form, outcomes, origin)

    async def track(
        self,
        request: Request,
        form: Annotated[
            VideoForm,
            Query(
                alias="format",
                description="video draws the heads into the video, blur hides them.",
            ),
        ] = "json",
        score_threshold: Annotated[
            float | None,
            Query(
                description="Lowest score of heads that count; else the weights' own. A head that "
                "is tracked (its id is not -1) counts at any score that the tracker uses, 0.1 or "
                "more."
            ),
        ] = None,
        tracker: Annotated[
            TrackerName, Query(description="The algorithm that tracks the heads.")
        ] = TRACKERS[0],
        start: Annotated[
            float, Query(ge=0, description="Where to start, in seconds of the video.")
        ] = 0.0,
        end: Annotated[
            float | None, Query(gt=0, description="Where to stop, in seconds of the video.")
        ] = None,
        max_fps: Annotated[
            float | None, Query(gt=0, description="Use at most so many frames per second.")
        ] = None,
    ) -> Response:
        """Track the heads in a short video, and count them at the given lines and zones."""
        numbers = {"start": start, "end": end, "max_fps": max_fps}
        for name, value in numbers.items():
            if value is not None and not math.isfinite(value):
                raise bad_request(f"{name}: expected a number; got {value:g}")
        if end is not None and end <= start:
            raise bad_request(f"end: expected more than start, {start:g}; got {end:g}")
        asked = TrackOptions(form, self.checked(score_threshold), tracker, start, end, max_fps)
        return await self.videos.answer(request, asked)

    def checked(self, score_threshold: float | None) -> float:
        """Return the requested threshold, or the detector's own.

        Raises:
            ServiceError: it is below the detector's lowest score, or above 1.
        """
        if score_threshold is None:
            return self._detector.score_threshold
        lowest = self._detector.lowest_score
        if not lowest <= score_threshold <= 1.0:  # also refuses NaN
            raise bad_request(f"score_threshold: expected {lowest:g} to 1; got {score_threshold:g}")
        return score_threshold

    async def find(
        self, number: int, upload: Upload, threshold: float, *, keep_pixels: bool = False
    ) -> Outcome:
        """Return the result of one picture within the deadline; its place is reserved already."""
        if upload.error is not None:
            return self._failed(upload, upload.error)
        try:
            async with asyncio.timeout(self.settings.deadline):
                detected = await self.batcher.detect(upload.data, keep_pixels=keep_pixels)
        except TimeoutError:
            return self._failed(upload, too_late(self.settings.deadline))
        except ServiceError as problem:
            return self._failed(upload, problem.bare())
        found = detected.detections.above(threshold)
        self.metrics.heads.inc(len(found))
        hidden = detected.detections.above(min(HIDDEN_FROM, threshold)) if keep_pixels else None
        return Record(number, upload.name, found, pixels=detected.pixels, to_hide=hidden)

    def _failed(self, upload: Upload, error: ServiceError) -> Failed:
        self.metrics.errors.labels(error.kind).inc()
        return Failed(upload.name, error)

    async def _detect_all(
        self, uploads: Sequence[Upload], threshold: float, form: Form
    ) -> list[Outcome]:
        find = partial(self.find, threshold=threshold, keep_pixels=form in OF_PIXELS)
        with self.batcher.admitting(len(uploads)):
            tasks = (find(number, upload) for number, upload in enumerate(uploads))
            return list(await asyncio.gather(*tasks))

    async def alive(self) -> Response:
        """Tell whether the service works; if not, restart it."""
        return _state("alive", is_so=self.batcher.is_alive)

    async def ready(self) -> Response:
        """Tell whether the network is warm and requests are accepted."""
        return _state("ready", is_so=self.batcher.is_ready)

    async def count(self) -> Response:
        """Return the metrics for Prometheus."""
        return Response(self.metrics.as_text(), media_type=CONTENT_TYPE_LATEST)

    async def models(self) -> dict[str, Any]:
        """Describe the model and the limits of requests."""
        detector, limits = self._detector, self.settings
        model = {
            **detector.origin,
            "engine": detector.engine.name,
            "device": detector.engine.device,
            "precision": detector.engine.precision,
            "score_threshold": detector.score_threshold,
            "lowest_score": detector.lowest_score,
        }
        names = ("max_bytes", "max_pixels", "max_files", "deadline")
        allowed = {name: getattr(limits, name) for name in names} | limits_of(limits)
        return {"models": [model], "limits": allowed}

    async def index(self) -> Response:
        """Return the web page."""
        return self._page("index.html", detector=self._detector, needs_key=bool(self.settings.keys))

    async def docs(self, request: Request) -> Response:
        """Return the API documentation as a page."""
        schema = request.app.openapi()
        return self._page("docs.html", title=schema["info"]["title"], paths=schema["paths"])

    def _page(self, name: str, **values: Any) -> Response:
        text = self._pages.get_template(name).render(version=__version__, **values)
        return HTMLResponse(text)


def _state(name: str, *, is_so: bool) -> Response:
    status = HTTPStatus.OK if is_so else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse({name: is_so}, status)
