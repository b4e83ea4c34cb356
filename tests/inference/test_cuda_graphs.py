"""Which batches become graphs. No GPU: a recording here does the work anew and says so."""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from head_detection.devices import _cached, constant
from head_detection.inference.cuda_graphs import (
    MOST_GRAPHS,
    MOST_SEEN,
    CudaGraphs,
    CudaRecorder,
    Recording,
    Work,
    on_default_stream,
)


def total(images: Sequence[Tensor]) -> Tensor:
    return torch.stack([image.sum() for image in images])


class Recorder:
    """Notes what is recorded and replayed."""

    def __init__(self) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self.replayed = 0

    def __call__(self, work: Work, images: list[Tensor]) -> Recording:
        self.recorded.append(tuple(image.shape[2] for image in images))
        answer = torch.full((len(images),), torch.nan)

        def replay() -> None:
            self.replayed += 1
            answer.copy_(work(images))

        return Recording(images, answer, replay)


class Failing:
    """Finds no memory to record in."""

    def __init__(self) -> None:
        self.tries = 0

    def __call__(self, work: Work, images: list[Tensor]) -> Recording:
        self.tries += 1
        raise torch.OutOfMemoryError("none left")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def graphs(recorder: Recorder) -> CudaGraphs:
    return CudaGraphs(total, recorder)


def ones(*widths: int, value: float = 1.0) -> list[Tensor]:
    return [torch.full((3, 2, width), float(value)) for width in widths]


def test_the_second_batch_of_equal_shapes_is_recorded(
    graphs: CudaGraphs, recorder: Recorder
) -> None:
    assert graphs(ones(4, 5)).tolist() == [24, 30]
    assert (recorder.recorded, recorder.replayed) == ([], 0)
    assert graphs(ones(4, 5, value=2)).tolist() == [48, 60]
    assert graphs(ones(4, 5, value=3)).tolist() == [72, 90]
    assert (recorder.recorded, recorder.replayed) == ([(4, 5)], 1)
    assert graphs(ones(4, 5, value=4)).tolist() == [96, 120]
    assert (recorder.recorded, recorder.replayed) == ([(4, 5)], 2)


def test_work_has_just_run_when_it_is_recorded() -> None:
    """What it was first run for may be long ago, and its constants dropped since."""
    told: list[str] = []

    def work(images: Sequence[Tensor]) -> Tensor:
        told.append("work")
        return total(images)

    def record(_: Work, images: list[Tensor]) -> Recording:
        told.append("record")
        return Recording(images, torch.zeros(1), lambda: told.append("replay"))

    graphs = CudaGraphs(work, record)
    for _ in range(3):
        graphs(ones(4))
    assert told == ["work", "work", "record", "replay"]


def test_constants_of_a_recording_live_as_long_as_it() -> None:
    """A graph reads them at their addresses, where the cache would put others."""
    made: list[weakref.ref[Tensor]] = []

    def work(images: Sequence[Tensor]) -> Tensor:
        return total(images) * constant((0.125, 8.5), torch.device("cpu"))[0]

    def record(work: Work, images: list[Tensor]) -> Recording:
        answer = work(images)
        made.append(weakref.ref(constant((0.125, 8.5), torch.device("cpu"))))
        return Recording(images, answer, lambda: answer)

    graphs = CudaGraphs(work, record)
    for _ in range(2):
        graphs(ones(4))
    for number in range(_cached.cache_info().maxsize or 0):
        constant((number, 7.5), torch.device("cpu"))
    assert made[0]() is not None
    graphs.clear()
    assert made[0]() is None


def test_pictures_are_left_as_they_are(graphs: CudaGraphs) -> None:
    first = ones(4)
    for value in (1, 2, 3):
        graphs(first)
        graphs(ones(4, value=value))
    assert torch.equal(first[0], torch.ones(3, 2, 4))


def test_order_count_layout_and_type_are_shapes_of_their_own(
    graphs: CudaGraphs, recorder: Recorder
) -> None:
    planar = torch.zeros(3, 2, 4)
    decoded = torch.zeros(2, 4, 3).permute(2, 0, 1)
    for batch in ([planar], [planar] * 2, [decoded], [planar.byte()], ones(4, 5), ones(5, 4)):
        graphs(batch)
    assert recorder.recorded == []


