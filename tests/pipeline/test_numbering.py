"""Numbers of frames, by hand."""

from head_detection.pipeline.numbering import FrameNumbers, Numbered


def sent(*stamps: int, in_order: bool = False) -> FrameNumbers:
    numbers = FrameNumbers(in_order=in_order)
    for stamp in stamps:
        numbers.send(stamp)
    return numbers


def test_a_packet_that_gave_nothing_keeps_its_number() -> None:
    numbers = sent(0, 30, 10, 20, 40)
    assert numbers.take(0) == Numbered(0, 0, [])
    assert numbers.take(30) == Numbered(3, 30, [(1, 10), (2, 20)])
    assert numbers.rest() == [(4, 40)]
    assert numbers.rest() == []


def test_stamps_that_are_repeated_or_unknown_count_once() -> None:
    numbers = sent(0, 0, 10)
    assert [numbers.take(stamp).index for stamp in (0, 5, None, 10)] == [0, 1, 2, 3]
    assert numbers.rest() == []


def test_in_order_the_next_frame_has_the_lowest_stamp() -> None:
    numbers = sent(0, 2, 1, in_order=True)
    assert [numbers.take(9).stamp for _ in range(3)] == [0, 1, 2]
    assert numbers.take(9) == Numbered(3, 9, [])


def test_in_order_what_failed_is_missing_in_its_place() -> None:
    numbers = sent(0, 1, 2, in_order=True)
    numbers.fail(1)
    assert numbers.take(None) == Numbered(0, 0, [])
    assert numbers.take(None) == Numbered(2, 2, [(1, 1)])


def test_frames_before_the_start_and_in_gaps_count() -> None:
    numbers = sent(0, 1, 2, 3)
    numbers.pass_over(2)
    numbers.skip(10)
    assert numbers.take(2) == Numbered(12, 2, [])
