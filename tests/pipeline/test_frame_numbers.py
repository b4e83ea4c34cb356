"""Numbers of frames, by hand."""

from head_detection.pipeline.frame_numbers import ChunkNumbers, FrameNumbers, Numbered


def sent(*stamps: int) -> FrameNumbers:
    numbers = FrameNumbers()
    for stamp in stamps:
        numbers.send(stamp)
    return numbers


def sent_chunks(*stamps: int, is_reordered: bool = True) -> ChunkNumbers:
    numbers = ChunkNumbers(is_reordered=is_reordered)
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


def test_frames_before_the_start_and_in_gaps_count() -> None:
    numbers = sent(0, 1, 2, 3)
    numbers.pass_over(2)
    numbers.skip(10)
    assert numbers.take(2) == Numbered(12, 2, [])


def test_chunks_are_shown_in_the_decoders_order_at_the_times_of_the_file() -> None:
    numbers = sent_chunks(0, 10, 20, 40)
    assert [numbers.take(chunk) for chunk in (0, 20, 10, 40)] == [
        *(Numbered(0, 0, []), Numbered(1, 10, []), Numbered(2, 20, []), Numbered(3, 40, [])),
    ]
    assert numbers.take(40) == Numbered(4, None, [])
    assert numbers.rest() == []


def test_chunks_that_came_to_nothing_wait_until_the_next_key_frame() -> None:
    """Of 1 and 2 the decoder says nothing; it says that 3 failed once 4 was sent."""
    numbers = sent_chunks(0)
    assert numbers.take(0).index == 0
    for stamp in (1, 2, 3):
        numbers.send(stamp)
    numbers.fail()
    numbers.send(4)
    assert numbers.take(4) == Numbered(2, 2, [(1, 1)])
    numbers.send(5)
    assert numbers.take(5, is_key=True) == Numbered(5, 5, [(3, 3), (4, 4)])


def test_threads_tell_of_a_lost_chunk_when_others_were_sent_since() -> None:
    """Two behind, as of the frames before: 1 fails when 3 is sent."""
    numbers = sent_chunks(0, 1, 2)
    assert numbers.take(0).index == 0
    numbers.send(3)
    numbers.fail()
    assert numbers.take(2) == Numbered(2, 2, [(1, 1)])


def test_no_frame_is_waited_for_longer_than_it_can_take() -> None:
    numbers = sent_chunks(*range(20))
    numbers.fail()
    assert numbers.take(16).missing == []
    assert numbers.take(18) == Numbered(3, 3, [(1, 1), (2, 2)])


def test_chunks_of_single_frames_are_missing_at_once() -> None:
    numbers = sent_chunks(0, 10, 20, is_reordered=False)
    assert numbers.take(10) == Numbered(1, 10, [(0, 0)])
    assert numbers.rest() == [(2, 20)]


def test_two_frames_of_one_chunk_leave_none_to_the_next() -> None:
    numbers = sent_chunks(0, 1, 2)
    assert [numbers.take(chunk).index for chunk in (0, 0, 2)] == [0, 1, 2]
    assert numbers.rest() == []


def test_chunks_before_the_start_count() -> None:
    numbers = sent_chunks(0, 1, 2, 3, 4)
    numbers.pass_over(2)
    assert numbers.take(4, is_key=True) == Numbered(4, 4, [(2, 2), (3, 3)])
