"""Pictures at http:// URLs, from a server on this machine."""

import io
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.config import conf

from head_detection.batch import places
from head_detection.batch.items import Item, items_of
from head_detection.batch.listing import list_items
from head_detection.batch.reading import ItemReader
from head_detection.errors import PictureError, SourceError

pytest.importorskip("aiohttp", reason="fsspec reads http with it")


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and parts of its files as the web's big servers do; tells what was asked."""

    asked: list[tuple[str, str]]

    def send_head(self) -> BinaryIO | None:  # type: ignore[override]
        part = self.headers.get("Range", "")
        type(self).asked.append((self.path, part))
        if "?status=" in self.path:
            self.send_error(int(self.path.rpartition("=")[2]))
            return None
        path = Path(self.translate_path(self.path))
        if not part or not path.is_file() or "?whole" in self.path:
            return cast("BinaryIO | None", super().send_head())
        content = path.read_bytes()
        first, _, last = part.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(content)) + 1, len(content))
        self.send_response(206)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        return io.BytesIO(content[start:stop])

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Who asked has gone, as one does that wanted a part and is given the whole."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """URL of a server of the folder ``web``."""
    (tmp_path / "web").mkdir()
    Handler.asked = []
    handler = partial(Handler, directory=str(tmp_path / "web"))
    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def listed(source: str) -> list[Item]:
    return [item for batch in list_items(source) for item in items_of(batch)]


def test_a_list_of_the_web_is_read_with_its_pictures(
    web: str, tmp_path: Path, reader: ItemReader
) -> None:
    (tmp_path / "web" / "a").mkdir()
    (tmp_path / "web" / "a" / "1.jpg").write_bytes(b"one")
    (tmp_path / "web" / "list.txt").write_text(f"a/1.jpg\n{web}/a/1.jpg?size=2\na/gone.jpg\n")
    first, second, gone = listed(f"{web}/list.txt")
    assert (first.name, first.location) == ("a/1.jpg", f"{web}/a/1.jpg")
    assert [reader.read(first), reader.read(second)] == [b"one", b"one"]
    with pytest.raises(PictureError, match=r"^a/gone.jpg: no such file$"):
        reader.read(gone)
    assert [item.name for item in listed(f"{web}/a/1.jpg")] == ["1.jpg"]


def test_tars_and_tables_of_the_web_are_read_in_parts(
    web: str, tmp_path: Path, reader: ItemReader, make_tar: Callable[..., bytes]
) -> None:
    folder = tmp_path / "web"
    (folder / "a.tar").write_bytes(make_tar(("1.jpg", b"one"), ("2.jpg", b"x" * 5_000_000)))
    pq.write_table(pa.table({"jpg": [b"p"]}), folder / "a.parquet")
    first, second = listed(f"{web}/a.tar")
    Handler.asked.clear()
    assert reader.read(first) == b"one"
    assert [part for _, part in Handler.asked if part] == ["bytes=512-514"]
    assert len(cast("bytes", reader.read(second))) == 5_000_000
    (row,) = listed(f"{web}/a.parquet")
    assert reader.read(row) == b"p"


def test_a_tar_of_the_web_whose_headers_say_too_much_goes_on(
    web: str, tmp_path: Path, reader: ItemReader, make_tar: Callable[..., bytes]
) -> None:
    told_of = tarfile.TarInfo("2.jpg")
    told_of.pax_headers = {"comment": "x" * 2_000_000}
    long = told_of.tobuf(tarfile.PAX_FORMAT)
    whole = [make_tar((name, b"one"))[:1024] for name in ("1.jpg", "3.jpg", "4.jpg")]
    header = tarfile.TarInfo("5.jpg")
    header.size = 1 << 40
    content = whole[0] + long + whole[1] + header.tobuf() + whole[2]
    (tmp_path / "web" / "a.tar").write_bytes(content)
    items = listed(f"{web}/a.tar")
    assert [item.name for item in items] == [
        "a.tar/1.jpg",
        "a.tar#1024",
        "a.tar/3.jpg",
        "a.tar/5.jpg",
        "a.tar",
    ]
    assert [reader.read(items[0]), reader.read(items[2])] == [b"one", b"one"]
    for item, reason in (
        (items[1], "expected extended headers of at most"),
        (items[3], "expected at most .* got more: make it smaller"),
        (replace(items[3], size=400 << 20), "expected 419,430,400 bytes .* got 1,024 before"),
        (items[4], "damaged or cut off at byte"),
    ):
        with pytest.raises(PictureError, match=reason):
            reader.read(item)


def test_a_server_that_gives_no_parts_and_one_that_is_gone_are_one_line(
    web: str, tmp_path: Path, reader: ItemReader, make_tar: Callable[..., bytes]
) -> None:
    (tmp_path / "web" / "a.tar").write_bytes(make_tar(("1.jpg", b"one")) + bytes(9_000_000))
    whole = Item("1.jpg", f"{web}/a.tar?whole", 512, 3)
    with pytest.raises(PictureError, match=r"^1.jpg: ") as refused:
        reader.read(whole)
    assert "\n" not in str(refused.value)
    for gone in (f"{web}/gone.txt", "http://me:secret@127.0.0.1:1/list.txt"):
        with pytest.raises(SourceError, match="expected a text list; ") as missing:
            listed(gone)
        assert "\n" not in str(missing.value)
        assert "secret" not in str(missing.value)


def test_a_server_that_is_down_is_not_a_file_that_is_gone(reader: ItemReader) -> None:
    url = "http://me:secret@127.0.0.1:1/a.jpg"
    for item in (Item("a.jpg", url), Item("a.jpg", url, 512, 3)):
        with pytest.raises(PictureError, match=r"^a.jpg: no connection to 127.0.0.1:1$"):
            reader.read(item)
    with pytest.raises(SourceError, match=r": expected a text list; no connection to 127.0.0.1:1$"):
        listed("http://127.0.0.1:1/list.txt")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(403, "the server answered 403"), (503, "the server answered 503"), (404, "no such file")],
)
def test_a_server_that_refuses_is_not_a_file_that_is_gone(
    status: int, reason: str, web: str, reader: ItemReader
) -> None:
    url = f"{web}/a.jpg?status={status}"
    for item in (Item("a.jpg", url), Item("a.jpg", url, 512, 3)):
        with pytest.raises(PictureError, match=rf"^a.jpg: {reason}$"):
            reader.read(item)


@pytest.fixture
def silent() -> Iterator[str]:
    """URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class Stopping(BaseHTTPRequestHandler):
    """Says how long a file is, and stops in its middle until the test has ended."""

    over: threading.Event

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"a.jpg\n")
        self.over.wait(60)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stopping() -> Iterator[str]:
    """URL of a server that sends the beginning of a file and no more."""
    Stopping.over = threading.Event()
    with Server(("127.0.0.1", 0), Stopping) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        Stopping.over.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["silent", "stopping"])
