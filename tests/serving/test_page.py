"""The page in a real browser: an upload, the slider, the zoom, downloads, the webcam, a video."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from browser import Browser
from clips import write_clip

from head_detection.config.zones import load_zones
from head_detection.serving.service import PAGE

FileOf = Callable[..., bytes]
COUNTS = (
    "[...document.querySelectorAll('#regions tr')]"
    ".map((r) => [...r.cells].slice(1, 4).map((c) => c.textContent))"
)
"""What the table says of zones and lines: in, out, now of each."""


def complaints(browser: Browser, *known: str) -> list[str]:
    """Return what the browser had to complain of, but for what is known."""
    known = (*known, '"level": "verbose"', "Canvas2D: Multiple readback")
    return [line for line in browser.messages if not any(words in line for words in known)]


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
    browser.until("document.querySelector('#status').textContent.startsWith('2 files')")
    assert browser.run("document.querySelector('#count').textContent") == "1 head"
    rows = browser.run("[...document.querySelectorAll('#pictures tr')].map((r) => r.innerText)")
    assert rows[0].split("\t") == ["good <b>.png", "1", "640 x 480"]
    assert rows[1].startswith("bad.png\tnot a picture in any known format")
    assert browser.run("document.querySelector('#play').checkVisibility()") is False
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
    browser.run(
        "(() => { const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);"
        " window.streams = []; navigator.mediaDevices.getUserMedia = async (asked) => {"
        " const stream = await get(asked); streams.push(stream); return stream; };"
        " const webcam = document.querySelector('#webcam'); webcam.click(); webcam.click(); })()"
    )
    browser.until(f"{label}.startsWith('webcam with a box around each of 2 heads')")
    (browser.downloads / "drawn.jpg").unlink()
    browser.run("document.querySelector('#download-drawn').click()")
    assert browser.downloaded("drawn.jpg").startswith(b"\xff\xd8")  # the frame that is shown
    browser.run("document.querySelector('#webcam').click()")
    # Who clicks twice while the browser asks whether it may has one webcam, which ends.
    state = browser.run(
        "[document.querySelector('#webcam').getAttribute('aria-pressed'), "
        "document.querySelector('#status').textContent, "
        "...streams.map((stream) => stream.getTracks()[0].readyState)]"
    )
    assert state == ["false", "Webcam off", "ended"]

    # A sentence in the list makes no phone scroll sideways.
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1,
        mobile=True,
    )  # fmt: skip
    assert browser.run(
        "(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)"
        "(document.querySelector('#pictures').closest('.table'))"
    )

    # Nothing of it asked another server, and the browser had nothing to complain of.
    own = (address, "data:", "blob:", address.replace("http", "ws"))
    assert [url for url in browser.requested if not url.startswith(own)] == []
    assert complaints(browser, "with a status of 422") == []


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


def drag(browser: Browser, *places: tuple[float, float], kind: str = "mouse") -> None:
    """Press at the first place of the canvas, in shares of it, go to the last and release."""
    box = browser.run(
        "(() => { const c = document.querySelector('canvas'); c.scrollIntoView({block: 'center'});"
        " const r = c.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; })()"
    )
    points = [(box[0] + x * box[2], box[1] + y * box[3]) for x, y in places]
    if kind == "touch":
        for name, (x, y) in (("touchStart", points[0]), *(("touchMove", p) for p in points[1:])):
            browser.call("Input.dispatchTouchEvent", type=name, touchPoints=[{"x": x, "y": y}])
        browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        return
    moves = [("mousePressed", points[0]), *(("mouseMoved", p) for p in points[1:])]
    for name, (x, y) in (*moves, ("mouseReleased", points[-1])):
        browser.call(
            "Input.dispatchMouseEvent", type=name, x=x, y=y, button="left", buttons=1, clickCount=1
        )


def look_at(browser: Browser, folder: Path) -> None:
    """See that the page is on no screen wider than that, and leave pictures of it."""
    for name, width, height in (("desk", 1280, 900), ("phone", 390, 844)):
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=name == "phone",
        )  # fmt: skip
        for scheme in ("light", "dark"):
            browser.photograph(folder / f"{name}-{scheme}.png", scheme)
        assert browser.run("document.documentElement.scrollWidth") <= width


def test_a_video_is_counted_at_what_is_drawn(
    address: str, walking: Any, browser: Browser, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "street.mp4", 10, fps=5, audio=True)  # two frames are sure of it
    # The canvas as wide to its height as the video, so that shares of one are those of the other.
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=392, height=388, deviceScaleFactor=1,
        mobile=False,
    )  # fmt: skip
    browser.open(address)
    browser.run("document.querySelector('#key').value = 'secret'")
    browser.choose("#files", [path])
    status = "document.querySelector('#status').textContent"
    browser.until(f"{status} === 'street.mp4: 1 followed, 1 at once'")

    def click(name: str) -> None:
        browser.run(f"document.querySelector('#{name}').click()")

    # A line by mouse, from the top to the bottom in the middle; a zone by touch; one by keys.
    click("new-line")
    for place in ((0.5, 0.05), (0.5, 0.95)):
        drag(browser, place)
    assert browser.run(status) == "line 1 added"
    click("new-zone")
    for place in ((0.55, 0.1), (0.95, 0.1), (0.95, 0.9), (0.55, 0.9)):
        drag(browser, place, kind="touch")
    click("finish")
    assert browser.run(status) == "zone 1 added"
    click("new-zone")
    for key, times in (("Enter", 1), ("ArrowLeft", 20), ("Enter", 1), ("ArrowDown", 20)):
        for _ in range(times):
            browser.press(key)
    browser.press("f")
    assert browser.run(status) == "A zone has three corners or more."
    for key in ("Enter", "f"):
        browser.press(key)
    assert browser.run(status) == "zone 2 added"
    drag(browser, (0.3, 0.7), (0.3, 0.8), (0.4, 0.8))  # its last corner
    browser.run(
        "(() => { const n = document.querySelectorAll('#regions input')[1]; n.value = 'a \"hall\"';"
        " n.dispatchEvent(new Event('change')); })()"
    )

    assert browser.run(f"{COUNTS}.flat().join('')") == ""  # not counted yet, which is not 0
    assert "Count again" in browser.run("document.querySelector('#note').textContent")
    click("again")
    browser.until(f"{status} === 'street.mp4: 1 followed, 1 at once'")
    # At its end: over the line and in the zone, which begins where the head is in frames 8 and 9.
    browser.run("document.querySelector('#video').currentTime = 1.9")
    browser.until(f"{COUNTS}.flat().join() === '1,0,,0,0,1,0,0,0'")
    browser.run("document.querySelector('#video').currentTime = 0.6")
    browser.until(f"{COUNTS}.flat().join() === '0,0,,0,0,0,0,0,0'")

    click("save-zones")
    (tmp_path / "zones.yaml").write_bytes(browser.downloaded("zones.yaml"))
    zones = load_zones(tmp_path / "zones.yaml")
    assert list(zones.lines) == ["line 1"]
    assert list(zones.zones) == ['a "hall"', "zone 2"]
    ends, corners = zones.lines["line 1"].points, zones.zones["zone 2"].points
    np.testing.assert_allclose(ends, [(0.5, 0.05), (0.5, 0.95)], atol=0.03)
    np.testing.assert_allclose(corners, [(0.5, 0.5), (0.3, 0.5), (0.4, 0.8)], atol=0.03)

    browser.run(
        "(() => { const t = document.querySelector('#threshold'); t.value = 0.9;"
        " t.dispatchEvent(new Event('input')); })()"
    )  # which counts in a video from Count again on, so that the file must not say it
    for kind in ("json", "csv", "blurred"):
        click(f"download-{kind}")
    content = json.loads(browser.downloaded("detections.json"))
    assert (len(content["images"]), content["counts"][2]["line"]) == (10, "line 1")
    num_rows = browser.downloaded("detections.csv").decode().count("street.mp4,")
    assert (num_rows, content["score_threshold"]) == (10, 0.5)  # of the count, not of the slider
    assert browser.downloaded("blurred.mp4")[4:8] == b"ftyp"
    assert complaints(browser) == []
    look_at(browser, tmp_path)


def test_what_is_clicked_while_something_is_under_way(
    address: str, engine: Any, browser: Browser, file_of: FileOf, tmp_path: Path
) -> None:
    picture, other, video = (tmp_path / name for name in ("good.png", "b.png", "street.avi"))
    picture.write_bytes(file_of(64, 48))
    other.write_bytes(file_of(64, 48))
    write_clip(video, 2)  # MJPEG in AVI, which no browser plays
    browser.open(address)
    browser.run("document.querySelector('#key').value = 'secret'")
    status = "document.querySelector('#status').textContent"

    # The slider, while a second picture is on its way.
    browser.choose("#files", [picture])
    browser.until(f"{status} === '1 file'")
    engine.may_run.clear()
    browser.choose("#files", [other])
    browser.until(f"{status}.startsWith('1 of 1: ')")
    browser.run("document.querySelector('#threshold').focus()")
    browser.press("Home")
    heads = "[...document.querySelectorAll('#pictures tr')].map((r) => r.cells[1].innerText)"
    assert browser.run(heads) == ["2", "being detected"]
    engine.may_run.set()
    browser.until(f"{heads}.join() === '2,2'")

    # A video that the browser cannot play is not said to be played.
    browser.choose("#files", [video])
    browser.until(f"{status}.startsWith('street.avi: ') && {status}.includes(' at once')")
    browser.run("document.querySelector('#play').click()")
    browser.run("document.querySelector('#video').play().catch(() => 0)")  # fails after the other
    assert browser.run("document.querySelector('#play').textContent") == "Play"

    # A picture that is chosen while the webcam begins ends it.
    browser.run("document.querySelector('#webcam').click()")
    browser.choose("#files", [picture])
    browser.until(f"{status} === '4 files'")
    label = "document.querySelector('canvas').getAttribute('aria-label')"
    browser.until(f"{label}.startsWith('good.png with')")
    assert browser.run("document.querySelector('#webcam').getAttribute('aria-pressed')") == "false"

    # The buttons of a zone say its new name.
    browser.run("document.querySelector('#new-line').click()")
    for key in ("Enter", "ArrowDown", "Enter"):
        browser.press(key)
    browser.run(
        "(() => { const n = document.querySelector('#regions input'); n.value = 'door';"
        " n.dispatchEvent(new Event('change')); })()"
    )
    labels = "[...document.querySelectorAll('#regions button')].map((b) => b.ariaLabel)"
    assert browser.run(labels) == ["Turn door", "Remove door"]
    assert complaints(browser) == []


def test_who_has_no_key_is_told_what_to_do(
    address: str, browser: Browser, file_of: FileOf, tmp_path: Path
) -> None:
    path = tmp_path / "good.png"
    path.write_bytes(file_of())
    browser.open(address)
    browser.choose("#files", [path])
    words = "The key is missing or wrong: put it into the field Key"
    browser.until(f"document.querySelector('#pictures').textContent.includes('{words}')")
