"""Requests share batches; clients that leave, flood or send poison do not harm the others."""

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import torch

from head_detection.errors import DeviceError
from head_detection.inference.detector import HeadDetector
from head_detection.serving.batcher import (
    FAULTS_IN_A_ROW,
    WARM_SIZE,
    Batcher,
    DetectedPicture,
    Room,
)
from head_detection.serving.metrics import Metrics
from head_detection.serving.problems import ServiceError
from head_detection.structures import Detections

SMALL, WIDE = (48, 64), (48, 128)
FileOf = Callable[..., bytes]


@asynccontextmanager
async def running(detector: HeadDetector, **settings: Any) -> AsyncIterator[Batcher]:
    """A batcher that is warm."""
    batcher = Batcher(detector, Metrics(), **settings)
    batcher.start()
    try:
        await until(lambda: batcher.is_ready)
        yield batcher
    finally:
        batcher.close(5)


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.002)


async def send(batcher: Batcher, data: bytes) -> DetectedPicture | ServiceError:
    try:
        with batcher.admitting(1):
            return await batcher.detect(data)
    except ServiceError as problem:
        return problem


def queued(batcher: Batcher) -> int:
    return sum(map(len, batcher._groups.values()))


def test_batches_run_side_by_side_where_that_suits_the_engine(
    detector: HeadDetector, engine: Any, file_of: FileOf
) -> None:
    engine.concurrency = 2
    detect, lock, now, most = engine.detect, threading.Lock(), 0, 0

    def count_and_detect(images: list[torch.Tensor]) -> list[Detections]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        found: list[Detections] = detect(images)
        with lock:
            now -= 1
        return found

    engine.detect = count_and_detect

    async def scenario() -> list[DetectedPicture | ServiceError]:
        async with running(detector, max_batch=1, max_delay=0) as batcher:
            return await asyncio.gather(*(send(batcher, file_of(64, 48 + n)) for n in range(8)))

    answers = asyncio.run(scenario())
    sizes = [
        answer.detections.image_size for answer in answers if isinstance(answer, DetectedPicture)
    ]
    assert sizes == [(48 + n, 64) for n in range(8)]
    assert most == 2


def test_a_picture_that_is_alone_is_not_handed_to_another_thread(
    detector: HeadDetector, engine: Any, file_of: FileOf
) -> None:
    engine.concurrency = 2

    async def scenario() -> None:
        async with running(detector, max_batch=1, max_delay=0) as batcher:
            for _ in range(3):
                await send(batcher, file_of(64, 48))

    asyncio.run(scenario())
    assert engine.threads == {"detector"}


def test_a_poisoned_picture_beside_others_spares_them(
    detector: HeadDetector, engine: Any, file_of: FileOf, poisoned: bytes
) -> None:
    engine.concurrency = 2

    async def scenario() -> list[DetectedPicture | ServiceError]:
        async with running(detector, max_batch=1, max_delay=0) as batcher:
            files = [poisoned if n % 3 == 1 else file_of() for n in range(9)]
            return await asyncio.gather(*(send(batcher, data) for data in files))

    answers = asyncio.run(scenario())
    assert [isinstance(answer, DetectedPicture) for answer in answers] == [
        n % 3 != 1 for n in range(9)
    ]


def test_pictures_of_one_shape_meet_and_others_do_not_wait_for_them(
    detector: HeadDetector, engine: Any, file_of: FileOf
) -> None:
    async def scenario() -> list[DetectedPicture | ServiceError]:
        async with running(detector, max_batch=4, max_delay=0.05) as batcher:
            sizes = [(64, 48), (128, 48), (64, 48), (64, 48), (128, 48), (64, 48)]
            return await asyncio.gather(*(send(batcher, file_of(*size)) for size in sizes))

    answers = asyncio.run(scenario())
    assert all(
        isinstance(answer, DetectedPicture) and len(answer.detections) == 2 for answer in answers
    )
    warm, *batches = engine.batches
    assert warm == [WARM_SIZE]
    assert sorted(batches) == [[SMALL] * 4, [WIDE] * 2]
    assert engine.threads == {"detector"}


