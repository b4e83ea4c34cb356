"""Pictures from URLs: an address that is not public is never contacted, whatever leads there."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from starlette.testclient import TestClient

from head_detection.serving import fetching
from head_detection.serving.fetching import is_public

FileOf = Callable[..., bytes]
Open = Callable[..., TestClient]


class Site(BaseHTTPRequestHandler):
    """A web server whose paths do what they are called."""

    picture: ClassVar[bytes] = b""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/slow.png":
            threading.Event().wait(2)
        status, headers, body = {
            "/a%20b.png": (200, {}, self.picture),
            "/large.png": (200, {}, bytes(200_000)),
            "/moved": (302, {"Location": "/a%20b.png"}, b""),
            "/round": (302, {"Location": "/round"}, b""),
            "/inside": (302, {"Location": "http://inside.example/secret"}, b""),
            "/file": (302, {"Location": "file:///etc/passwd"}, b""),
            "/zipped": (200, {"Content-Encoding": "gzip"}, b"x"),
        }.get(self.path, (404, {}, b""))
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            pass

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site(file_of: FileOf, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server that public.example leads to, as if its address were public; what it was asked."""
    Site.picture = file_of()
    with serving(monkeypatch):
        yield Site.asked


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    Site.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_port
        addresses = {"inside.example": "10.0.0.1"}

        async def look_up(_loop: Any, host: str, _port: int, **_: Any) -> list[Any]:
            address = "127.0.0.1" if host.startswith("public") else addresses.get(host, host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", look_up)
        monkeypatch.setattr(fetching, "is_public", lambda text: text == "127.0.0.1")
        yield
        server.shutdown()
        thread.join()


def openssl(folder: Path, *words: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs openssl")
    subprocess.run([program, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A folder with ca.pem, and server.pem of public.example that it has signed."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        tmp_path, "req", "-x509", *key, "-days", "2", "-subj", "/CN=an authority",
        "-keyout", "ca.key", "-out", "ca.pem", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    openssl(
        tmp_path, "req", "-x509", *key, "-days", "2", "-subj", "/CN=public.example",
        "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE",
        "-addext", "subjectAltName=DNS:public.example",
        "-keyout", "server.key", "-out", "server.pem",
    )  # fmt: skip
    return tmp_path


def test_a_certificate_must_be_trusted_and_of_the_name(
    connect: Open, file_of: FileOf, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Site.picture = file_of()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority / "server.pem", authority / "server.key")

    def ask(host: str) -> Any:
        return client.post("/detect", params={"url": f"https://{host}/a%20b.png"})

    with serving(monkeypatch, tls):
        client = connect(allows_urls=True)
        refused = ask("public.example")
        assert refused.status_code == 502
        assert refused.json()["failed"][0]["error"].startswith(
            "url: expected a certificate that this machine trusts; unable to get local issuer"
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
        assert ask("public.example").json()["images"][0]["count"] == 1
        other = ask("public.elsewhere")
        assert (other.status_code, "not valid for 'public.elsewhere'" in other.text) == (502, True)
        assert Site.asked == ["/a%20b.png"]  # who is not trusted is asked for nothing


def test_a_public_picture_is_fetched(connect: Open, site: list[str]) -> None:
    client = connect(allows_urls=True)
    for path in ("a%20b.png", "moved"):
        answer = client.post("/detect", params={"url": f"http://public.example/{path}"})
        assert answer.status_code == 200, answer.text
        (record,) = answer.json()["images"]
        assert (record["file"], record["width"], record["count"]) == ("a b.png", 64, 1)
    assert site == ["/a%20b.png", "/moved", "/a%20b.png"]


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("http://inside.example/a.png", 403, "expected a public address"),
        ("http://10.0.0.1/a.png", 403, "expected a public address"),
        ("http://public.example/inside", 403, "expected a public address"),
        ("http://public.example/file", 403, "expected http://HOST"),
        ("http://public.example:8080/a.png", 403, "expected port 80"),
        ("http://user@public.example/a.png", 403, "expected http://HOST"),
        ("ftp://public.example/a.png", 403, "expected http://HOST"),
        ("http://public.example/a b", 403, "expected an address of ASCII letters"),
        ("http://[::1/", 502, "no answer that can be read"),
        ("http://public.example/none", 502, "the address answers 404"),
        ("http://public.example/zipped", 502, "without Content-Encoding"),
        ("http://public.example/round", 502, "at most 3 redirects"),
        ("http://public.example/slow.png", 502, "expected an answer within 0.5 s"),
        ("http://public.example/large.png", 413, "at most 100,000 bytes"),
    ],
)
def test_all_else_is_refused(
    connect: Open, site: list[str], url: str, status: int, words: str
) -> None:
    client = connect(allows_urls=True, max_bytes=100_000, body_seconds=0.5)
    answer = client.post("/detect", params={"url": url})
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert "/secret" not in site


def test_an_address_without_a_picture_fails_alone(connect: Open, site: list[str]) -> None:
    base = "http://public.example"
    urls = [f"{base}/none", f"{base}/a%20b.png", f"{base}/zipped"]
    answer = connect(allows_urls=True).post("/detect", params={"url": urls})
    assert answer.status_code == 200
    assert [record["file"] for record in answer.json()["images"]] == ["a b.png"]
    failed = [(each["file"], each["status"]) for each in answer.json()["failed"]]
    assert failed == [(urls[0], 502), (urls[2], 502)]
    # One that must not be asked for ends all, for it is no mistake of an address.
    answer = connect(allows_urls=True).post(
        "/detect", params={"url": [urls[1], "http://inside.example/a.png"]}
    )
    assert (answer.status_code, answer.json()["kind"]) == (403, "url")


def test_an_address_and_a_body_are_one_too_many(connect: Open, site: list[str]) -> None:
    client = connect(allows_urls=True)
    for body in (b"picture", iter([b"picture"])):  # of a stated length, and in chunks
        answer = client.post(
            "/detect", params={"url": "http://public.example/a%20b.png"}, content=body
        )
        assert answer.status_code == 400
        assert answer.json()["error"] == "url: expected in place of a body; got both"
    assert site == []


def test_nothing_is_fetched_unless_the_service_is_told_to(connect: Open, site: list[str]) -> None:
    answer = connect().post("/detect", params={"url": "http://public.example/a%20b.png"})
    assert (answer.status_code, answer.json()["kind"]) == (403, "url")
    assert site == []


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - it is refused
        "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0",
        "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
        "2002:7f00:1::", "2001:0:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_an_address_of_this_machine_or_its_network_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_addresses_of_the_internet_are_public() -> None:
    assert is_public("1.1.1.1")
    assert is_public("2606:4700:4700::1111")
