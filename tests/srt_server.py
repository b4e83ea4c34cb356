"""Who sends a stream by SRT, by libsrt itself: ``srt_server.py listener PORT [PASSPHRASE] [WHAT]``.

It prints "ready", then sends numbered frames as MPEG-TS at their pace, or rubbish, or nothing, to
all who call, one after the other; as a caller it calls, until somebody answers.
"""

import ctypes
import socket
import struct
import sys
import time
from collections.abc import Iterator
from itertools import count

from camera_servers import FPS, ts_chunks

from head_detection.pipeline.srt import CONNECT_TIMEOUT, PASSPHRASE, load_library

LONGEST_PAYLOAD = 1316
"""Bytes: seven packets of MPEG-TS."""
SENDS = 21
"""SRTO_SENDER"""


def main(mode: str, port: str, passphrase: str = "", what: str = "frames") -> None:
    library = load_library()
    assert library is not None
    library.srt_startup()
    place = struct.pack("=H", socket.AF_INET) + struct.pack("!H4B8x", int(port), 127, 0, 0, 1)
    sender = open_socket(library, passphrase)
    if mode == "listener":
        assert library.srt_bind(sender, place, len(place)) == 0
        assert library.srt_listen(sender, 1) == 0
    ts_chunks(FPS)  # encoded now, not while somebody waits
    print("ready", flush=True)  # noqa: T201 - who started it reads it
    while mode == "listener":
        send(library, library.srt_accept(sender, None, None), what)
    while library.srt_connect(sender, place, len(place)) < 0:
        library.srt_close(sender)
        sender = open_socket(library, passphrase)
    send(library, sender, what)


def open_socket(library: ctypes.CDLL, passphrase: str) -> int:
    opened: int = library.srt_create_socket()
    yes, wait = ctypes.c_int(1), ctypes.c_int(300)
    library.srt_setsockflag(opened, SENDS, ctypes.byref(yes), 4)
    library.srt_setsockflag(opened, CONNECT_TIMEOUT, ctypes.byref(wait), 4)
    library.srt_setsockflag(opened, PASSPHRASE, passphrase.encode(), len(passphrase))
    return opened


def send(library: ctypes.CDLL, connection: int, what: str) -> None:
    begin = time.monotonic()
    for index, chunk in enumerate(chunks(what)):
        time.sleep(max(0.0, begin + index / FPS - time.monotonic()))
        for start in range(0, len(chunk), LONGEST_PAYLOAD):
            part = chunk[start : start + LONGEST_PAYLOAD]
            if library.srt_sendmsg(connection, part, len(part), -1, 1) < 0:
                return
    library.srt_close(connection)


def chunks(what: str) -> Iterator[bytes]:
    if what == "frames":
        yield from ts_chunks(FPS)
    for _ in count():
        yield bytes(range(1, 256)) * 100 if what == "rubbish" else b""


if __name__ == "__main__":
    main(*sys.argv[1:])