def test_one_picture_alone_waits_no_longer_than_the_delay(
    detector: HeadDetector, file_of: FileOf
) -> None:
    async def scenario() -> DetectedPicture | ServiceError:
        async with running(detector, max_batch=8, max_delay=0.02) as batcher, asyncio.timeout(5):
            return await send(batcher, file_of())

    assert isinstance(asyncio.run(scenario()), DetectedPicture)


def test_a_poisoned_picture_fails_alone(
    detector: HeadDetector, engine: Any, file_of: FileOf, poisoned: bytes
) -> None:
    async def scenario() -> list[DetectedPicture | ServiceError]:
        async with running(detector, max_batch=4, max_delay=0.05) as batcher:
            files = [file_of(), poisoned, file_of(), file_of()]
            answers = await asyncio.gather(*(send(batcher, file) for file in files))
            assert batcher.is_ready
            return answers

    answers = asyncio.run(scenario())
    assert [isinstance(answer, DetectedPicture) for answer in answers] == [True, False, True, True]
    assert isinstance(answers[1], ServiceError)
    assert (answers[1].status, answers[1].kind) == (500, "detector")
    assert engine.batches[1:] == [[SMALL] * 4, *[[SMALL]] * 4]


def test_a_detector_that_always_fails_is_told_of(detector: HeadDetector, poisoned: bytes) -> None:
    async def scenario() -> None:
        async with running(detector, max_delay=0.0) as batcher:
            for _ in range(FAULTS_IN_A_ROW):
                assert batcher.is_alive
                await send(batcher, poisoned)
            assert not batcher.is_alive
            assert not batcher.is_ready

    asyncio.run(scenario())


def test_a_network_that_cannot_be_warmed_up_is_told_of(
    detector: HeadDetector, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detect(images: list[Any]) -> list[Any]:
        raise DeviceError(f"compile: no compiler for {len(images)} here")

    monkeypatch.setattr(engine, "detect", detect)
    batcher = Batcher(detector, Metrics())
    with pytest.raises(DeviceError, match="compile: no compiler for 1 here"):
        batcher.warm_up()
    assert not batcher.is_ready
    batcher.close(5)
    assert not batcher.is_alive


def test_a_device_without_memory_for_a_batch_answers_its_pictures_one_by_one(
    detector: HeadDetector, engine: Any, file_of: FileOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Any]] = []
    finds = engine.detect

    def detect(images: list[Any]) -> list[Any]:
        if len(images) > 1:
            maps = torch.empty(9)
            held.append(weakref.ref(maps))
            raise torch.OutOfMemoryError("CUDA out of memory")
        assert all(each() is None for each in held)  # what the batch had is free again
        found: list[Any] = finds(images)
        return found

    async def scenario() -> list[DetectedPicture | ServiceError]:
        async with running(detector, max_batch=4, max_delay=0.05) as batcher:
            answers = await asyncio.gather(*(send(batcher, file_of()) for _ in range(4)))
            assert batcher.is_ready
            return list(answers)

    monkeypatch.setattr(engine, "detect", detect)
    assert all(isinstance(answer, DetectedPicture) for answer in asyncio.run(scenario()))
    assert len(held) == 1


def test_a_batch_is_as_large_as_suits_the_engine(detector: HeadDetector) -> None:
    assert (Batcher(detector, Metrics()).max_batch, detector.engine.batch_size) == (4, 4)


def test_what_is_no_picture_never_reaches_the_network(
    detector: HeadDetector, engine: Any, file_of: FileOf
) -> None:
    async def scenario() -> list[DetectedPicture | ServiceError]:
        async with running(detector) as batcher:
            files = [b"", b"text", file_of()[:60], file_of(1001, 1000)]
            return [await send(batcher, file) for file in files]

    detector.max_pixels = 1_000_000
    problems = [answer for answer in asyncio.run(scenario()) if isinstance(answer, ServiceError)]
    assert [problem.status for problem in problems] == [422, 422, 422, 413]
    assert problems[1].text == "not a picture in any known format"
    assert problems[3].text.startswith("1001x1000 pixels; at most 1,000,000 pixels are read")
    assert engine.batches == [[WARM_SIZE]]


