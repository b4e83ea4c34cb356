"""Prints what a service does on a GPU: ``python tests/cuda_service.py``, under 90 s on one.

``--device cpu --seconds 1 --clients 1 2`` shows that it runs. Each row is what was measured, and
what it should be; 1 is returned where one is not.

A machine that has torch, torchvision, numpy and OpenCV lacks these wheels: safetensors, scipy,
pillow, pyyaml, tqdm, requests, pydantic, pydantic-core, annotated-types, typing-inspection,
pycocotools, supervision, av, defusedxml, pydeprecate; fastapi, starlette, annotated-doc, anyio,
idna, uvicorn, h11, click, websockets, python-multipart, prometheus-client, jinja2, markupsafe.
"""

import argparse
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from json import loads
from pathlib import Path
from statistics import median, quantiles
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from head_detection.cores import set_wait_policy  # noqa: E402

set_wait_policy(os.environ)  # as every command does, before torch is here

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from head_detection.boxes import pairwise_iou  # noqa: E402
from head_detection.images.styles import HIDDEN_FROM  # noqa: E402
from head_detection.inference.detector import HeadDetector  # noqa: E402

SIZES: Final = ((800, 600), (640, 480), (1024, 768))
"""Width and height of the pictures whose answers are compared."""
NEAR: Final = 0.05
"""A score so near the threshold may fall to the other side of it in another precision."""
PIXELS: Final = 1.0
"""That a box may be off."""
SAME_HEAD: Final = 0.5
ENDING: Final = 8
"""Pictures on their way when the service is told to end."""
ENDING_SECONDS: Final = 45


class Rows:
    """Prints rows, and remembers whether all were right."""

    def __init__(self) -> None:
        self.num_wrong = 0

    def add(self, name: str, measured: str, wanted: str, *, is_right: bool = True) -> None:
        """Print one."""
        self.num_wrong += not is_right
        mark = "" if is_right else "  WRONG"
        print(f"{name:<40} {measured:<44} {wanted}{mark}", flush=True)  # noqa: T201 - a script


def make_picture(size: tuple[int, int]) -> bytes:
    """Return a JPEG with heads in it."""
    file = io.BytesIO()
    Image.open(ROOT / "docs" / "heads.jpg").convert("RGB").resize(size).save(file, "JPEG")
    return file.getvalue()


