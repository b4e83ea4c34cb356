"""The service as an ASGI application: its routes, middleware and error handlers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from fastapi import Depends, FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from head_detection.inference.detector import HeadDetector
from head_detection.serving.answers import FAILED_HEADER, HEADS_HEADER
from head_detection.serving.folders import clear_folders
from head_detection.serving.guard import OPEN_FOLDER, Guard
from head_detection.serving.problems import bad_value
from head_detection.serving.requests import check_query
from head_detection.serving.service import PAGE, Service
from head_detection.serving.settings import ServiceSettings
from head_detection.serving.stream import answer_frames
from head_detection.serving.tracking import FAILED_FRAMES_HEADER, FRAMES_HEADER
from head_detection.version import __version__

CLOSING_SECONDS: Final = 10.0
"""Time for the network to finish, after all requests are answered or abandoned."""
NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""FastAPI can send telemetry; a service that receives pictures of people must not."""


def _body(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI description of a body that is a file, or a form with files."""
    form = {"schema": {"type": "object", "properties": properties}}
    return {
        "requestBody": {
            "required": True,
            "description": description,
            "content": {
                "multipart/form-data": form,
                "application/octet-stream": {"schema": FILE},
            },
        }
    }


FILE: Final = {"type": "string", "format": "binary"}
BODY: Final = _body(
    "A picture in any supported format as the body itself, or a form with one or more files.",
    {"file": {"type": "array", "items": FILE}},
)
VIDEO: Final = _body(
    "A video as the body itself, or a form with the video as file and, optionally, a zones file as "
    "zones.",
    {"file": FILE, "zones": FILE},
)

FAILURE: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "An error of the request. If every picture failed, the body is that of 200, "
        "with the status of the first error.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"error": {"type": "string"}, "kind": {"type": "string"}},
                    "required": ["error", "kind"],
                }
            }
        },
    }
}
"""The OpenAPI description of errors; FastAPI's default describes a body that is never sent."""


def create_app(detector: HeadDetector, settings: ServiceSettings | None = None) -> FastAPI:
    """Return the service as an ASGI application.

    Args:
        detector: used by the application alone once it starts.
        settings: the limits; None for the defaults.
    """
    settings = settings or ServiceSettings()
    service = Service(detector, settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(clear_folders)
        service.batcher.start()
        patience = CLOSING_SECONDS
        try:
            yield
        except asyncio.CancelledError:  # a second Ctrl-C: do not wait for work in progress
            patience = 0
        service.videos.close()
        await asyncio.to_thread(service.batcher.close, patience)

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
    if settings.origins:  # outermost, because a browser's preflight request carries no key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            expose_headers=[HEADS_HEADER, FAILED_HEADER, FRAMES_HEADER, FAILED_FRAMES_HEADER],
        )
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    for path, answer, body in (
        ("/detect", service.detect, BODY),
        ("/track", service.track, VIDEO),
    ):
        app.add_api_route(
            path, answer, methods=["POST"], openapi_extra=body, response_class=Response,
            dependencies=[Depends(check_query)], responses=FAILURE,
        )  # fmt: skip
    pages: dict[str, Callable[..., Awaitable[Any]]] = {
        "/models": service.models,
        "/healthz": service.alive,
        "/readyz": service.ready,
        "/metrics": service.count,
        "/": service.index,
        "/docs": service.docs,
    }
    for path, reply in pages.items():
        is_for_people = path in ("/", "/docs")
        app.add_api_route(path, reply, methods=["GET"], include_in_schema=not is_for_people)
        app.add_api_route(path, reply, methods=["HEAD"], include_in_schema=False)  # for proxies

    async def stream(socket: WebSocket) -> None:
        await answer_frames(socket, service)

    app.add_api_websocket_route("/stream", stream)
    app.mount(OPEN_FOLDER.rstrip("/"), StaticFiles(directory=PAGE / "static"))


async def _as_problem(request: Request, error: Exception) -> Response:
    """Answer requests that FastAPI and Starlette refuse, in the format of our own errors."""
    if isinstance(error, RequestValidationError):
        problem = bad_value(error.errors()[0])
        return JSONResponse(problem.as_plain(), problem.status)
    if isinstance(error, HTTPException):
        text = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND:
            text = "there is no such address here; /docs lists them"
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow", "another method")
            text = f"expected {allowed}; got {request.method}; see /docs"
        values = {"error": text, "kind": "http"}
        return JSONResponse(values, error.status_code, error.headers)
    raise error
