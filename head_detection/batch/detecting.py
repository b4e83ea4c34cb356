"""The process that runs the detector; ``worker`` starts it and sends it pictures.

Requests and answers are lines of JSON, through pipes. The process announces each picture before it
begins with it, so that, if the process breaks, its parent knows which pictures may be the cause.
"""

import gc
import json
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from head_detection.batch.items import Item
from head_detection.batch.process import WorkerOptions
from head_detection.batch.reading import ItemReader
from head_detection.batch.shards import Answer
from head_detection.errors import HeadDetectionError, PictureError
from head_detection.images.finding import PictureFile
from head_detection.inference.memory import keep_freed_memory
from head_detection.results.record import Failure, Record

READ_AHEAD: Final = 8
"""Pictures that are fetched at once, if they are not local files."""
Send = Callable[[dict[str, Any]], None]


class Result(Protocol):
    """The result of one picture, as in ``inference.batching``."""

    @property
    def image(self) -> Any:
        """The picture that was given."""
        ...

    @property
    def detections(self) -> Any:
        """The heads; None if the picture failed."""
        ...

    @property
    def error(self) -> PictureError | None:
        """Why the picture failed; None if it did not."""
        ...


class Detector(Protocol):
    """Finds heads in a stream of pictures, as ``HeadDetector`` does.

    Attributes:
        origin: description of the model for results, plain values.
        score_threshold: lowest score of heads that count.
    """

    origin: dict[str, Any]
    score_threshold: float

    def stream(self, images: Iterable[Any], batch_size: int | None = None) -> Generator[Result]:
        """Yield one result per picture, in order."""
        ...


def build_detector(options: WorkerOptions) -> Detector:
    """Return the detector that the options describe.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
    """
    # Torch takes seconds to load, and the process that starts a worker does not need it.
    from head_detection.inference.detector import HeadDetector  # noqa: PLC0415

    detector = HeadDetector.from_weights(
        options.weights,
        engine=options.engine,
        device=options.device,
        precision=options.precision,
        score_threshold=options.score_threshold,
        overrides=options.overrides,
        compile_network=options.compile_network,
    )
    if options.max_pixels is not None:
        detector.max_pixels = options.max_pixels
    return detector


def answer(
    detector: Detector,
    reader: ItemReader,
    items: Iterable[tuple[int, Item]],
    batch_size: int | None,
    begin: Callable[[int], None],
) -> Iterator[tuple[int, Answer]]:
    """Yield the answer to each picture, in order.

    Args:
        detector: finds the heads.
        reader: reads the items.
        items: the items with their numbers.
        batch_size: most pictures in a batch.
        begin: called with the number of each item before anything is done with it.
    """
    waiting: deque[tuple[int, Item]] = deque()

    def pictures() -> Iterator[PictureFile | bytes]:
        for number, item, picture in _read(reader, items, begin):
            waiting.append((number, item))
            yield picture

    for result in detector.stream(pictures(), batch_size):
        number, item = waiting.popleft()
        yield number, _answer_of(item, result)


def _answer_of(item: Item, result: Result) -> Answer:
    if result.detections is not None:
        return Record(0, item.name, result.detections).as_plain()
    error = result.error or PictureError(f"{item.name}: the detector gave no result")
    if isinstance(result.image, PictureFile):
        reason = str(error).removeprefix(f"{result.image.path}: ")
    else:  # bytes, whose errors begin with images[0]
        reason = str(error).partition(": ")[2]
    return Failure(0, item.name, reason, error).as_plain()


def _read(
    reader: ItemReader, items: Iterable[tuple[int, Item]], begin: Callable[[int], None]
) -> Iterator[tuple[int, Item, PictureFile | bytes]]:
    """Read a few items ahead in threads, because reading over a network is mostly waiting."""
    waiting: deque[tuple[int, Item, Future[PictureFile | bytes]]] = deque()
    with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="items") as pool:
        for number, item in items:
            begin(number)
            waiting.append((number, item, pool.submit(_read_one, reader, item)))
            while len(waiting) > READ_AHEAD or (waiting and waiting[0][2].done()):
                done = waiting.popleft()
                yield done[0], done[1], done[2].result()
        for number, item, future in waiting:
            yield number, item, future.result()


def _read_one(reader: ItemReader, item: Item) -> PictureFile | bytes:
    try:
        return reader.read(item)
    except PictureError as error:
        reason = str(error).removeprefix(f"{item.name}: ")
        return PictureFile(Path(item.name), item.name, reason)


def main() -> None:
    """Build the detector that the first line of standard input describes; answer further lines."""
    keep_freed_memory()
    output = _private_output()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def send(message: dict[str, Any]) -> None:
        output.write(json.dumps(message).encode() + b"\n")
        output.flush()

    def listen() -> None:
        while line := sys.stdin.buffer.readline():
            requests.put(line)
        os._exit(0)  # the parent has gone

    options = WorkerOptions(**json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=listen, daemon=True).start()
    try:
        _serve(options, requests, send)
    except HeadDetectionError as error:
        send({"kind": "refused", "reason": str(error)})
    except BaseException as error:  # noqa: BLE001 - reported to the parent
        text = " ".join(str(error).split())
        send({"kind": "broke", "reason": f"{type(error).__name__}: {text}"})
    finally:
        os._exit(0)  # at once, because the other thread waits for requests


def _serve(options: WorkerOptions, requests: "queue.SimpleQueue[bytes]", send: Send) -> None:
    module, _, name = options.builder.partition(":")
    detector: Detector = getattr(import_module(module), name)(options)
    gc.freeze()  # all that is loaded stays
    gc.enable()
    reader = ItemReader()
    send(
        {
            "kind": "ready",
            "model": detector.origin,
            "score_threshold": detector.score_threshold,
            "devices": _num_devices(detector),
        }
    )

    def begin(number: int) -> None:
        send({"kind": "begun", "number": number})

    while True:
        request = json.loads(requests.get())
        items = [(number, Item(*values)) for number, values in request["items"]]
        # If alone, each picture is answered before the next one begins.
        parts = [[item] for item in items] if request["alone"] else [items]
        for part in parts:
            for number, found in answer(detector, reader, part, options.batch_size, begin):
                send({"kind": "answer", "number": number, "answer": found})
        send({"kind": "end"})


def _num_devices(detector: Detector) -> int:
    """Return the number of GPUs that such a detector can use."""
    torch: Any = sys.modules.get("torch")  # loaded by now, if the detector uses it
    if torch is None or detector.origin.get("engine") != "torch":
        return 0
    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def _private_output() -> BinaryIO:
    """Return standard output, reserved for messages; what libraries print is discarded."""
    messages = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
    return messages
