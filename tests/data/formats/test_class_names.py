"""Which names of classes mean head."""

import pytest

from head_detection.data.formats.class_names import choose_heads, listed, means_head


@pytest.mark.parametrize(
    "name",
    [
        *("head", "Head", "HEAD", " head ", "head\t", "heads", "Heads", "\uff48ead"),
        *("human head", "human_head", "Human-Head", "humanHead", "person_head", "head_person"),
        *(
            "pedestrian heads",
            "people's head",
            "head of person",
            "Head Box",
            "head_bbox",
            "headBox",
        ),
        *("head-detection", "head/occluded", "head 1", "head2", "child head", "head (visible)"),
        *("haed", "hesd", "heas", "hed", "hhead", "headd", "headddd", "headdd w", "person haed"),
    ],
)
def test_names_that_mean_head(name: str) -> None:
    assert means_head(name)


@pytest.mark.parametrize(
    "name",
    [
        *("headphones", "headlight", "headset", "header", "headband", "heading", "headless"),
        *("Headphone", "head light", "head_lamp", "head-phones", "shower head", "dog head"),
        *("no head", "not_head", "head top", "helmet", "hat", "hand", "heart", "heat", "bead"),
        *("dead", "lead", "read", "held", "herd", "hear", "heap", "ahead", "heard", "thread"),
        *("beard", "bread", "forehead", "overhead", "arrowhead", "behead", "hood", "food"),
        *("", " ", "_", "1", "person", "face", "h", "頭", "person_body", "headcount", "\ud800"),
    ],
)
def test_names_that_do_not(name: str) -> None:
    assert not means_head(name)


def test_the_only_name_counts_and_several_must_say_which() -> None:
    assert choose_heads(["face"]) == {"face"}
    assert choose_heads(["face", "face"]) == {"face"}
    assert choose_heads(["person", "hat"]) == set()
    assert choose_heads(["person", "haed", "Head"]) == {"haed", "Head"}
    assert choose_heads([]) == set()


def test_names_in_an_error_are_few_and_on_one_line() -> None:
    assert listed([str(n) for n in range(80)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 72 more"
    assert listed(["a\nb"]) == "'a\\nb'"
