"""The loop, with a detector that needs no network."""

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_stream import Asked, FakeDetector
from PIL import Image

from head_detection.errors import ConfigError, PictureError
from head_detection.images.finding import PictureFile
from head_detection.inference.batching import PictureResult
from head_detection.pipeline.run import Tally, run_pipeline
from head_detection.pipeline.sources import Item, ItemSource, SourceInfo
from head_detection.results.formats import Sinks
from head_detection.results.record import Failure, Origin, Record
from head_detection.structures import NOT_TRACKED, Detections, Frame, RegionCount, Sighting

ORIGIN = Origin({}, 0.5)
FOUND = Detections.from_arrays([[1, 2, 3, 4]], [0.75], (32, 48))
PIXELS = np.zeros((32, 48, 3), np.uint8)
DOOR = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0))


class OneHead(FakeDetector):
    """Finds a head in every item but those called bad."""

    score_threshold = 0.25

    def __init__(self) -> None:
        super().__init__()
        self.found = FOUND

    def results_of(self, images: Iterable[Item], asked: Asked) -> Iterator[PictureResult]:
        for item in images:
            where = item.path if isinstance(item, PictureFile) else f"{item.name}: frame 7"
            pixels = PIXELS if asked.keep_pixels else None
            if "bad" in item.name:
                error = PictureError(f"{where}: the file is empty")
                yield PictureResult(item, None, error, None)
            else:
                yield PictureResult(item, self.found, None, pixels)


def bytes_held() -> int:
    """Return what lines of the package hold; Python's own tables grow in leaps at any time."""
    snapshot = tracemalloc.take_snapshot()
    own = snapshot.filter_traces([tracemalloc.Filter(True, "*/head_detection/*")])
    return sum(trace.size for trace in own.traces)


@pytest.fixture
def detector() -> OneHead:
    return OneHead()


def files(*names: str) -> ItemSource:
    return ItemSource.of([PictureFile(Path("in", name), name) for name in names], "in")


