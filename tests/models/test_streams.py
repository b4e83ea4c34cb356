"""Side streams. No GPU: streams here note what is launched on them and what they wait for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from head_detection.models import streams
from head_detection.models.streams import SideStreams, has_streams

GPU = torch.device("cuda:0")


class Stream:
    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told, self.device = name, told, GPU

    def wait_stream(self, other: "Stream") -> None:
        self.told.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    told: list[str] = []
    main, made = Stream("main", told), []

    def make(_device: torch.device) -> Stream:
        made.append(Stream(f"side {len(made)}", told))
        return made[-1]

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        told.append(f"on {stream.name}")
        yield
        told.append("back")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: main)
    monkeypatch.setattr(torch.cuda, "Stream", make)
    monkeypatch.setattr(torch.cuda, "stream", on)
    streams._side_stream.cache_clear()
    yield told
    streams._side_stream.cache_clear()


def test_work_begins_after_what_was_launched_and_is_waited_for(told: list[str]) -> None:
    with SideStreams(GPU) as side:
        assert [side.run(lambda number=number: number) for number in (7, 8)] == [7, 8]
        told.append("own work")
    assert told == [
        *("side 0 waits for main", "on side 0", "back"),
        *("side 1 waits for main", "on side 1", "back"),
        "own work",
        *("main waits for side 0", "main waits for side 1"),
    ]


def test_the_same_streams_are_taken_again(told: list[str]) -> None:
    for _ in range(2):
        with SideStreams(GPU) as side:
            side.run(lambda: None)
    assert "on side 1" not in told


def fail() -> None:
    raise torch.OutOfMemoryError("full")


def run_views(*views: Callable[[], object], first: Callable[[], object] = list) -> None:
    with SideStreams(GPU) as side:
        for view in views:
            side.run(view)
        first()


def test_no_stream_is_left_alone_after_an_error_in_a_view(told: list[str]) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        run_views(list, fail)
    assert told[-2:] == ["main waits for side 0", "main waits for side 1"]


def test_no_stream_is_left_alone_after_an_error_beside_it(told: list[str]) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        run_views(list, first=fail)
    assert told[-1] == "main waits for side 0"


def test_a_cpu_has_no_streams() -> None:
    assert not has_streams(torch.device("cpu"))
