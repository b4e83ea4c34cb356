"""Whether Ray itself ends in the midst of a job: its core then ends the process that it serves."""

import multiprocessing.connection
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import Final

_GCS_SECONDS: Final = 2.0
"""Between looks for the cluster's store of its state, which is not heard to end as a raylet is."""
_MISTAKE: Final = 2
"""The exit code of a command that cannot go on, as of other mistakes; 1 is pictures that failed."""
_GRACE_SECONDS: Final = 0.3
"""For this process to unwind where whoever ends it ends what it has started, too."""


@contextmanager
def watched(refusals: int) -> Iterator[None]:
    """Say in a line when Ray itself ends: its core then ends this process with 1, and no word.

    Ray tells nobody of its parts, so they are looked for where this version has them; where another
    has them elsewhere one day, nothing is watched.

    Args:
        refusals: of connections to the cluster's store of its state, in a row, that are its end.
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
            watch.join(2 * _GRACE_SECONDS)  # where that is Ray's end, it is told as such
            raise


def _watch(raylet: socket.socket, gcs: tuple[str, int], refusals: int, stop: socket.socket) -> None:
    """Watch Ray until ``stop`` hangs up; end the process, as for a mistake, where Ray ends."""
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
    if num_refused == refusals or _is_refused(place):  # else a raylet that ends idle connections
        part = "gcs_server" if num_refused == refusals else "raylet"
        text = f"\nerror: ray: its {part} ended; the same command goes on with what is missing\n"
        with suppress(OSError):
            os.write(2, text.encode())
        os._exit(_MISTAKE)


def _hears(raylet: socket.socket) -> bool:
    """Read what came, and tell whether it was a word and no hang-up."""
    try:
        return bool(raylet.recv(1 << 16))
    except OSError:
        return False


def _is_refused(address: tuple[str, int] | str) -> bool:
    """Tell whether nothing listens there; what merely takes long may be busy."""
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
