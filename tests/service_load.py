"""How a service holds its load, against the bare network in the same run.

``python tests/service_load.py --clients 16 --seconds 60``: ratios, for a machine's times change.
Both run what the options name, in as many threads, by turns: the one waits while the other works.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from json import loads
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from head_detection.cores import set_wait_policy  # noqa: E402

set_wait_policy(os.environ)  # as every command does, before torch is here

import torch  # noqa: E402 - the checkout's own, and what it needs
from PIL import Image  # noqa: E402

from head_detection.images.styles import HIDDEN_FROM  # noqa: E402
from head_detection.inference.detector import HeadDetector  # noqa: E402

PERCENTILES: Final = (50, 95, 99)
ROUNDS: Final = 3
"""Of the service's turns; the bare network has one before each, and one after the last."""
BATCHES: Final = "head_detection_batch_size"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How a service holds its load.")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load, in all")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    picture = make_picture()
    detector = HeadDetector.from_weights(
        engine=arguments.engine, precision=arguments.precision, lowest_score=HIDDEN_FROM
    )
    options = {
        name: str(getattr(arguments, name.replace("-", "_")))
        for name in ("workers", "max-batch", "engine", "precision")
    }
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--port", "0"]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            if service.stdout is None:
                raise RuntimeError("stdout: expected a pipe")
            port = int(service.stdout.readline().split()[0].rpartition(":")[2])
            while ask(port, "GET", "/readyz")[0] != 200:
                time.sleep(0.1)
            check_alike(port, detector)
            measure(port, detector, picture, arguments)
        finally:
            service.terminate()


def make_picture() -> bytes:
    """Return a JPEG of 800 x 600 with heads in it."""
    file = io.BytesIO()
    Image.open(ROOT / "docs" / "heads.jpg").convert("RGB").resize((800, 600)).save(file, "JPEG")
    return file.getvalue()


def check_alike(port: int, detector: HeadDetector) -> None:
    """Refuse to compare what does not run the same network in the same way."""
    (model,) = loads(ask(port, "GET", "/models")[2])["models"]
    engine = detector.engine
    bare = {
        **detector.origin,
        "engine": engine.name,
        "device": engine.device,
        "precision": engine.precision,
        "lowest_score": detector.lowest_score,
    }
    if unlike := [name for name in bare if bare[name] != model[name]]:
        raise RuntimeError(f"service and bare network differ: {', '.join(unlike)}")
    runs = f"{engine.name}, {engine.device}, {engine.precision}"
    show("both run", f"{runs}; the bare one in {torch.get_num_threads()} threads")


def measure(
    port: int, detector: HeadDetector, picture: bytes, arguments: argparse.Namespace
) -> None:
    """Let both work by turns, and print."""
    bare_seconds = arguments.seconds / (ROUNDS + 1) / 2
    loaded, sizes = detector.load(picture), (1, arguments.max_batch)
    bare: dict[int, list[float]] = {size: [] for size in sizes}

    def run_bare() -> None:
        for size in sizes:
            bare[size].append(bare_rate(detector, [loaded] * size, bare_seconds))

    detector.detect_loaded([loaded] * arguments.max_batch)  # warm
    idle = statistics.median(ask(port, "POST", "/detect", picture)[1] for _ in range(10))
    answered: list[float] = []
    rates, num_failed, seen = [], 0, batches(port)
    for _ in range(ROUNDS):
        run_bare()
        rate, seconds, failed = load(port, picture, arguments)
        rates.append(rate)
        answered += seconds
        num_failed += failed
    run_bare()
    pictures, count = (now - then for now, then in zip(batches(port), seen, strict=True))
    best = max(sizes, key=lambda size: statistics.median(bare[size]))
    rate, best_rate = statistics.median(rates), statistics.median(bare[best])
    show("clients, workers", f"{arguments.clients}, {arguments.workers}")
    show("requests answered, failed", f"{len(answered)}, {num_failed}")
    show("pictures a batch of the service, mean", f"{pictures / max(1, count):.1f}")
    for size in sizes:
        text = ", ".join(f"{rate:.2f}" for rate in bare[size])
        show(f"the bare network's a second, batches of {size}", text)
    show("the service's a second", ", ".join(f"{rate:.2f}" for rate in rates))
    show(
        "medians, to the better bare one", f"{rate:.2f} to {best_rate:.2f}: {rate / best_rate:.3f}"
    )
    show("median of an idle request, seconds", f"{idle:.3f}")
    marks = statistics.quantiles(answered, n=100)
    for percentile in PERCENTILES:
        show(f"percentile {percentile} to that", f"{marks[percentile - 1] / idle:.1f}")


def bare_rate(detector: HeadDetector, batch: list[Any], seconds: float) -> float:
    """Return pictures a second of the detector alone, decoded before."""
    start, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds or not count:
        detector.detect_loaded(batch, detector.lowest_score)
        count += len(batch)
    return count / passed


def batches(port: int) -> tuple[float, float]:
    """Return how many pictures went through the service's network, and in how many batches."""
    lines = ask(port, "GET", "/metrics")[2].decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith(BATCHES))
    return float(values[f"{BATCHES}_sum"]), float(values[f"{BATCHES}_count"])


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, float, bytes]:
    """Return the status, the seconds and the answer of a request."""
    start = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, time.perf_counter() - start, content
    finally:
        connection.close()


def load(
    port: int, picture: bytes, arguments: argparse.Namespace
) -> tuple[float, list[float], int]:
    """Return pictures a second to the last answer, the seconds of each, and how many had none."""
    start = time.monotonic()
    end = start + arguments.seconds / ROUNDS
    answers: list[tuple[int, float]] = []

    def work() -> None:
        while time.monotonic() < end:
            answers.append(ask(port, "POST", "/detect", picture)[:2])

    threads = [threading.Thread(target=work) for _ in range(arguments.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = [seconds for status, seconds in answers if status == 200]
    return len(good) / (time.monotonic() - start), good, len(answers) - len(good)


def show(name: str, value: object) -> None:
    """Print a line."""
    print(f"{name:46} {value}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
