import argparse

import pytest

from head_detection import devices
from head_detection.apps import arguments
from head_detection.apps.arguments import not_negative, positive, probability
from head_detection.inference.weights_files import INT8


def test_the_choices_are_those_of_the_package():
    assert (*devices.PRECISIONS, INT8) == arguments.PRECISIONS


@pytest.mark.parametrize("text", ["0", "1", "0.5", "1e-3"])
def test_a_probability_is_read(text):
    assert probability(text) == float(text)


@pytest.mark.parametrize("text", ["-0.1", "1.01", "nan", "inf", "", "half"])
def test_what_is_no_probability_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected 0 to 1; got"):
        probability(text)


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "", "many"])
def test_what_is_not_above_zero_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected 1 or more; got"):
        positive(text)


@pytest.mark.parametrize("text", ["99999999999999999999999", "1" + "0" * 5000])
def test_a_number_that_nothing_has_as_many_of_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected 1[, ]"):
        positive(text)


def test_zero_is_not_negative_and_less_is():
    assert not_negative("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="expected 0 or more; got -1"):
        not_negative("-1")
