"""Whether a Ray cluster answers at an address, and lets this process in: asked before it is joined.

Ray itself tries for many minutes where no cluster is, and twenty seconds where its token is
another, and then says of both that it could not connect.
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
"""The cluster that this machine is part of."""
_REACH_SECONDS: Final = 10.0
"""For a cluster's machine to take a connection."""
_ANSWER_SECONDS: Final = 20.0
"""For a cluster that took it to answer: it may be busy."""
_START: Final = "start it, or leave --ray-address out"


def check_address(address: str) -> None:
    """Return where a cluster answers that lets this process in; Ray is loaded by then.

    Ray tells nobody of its parts, so they are asked where this version has them; where another has
    them elsewhere one day, whoever joins the cluster finds out.

    Args:
        address: ``host:port``, or ``auto``.

    Raises:
        BatchError: no cluster there, or not the token that it asks for. One line.
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
            "auto: expected a running cluster of this machine, as ray start makes it part of; got "
            f"none: {_START}"
        ) from error
    return found or address


def _check_reachable(place: str, named: str) -> None:
    """Raise BatchError where nothing listens at ``host:port``; of other addresses Ray knows."""
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
    """Raise BatchError where no cluster answers, or it wants another token."""
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
            f"got no answer of one within {_ANSWER_SECONDS:g} s: {_START}"
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
    """Return what a question raises, or None; in a thread, for Ray's core heeds no Ctrl-C.

    Raises:
        queue.Empty: there is no answer.
    """
    answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            ask()
        except Exception as error:  # noqa: BLE001 - told to whoever waits for it
            answers.put(error)
        else:
            answers.put(None)

    threading.Thread(target=work, daemon=True).start()
    return answers.get(timeout=_ANSWER_SECONDS)
