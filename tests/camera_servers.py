"""Servers that do what cameras do, and what broken ones do; each in a thread, on a port of its own.

``with CameraServer(mpeg_ts()) as server: open_source(server.url)``. A frame says its number.
As a script with a port it serves MPEG-TS without end, in a process that can be killed.
"""

import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final, Self

import av
from clips import numbered_frame
from PIL import Image

FPS: Final = 30
NUM_FRAMES: Final = 300
"""In a stream, at most: ten seconds."""
MOST_NUMBERS: Final = 2**15
"""Then they begin anew; a frame has room for twice as many."""
LONGEST_WAIT: Final = 20.0

Answer = Callable[[socket.socket], None]
"""What a server does with a connection, which is closed then."""


class CameraServer:
    """Listens, and answers each connection in a thread of its own.

    Args:
        answer: called for each connection.
        port: 0 is a free one.
    """

    def __init__(self, answer: Answer, port: int = 0) -> None:
        self._answer, self.port = answer, port
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self.num_connections = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/live"

    def start(self) -> None:
        """Listen, on the same port as before."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self._listener, self.port = listener, listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """Be gone, with all connections, as a camera without power."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
            self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._connections.append(connection)
                self.num_connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._answer(connection)


def mpeg_ts(fps: int = FPS, num_frames: int = NUM_FRAMES) -> Answer:
    """Send MPEG-TS at its pace, then end."""

    def answer(connection: socket.socket) -> None:
        _reply(connection, "Content-Type: video/mp2t")
        _pace(connection, ts_chunks(fps)[: num_frames + 1], fps)

    return answer


def endless_ts(fps: int) -> Answer:
    """Send MPEG-TS at its pace for as long as anybody reads."""

    def answer(connection: socket.socket) -> None:
        _reply(connection, "Content-Type: video/mp2t")
        _pace(connection, _encode(count(), fps), fps)

    return answer


def stalling(num_frames: int) -> Answer:
    """Send so many frames of MPEG-TS, then nothing; the connection stays."""

    def answer(connection: socket.socket) -> None:
        _reply(connection, "Content-Type: video/mp2t")
        _pace(connection, ts_chunks(FPS)[:num_frames], FPS)
        time.sleep(LONGEST_WAIT)

    return answer


def multipart_jpeg(fps: int = FPS) -> Answer:
    """Send JPEGs one after the other, as browsers show them, at their pace."""

    def answer(connection: socket.socket) -> None:
        _reply(connection, "Content-Type: multipart/x-mixed-replace; boundary=next")
        _pace(connection, jpeg_parts(), fps)

    return answer


def silent(connection: socket.socket) -> None:
    """Say nothing; the connection stays."""
    time.sleep(LONGEST_WAIT)


def rubbish(connection: socket.socket) -> None:
    """Send what is no video, for as long as anybody reads."""
    _reply(connection, "Content-Type: video/mp2t")
    while True:
        connection.sendall(bytes(range(1, 256)) * 64)


def file_of(path: Path, num_bytes: int | None = None) -> Answer:
    """Send a file with its length; only so many of its bytes, if they are given."""
    content = path.read_bytes()

    def answer(connection: socket.socket) -> None:
        request = _reply(connection, f"Content-Length: {len(content)}\r\nContent-Type: video/mp4")
        is_later_part = b"Range: bytes=0-" not in request and b"Range:" in request
        connection.sendall(b"" if is_later_part else content[:num_bytes])

    return answer


@cache
def ts_chunks(fps: int) -> Sequence[bytes]:
    """Return numbered frames as MPEG-TS, the bytes of one frame each; a key frame every ten."""
    return [*_encode(range(NUM_FRAMES), fps)]


def _encode(indices: Iterable[int], fps: int) -> Iterator[bytes]:
    waiting: list[bytes] = []

    class Written:
        def write(self, content: bytes) -> int:
            waiting.append(bytes(content))
            return len(content)

    options = {"muxdelay": "0", "flush_packets": "1"}
    with av.open(Written(), "w", format="mpegts", container_options=options) as container:
        codec = {"preset": "ultrafast", "tune": "zerolatency"}
        stream = container.add_stream("libx264", rate=fps, options=codec)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 120, "yuv420p", 10
        for index in indices:
            picture = av.VideoFrame.from_ndarray(numbered_frame(index % MOST_NUMBERS), "rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
            yield b"".join(waiting)
            waiting.clear()
    yield b"".join(waiting)


@cache
def jpeg_parts() -> Sequence[bytes]:
    """Return numbered frames as parts of a multipart answer."""
    parts = []
    for index in range(NUM_FRAMES):
        file = io.BytesIO()
        Image.fromarray(numbered_frame(index)).save(file, "jpeg")
        content = file.getvalue()
        head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
        parts.append(head.encode() + content + b"\r\n")
    return parts


def _reply(connection: socket.socket, headers: str) -> bytes:
    """Read a request and begin the answer."""
    request = b""
    while b"\r\n\r\n" not in request:
        more = connection.recv(4096)
        if not more:
            raise OSError("gone")
        request += more
    connection.sendall(f"HTTP/1.0 200 OK\r\n{headers}\r\n\r\n".encode())
    return request


def _pace(connection: socket.socket, chunks: Iterable[bytes], fps: int) -> None:
    for chunk, due in zip(chunks, _ticks(fps), strict=False):
        time.sleep(max(0.0, due - time.monotonic()))
        connection.sendall(chunk)


def _ticks(fps: int) -> Iterator[float]:
    begin = time.monotonic()
    yield from (begin + number / fps for number in count())


if __name__ == "__main__":
    with CameraServer(endless_ts(fps=25), int(sys.argv[1])):
        threading.Event().wait()
