"""Streams by SRT: addresses as ffmpeg has them, and who sends, calls, goes and comes back."""

import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from clips import number_of

from head_detection.errors import SourceError
from head_detection.pipeline import srt
from head_detection.pipeline.addresses import parse_address
from head_detection.pipeline.cameras import Cameras
from head_detection.pipeline.opening import open_source
from head_detection.pipeline.sources import Patience
from head_detection.pipeline.srt_address import SrtAddress
from head_detection.structures import Frame

QUICK = Patience(open_seconds=5.0, read_seconds=5.0, first_wait=0.1, longest_wait=0.2)
BLINK = Patience(open_seconds=0.6, read_seconds=0.6, first_wait=0.1, longest_wait=0.2)
"""They give up soon."""
SECRET = "open+sesame"  # noqa: S105 - of a stream of the test's own
needs_libsrt = pytest.mark.skipif(
    srt.load_library() is None, reason="no libsrt: apt-get install libsrt1.5-gnutls"
)

Told = Callable[[], list[str]]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """A function that returns what was told so far."""
    caplog.set_level(logging.INFO, "head_detection.pipeline")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def port() -> int:
    """A number that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


@contextmanager
def sender(mode: str, port: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run who sends a stream; it is ready, and killed at the end."""
    script = Path(__file__).parents[1] / "srt_server.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, script, mode, str(port), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@contextmanager
def frames_of(url: str, patience: Patience = QUICK) -> Iterator[tuple[Cameras, Iterator[Frame]]]:
    source = Cameras([parse_address(url)], patience=patience)
    with closing(source):
        yield source, iter(source)


def numbers_in(frames: list[Frame]) -> list[int]:
    return [number_of(frame.pixels) for frame in frames if frame.pixels is not None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("srt://cam:9000", SrtAddress("cam", 9000)),
        ("srt://cam:9000?mode=listener&pkt_size=1316", SrtAddress("cam", 9000, is_listener=True)),
        ("srt://:9000", SrtAddress("", 9000, is_listener=True)),
        ("SRT://[::1]:9000?latency=120000", SrtAddress("::1", 9000, latency=120_000)),
        ("srt://cam:9000?rcvlatency=0&pbkeylen=32", SrtAddress("cam", 9000, False, 0, 32)),
        # As servers of several streams want it, from "SRT Access Control Guidelines".
        (
            "srt://cam:9000?streamid=#!::r=live/a,m=request&passphrase=open+sesam%26e",
            SrtAddress(
                "cam",
                9000,
                passphrase="open sesam&e",  # noqa: S106 - of this test
                stream_id="#!::r=live/a,m=request",
            ),
        ),
    ],
)
def test_an_address_is_read_as_ffmpeg_writes_it(text: str, expected: SrtAddress) -> None:
    assert SrtAddress.parse(parse_address(text).url) == expected


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("latency=120", "expected latency in microseconds, such as 200000 for .2 s"),
        ("latency=.2", "expected latency in microseconds"),
        ("latency=" + "9" * 5000, "expected latency in microseconds"),
        ("pbkeylen=128", "expected pbkeylen of 16, 24 or 32"),
        ("passphrase=geheim", "expected a passphrase of 10 to 79 bytes; got 6"),
        ("passphrase=" + "geheim" * 14, "expected a passphrase of 10 to 79 bytes; got 84"),
        ("passphrase=12345&geheim", "got another one (write & in a value as %26)"),
        ("streamid=" + "geheim" * 100, "expected a streamid of at most 512 bytes"),
        ("mode=rendezvous", "expected mode=caller, which connects to the host, or mode=listener"),
    ],
)
def test_an_option_that_is_none_is_one_line_without_anything_secret(
    options: str, line: str
) -> None:
    with pytest.raises(SourceError) as error:
        open_source(f"srt://cam:9000?{options}")
    message = str(error.value)
    assert message.startswith("srt://cam:9000: ")
    assert line in message
    assert "geheim" not in message
    assert len(message) < 250


def test_a_list_is_named_whose_address_has_such_an_option(tmp_path: Path) -> None:
    path = tmp_path / "all.streams"
    path.write_text("door=srt://cam:9000?latency=120\n")
    with pytest.raises(SourceError, match=r"all\.streams: door: srt://cam:9000: expected latency"):
        open_source(str(path))


def test_who_is_called_needs_a_name_and_a_port() -> None:
    for url, line in (("srt://cam", "got no port"), ("srt://:1?mode=caller", "got no host")):
        with pytest.raises(SourceError, match=line):
            open_source(url)