def ask(connection: HTTPConnection, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Return the status and the content of an answer."""
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def compare(rows: Rows, connection: HTTPConnection, reference: HeadDetector) -> None:
    """Compare the service's answers with those of float32 on the CPU."""
    for size in SIZES:
        picture = make_picture(size)
        (expected,) = reference.detect([picture], score_threshold=reference.lowest_score)
        threshold = reference.score_threshold
        _, content = ask(connection, f"/detect?score_threshold={threshold - NEAR:g}", picture)
        (record,) = loads(content)["images"]
        boxes = np.array(record["boxes"], np.float32).reshape(-1, 4)
        scores = np.array(record["scores"])
        sure = expected.boxes[expected.scores >= threshold + NEAR]
        overlaps = pairwise_iou(sure, boxes)
        is_found = overlaps.max(axis=1, initial=0.0) >= SAME_HEAD
        nearest = boxes[overlaps.argmax(axis=1)] if len(boxes) else sure
        shift = np.abs(sure - nearest)[is_found].max(initial=0.0)
        least, most = len(sure), int((expected.scores >= threshold - NEAR).sum())
        count = int((scores >= threshold).sum())
        rows.add(
            f"answer to {size[0]}x{size[1]}",
            f"{count} heads, {(~is_found).sum()} of {least} not found, {shift:.2f} px",
            f"{least} to {most} heads, 0, <= {PIXELS:g} px",
            is_right=bool(least <= count <= most and is_found.all() and shift <= PIXELS),
        )


def bare_rate(detector: HeadDetector, picture: bytes, count: int, seconds: float) -> float:
    """Return pictures a second of the detector alone, of batches that are decoded already."""
    batch = [detector.load(picture)] * count
    for _ in range(3):
        detector.detect_loaded(batch, detector.lowest_score)
    start, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds or not done:
        detector.detect_loaded(batch, detector.lowest_score)
        done += count
    return done / passed


def load(port: int, picture: bytes, clients: int, seconds: float) -> tuple[list[float], int, float]:
    """Return the seconds of each answer, how many were none, and how long it took in all."""
    start = time.perf_counter()
    answers: list[tuple[int, float]] = []

    def work() -> None:
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            while time.perf_counter() < start + seconds:
                begun = time.perf_counter()
                status, _ = ask(connection, "/detect", picture)
                answers.append((status, time.perf_counter() - begun))

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = [took for status, took in answers if status == 200]
    return good, len(answers) - len(good), time.perf_counter() - start


def speed(rows: Rows, port: int, arguments: argparse.Namespace) -> None:
    """Time clients and, in turn with them, the bare detector; both on the device."""
    detector = HeadDetector.from_weights(device=arguments.device, lowest_score=HIDDEN_FROM)
    seconds: float = arguments.seconds
    picture = make_picture(SIZES[0])
    load(port, picture, max(arguments.clients), seconds / 2)  # its graphs are recorded
    for clients in arguments.clients:
        bare = bare_rate(detector, picture, clients, seconds / 2)
        took, num_failed, passed = load(port, picture, clients, seconds)
        rate = len(took) / passed
        last = quantiles(took, n=100)[98] if len(took) > 1 else median(took)
        rows.add(
            f"{clients} clients, bare batches of {clients}",
            f"{rate:.0f} pictures/s, bare {bare:.0f}: {rate / bare:.2f}",
            f"median {1e3 * median(took):.0f} ms, 99 % {1e3 * last:.0f} ms, {num_failed} failed",
            is_right=num_failed == 0,
        )


def ending(rows: Rows, process: "subprocess.Popen[str]", port: int) -> None:
    """Tell the service to end while pictures are on their way, which it still answers."""
    picture = make_picture(SIZES[0])

    def one(_: int) -> int:
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            return ask(connection, "/detect", picture)[0]

    with ThreadPoolExecutor(ENDING) as pool:
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            futures = [pool.submit(one, number) for number in range(ENDING)]
            while not any(each.done() for each in futures) and not waiting(connection):
                time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        start = time.perf_counter()
        code = process.wait(ENDING_SECONDS + 15)
        took = time.perf_counter() - start
        failed = [each for each in futures if each.exception() or each.result() != 200]
    rows.add(
        f"SIGTERM with {ENDING} pictures on their way",
        f"exit {code} after {took:.1f} s, {len(failed)} not answered",
        "exit 0, those that it had taken in are answered",
        is_right=code == 0,
    )


def waiting(connection: HTTPConnection) -> float:
    """Return how many pictures the service has taken in."""
    lines = ask(connection, "/metrics")[1].decode().splitlines()
    values = [line.split()[1] for line in lines if line.startswith("head_detection_queue ")]
    return float(values[0])


def parts(
    process: "subprocess.Popen[str]", port: int, arguments: argparse.Namespace
) -> Iterator[Callable[[Rows], None]]:
    """Yield what is measured, in order."""
    device = str(arguments.device)
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection):
        (model,) = loads(ask(connection, "/models")[1])["models"]
        state = ask(connection, "/readyz")[0]
        yield lambda rows: rows.add(
            "runs, /readyz",
            f"{model['device']}, {model['precision']}, {state}",
            f"{device}, 200",
            is_right=model["device"] == device and state == 200,
        )
        reference = HeadDetector.from_weights(
            device="cpu", precision="fp32", lowest_score=HIDDEN_FROM
        )
        yield lambda rows: compare(rows, connection, reference)
    yield lambda rows: speed(rows, port, arguments)
    yield lambda rows: ending(rows, process, port)


def main() -> int:
    """Print all rows; 1 where one is wrong or failed."""
    parser = argparse.ArgumentParser(description="What a service does on a GPU.")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    arguments = parser.parse_args()
    rows, begun = Rows(), time.perf_counter()
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--port", "0"]
    command += ["--device", arguments.device, "--max-batch", str(max(arguments.clients))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            words = [] if process.stdout is None else process.stdout.readline().split()
            if not words:
                return 1  # it has said why
            took = time.perf_counter() - begun
            rows.add("address, with a network that is warm", f"after {took:.0f} s", "")
            for part in parts(process, int(words[0].rpartition(":")[2]), arguments):
                try:
                    part(rows)
                except Exception as error:  # noqa: BLE001 - the other rows are wanted all the more
                    rows.add(f"{type(error).__name__}", str(error)[:200], "", is_right=False)
        finally:
            process.kill()
    rows.add("all of it", f"{time.perf_counter() - begun:.0f} s", "<= 90 s")
    return int(rows.num_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
