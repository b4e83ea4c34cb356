"""What ``test`` is told to write."""

import pytest

from head_detection.apps.main import parse
from head_detection.apps.result_options import choose_formats, note_unused, sink_options
from head_detection.images.styles import Drawing, Hiding

TEST = ["test", "--source", "a.jpg", "--draw-color", "red", "--blur-threshold", "0", "--ids", "a"]


@pytest.mark.parametrize(
    ("options", "unused"),
    [
        (["--save", "json"], ["--ids", "--draw-color", "--blur-threshold"]),
        (["--save", "json", "--show"], ["--ids", "--blur-threshold"]),
        (["--save", "coco,images,blur"], []),
        ([], ["--ids", "--blur-threshold"]),  # json, counts and images
        (
            ["--save", "coco", "--draw", "boxes", "--blur-style", "solid", "--counts-every", "1"],
            ["--counts-every", "--draw", "--draw-color", "--blur-style", "--blur-threshold"],
        ),
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


def test_what_is_not_given_is_the_default_of_each_part() -> None:
    options = sink_options(parse(["test", "--source", "a.jpg"]), "pictures")
    assert (options.drawing, options.hiding, options.counts_every) == (Drawing(), Hiding(), 1.0)
    words = ["--blur-style", "pixelate", "--blur-scale", "2", "--counts-every", "0"]
    options = sink_options(parse(["test", "--source", "a.jpg", *words]), "pictures")
    assert (options.hiding, options.counts_every) == (Hiding("pixelate", 2.0), 0.0)


def test_sources_may_be_given_one_by_one() -> None:
    arguments = parse(["test", "--source", "a.jpg", "b.jpg", "--source", "c.jpg"])
    assert arguments.source == ["a.jpg", "b.jpg", "c.jpg"]
