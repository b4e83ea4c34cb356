"""Pictures of batch jobs in tars and tables, and small files for a fake detector."""

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from head_detection.batch.process import WorkerOptions
from head_detection.batch.reading import ItemReader

HERE = Path(__file__).resolve().parent


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> WorkerOptions:
    """Options of a worker whose detector does what a file's bytes tell it to."""
    monkeypatch.syspath_prepend(str(HERE))
    return WorkerOptions(builder="fake_detector:build", threads=1)


@pytest.fixture
def fill(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """A function from names and bytes to a folder of such files."""

    def make(files: dict[str, bytes]) -> Path:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder

    return make


@pytest.fixture(scope="session")
def picture() -> Callable[[int], bytes]:
    """A function from a number to a small PNG that is like no other."""

    def make(number: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(file, "PNG")
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def make_tar() -> Callable[..., bytes]:
    """A function from names and contents, or whole members, to a tar."""

    def make(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for member in members:
                if isinstance(member, tarfile.TarInfo):
                    archive.addfile(member)
                    continue
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
        return file.getvalue()

    return make


@pytest.fixture
def reader() -> Iterator[ItemReader]:
    """Closed at the end."""
    reader = ItemReader()
    yield reader
    reader.close()


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Callable[[str, bytes], str]]:
    """A function that puts a file into an object store in memory, and returns its URL."""
    system = fsspec.filesystem("memory")

    def put(name: str, content: bytes) -> str:
        url = f"memory://{tmp_path.name}/{name}"
        system.pipe_file(url, content)
        return url

    yield put
    if system.exists(f"memory://{tmp_path.name}"):
        system.rm(f"memory://{tmp_path.name}", recursive=True)
