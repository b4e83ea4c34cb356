"""A browser without a screen for tests: ``from browser import Browser``."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

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

    def photograph(self, path: Path, scheme: str) -> None:
        """Write all of the page as a PNG, light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        content = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(content["data"]))

    def downloaded(self, name: str) -> bytes:
        """Wait for a file that the page gives and return it."""
        path, start = self.downloads / name, time.monotonic()
        while not path.exists():
            self.run("0")
            assert time.monotonic() < start + SECONDS, name
            time.sleep(0.02)
        return path.read_bytes()
