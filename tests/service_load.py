"""How a service holds its load, against the bare network in the same run.

``python tests/service_load.py --clients 16 --seconds 60``: ratios, for a machine's times change.
"""

import argparse
import io
import statistics
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402 - the checkout's own, and what it needs

from head_detection.inference.detector import HeadDetector  # noqa: E402

PERCENTILES: Final = (50, 95, 99)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How a service holds its load.")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--max-batch", type=int, default=8)
    arguments = parser.parse_args()
    picture = make_picture()
    before = bare_rate(picture, arguments.seconds / 4, arguments.max_batch)
    options = ["--workers", str(arguments.workers), "--max-batch", str(arguments.max_batch)]
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            if service.stdout is None:
                raise RuntimeError("stdout: expected a pipe")
            port = int(service.stdout.readline().split()[0].rpartition(":")[2])
            while ask(port, "GET", "/readyz")[0] != 200:
                time.sleep(0.1)
            idle = statistics.median(ask(port, "POST", "/detect", picture)[1] for _ in range(10))
            seconds, failed = load(port, picture, arguments)
        finally:
            service.terminate()
    after = bare_rate(picture, arguments.seconds / 4, arguments.max_batch)
    report(seconds, failed, arguments, idle, (before + after) / 2)


def make_picture() -> bytes:
    """Return a JPEG of 800 x 600 with heads in it."""
    file = io.BytesIO()
    Image.open(ROOT / "docs" / "heads.jpg").convert("RGB").resize((800, 600)).save(file, "JPEG")
    return file.getvalue()


def bare_rate(picture: bytes, seconds: float, batch_size: int) -> float:
    """Return pictures a second of the detector alone, decoded before."""
    detector = HeadDetector.from_weights(lowest_score=0.05)
    batch = [detector.load(picture)] * batch_size
    detector.detect_loaded(batch)
    start, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        detector.detect_loaded(batch)
        count += batch_size
    return count / passed


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, float]:
    """Return the status and the seconds of a request."""
    start = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.perf_counter() - start
    finally:
        connection.close()


def load(port: int, picture: bytes, arguments: argparse.Namespace) -> tuple[list[float], int]:
    """Return the seconds of each request that was answered, and how many were not."""
    end = time.monotonic() + arguments.seconds
    answers: list[tuple[int, float]] = []

    def work() -> None:
        while time.monotonic() < end:
            answers.append(ask(port, "POST", "/detect", picture))

    threads = [threading.Thread(target=work) for _ in range(arguments.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = [seconds for status, seconds in answers if status == 200]
    return good, len(answers) - len(good)


def report(
    seconds: list[float], failed: int, arguments: argparse.Namespace, idle: float, bare: float
) -> None:
    """Print the ratios."""
    rate = len(seconds) / arguments.seconds
    marks = statistics.quantiles(seconds, n=100)
    lines = {
        "clients": arguments.clients,
        "requests answered, failed": f"{len(seconds)}, {failed}",
        "pictures a second to the bare network's": f"{rate:.2f} to {bare:.2f}: {rate / bare:.3f}",
        "median of an idle request, seconds": f"{idle:.3f}",
        **{f"percentile {p} to that": f"{marks[p - 1] / idle:.2f}" for p in PERCENTILES},
    }
    for name, value in lines.items():
        print(f"{name:42} {value}")  # noqa: T201


if __name__ == "__main__":
    main()