def test_the_queue_is_bounded_and_says_when_to_come_again(
    detector: HeadDetector, engine: Any, file_of: FileOf
) -> None:
    async def scenario() -> None:
        async with running(detector, max_batch=1, queue=3) as batcher:
            engine.may_run.clear()
            tasks = [asyncio.create_task(send(batcher, file_of())) for _ in range(3)]
            await until(lambda: queued(batcher) == 2)
            refused = await send(batcher, file_of())
            assert isinstance(refused, ServiceError)
            assert (refused.status, refused.headers) == (503, {"Retry-After": "1"})
            engine.may_run.set()
            assert all(
                isinstance(answer, DetectedPicture) for answer in await asyncio.gather(*tasks)
            )
            assert batcher.waiting == 0

    asyncio.run(scenario())
    assert len(engine.batches) == 4


def test_who_leaves_costs_the_network_nothing(
    detector: HeadDetector, engine: Any, file_of: FileOf
) -> None:
    async def scenario() -> None:
        async with running(detector, max_batch=4, max_delay=0.0) as batcher:
            engine.may_run.clear()
            engine.started.clear()
            first = asyncio.create_task(send(batcher, file_of()))
            await until(engine.started.is_set)
            leaving = [asyncio.create_task(send(batcher, file_of())) for _ in range(10)]
            await until(lambda: queued(batcher) == 10)
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            assert (queued(batcher), batcher.waiting) == (0, 1)
            last = asyncio.create_task(send(batcher, file_of(128)))
            engine.may_run.set()
            assert all(
                isinstance(answer, DetectedPicture) for answer in await asyncio.gather(first, last)
            )

    asyncio.run(scenario())
    assert engine.batches[1:] == [[SMALL], [WIDE]]


def test_closing_finishes_what_there_is_within_a_bound(
    detector: HeadDetector, engine: Any, file_of: FileOf
) -> None:
    async def scenario() -> None:
        async with running(detector, max_batch=4, max_delay=60.0) as batcher:
            task = asyncio.create_task(send(batcher, file_of()))
            await until(lambda: queued(batcher) == 1)
            assert await asyncio.to_thread(batcher.close, 5)
            assert isinstance(await task, DetectedPicture)
            late = await send(batcher, file_of())
            assert isinstance(late, ServiceError)
            assert late.status == 503
        batcher = Batcher(detector, Metrics())
        engine.may_run.clear()
        batcher.start()
        assert not batcher.close(0.05)
        engine.may_run.set()

    asyncio.run(scenario())


def test_pixels_are_handed_on_where_they_are_asked_for(
    detector: HeadDetector, file_of: FileOf
) -> None:
    async def scenario() -> DetectedPicture:
        async with running(detector) as batcher:
            return await batcher.detect(file_of(), keep_pixels=True)

    seen = asyncio.run(scenario())
    assert seen.pixels is not None
    assert seen.pixels.shape == (48, 64, 3)
    assert seen.detections.scores.tolist() == pytest.approx([0.9, 0.3])


def test_room_lets_in_what_fits_and_one_that_is_larger_than_all() -> None:
    async def scenario() -> list[str]:
        room, order = Room(10), []

        async def take(name: str, num_bytes: int) -> None:
            async with room.taking(num_bytes):
                order.append(f"+{name}")
                await asyncio.sleep(0.01)
                order.append(f"-{name}")

        given_up = asyncio.create_task(take("x", 5))
        tasks = [asyncio.create_task(take(*each)) for each in (("a", 6), ("b", 6), ("c", 99))]
        await asyncio.sleep(0.001)
        given_up.cancel()
        await asyncio.gather(*tasks)
        assert room._free == 10
        return order

    order = [step for step in asyncio.run(scenario()) if "x" not in step]
    assert order == ["+a", "-a", "+b", "-b", "+c", "-c"]


def test_room_comes_to_a_large_one_although_small_ones_keep_coming() -> None:
    async def scenario() -> list[str]:
        room, order = Room(10), []

        async def take(name: str, num_bytes: int) -> None:
            async with room.taking(num_bytes):
                order.append(name)
                await asyncio.sleep(0)

        async def keep_taking() -> None:
            for _ in range(20):
                await take("small", 3)

        small = [asyncio.create_task(keep_taking()) for _ in range(6)]
        await asyncio.sleep(0)
        await take("large", 9)
        await asyncio.gather(*small)
        return order

    assert asyncio.run(scenario()).index("large") <= 6  # behind those that were there before it