def test_a_machine_without_libsrt_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srt, "is_in_ffmpeg", lambda: False)
    monkeypatch.setattr(srt, "load_library", lambda: None)
    with pytest.raises(SourceError, match=r"^srt://cam:9000: .*apt-get install libsrt") as refused:
        open_source("srt://cam:9000?passphrase=geheim1234")
    assert "geheim" not in str(refused.value)
    monkeypatch.setattr(srt, "is_in_ffmpeg", lambda: True)
    open_source("srt://cam:9000")


def test_an_ffmpeg_with_srt_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([av.error.ProtocolNotFoundError, av.error.InvalidDataError])

    def fail(file: str) -> Any:
        raise next(errors)(1, "no such thing", file)

    monkeypatch.setattr(av, "open", fail)
    assert [srt.is_in_ffmpeg.__wrapped__() for _ in range(2)] == [False, True]


@needs_libsrt
def test_a_stream_with_a_passphrase_goes_and_comes_back(port: int, told: Told) -> None:
    url = f"srt://127.0.0.1:{port}?passphrase=open%2Bsesame&latency=20000&streamid=a@b"
    quick = Patience(open_seconds=5.0, read_seconds=0.5, first_wait=0.1, longest_wait=0.2)
    with frames_of(url, quick) as (source, frames):
        with sender("listener", port, SECRET) as server:
            first = [*islice(frames, 5)]
            process = source.cameras[0]._process
            assert process is not None
            if Path(f"/proc/{process.pid}").exists():
                for file in ("cmdline", "environ"):
                    assert "sesame" not in Path(f"/proc/{process.pid}/{file}").read_text()
            server.kill()
            server.wait()
        with sender("listener", port, SECRET):
            later = [*islice(frames, 15)]
        counts, summary = source.cameras[0].counts, source.summary()
    assert counts.reconnects == 1
    assert counts.latency < 1.0
    assert all(a.index < b.index for a, b in pairwise([*first, *later]))
    assert all(a.seconds < b.seconds for a, b in pairwise(later) if a.seconds and b.seconds)
    # No frame is made up: each is one that was sent, the server's anew after the gap.
    assert numbers_in(first) == [frame.index for frame in first]
    assert len({a.index - b for a, b in zip(later[-5:], numbers_in(later)[-5:], strict=True)}) == 1
    lines = [line.partition(f"{port}: ")[2] for line in told()]
    assert lines[0].startswith("connected: 160x120, 30 frames/s")
    assert lines[1].startswith("lost: no")
    assert lines[-1].startswith("connected: ")
    for secret in ("sesame", "a@b"):
        assert secret not in "".join([*told(), *summary, repr(source.cameras[0].address)])


@needs_libsrt
def test_a_listener_takes_who_calls_and_waits_no_longer_from_time_to_time(
    port: int, told: Told
) -> None:
    patience = Patience(open_seconds=0.1, read_seconds=5.0, first_wait=0.1, longest_wait=999.0)
    with frames_of(f"srt://:{port}", patience) as (source, _):
        source._start()
        wait_for_words(told, "nobody connected within 0.1 s")
        camera = source.cameras[0]
        assert camera._longest_wait == 0.1
    url = f"srt://127.0.0.1:{port}?mode=listener&passphrase=open%2Bsesame"
    with frames_of(url) as (source, frames), sender("caller", port, SECRET):
        taken = [*islice(frames, 3)]
    assert numbers_in(taken) == [frame.index for frame in taken]


@needs_libsrt
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["another-secret"], "not there: the connection was refused: the passphrase is another"),
        ([SECRET, "rubbish"], "not there: (Invalid data|no answer)"),
        ([SECRET, "nothing"], "not there: no answer for 0.6 s"),
    ],
    ids=["wrong", "rubbish", "silent"],
)
def test_who_sends_no_pictures_is_tried_again(
    port: int, told: Told, arguments: list[str], reason: str
) -> None:
    url = f"srt://127.0.0.1:{port}?passphrase=open%2Bsesame"
    with sender("listener", port, *arguments), frames_of(url, BLINK) as (source, _):
        source._start()
        wait_for_words(told)
        assert source.cameras[0].counts.received == 0
    assert any(re.search(reason, line) for line in told()), told()
    assert "sesame" not in "".join(told())


def wait_for_words(told: Told, words: str = "not there") -> None:
    deadline = time.monotonic() + 20.0
    while not any(words in line for line in told()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)
