"""Watches whether Ray itself ends during a job, because its core then ends our process silently."""

import multiprocessing.connection
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import Final

_GCS_SECONDS: Final = 2.0
"""Interval between checks of the GCS, Ray's control service; a raylet's end is noticed at once."""
_MISTAKE: Final = 2
"""Exit code of a command that cannot go on, as for other mistakes; 1 means that pictures failed."""
_GRACE_SECONDS: Final = 0.3
"""Time for this process to end normally, if it is being ended together with Ray."""


@contextmanager
def watched(refusals: int) -> Iterator[None]:
    """Report in one line when Ray itself ends; its core would end this process silently with 1.

    Ray has no public API for this, so we use internals of this version. If another version moves
    them, nothing is watched.

    Args:
        refusals: consecutive refused connections after which the GCS counts as ended.
    """
    with ExitStack() as stack:
        raylet = stack.enter_context(socket.socket(socket.AF_UNIX))
        try:
            node = vars(import_module("ray._private.worker"))["_global_node"]
            raylet.connect(node.raylet_socket_name)
            host, _, port = node.gcs_address.rpartition(":")
            gcs = (host.strip("[]"), int(port))
        except (ImportError, KeyError, AttributeError, TypeError, ValueError, OSError):
            yield
            return
        heard, stop = socket.socketpair()
        stack.enter_context(heard)
        watch = threading.Thread(target=_watch, args=(raylet, gcs, refusals, heard), daemon=True)
        stack.callback(watch.join)
        stack.enter_context(stop)  # closed first, which ends the watch
        watch.start()
        try:
            yield
        except Exception:
            watch.join(2 * _GRACE_SECONDS)  # if Ray has ended, the watch reports that instead
            raise


def _watch(raylet: socket.socket, gcs: tuple[str, int], refusals: int, stop: socket.socket) -> None:
    """Watch Ray until ``stop`` is closed; if Ray ends, end this process as for a mistake."""
    place, num_refused = raylet.getpeername(), 0
    while num_refused < refusals:
        ready = multiprocessing.connection.wait([raylet, stop], _GCS_SECONDS)
        if stop in ready:
            return
        if not ready:
            num_refused = num_refused + 1 if _is_refused(gcs) else 0
        elif not _hears(raylet):
            break
    if multiprocessing.connection.wait([stop], _GRACE_SECONDS):
        return
    if num_refused == refusals or _is_refused(
        place
    ):  # else the raylet only closed an idle connection
        part = "gcs_server" if num_refused == refusals else "raylet"
        text = f"\nerror: ray: its {part} ended: run the same command again to do what is missing\n"
        with suppress(OSError):
            os.write(2, text.encode())
        os._exit(_MISTAKE)


def _hears(raylet: socket.socket) -> bool:
    """Read from the socket; return whether there was data, rather than its end."""
    try:
        return bool(raylet.recv(1 << 16))
    except OSError:
        return False


def _is_refused(address: tuple[str, int] | str) -> bool:
    """Return whether nothing listens there; a slow answer does not count, it may be busy."""
    if isinstance(address, str):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(_GCS_SECONDS)
        try:
            probe.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False
    return False
