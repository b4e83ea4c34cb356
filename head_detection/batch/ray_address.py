"""Checks, before joining, that a Ray cluster answers at an address and lets this process in.

Without a cluster Ray itself tries for many minutes, with a wrong token for twenty seconds, and then
says in both cases only that it could not connect.
"""

import os
import queue
import socket
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Final

from head_detection.errors import BatchError

AUTO: Final = "auto"
"""Address of the cluster that this machine is part of."""
_REACH_SECONDS: Final = 10.0
"""Time for a cluster's machine to accept a connection."""
_ANSWER_SECONDS: Final = 20.0
"""Time for a cluster to answer after that, because it may be busy."""
_START: Final = "start it, or leave --ray-address out"


def check_address(address: str) -> None:
    """Check that a cluster answers and lets this process in; Ray must be loaded.

    Ray has no public API for this, so we call internals of this version. If another version moves
    them, the checks are skipped and joining the cluster reports the error.

    Args:
        address: ``host:port``, or ``auto``.

    Raises:
        BatchError: there is no cluster, or it needs another token; in one line.
    """
    if address.startswith("ray://"):
        raise BatchError(
            f"{address}: expected host:port of a cluster that this machine is part of, or "
            "auto; got an address of Ray's client: start this on a machine of the cluster"
        )
    place = _place_of(address)
    named = address if place == address else f"{address}, {place}"
    _check_reachable(place, named)
    _check_token(place, named)


def _place_of(address: str) -> str:
    """Return ``host:port`` of an address, as Ray finds it."""
    if address != AUTO:
        return address
    try:
        found = import_module("ray._private.services").canonicalize_bootstrap_address(AUTO)
    except (ImportError, AttributeError):
        return address
    except Exception as error:
        raise BatchError(
            "auto: expected this machine to be part of a running cluster, through ray start; got "
            f"none: {_START}"
        ) from error
    return found or address


def _check_reachable(place: str, named: str) -> None:
    """Raise BatchError if nothing listens at ``host:port``; leave other addresses to Ray."""
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise BatchError(
            f"{named}: expected a running cluster, at the address that ray start --head tells; "
            f"got no connection ({error}): {_START}"
        ) from error


def _check_token(place: str, named: str) -> None:
    """Raise BatchError if no cluster answers, or if it needs another token."""
    try:
        tokens = import_module("ray._private.authentication.authentication_token_setup")
        ensure, client = tokens.ensure_token_if_auth_enabled, import_module("ray._raylet").GcsClient
        refusal: type[Exception] = import_module("ray.exceptions").AuthenticationError
    except (ImportError, AttributeError):
        return
    try:
        ensure(None, create_token_if_missing=False)  # without one, Ray's core ends the process
        error = _error_of(lambda: client(address=place))
    except queue.Empty:
        raise BatchError(
            f"{named}: expected a running cluster, at the address that ray start --head tells; "
            f"got no answer within {_ANSWER_SECONDS:g} s: {_START}"
        ) from None
    except refusal as found:
        error = found
    if isinstance(error, refusal):
        mode = os.environ.get("RAY_AUTH_MODE", "none")
        raise BatchError(
            f"{named}: expected the token of this cluster; got another, or none (RAY_AUTH_MODE is "
            f"{mode}): set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN as it was for ray start --head"
        ) from error


def _error_of(ask: Callable[[], object]) -> Exception | None:
    """Return what a call raises, or None; in a thread, because Ray's core ignores Ctrl-C.

    Raises:
        queue.Empty: the call does not return in time.
    """
    answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            ask()
        except Exception as error:  # noqa: BLE001 - returned to the caller
            answers.put(error)
        else:
            answers.put(None)

    threading.Thread(target=work, daemon=True).start()
    return answers.get(timeout=_ANSWER_SECONDS)
