"""Runs the service in one process, or in several."""

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
    """Answer requests until SIGTERM or SIGINT, then finish those in progress, within a time limit.

    Args:
        build: builds the detector; must be picklable if there are several workers.
        settings: the limits.
        listener: as returned by ``open_socket``.
        workers: number of processes that share it, each with a detector; dead ones are replaced.
        announce: called once at least one process can answer requests.

    Raises:
        HeadDetectionError: the user asked for a detector that cannot be built, or the network does
            not fit on the device.
    """
    if workers == 1:
        server = uvicorn.Server(server_config(_warm_app(build, settings), settings))
        announce()
        try:
            server.run([listener])
        except (KeyboardInterrupt, SystemExit):  # the signal, which uvicorn raises again at its end
            if not server.should_exit:
                raise
        return
    create = partial(create_worker, build, settings)
    run_workers(create, settings, listener, workers, announce)


def create_worker(build: Build, settings: ServiceSettings) -> FastAPI:
    """Return the application of one worker; exit if it cannot start."""
    end_with_parent()
    try:
        return _warm_app(build, settings)
    except HeadDetectionError as error:
        tell_parent(str(error))
        sys.exit(STARTUP_FAILURE)


def _warm_app(build: Build, settings: ServiceSettings) -> FastAPI:
    """Return the application with a warm network; its objects are exempt from garbage collection.

    Python runs a full collection once the number of new objects is a quarter of the old ones. Half
    a million exist from the start, so that the garbage of 1,000 h11 connections would otherwise
    stay until there are 120,000 new objects.
    """
    app = create_app(build(), settings)
    app.state.service.batcher.warm_up()
    gc.collect()
    gc.freeze()
    return app
