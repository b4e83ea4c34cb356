"""The page in a real browser: an upload, the slider, the zoom, downloads, the webcam."""

import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
import uvicorn
from websockets.sync.client import connect

from head_detection.inference.detector import HeadDetector
from head_detection.serving import server
from head_detection.serving.app import create_app
from head_detection.serving.server import open_socket
from head_detection.serving.service import PAGE
from head_detection.serving.settings import ServiceSettings

FileOf = Callable[..., bytes]
NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60


def find_chromium() -> str | None:
    """Return the program, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A page of a browser without a screen, led by the DevTools protocol.

    Attributes:
        messages: what the page's console and the browser's log said.
        requested: addresses that the page asked for.
    """

    def __init__(self, program: str, options: Sequence[str] = ()) -> None:
        self._folder = tempfile.mkdtemp(prefix="browser-")
        self.downloads = Path(self._folder, "downloads")
        self._process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu",
                "--disable-dev-shm-usage", "--remote-debugging-port=0", "--no-first-run",
                f"--user-data-dir={self._folder}/profile", *options, "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stderr is not None
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._stack.callback(self._process.stderr.close)
        self._stack.callback(self._process.wait)
        self._stack.callback(self._process.terminate)
        found = None
        while found is None:
            line = self._process.stderr.readline()
            assert line, "the browser ended"
            found = re.search(r"listening on (ws://\S+)", line)
        self._socket = self._stack.enter_context(connect(found[1], max_size=None))
        self._number = 0
        self._session: str | None = None
        self.messages: list[str] = []
        self.requested: list[str] = []

    def __enter__(self) -> Self:
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def call(self, method: str, **parameters: Any) -> Any:
        """Call the browser and return its answer; what it tells in between is noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(SECONDS))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.messages.append(json.dumps(parameters)[:500])
            case "Network.requestWillBeSent":
                self.requested.append(parameters["request"]["url"])

    def run(self, script: str) -> Any:
        """Return what an expression of JavaScript comes to, awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true and return it."""
        start = time.monotonic()
        while not (value := self.run(script)):
            assert time.monotonic() < start + SECONDS, (script, self.messages)
            time.sleep(0.02)
        return value

    def open(self, url: str) -> None:
        """Open a page and wait for it."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files as a user does in the dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in files])

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = key if len(key) == 1 else ""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text)

    def downloaded(self, name: str) -> bytes:
        """Wait for a file that the page gives and return it."""
        path, start = self.downloads / name, time.monotonic()
        while not path.exists():
            self.run("0")
            assert time.monotonic() < start + SECONDS, name
            time.sleep(0.02)
        return path.read_bytes()


@pytest.fixture
def address(detector: HeadDetector) -> Iterator[str]:
    settings = ServiceSettings(hosts=("127.0.0.1",), keys=("secret",))
    with open_socket("127.0.0.1", 0) as listener:
        service = uvicorn.Server(server._config(create_app(detector, settings), settings))
        thread = threading.Thread(target=service.run, args=([listener],))
        thread.start()
        while not service.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        service.should_exit = True
        thread.join()


@pytest.fixture
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with Browser(
        program, ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    ) as opened:
        yield opened


def test_a_user_of_the_page(
    address: str, browser: Browser, file_of: FileOf, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good <b>.png", tmp_path / "bad.png"
    good.write_bytes(file_of(640, 480))
    bad.write_bytes(b"no picture")
    browser.open(address)
    browser.run("document.querySelector('#key').value = 'secret'")

    # An upload: one head scored 0.9 from the threshold of 0.5 on, one of 0.3 below it.
    browser.choose("#files", [good, bad])
    browser.until("document.querySelector('#status').textContent.startsWith('2 pictures')")
    assert browser.run("document.querySelector('#count').textContent") == "1 head"
    rows = browser.run("[...document.querySelectorAll('#pictures tr')].map((r) => r.innerText)")
    assert rows[0].split("\t") == ["good <b>.png", "1", "640 x 480"]
    assert rows[1].startswith("bad.png\tnot a picture in any known format")
    label = "document.querySelector('canvas').getAttribute('aria-label')"
    assert browser.run(label) == "good <b>.png with a box around each of 1 head"
    green = (
        "(() => { const c = document.querySelector('canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let n = 0; for (let i = 0; i < d.length;"
        " i += 4) if (d[i] < 90 && d[i + 1] > 230 && d[i + 2] < 60) n += 1; return n; })()"
    )
    one_box = browser.run(green)
    assert one_box > 20

    # The slider, by its keys: both heads, and no new request.
    num_requests = len(browser.requested)
    browser.run("document.querySelector('#threshold').focus()")
    browser.press("Home")
    browser.until("document.querySelector('#count').textContent === '2 heads'")
    assert browser.run("document.querySelector('#threshold-value').textContent") == "0.05"
    assert browser.run(green) > one_box
    assert len(browser.requested) == num_requests

    # Zoom by keys: all is seen larger, and 0 shows all again.
    browser.run("document.querySelector('canvas').focus()")
    two_boxes = browser.run(green)
    browser.press("+")
    browser.press("ArrowUp")
    assert browser.run(green) != two_boxes
    browser.press("0")
    assert browser.run(green) == two_boxes

    # Downloads hold what the slider shows.
    for kind in ("json", "csv", "drawn", "blurred"):
        browser.run(f"document.querySelector('#download-{kind}').click()")
    content = json.loads(browser.downloaded("detections.json"))
    assert (content["score_threshold"], content["images"][0]["count"]) == (0.05, 2)
    assert content["failed"][0]["file"] == "bad.png"
    assert browser.downloaded("detections.csv").decode().count("\n") == 3
    for name in ("drawn.jpg", "blurred.jpg"):
        assert browser.downloaded(name).startswith(b"\xff\xd8")

    # The webcam, which the browser makes up.
    browser.run("document.querySelector('#webcam').click()")
    browser.until(f"{label}.startsWith('webcam with a box around each of 2 heads')")
    browser.run("document.querySelector('#webcam').click()")
    assert browser.run("document.querySelector('#webcam').getAttribute('aria-pressed')") == "false"

    # Nothing of it asked another server, and the browser had nothing to complain of.
    own = (address, "data:", "blob:", address.replace("http", "ws"))
    assert [url for url in browser.requested if not url.startswith(own)] == []
    known = ("with a status of 422", '"level": "verbose"', "Canvas2D: Multiple readback")
    complaints = [line for line in browser.messages if not any(words in line for words in known)]
    assert complaints == []


def test_the_page_holds_no_script_or_style_of_its_own_and_no_other_address() -> None:
    for path in PAGE.rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert "http://" not in text
        assert "https://" not in text
        if path.suffix == ".html":
            assert " style=" not in text
            assert "<style" not in text
            assert " onclick" not in text
            assert "<script>" not in text
        if path.suffix == ".js":
            assert "innerHTML" not in text
            assert ".style." not in text
