"""Prints what is promised of a GPU: ``python tests/cuda_rows.py``, under four minutes on one.

``--device cpu --quick`` shows that it runs, with numbers that say nothing. Each row is what was
measured, and what it should be; a row that fails is told and the others go on.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

from head_detection import kernels  # noqa: E402
from head_detection.benchmark.baseline import build_baseline  # noqa: E402
from head_detection.benchmark.pictures import crowd  # noqa: E402
from head_detection.benchmark.timing import synchronise  # noqa: E402
from head_detection.boxes import pairwise_iou  # noqa: E402
from head_detection.config import load_config  # noqa: E402
from head_detection.data.dataset import Sample  # noqa: E402
from head_detection.inference.detector import HeadDetector  # noqa: E402
from head_detection.models.faster_rcnn import build_detector  # noqa: E402
from head_detection.training.distributed import Ranks  # noqa: E402
from head_detection.training.state import TrainingState  # noqa: E402
from head_detection.training.step import TrainingStep  # noqa: E402

WAITS: Final = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
LAUNCHES: Final = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")
GRAPHS: Final = ("cudaGraphLaunch",)
SAME_HEAD: Final = 0.5


class Scale(NamedTuple):
    """How much is done."""

    size: tuple[int, int]
    runs: int
    batches: tuple[int, ...]
    files: int
    crops: tuple[int, int]


FULL: Final = Scale(size=(608, 800), runs=20, batches=(1, 8, 32), files=2000, crops=(16, 512))
QUICK: Final = Scale(size=(64, 96), runs=1, batches=(1, 2), files=3, crops=(2, 128))


def pictures(count: int, scale: Scale) -> list[Tensor]:
    """Return crowds that differ by a shift."""
    one = torch.from_numpy(crowd(scale.size).copy())
    return [one.roll(7 * number, dims=1).permute(2, 0, 1) for number in range(count)]


def milliseconds(work: Callable[[], object], device: torch.device, runs: int) -> float:
    """Return the median of some runs after three that do not count."""
    took = []
    for run in range(3 + runs):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        if run >= min(3, runs):
            took.append(1e3 * (time.perf_counter() - start))
    return median(took)


def speed(device: torch.device, scale: Scale) -> Iterator[str]:
    """Time batches of ours and of torchvision's stock model, each in turn."""
    start = time.perf_counter()
    detector = HeadDetector.from_weights(device=str(device))
    yield row("built", f"{time.perf_counter() - start:.1f} s", "the first time, kernels compile")
    with kernels.switched_off():
        plain = HeadDetector.from_weights(device=str(device))
        for count in scale.batches:  # its graphs are recorded
            milliseconds(partial(plain.engine.detect, pictures(count, scale)), device, 1)
    stock, kept = build_baseline(*scale.size).to(device), detector.engine._graphs
    for count in scale.batches:
        images = pictures(count, scale)
        variants = (
            ("", detector, kept),
            (", without own kernels", plain, plain.engine._graphs),
            (", without graphs", detector, {}),
        )
        for name, own, graphs in variants:
            own.engine._graphs = graphs
            work = partial(own.engine.detect, images)
            ours = milliseconds(work, device, scale.runs)
            yield row(
                f"fast {detector.engine.precision}, batch {count}{name}",
                f"{ours:.1f} ms, {1e3 * count / ours:.0f} pictures/s",
                "<= 4 ms" if count == 1 else ">= 700 pictures/s",
            )
        if count > 8:  # the stock model needs more memory than a small card has
            continue
        half = torch.autocast("cuda", torch.float16) if device.type == "cuda" else nullcontext()
        for name, surround in (("float32", nullcontext()), ("fp16 autocast", half)):
            with torch.inference_mode(), surround:
                floats = [image.to(device).float() / 255 for image in images]
                theirs = milliseconds(
                    lambda own=floats: [found["boxes"].cpu() for found in stock(own)],
                    device,
                    max(1, scale.runs // 2),
                )
            yield row(
                f"torchvision's stock model, {name}, batch {count}",
                f"{theirs:.1f} ms, {1e3 * count / theirs:.0f} pictures/s",
                "beside it",
            )


def in_flight(device: torch.device, scale: Scale) -> Iterator[str]:
    """Time batches from one and from two threads, as folders are detected in."""
    engine = HeadDetector.from_weights(device=str(device)).engine
    for size in scale.batches:
        images = pictures(size, scale)
        for threads in (1, 2):
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda _, own=images: engine.detect(own), range(4)))
                start = time.perf_counter()
                list(pool.map(lambda _, own=images: engine.detect(own), range(scale.runs)))
                rate = scale.runs * size / (time.perf_counter() - start)
            yield row(f"batches of {size}, {threads} threads", f"{rate:.0f} pictures/s", "")


