"""The service: pictures in, heads out, over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from head_detection.inference.detector import HeadDetector
from head_detection.results.record import Origin, Record
from head_detection.serving.answers import (
    FAILED_HEADER,
    HEADS_HEADER,
    OF_PIXELS,
    Failed,
    Form,
    Outcome,
    answer,
)
from head_detection.serving.batcher import Batcher
from head_detection.serving.guard import OPEN_FOLDER, Guard
from head_detection.serving.metrics import Metrics
from head_detection.serving.problems import ServiceError, bad_request, too_late
from head_detection.serving.requests import Bodies, Upload, unless_gone
from head_detection.serving.settings import ServiceSettings
from head_detection.serving.stream import answer_frames
from head_detection.version import __version__

PAGE: Final = Path(__file__).parent / "page"
CLOSING_SECONDS: Final = 10.0
"""For the network to finish, once all requests are answered or given up."""
NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""FastAPI could send what it meets to others; what is given pictures of people tells nobody."""
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "A picture of any kind as the body itself, or a form of several files.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class Service:
    """What answers requests.

    Args:
        detector: is detected with from one thread alone.
        settings: the limits.

    Attributes:
        batcher: brings the requests' pictures together.
        metrics: the numbers so far.
        settings: the limits.
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
        self._detector, self._bodies = detector, Bodies(settings)
        self._pages = Environment(
            loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined
        )

    async def detect(
        self,
        request: Request,
        score_threshold: Annotated[
            float | None, Query(description="Leave out heads scored lower; else the weights' own.")
        ] = None,
        form: Annotated[
            Form, Query(alias="format", description="image and blur are of one picture.")
        ] = "json",
    ) -> Response:
        """Find the heads of one picture or several; one that cannot be read fails alone."""
        threshold = self.checked(score_threshold)
        with self.batcher.admitting(1):  # before the body is read
            pass
        async with self._bodies.reading(request) as uploads:
            if form in OF_PIXELS and len(uploads) > 1:
                raise bad_request(f"format={form}: expected one picture; got {len(uploads)}")
            outcomes = await unless_gone(request, self._detect_all(uploads, threshold, form))
        origin = Origin(self._detector.origin, threshold)
        with self.metrics.timing("answer"):
            return await asyncio.to_thread(answer, form, outcomes, origin)

    async def stream(self, socket: WebSocket) -> None:
        """Answer the frames of a webcam."""
        await answer_frames(socket, self)

    def checked(self, score_threshold: float | None) -> float:
        """Return the threshold that is asked for, or the detector's own.

        Raises:
            ServiceError: the detector was not built for it.
        """
        if score_threshold is None:
            return self._detector.score_threshold
        lowest = self._detector.lowest_score
        if not lowest <= score_threshold <= 1.0:  # NaN neither
            raise bad_request(f"score_threshold: expected {lowest:g} to 1; got {score_threshold:g}")
        return score_threshold

    async def find(
        self, number: int, upload: Upload, threshold: float, *, keep_pixels: bool = False
    ) -> Outcome:
        """Return what came of one picture, in time; its room is taken already."""
        try:
            async with asyncio.timeout(self.settings.deadline):
                seen = await self.batcher.detect(upload.data, keep_pixels=keep_pixels)
        except TimeoutError:
            error = too_late(self.settings.deadline)
        except ServiceError as problem:
            error = problem
        else:
            found = seen.detections.above(threshold)
            self.metrics.heads.inc(len(found))
            hidden = seen.detections if keep_pixels else None
            return Record(number, upload.name, found, pixels=seen.pixels, to_hide=hidden)
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
        """Tell whether the service works; if not, it is to be started anew."""
        return _state("alive", is_so=self.batcher.is_alive)

    async def ready(self) -> Response:
        """Tell whether the network is warm, and requests are taken."""
        return _state("ready", is_so=self.batcher.is_ready)

    async def count(self) -> Response:
        """Return the numbers for Prometheus."""
        return Response(self.metrics.as_text(), media_type=CONTENT_TYPE_LATEST)

    async def models(self) -> dict[str, Any]:
        """Tell what finds the heads, and within which limits."""
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
        return {"models": [model], "limits": {name: getattr(limits, name) for name in names}}

    async def index(self) -> Response:
        """Return the page."""
        return self._page("index.html", detector=self._detector, needs_key=bool(self.settings.keys))

    async def docs(self, request: Request) -> Response:
        """Return what can be asked, as a page."""
        schema = request.app.openapi()
        return self._page("docs.html", title=schema["info"]["title"], paths=schema["paths"])

    def _page(self, name: str, **values: Any) -> Response:
        text = self._pages.get_template(name).render(version=__version__, **values)
        return HTMLResponse(text)


def _state(name: str, *, is_so: bool) -> Response:
    status = HTTPStatus.OK if is_so else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse({name: is_so}, status)


def create_app(detector: HeadDetector, settings: ServiceSettings | None = None) -> FastAPI:
    """Return the service as an application of ASGI.

    Args:
        detector: belongs to the application from its start on.
        settings: None is the usual ones.
    """
    settings = settings or ServiceSettings()
    service = Service(detector, settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await asyncio.to_thread(service.batcher.close, CLOSING_SECONDS)

    app = FastAPI(
        title="Head detection",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load from other servers
        redoc_url=None,
        telemetry=NO_TELEMETRY,
    )
    app.state.service = service
    _add_routes(app, service)
    app.add_exception_handler(HTTPException, _as_problem)
    app.add_exception_handler(RequestValidationError, _as_problem)
    routes = frozenset(r.path for r in app.routes if isinstance(r, Route | Mount))
    app.add_middleware(Guard, settings=settings, metrics=service.metrics, routes=routes)
    if settings.origins:  # outside, for browsers ask without a key whether they may ask
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            expose_headers=[HEADS_HEADER, FAILED_HEADER],
        )
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    app.add_api_route(
        "/detect", service.detect, methods=["POST"], openapi_extra=BODY, response_class=Response
    )
    app.add_api_route("/models", service.models, methods=["GET"])
    app.add_api_route("/healthz", service.alive, methods=["GET"])
    app.add_api_route("/readyz", service.ready, methods=["GET"])
    app.add_api_route("/metrics", service.count, methods=["GET"])
    app.add_api_route("/", service.index, methods=["GET"], include_in_schema=False)
    app.add_api_route("/docs", service.docs, methods=["GET"], include_in_schema=False)
    app.add_api_websocket_route("/stream", service.stream)
    app.mount(OPEN_FOLDER.rstrip("/"), StaticFiles(directory=PAGE / "static"))


async def _as_problem(_request: Request, error: Exception) -> Response:
    """Answer what FastAPI and Starlette refuse by themselves, as all else is."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        problem = bad_request(f"{first['loc'][-1]}: {first['msg']}")
        return JSONResponse(problem.as_plain(), problem.status)
    if isinstance(error, HTTPException):
        values = {"error": error.detail, "kind": "http"}
        return JSONResponse(values, error.status_code, error.headers)
    raise error