def test_a_server_that_stalls_is_given_up(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, reader: ItemReader
) -> None:
    web = request.getfixturevalue(kind)
    monkeypatch.setattr(places, "SILENT_SECONDS", 0.25)
    for place, expected in (("list.txt", "a text list"), ("t.parquet", "a Parquet file")):
        with pytest.raises(
            SourceError, match=rf": expected {expected}; the server sent nothing for 0.25 s$"
        ):
            listed(f"{web}/{place}")
    for item in (Item("a.jpg", f"{web}/a.jpg"), Item("a.jpg", f"{web}/a.tar", 5, 3)):
        with pytest.raises(PictureError, match=r"^a.jpg: the server sent nothing for 0.25 s$"):
            reader.read(item)


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(
    stopping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_WHOLE_SECONDS", 0.25)
    with pytest.raises(SourceError, match=r"; the server had not sent all of it after 0.25 s$"):
        listed(f"{stopping}/list.txt")


def test_what_a_user_configured_for_the_web_is_kept(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web" / "list.txt").write_text("a.jpg\n")
    monkeypatch.setitem(conf, "http", {"client_kwargs": {"headers": {"Range": "bytes=0-9"}}})
    listed(f"{web}/list.txt")
    assert ("/list.txt", "bytes=0-9") in Handler.asked
