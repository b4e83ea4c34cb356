"""What ``test`` is told to write."""

import pytest

from head_detection.apps.main import parse
from head_detection.apps.result_options import choose_formats, note_unused

TEST = ["test", "--source", "a.jpg", "--draw-color", "red", "--blur-threshold", "0", "--ids", "a"]


@pytest.mark.parametrize(
    ("options", "unused"),
    [
        (["--save", "json"], ["--ids", "--draw-color", "--blur-threshold"]),
        (["--save", "json", "--show"], ["--ids", "--blur-threshold"]),
        (["--save", "coco,images,blur"], []),
        ([], ["--ids", "--blur-threshold"]),  # json, counts and images
    ],
)
def test_options_of_formats_that_are_not_written_are_named(
    options: list[str], unused: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = parse([*TEST, *options])
    note_unused(arguments, choose_formats(arguments, "pictures", is_live=False))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == unused
    for line in lines:
        assert "changes nothing without --save" in line
