"""Times of recordings that were joined, of pictures and of sound, by hand."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from clips import write_clip

from head_detection.results.joined_recordings import MOST_HELD, JoinedSound, JoinedStamps

VIDEO, SOUND = 0, 1


@dataclass
class Part:
    """A packet, in milliseconds."""

    stream_index: int
    dts: int
    pts: int
    time_base: Fraction = Fraction(1, 1000)


@pytest.fixture
def joined(tmp_path: Path) -> Any:
    """Of pictures at 10 a second."""
    with av.open(str(write_clip(tmp_path / "a.ts", 4))) as container:
        yield JoinedSound(container.streams.video[0])


def passed(joined: Any, *parts: tuple[int, int]) -> list[tuple[int, int]]:
    """Return track and time of what went on."""
    out = []
    for track, time in parts:
        scale = 90 if track == VIDEO else 1  # the pictures' clock is MPEG's
        part = Part(track, time * scale, time * scale, Fraction(1, 1000 * scale))
        out += joined.pass_on(part)
    return [(part.stream_index, round(part.dts * part.time_base * 1000)) for part in out]


def test_the_frames_of_a_joined_recording_follow_those_before_it() -> None:
    """Shown at 0 20 10 with B-frames; the second ones begin at 7 and, far on, at 9000."""
    joined = JoinedStamps(step=10, longest_gap=1000)
    decoded = [-10, 0, 10, -3, 7, 17, 8990]
    shown = [0, 20, 10, 7, 27, 17, 9000]
    shifts = [joined.shift_for(at, dts) for at, dts in zip(shown, decoded, strict=True)]
    assert [a + b for a, b in zip(shown, shifts, strict=True)] == [0, 20, 10, 30, 50, 40, 60]
    assert joined.shift_for(9900, 9890) == shifts[-1]  # a gap of one recording


def test_one_recording_is_left_as_it_is(joined: Any) -> None:
    parts = [(SOUND, 40), (VIDEO, 50), (SOUND, 80), (VIDEO, 150), (SOUND, 3_000_000), (SOUND, 120)]
    assert passed(joined, *parts[:5]) == parts[:5]


def test_sound_is_shifted_as_its_pictures_are(joined: Any) -> None:
    """The second recording begins at 7: its pictures at 250, 100 after the last."""
    first = [(VIDEO, 50), (SOUND, 60), (VIDEO, 150), (SOUND, 160)]
    assert passed(joined, *first) == first
    assert passed(joined, (VIDEO, 7), (SOUND, 170), (SOUND, 27)) == [
        *((VIDEO, 250), (SOUND, 170), (SOUND, 270)),
    ]


def test_sound_that_comes_first_waits_for_its_pictures(joined: Any) -> None:
    assert passed(joined, (VIDEO, 50), (SOUND, 60)) == [(VIDEO, 50), (SOUND, 60)]
    assert passed(joined, (SOUND, 27), (SOUND, 37)) == []
    assert passed(joined, (VIDEO, 7), (SOUND, 47)) == [
        *((SOUND, 170), (SOUND, 180), (VIDEO, 150), (SOUND, 190)),
    ]


def test_a_recording_without_sound_is_passed_over(joined: Any) -> None:
    """It begins at 0, and the third at 10: at 150 and 250."""
    assert passed(joined, (VIDEO, 50), (SOUND, 60), (VIDEO, 0)) == [
        *((VIDEO, 50), (SOUND, 60), (VIDEO, 150)),
    ]
    assert passed(joined, (SOUND, 15), (VIDEO, -10)) == [(SOUND, 165), (VIDEO, 250)]


def test_sound_that_goes_back_alone_does_not_wait_for_ever(joined: Any) -> None:
    first = [(VIDEO, 50), (SOUND, 2_000)]
    assert passed(joined, *first) == first
    back = [(SOUND, 1_000 + number) for number in range(MOST_HELD + 2)]
    assert passed(joined, *back) == back
    assert joined.rest() == []


def test_what_waits_at_the_end_is_not_lost(joined: Any) -> None:
    assert passed(joined, (VIDEO, 50), (SOUND, 60), (SOUND, 20))[-1] == (SOUND, 60)
    assert [part.dts for part in joined.rest()] == [20]
    assert joined.rest() == []
