"""Runs cameras for long: ``python tests/soak.py [MINUTES]``, 60 by default; Linux.

Three cameras at 25 frames a second share a detector that takes .25 s a batch, six times slower than
they are: one whose server is killed every minute and is gone for ten seconds, one that stays, and
one that answers nobody. It prints what became of the frames, how late they were, how memory grew
and which processes were left, and ends with 1 where something is not as it should be.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from camera_servers import CameraServer, silent  # noqa: E402
from clips import number_of  # noqa: E402
from fake_stream import Asked, FakeDetector  # noqa: E402

from head_detection.inference.batching import PictureResult  # noqa: E402
from head_detection.inference.loading import read_ahead  # noqa: E402
from head_detection.pipeline.addresses import parse_address  # noqa: E402
from head_detection.pipeline.cameras import Cameras  # noqa: E402
from head_detection.pipeline.run import run_pipeline  # noqa: E402
from head_detection.pipeline.sources import Item  # noqa: E402
from head_detection.structures import Detections, Frame  # noqa: E402

SERVER: Final = ROOT / "tests" / "camera_servers.py"
BATCH_SECONDS: Final = 0.25
LIFE_SECONDS: Final = 60.0
DOWN_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 5.0
WARM_SECONDS: Final = 60.0
"""Memory is compared from then on: what is loaded once is there."""
MOST_GROWTH: Final = 20.0
"""Megabytes an hour, by the line through all looks."""
MOST_LATE: Final = 1.0


class SlowDetector(FakeDetector):
    """Takes as long for a batch as a network, and finds nothing; notes how late frames are."""

    def __init__(self) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self.wrong = 0

    def results_of(self, images: Iterable[Item], asked: Asked) -> Iterator[PictureResult]:
        batch: list[Frame] = []
        for item in read_ahead(images, lambda item: item, lambda _: 0, asked.is_ready):
            if isinstance(item, Frame):
                batch.append(item)
                continue
            time.sleep(BATCH_SECONDS)
            for frame in batch:
                yield PictureResult(frame, Detections.empty((120, 160)), None, None)
                self._note(frame)
            batch.clear()

    def _note(self, frame: Frame) -> None:
        if frame.captured is not None:
            self.latencies.append(time.monotonic() - frame.captured)
        if frame.pixels is None or number_of(frame.pixels) % 2**16 > 2**15:
            self.wrong += 1


def dying_server(port: int, stop: threading.Event) -> None:
    """Run a server that is killed every minute, and gone for a while."""
    while not stop.is_set():
        with subprocess.Popen([sys.executable, SERVER, str(port)]) as server:
            stop.wait(LIFE_SECONDS)
            server.kill()
        stop.wait(DOWN_SECONDS)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def children() -> dict[int, str]:
    """Return the processes that decode, by number, each with its state."""
    found = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes()
            if int(parent) == os.getpid() and (b"camera_decoder" in command or state == "Z"):
                found[int(folder.name)] = state
    return found


def megabytes(pids: Iterable[int]) -> float:
    """Return the memory that processes hold."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            total += pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return total


def run(minutes: float, source: Cameras, detector: SlowDetector) -> np.ndarray:
    """Take frames for so long; return a row a look: seconds, megabytes here and of the others."""
    looks, began, next_look = [], time.monotonic(), 0.0
    outcomes = run_pipeline(source, detector)
    for _ in outcomes:
        now = time.monotonic() - began
        if now >= next_look:
            next_look = now + LOOK_SECONDS
            looks.append((now, megabytes([os.getpid()]), megabytes(children())))
            if len(looks) % 12 == 0:
                tell(f"{now:6.0f} s: {looks[-1][1]:.1f} MB; {'; '.join(source.states())}")
        if now > 60 * minutes:
            break
    outcomes.close()
    source.close()
    return np.array(looks)


def tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script


def report(source: Cameras, detector: SlowDetector, looks: np.ndarray) -> Sequence[str]:
    """Print what came of it, and return what should not be."""
    for line in source.summary():
        tell(line)
    late = np.array(detector.latencies)
    shares = [50, 95, 99, 100]
    values = ", ".join(f"{share} %: {np.percentile(late, share):.3f} s" for share in shares)
    tell(f"latency of {len(late)} frames: {values}")
    warm = looks[looks[:, 0] > min(WARM_SECONDS, looks[-1, 0] / 3)]
    slope = float(np.polyfit(warm[:, 0], warm[:, 1], 1)[0]) * 3600
    tell(f"memory: {warm[0, 1]:.1f} to {warm[-1, 1]:.1f} MB, {slope:+.1f} MB an hour; decoders:"
         f" {warm[:, 2].min():.0f} to {warm[:, 2].max():.0f} MB together")  # fmt: skip
    left = children()
    tell(f"processes left: {len(left)}")
    counts = [camera.counts for camera in source.cameras]
    expected = int(looks[-1, 0] // (LIFE_SECONDS + DOWN_SECONDS))
    wrongs = {
        f"{len(left)} processes were left": bool(left),
        "the dying camera did not come back each time": counts[0].reconnects < expected,
        "the steady camera was lost": counts[1].reconnects > 0,
        "the silent camera gave frames": counts[2].received > 0,
        f"a frame was more than {MOST_LATE:g} s late": np.percentile(late, 99) > MOST_LATE,
        f"{detector.wrong} frames are no server's": detector.wrong > 0,
        "memory grows": slope > MOST_GROWTH and looks[-1, 0] > 5 * WARM_SECONDS,
    }
    return [text for text, is_so in wrongs.items() if is_so]


def main(minutes: str = "60") -> int:
    ports, stop = [free_port(), free_port()], threading.Event()
    dying = threading.Thread(target=dying_server, args=(ports[0], stop))
    dying.start()
    steady = subprocess.Popen([sys.executable, SERVER, str(ports[1])])
    with CameraServer(silent) as nobody:
        urls = [f"http://127.0.0.1:{port}/live" for port in (*ports, nobody.port)]
        source, detector = Cameras([parse_address(url) for url in urls]), SlowDetector()
        try:
            looks = run(float(minutes), source, detector)
            wrongs = report(source, detector, looks)
        finally:
            stop.set()
            steady.kill()
            steady.wait()
            dying.join()
    for wrong in wrongs:
        tell(f"wrong: {wrong}")
    return 1 if wrongs else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
