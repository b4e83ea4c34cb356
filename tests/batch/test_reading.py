from collections.abc import Callable
from pathlib import Path

import pytest

from head_detection.batch import reading
from head_detection.batch.items import Item
from head_detection.batch.reading import ItemReader
from head_detection.errors import PictureError
from head_detection.images.finding import PictureFile


def test_a_local_file_is_left_to_the_detector(reader: ItemReader) -> None:
    read = reader.read(Item("a.jpg", "/nowhere/a.jpg"))
    assert read == PictureFile(Path("/nowhere/a.jpg"), "a.jpg")


def test_what_is_known_to_fail_fails(reader: ItemReader) -> None:
    with pytest.raises(PictureError, match=r"^a.jpg: no permission to read it$"):
        reader.read(Item("a.jpg", "a.jpg", problem="no permission to read it"))


def test_a_url_is_read_whole_and_no_further_than_the_limit(
    reader: ItemReader, bucket: Callable[[str, bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket("a.jpg", b"12345")
    assert reader.read(Item("a.jpg", url)) == b"12345"
    monkeypatch.setattr(reading, "MAX_BYTES", 4)
    message = "^a.jpg: expected at most 4 bytes; got more: make it smaller$"
    with pytest.raises(PictureError, match=message):
        reader.read(Item("a.jpg", url))
    with pytest.raises(PictureError, match=r"^a.jpg: expected at most 4 bytes"):
        reader.read(Item("a.jpg", "/nowhere/a.tar", offset=512, size=5))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Item("a", "memory://nothing/a.jpg"), "a: no such file"),
        (Item("a", "/nowhere/a.tar", offset=1, size=1), "a: no such file"),
        (Item("a", "/nowhere/a.parquet", offset=1), "a: .*a.parquet: expected a Parquet .*no such"),
        (Item("rtsp://cam/1", "rtsp://cam/1"), "rtsp://cam/1: expected a path or a URL of"),
        (Item("a", "ssh://me:secret@host/a"), "a: ssh://host/a: expected a path or a URL of"),
    ],
)
def test_what_cannot_be_read_is_one_line(reader: ItemReader, item: Item, message: str) -> None:
    with pytest.raises(PictureError, match=f"^{message}") as caught:
        reader.read(item)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mjpeg", "A.MJPG"])
def test_a_motion_jpeg_video_is_not_its_first_picture(
    name: str, tmp_path: Path, bucket: Callable[[str, bytes], str], reader: ItemReader
) -> None:
    for place in (str(tmp_path / name), bucket(name, b"\xff\xd8\xff")):
        with pytest.raises(PictureError, match=f"^{name}: expected a picture; got a video"):
            reader.read(Item(name, place))