def device_use(device: torch.device, scale: Scale) -> Iterator[str]:
    """Count launches and waits of 64 pictures, and how long the device is busy."""
    detector = HeadDetector.from_weights(device=str(device))
    batch = pictures(scale.batches[-1], scale)
    repeats = max(1, 64 // len(batch)) if scale is FULL else 1
    for _ in range(2):  # recorded after the second
        detector.engine.detect(batch)
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    synchronise(device)
    with profile(activities=activities) as profiler:
        start = time.perf_counter()
        for _ in range(repeats):
            detector.engine.detect(batch)
        synchronise(device)
        wall = time.perf_counter() - start
    events = profiler.events() or []
    on_device = [one for one in events if one.device_type.name == "CUDA"]
    busy = sum(one.time_range.elapsed_us() for one in on_device) / 1e6
    counts = {
        word: sum(one.name in names for one in events)
        for word, names in (("launches", LAUNCHES), ("waits", WAITS), ("graphs", GRAPHS))
    }
    yield row(f"device busy in {repeats} batches of {len(batch)}", f"{busy / wall:.0%}", ">= 85 %")
    yield row("launches, waits, graphs", str([*counts.values()]), f"waits <= {repeats} and a few")


def closeness(device: torch.device, scale: Scale) -> Iterator[str]:
    """Compare boxes of the device's own precision with float32's."""
    exact = HeadDetector.from_weights(device=str(device), precision="fp32")
    own = HeadDetector.from_weights(device=str(device))
    (expected,), (found,) = (one.engine.detect(pictures(1, scale)) for one in (exact, own))
    expected = expected.above(exact.score_threshold)
    if not len(expected) or not len(found):
        yield row(f"boxes of {own.engine.precision} beside fp32", "no heads", "<= .5 px, 0")
        return
    overlaps = pairwise_iou(expected.boxes, found.boxes)
    nearest = overlaps.argmax(axis=1)
    is_found = overlaps.max(axis=1) >= SAME_HEAD
    shifts = np.abs(expected.boxes - found.boxes[nearest]).max(axis=1)[is_found]
    value = f"{shifts.max(initial=0.0):.3f} px, {(~is_found).sum()} of {len(expected)} not found"
    yield row(f"boxes of {own.engine.precision} beside fp32", value, "<= .5 px, 0")


def training(device: torch.device, scale: Scale) -> Iterator[str]:
    """Time training steps of crops, from pinned memory to moved weights."""
    overrides = ["network.backbone.pretrained=false", "training.precision=fp32"]
    if device.type == "cuda":
        overrides[-1] = "training.precision=bf16"
    config = load_config(ROOT / "configs" / "fast_finetune.yaml", overrides)
    model = build_detector(config.network, config.inference, config.training).train()
    ranks = Ranks(rank=0, world_size=1, device=device)
    state = TrainingState(config, model, ranks, steps_per_epoch=1)
    step = TrainingStep(state.model, state.optimizer, state.scaler, config.training, ranks)
    count, side = scale.crops
    edges = torch.arange(10.0, side - 50, 40)
    corners = torch.cartesian_prod(edges, edges)
    boxes = torch.cat((corners, corners + 30), dim=1)
    target = {"boxes": boxes, "ignore_boxes": torch.empty(0, 4)}
    pixels = torch.from_numpy(crowd((side, side)).copy()).permute(2, 0, 1).contiguous()
    for number in (count, 2 * count, 4 * count):
        samples = [Sample(pixels, target)] * number
        took = milliseconds(lambda own=samples: step.run(own, 0), device, scale.runs)
        yield row(
            f"training step of {number} crops of {side}",
            f"{took:.0f} ms, {1e3 * number / took:.0f} crops/s",
            ">= 600 crops/s",
        )


def command(device: torch.device, scale: Scale) -> Iterator[str]:
    """Time the whole command on WebP files, as a process; what starting takes is taken off."""
    with tempfile.TemporaryDirectory() as folder:
        image = Image.fromarray(crowd(scale.size))
        image.save(Path(folder, "0.webp"))
        content = Path(folder, "0.webp").read_bytes()
        Path(folder, "few").mkdir()
        Path(folder, "many").mkdir()
        seconds = []
        for name, count in (("few", 1), ("many", scale.files)):
            for number in range(count):
                Path(folder, name, f"{number}.webp").write_bytes(content)
            arguments = ["--source", f"{folder}/{name}", "--output", f"{folder}/{name}-out"]
            words = [sys.executable, str(ROOT / "scripts" / "test.py"), *arguments]
            start = time.perf_counter()
            subprocess.run(
                [*words, "--save", "json", "--device", str(device)], check=True, capture_output=True
            )
            seconds.append(time.perf_counter() - start)
    rate = (scale.files - 1) / max(1e-9, seconds[1] - seconds[0])
    yield row(f"test on {scale.files} WebP files", f"{rate:.0f} pictures/s", ">= 500")


def row(name: str, measured: str, wanted: str) -> str:
    """Return a line."""
    return f"{name:<48} {measured:<40} {wanted}"


def main() -> int:
    """Print all rows; 1 where one failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    device, scale = torch.device(arguments.device), QUICK if arguments.quick else FULL
    if device.type == "cuda":
        print(torch.cuda.get_device_name(device), torch.__version__)  # noqa: T201 - a script
    parts: tuple[Callable[[torch.device, Scale], Iterator[Any]], ...] = (
        speed, in_flight, device_use, closeness, training, command
    )  # fmt: skip
    failed = 0
    for part in parts:
        start = time.perf_counter()
        try:
            for line in part(device, scale):
                print(line, flush=True)  # noqa: T201 - a script
        except Exception as error:  # noqa: BLE001 - the other rows are wanted all the more
            failed = 1
            print(f"{part.__name__} failed: {type(error).__name__}: {error}")  # noqa: T201 - a script
        print(f"  {part.__name__}: {time.perf_counter() - start:.0f} s", flush=True)  # noqa: T201 - a script
    return failed


if __name__ == "__main__":
    sys.exit(main())
