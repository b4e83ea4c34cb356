"""The service in one process, or in several."""

import gc
import socket
import sys
from collections.abc import Callable
from functools import partial

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE

from head_detection.errors import HeadDetectionError
from head_detection.inference.detector import HeadDetector
from head_detection.serving.app import create_app
from head_detection.serving.listening import (
    end_with_parent,
    run_workers,
    server_config,
    tell_parent,
)
from head_detection.serving.settings import ServiceSettings

Build = Callable[[], HeadDetector]


def serve(
    build: Build,
    settings: ServiceSettings,
    listener: socket.socket,
    workers: int,
    announce: Callable[[], None],
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish those that are there, within a bound.

    Args:
        build: makes the detector; may be pickled where there are several workers.
        settings: the limits.
        listener: as ``open_socket`` returns it.
        workers: processes that share it, each with a detector; one that dies is replaced.
        announce: is called once pictures can be answered, in one of the processes at least.

    Raises:
        HeadDetectionError: a mistake of the user in what is to be built, or a network that the
            device does not hold.
    """
    if workers == 1:
        server = uvicorn.Server(server_config(_warm_app(build, settings), settings))
        announce()
        try:
            server.run([listener])
        except (KeyboardInterrupt, SystemExit):  # the signal, which uvicorn raises anew at its end
            if not server.should_exit:
                raise
        return
    create = partial(create_worker, build, settings)
    run_workers(create, settings, listener, workers, announce)


def create_worker(build: Build, settings: ServiceSettings) -> FastAPI:
    """Return the application of one of several processes."""
    end_with_parent()
    try:
        return _warm_app(build, settings)
    except HeadDetectionError as error:
        tell_parent(str(error))
        sys.exit(STARTUP_FAILURE)


def _warm_app(build: Build, settings: ServiceSettings) -> FastAPI:
    """Return the application with a network that is warm.

    Of cycles of garbage, Python then looks for what requests leave alone. It looks at all objects
    once a quarter as many are new: half a million are there from the start on, and what 1,000
    connections of h11 leave would lie there until 120,000 more have come.
    """
    app = create_app(build(), settings)
    app.state.service.batcher.warm_up()
    gc.collect()
    gc.freeze()
    return app