def test_pictures_go_to_the_sinks_and_failures_too(detector: OneHead, tmp_path: Path) -> None:
    tally = Tally()
    with Sinks(["json", "mot"], tmp_path, ORIGIN) as sinks:
        for outcome in run_pipeline(files("a.jpg", "bad.jpg", "c.jpg"), detector, sinks):
            tally.add(outcome)
    assert (tally.pictures, tally.heads, tally.failed) == (2, 2, 1)
    content = json.loads((tmp_path / "detections.json").read_text())
    assert [image["file"] for image in content["images"]] == ["a.jpg", "c.jpg"]
    assert content["failed"] == [{"file": "bad.jpg", "error": "the file is empty"}]
    lines = (tmp_path / "mot.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["1", "3"]  # what failed counts
    assert [(asked.batch_size, asked.keep_pixels) for asked in detector.asked] == [(None, False)]


def test_what_is_yielded_was_written_before(detector: OneHead, tmp_path: Path) -> None:
    path = tmp_path / "detections.ndjson"
    with Sinks(["lines"], tmp_path, ORIGIN) as sinks:
        for number, _ in enumerate(run_pipeline(files("a", "b"), detector, sinks), start=1):
            assert path.read_text().count("\n") == number


def test_records_tell_pictures_from_frames(detector: OneHead) -> None:
    items = [
        PictureFile(Path("in/a.jpg"), "a.jpg"),
        Frame("made", 0, pixels=PIXELS),
        Frame("street.mp4", 40, 1.6, PIXELS),
        Frame("bad.mp4", 7, 0.28),
    ]
    picture, made, frame, bad = run_pipeline(ItemSource.of(items, "street"), detector)
    assert isinstance(picture, Record)
    assert (picture.index, picture.path, picture.frame) == (0, Path("in/a.jpg"), None)
    assert isinstance(made, Record)
    assert (made.file, made.path, made.frame, made.source) == ("made", None, None, None)
    assert isinstance(frame, Record)
    assert (frame.file, frame.frame, frame.seconds) == ("street.mp4", 40, 1.6)
    assert (frame.source, frame.pixels) == ("street.mp4", None)
    assert isinstance(bad, Failure)
    assert (bad.name, bad.reason) == ("bad.mp4: frame 7", "the file is empty")


@pytest.mark.parametrize(
    ("names", "keep", "kept"),
    [(["json"], True, True), (["blur"], False, True), (["json"], False, False)],
)
def test_pixels_are_kept_where_somebody_needs_them(
    detector: OneHead, tmp_path: Path, names: list[str], keep: bool, kept: bool
) -> None:
    with Sinks(names, tmp_path, ORIGIN) as sinks:
        (record,) = run_pipeline(files("a.png"), detector, sinks, 3, keep_pixels=keep)
    assert [(asked.batch_size, asked.keep_pixels) for asked in detector.asked] == [(3, kept)]
    assert isinstance(record, Record)
    assert (record.pixels is not None) == kept


def test_the_source_tells_what_is_at_hand(detector: OneHead) -> None:
    for answer in (True, False):
        source = ItemSource(SourceInfo("x"), [], ready=lambda answer=answer: answer)
        assert list(run_pipeline(source, detector)) == []
        is_ready = detector.asked[-1].is_ready
        assert is_ready is not None
        assert is_ready() is answer


class Follower:
    """Gives the id 7 to the heads under .5."""

    lowest_score = 0.2

    def follow(self, frame: Frame, found: Detections) -> Detections:
        return replace(found, ids=np.where(found.scores < 0.5, 7, NOT_TRACKED))

    def sightings(self, name: str) -> tuple[Sighting, ...]:
        return (Sighting(7, 0, 0.0, (4.0, 5.0)),) if name == "a.mp4" else ()


class Doorman:
    def count(self, record: Record) -> Record:
        return replace(record, regions=(RegionCount("door", DOOR, len(record.detections)),))


def test_a_head_that_is_followed_counts_at_any_score(detector: OneHead) -> None:
    scores = [0.9, 0.45, 0.3]
    boxes = [[n, 0, n + 9, 9] for n in range(3)]
    found = Detections.from_arrays(boxes, scores, (20, 20))

    detector.found = found
    detector.score_threshold = 0.6
    source = ItemSource.of([Frame("a.mp4", 1, 0.1)])
    (record,) = run_pipeline(source, detector, hide_from=0.1, tracker=Follower(), counter=Doorman())
    assert isinstance(record, Record)
    assert [asked.score_threshold for asked in detector.asked] == [0.1]
    assert record.ids == [NOT_TRACKED, 7, 7]  # .9 counts, .45 and .3 are followed
    assert record.zones == {"door": 3}
    assert record.sightings == (Sighting(7, 0, 0.0, (4.0, 5.0)),)
    assert record.to_hide is not None
    assert len(record.to_hide) == 3


class Strict:
    """Has zones that the frames 1 and 2 of ``b`` do not fit."""

    def count(self, record: Record) -> Record:
        if record.file == "b" and record.index in (1, 2):
            raise ConfigError("door: expected points inside b")
        return replace(record, regions=())


def test_what_zones_do_not_fit_fails_and_all_others_go_on(
    detector: OneHead, tmp_path: Path
) -> None:
    frames = [Frame(name, index, index / 10) for index in (1, 2, 3) for name in ("b", "a")]
    with Sinks(["json"], tmp_path, ORIGIN) as sinks:
        outcomes = list(run_pipeline(ItemSource.of(frames), detector, sinks, counter=Strict()))
    assert [(o.name, isinstance(o, Failure)) for o in outcomes] == [
        ("b: frame 1", True),
        ("a: frame 1", False),
        ("b: frame 2", True),
        *[(f"{name}: frame {index}", False) for name, index in [("a", 2), ("b", 3), ("a", 3)]],
    ]
    assert json.loads((tmp_path / "detections.json").read_text())["failed"] == [
        {"file": "b", "frame": index, "error": "door: expected points inside b"} for index in (1, 2)
    ]


@pytest.mark.parametrize(
    "info", [SourceInfo("b", size=(32, 48)), SourceInfo("b", count=1)], ids=["size", "count"]
)
def test_zones_that_do_not_fit_all_there_is_end_the_run(
    detector: OneHead, info: SourceInfo
) -> None:
    with pytest.raises(ConfigError, match=r"^door: expected points inside b$"):
        list(run_pipeline(ItemSource(info, [Frame("b", 1, 0.1)]), detector, counter=Strict()))
    assert detector.is_closed


def test_who_stops_early_stops_the_detector(detector: OneHead) -> None:
    outcomes = run_pipeline(files("a", "b", "c"), detector)
    next(outcomes)
    outcomes.close()
    assert detector.is_closed


def test_a_run_without_end_needs_no_more_memory(detector: OneHead, tmp_path: Path) -> None:
    def endless() -> Iterator[Frame | PictureFile]:
        for number in range(6_000):
            if number % 3 == 0:
                yield Frame("camera", number, number / 25)
            else:
                bad = "bad" if number % 3 == 1 else ""
                yield PictureFile(Path(f"{bad}{number}.jpg"), f"{bad}{number}.jpg")

    source = ItemSource(SourceInfo("camera", is_live=True), endless())
    names = ["json", "csv", "lines", "coco", "mot"]
    held = []
    with Sinks(names, tmp_path, ORIGIN) as sinks:
        tracemalloc.start()
        for number, _ in enumerate(run_pipeline(source, detector, sinks), start=1):
            if number in (2_000, 6_000):
                held.append(bytes_held())
        tracemalloc.stop()
    first, last = held
    # A list of the 1,333 failures that came in between would alone hold 200,000 bytes and more.
    assert last - first < 80_000
    assert len(json.loads((tmp_path / "detections.json").read_text())["failed"]) == 2_000


def test_names_of_drawn_pictures_are_not_held_in_memory(detector: OneHead, tmp_path: Path) -> None:
    items = [PictureFile(Path(f"{n}.jpg"), f"{n}" * 20 + ".jpg") for n in range(3_000)]
    held = []
    with Sinks(["yolo"], tmp_path, ORIGIN) as sinks:
        tracemalloc.start()
        for number, _ in enumerate(run_pipeline(ItemSource.of(items), detector, sinks), start=1):
            if number in (1_000, 3_000):
                held.append(bytes_held())
        tracemalloc.stop()
    # A set of 2,000 names of 84 characters would hold 270,000 bytes.
    assert held[1] - held[0] < 80_000
    assert len(list((tmp_path / "labels").glob("*.txt"))) == 3_000


def test_a_picture_file_of_the_disk_goes_all_the_way(tmp_path: Path, detector: OneHead) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    source = ItemSource.of([PictureFile(tmp_path / "a.png", "a.png")])
    with Sinks(["images", "blur", "yolo"], tmp_path / "out", ORIGIN) as sinks:
        list(run_pipeline(source, detector, sinks))
    out = tmp_path / "out"
    made = sorted(path.relative_to(out).as_posix() for path in out.glob("*/a.*"))
    assert made == ["blur/a.png", "images/a.png", "labels/a.txt"]


def test_less_likely_heads_are_there_to_be_hidden(detector: OneHead) -> None:
    """Heads of 0.75 do not count from 0.9 on."""
    detector.score_threshold = 0.9
    (record,) = run_pipeline(files("a.jpg"), detector, hide_from=0.1)
    assert isinstance(record, Record)
    assert [asked.score_threshold for asked in detector.asked] == [0.1]
    assert len(record.detections) == 0
    assert record.to_hide is not None
    assert len(record.to_hide) == 1
