import threading

import pytest
import torch

from head_detection.inference.batching import LikeShapeBatches
from head_detection.inference.loading import LoadedPicture
from head_detection.inference.workers import MAX_WORKERS, Workers, suitable_workers
from head_detection.structures import Detections

WAIT = 30


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def two_workers(four_threads):
    workers = Workers(2)
    yield workers
    workers.close()


class MeetingEngine:
    """Finds nothing; each picture waits until as many others are in here, where it is told to."""

    device = "cpu"

    def __init__(self, meeting=None):
        self.meeting, self.threads, self.seen = meeting, [], []
        self.most = self._now = 0
        self._lock = threading.Lock()

    def padded_sizes(self, image_size):
        return (image_size,)

    def detect(self, images):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.threads.append(threading.current_thread().name)
            self.seen.append(int(images[0][0, 0, 0]))
        if self.meeting is not None:
            self.meeting.wait(WAIT)
        with self._lock:
            self._now -= 1
        return [Detections.empty((image.shape[1], image.shape[2])) for image in images]


def pictures(count):
    for number in range(count):
        tensor = torch.full((3, 32, 32 + number), number, dtype=torch.uint8)
        yield LoadedPicture(f"{number}", f"{number}", tensor)


def run(engine, given, **options):
    return LikeShapeBatches(engine, 1, keep_pixels=False, **options).run(given)


def wait_for_workers():
    for thread in threading.enumerate():
        if thread.name.startswith("detector"):
            thread.join(WAIT)


def test_each_worker_has_its_share_of_the_threads_and_nobody_else_loses_any(two_workers):
    both = threading.Barrier(2)

    def count_threads():
        both.wait(WAIT)
        return torch.get_num_threads()

    shares = [two_workers.submit(count_threads) for _ in range(2)]
    assert [share.result(WAIT) for share in shares] == [2, 2]
    assert torch.get_num_threads() == 4
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [4]


@pytest.mark.parametrize(("device", "threads"), [("cpu", 2), ("cuda:0", 1)])
def test_the_cores_are_for_decoding_while_a_gpu_detects(four_threads, device, threads):
    engine, seen = MeetingEngine(threading.Barrier(2)), set()  # in two workers, or it breaks
    detect, engine.device = engine.detect, device

    def note(images):
        seen.add(torch.get_num_threads())
        return detect(images)

    engine.detect = note
    list(run(engine, pictures(4), concurrency=2))
    assert seen == {threads}
    assert torch.get_num_threads() == 4


def test_more_workers_than_threads_have_one_each(four_threads):
    workers = Workers(8)
    assert workers.submit(torch.get_num_threads).result(WAIT) == 1
    workers.close()


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (2, 2), (4, MAX_WORKERS), (64, 4)])
def test_as_many_as_there_are_threads_to_share(four_threads, threads, expected):
    torch.set_num_threads(threads)
    assert suitable_workers() == expected


def test_pictures_run_side_by_side_and_come_in_order(four_threads):
    engine = MeetingEngine(threading.Barrier(2))  # alone, it would break
    results = list(run(engine, pictures(6), concurrency=2))
    assert [result.image for result in results] == ["0", "1", "2", "3", "4", "5"]
    assert [result.detections.image_size[1] for result in results] == [32, 33, 34, 35, 36, 37]
    assert (engine.most, sorted(engine.seen)) == (2, [0, 1, 2, 3, 4, 5])


def test_one_that_is_late_does_not_change_the_order(four_threads):
    engine = MeetingEngine()
    others_done = threading.Event()
    detect = engine.detect

    def first_is_late(images):
        if images[0].any():
            others_done.set()
        else:
            others_done.wait(WAIT)
        return detect(images)

    engine.detect = first_is_late
    assert [result.image for result in run(engine, pictures(4), concurrency=2)] == list("0123")


def test_a_picture_that_is_alone_runs_here_with_all_threads(four_threads):
    engine = MeetingEngine()
    one = [*pictures(1), None]
    assert len(list(run(engine, [*one, *one, *one], concurrency=2))) == 3
    assert set(engine.threads) == {threading.current_thread().name}


def test_no_more_are_taken_than_run_and_are_next(four_threads):
    gate = threading.Event()
    engine = MeetingEngine()
    engine.meeting = gate
    given = 0

    def counted():
        nonlocal given
        for picture in pictures(100):
            given += 1
            if given == 4:  # two run, one waits for a worker, one is next
                threading.Timer(0.2, gate.set).start()
            assert given <= 4 or gate.is_set()
            yield picture

    assert len(list(run(engine, counted(), concurrency=2))) == 100


@pytest.mark.parametrize("batch_size", [1, 8])
def test_full_batches_run_while_results_are_written(four_threads, batch_size):
    """Two more begin once the first result is there, though no other result is asked for."""
    begun = threading.Semaphore(0)
    engine = MeetingEngine()
    detect, sizes = engine.detect, []

    def note(images):
        sizes.append(len(images))
        begun.release()
        return detect(images)

    engine.detect = note
    tensor = torch.zeros(3, 32, 32, dtype=torch.uint8)
    given = (LoadedPicture(f"{n}", f"{n}", tensor) for n in range(100 * batch_size))
    results = LikeShapeBatches(engine, batch_size, keep_pixels=False, concurrency=2).run(given)
    names = [next(results).image]
    for _ in range(3):
        assert begun.acquire(timeout=WAIT)
    names += [result.image for result in results]
    assert names == [f"{n}" for n in range(100 * batch_size)]
    assert set(sizes) == {batch_size}


def test_what_a_worker_raises_is_raised_here(four_threads):
    engine = MeetingEngine()

    def refuse(images):
        raise RuntimeError("no such operator")

    engine.detect = refuse
    with pytest.raises(RuntimeError, match="no such operator"):
        list(run(engine, pictures(3), concurrency=2))


def test_a_stream_that_is_left_leaves_no_thread(four_threads):
    wait_for_workers()  # of other tests
    before = threading.active_count()
    stream = run(MeetingEngine(), pictures(100), concurrency=2)
    next(stream)
    stream.close()
    wait_for_workers()
    assert threading.active_count() == before


def test_one_at_a_time_uses_no_thread():
    engine = MeetingEngine()
    list(run(engine, pictures(3)))
    assert set(engine.threads) == {threading.current_thread().name}