def test_the_oldest_graph_goes_and_unused_ones_make_it_choosier(
    graphs: CudaGraphs, recorder: Recorder
) -> None:
    for width in range(1, MOST_GRAPHS + 1):
        graphs(ones(width))
        graphs(ones(width))
    graphs(ones(1))  # is used, and no longer the oldest: 2 is
    for _ in range(2):
        graphs(ones(100))  # 2 goes unused: four sights from here on
    assert len(recorder.recorded) == MOST_GRAPHS + 1
    for _ in range(3):
        graphs(ones(2))
    assert len(recorder.recorded) == MOST_GRAPHS + 1
    graphs(ones(2))
    assert recorder.recorded[-1] == (2,)
    replayed = recorder.replayed
    graphs(ones(1))
    assert recorder.replayed == replayed + 1


def test_shapes_that_never_come_again_are_forgotten(graphs: CudaGraphs, recorder: Recorder) -> None:
    graphs(ones(1))
    for width in range(2, MOST_SEEN + 2):
        graphs(ones(width))
    graphs(ones(1))
    assert recorder.recorded == []


def test_memory_is_given_back_once(graphs: CudaGraphs, recorder: Recorder) -> None:
    assert not graphs.clear()
    for _ in range(3):
        graphs(ones(4))
    assert graphs.clear()
    assert not graphs.clear()
    assert graphs(ones(4)).tolist() == [24]
    assert len(recorder.recorded) == 1


def test_without_memory_it_goes_on_without_graphs(caplog: pytest.LogCaptureFixture) -> None:
    failing = Failing()
    graphs = CudaGraphs(total, failing)
    for _ in range(20):
        assert graphs(ones(4)).tolist() == [24]
    assert failing.tries == 1
    assert [record.getMessage() for record in caplog.records] == [
        "cuda: 1 pictures go on without a graph: none left"
    ]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What a recording on a GPU calls, in order."""
    told: list[object] = []

    @contextmanager
    def within(*what: object, **how: object) -> Iterator[None]:
        told.append((*what, how.get("stream")))
        try:
            yield
        finally:
            told.append("end")

    graph = SimpleNamespace(replay=lambda: told.append("replay"))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"current of {device}")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    for name in ("graph", "device", "stream"):
        monkeypatch.setattr(torch.cuda, name, within)
    return told


def test_a_device_that_is_not_the_current_one_is_recorded_on(told: list[object]) -> None:
    """Without a stream of its own, what another device does is no part of the graph."""
    device = torch.device("cuda:1")
    record = CudaRecorder(device)
    recording = record(total, ones(4))
    assert recording.answer.tolist() == [24]
    graph = (torch.cuda.CUDAGraph(), "stream of cuda:1")
    assert told == [(device, None), ("current of cuda:1", None), graph, "end", "end", "end"]
    told.clear()
    recording.replay()
    assert told == [(device, None), "replay", "end"]


def test_a_failed_recording_leaves_the_thread_on_its_stream(
    told: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def failing(*_: object, **how: object) -> Iterator[None]:
        yield
        raise torch.AcceleratorError("a stream is left alone")

    monkeypatch.setattr(torch.cuda, "graph", failing)
    device = torch.device("cuda:0")
    with pytest.raises(torch.AcceleratorError):
        CudaRecorder(device)(total, ones(4))
    assert told == [(device, None), ("current of cuda:0", None), "end", "end"]


class Stream(str):
    """A stream that notes what it waits for."""

    __slots__ = ("waited",)

    def wait_stream(self, other: "Stream") -> None:
        self.waited = other


@pytest.mark.parametrize("is_default", [True, False])
def test_threads_on_streams_of_their_own_come_one_after_the_other(
    told: list[object], monkeypatch: pytest.MonkeyPatch, *, is_default: bool
) -> None:
    default, device = Stream("default"), torch.device("cuda:1")
    own = default if is_default else Stream("own")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: own)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda _: default)
    with on_default_stream(device):
        told.append("work")
    assert told == (["work"] if is_default else [(default, None), "work", "end"])
    assert is_default or default.waited is own


def test_a_cpu_has_nothing_to_put_in_order(told: list[object]) -> None:
    with on_default_stream(torch.device("cpu")):
        pass
    assert told == []
