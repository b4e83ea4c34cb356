from pathlib import Path

import numpy as np
import pytest

from head_detection.benchmark.pictures import (
    SCENES,
    crowd,
    first_readable,
    pictures_to_measure,
    portrait,
    read_at_size,
)
from head_detection.data.synthetic import sample_person
from head_detection.errors import BenchmarkError
from head_detection.images.reading import read_picture


@pytest.mark.parametrize("scene", SCENES)
def test_made_pictures_differ_and_go_away(scene: str) -> None:
    with pictures_to_measure(None, scene, (48, 64), 12) as files:
        contents = {file.path.read_bytes() for file in files}
        assert len(contents) == len(files) == 12
        assert {read_picture(file.path).shape for file in files} == {(48, 64, 3)}
    assert not files[0].path.exists()


def test_a_crowd_is_people_side_by_side() -> None:
    # 4 people of 410 x 450 at half their size: two rows of two, and nobody is cut off.
    picture = crowd((450, 410), num_people=4)
    assert picture.shape == (450, 410, 3)
    upper, lower = picture[:225], picture[225:]
    # Neighbours are mirrored; the first is one of those that stand in the shade, the others not.
    assert np.array_equal(upper[:, 205:], lower[:, :205])
    assert upper[:, :205].mean() == pytest.approx(0.6 * upper[:, 205:].mean(), rel=0.02)


@pytest.mark.parametrize("size", [(600, 800), (480, 640), (1080, 1920)])
def test_more_than_a_hundred_heads_are_whole(size: tuple[int, int]) -> None:
    person = sample_person()
    broad, tall = person.pixels.shape[1], person.pixels.shape[0]
    # A person's share of the picture, as pixels of the sample are scaled for it.
    scale = (size[0] * size[1] / (150 * broad * tall)) ** 0.5
    lowest = float(person.head_box[3])
    rows = int((size[0] / scale - lowest) // tall) + 1
    columns = int(size[1] / scale // broad)
    assert rows * columns > 100
    assert crowd(size).shape == (*size, 3)


@pytest.mark.parametrize("size", [(1, 1), (3, 200)])
def test_a_crowd_has_room_in_any_picture(size: tuple[int, int]) -> None:
    assert crowd(size).shape == portrait(size).shape == (*size, 3)


def test_a_source_is_read_as_far_as_asked(tmp_path: Path) -> None:
    with pictures_to_measure(None, "crowd", (48, 64), 3) as made:
        for file in made:
            (tmp_path / file.name).write_bytes(file.path.read_bytes())
    with pictures_to_measure(str(tmp_path), "crowd", (8, 8), 2) as files:
        assert [file.name for file in files] == ["00000.jpg", "00001.jpg"]
    files[0].path.write_bytes(b"broken")
    assert first_readable(files, 2) == files[1:]
    (image,) = read_at_size(files[1:], (20, 30))
    assert image.shape == (3, 20, 30)
    with pytest.raises(BenchmarkError, match=r"00000\.jpg: not a picture"):
        first_readable(files[:1], 2)
