from pathlib import Path

import pytest

from head_detection.benchmark.pictures import (
    first_readable,
    pictures_to_measure,
    read_at_size,
)
from head_detection.errors import BenchmarkError
from head_detection.images.reading import read_picture


def test_made_pictures_differ_and_go_away() -> None:
    with pictures_to_measure(None, (48, 64), 12) as files:
        contents = {file.path.read_bytes() for file in files}
        assert len(contents) == len(files) == 12
        assert {read_picture(file.path).shape for file in files} == {(48, 64, 3)}
    assert not files[0].path.exists()


def test_a_source_is_read_as_far_as_asked(tmp_path: Path) -> None:
    with pictures_to_measure(None, (48, 64), 3) as made:
        for file in made:
            (tmp_path / file.name).write_bytes(file.path.read_bytes())
    with pictures_to_measure(str(tmp_path), (8, 8), 2) as files:
        assert [file.name for file in files] == ["00000.jpg", "00001.jpg"]
    files[0].path.write_bytes(b"broken")
    assert first_readable(files, 2) == files[1:]
    (image,) = read_at_size(files[1:], (20, 30))
    assert image.shape == (3, 20, 30)
    with pytest.raises(BenchmarkError, match=r"00000\.jpg: not a picture"):
        first_readable(files[:1], 2)
