"""A number is a number, and a boolean is none."""

import math

import numpy as np
import pytest
import torch

from rome_widgets.errors import ArgumentError, NoiseError, StateError
from rome_widgets.records.numbers import (
    as_float,
    as_whole,
    finite_number,
    plain,
    whole_number,
)

WHOLE = [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)]
NOT_WHOLE = [True, np.bool_(1), np.array(True), torch.tensor(True), 3.0, "3", None, [3], math.nan]
VALUELESS = torch.empty((), device="meta")
"""A number that nobody has computed."""


@pytest.mark.parametrize("value", WHOLE)
def test_whole_numbers_of_every_library_become_ints(value):
    assert type(as_whole(value)) is int
    assert whole_number(value, "n", 3, 3) == 3
    assert as_float(value) == 3


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
def test_what_is_no_whole_number_is_refused(value):
    assert as_whole(value) is None
    with pytest.raises(StateError, match=r"n is .* at least 1 was wanted"):
        whole_number(value, "n", 1)


def test_numbers_out_of_range_are_refused_with_the_error_asked_for():
    for value in (0, 11):
        with pytest.raises(NoiseError, match=f"n is {value}. A whole number from 1 to 10"):
            whole_number(value, "n", 1, 10, error=NoiseError)


def test_floats_of_every_library_and_nan_for_the_rest():
    for value in (0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5)):
        assert as_float(value) == 0.5
    for value in (True, np.bool_(0), "0.5", b"3", None, [0.5, 1], np.ones(1), np.ones(2), 10**400):
        assert math.isnan(as_float(value))


def test_what_cannot_be_read_or_written_out_is_no_number_and_no_raw_error():
    for value in (VALUELESS, torch.zeros((), dtype=torch.complex64), torch.ones(1), 10**5000):
        assert math.isnan(as_float(value))
        with pytest.raises(StateError, match=r"^n is "):
            whole_number(value, "n", 1, 10)


def test_finite_numbers_are_neither_nan_nor_infinite_nor_out_of_range():
    assert finite_number(np.float32(0.5), "n", 0, 1) == 0.5
    for value in (math.nan, math.inf, -0.1, 1.1, True, "0.5", None):
        with pytest.raises(NoiseError, match="finite number between 0 and 1 was"):
            finite_number(value, "n", 0, 1, error=NoiseError)


def test_scalars_and_arrays_of_every_library_become_pythons_own():
    for value in (np.int64(3), torch.tensor(3), np.array(3)):
        assert type(plain(value)) is int
    assert plain(np.array([[1, 2]])) == plain(torch.tensor([[1, 2]])) == [[1, 2]]
    assert plain("w") == "w"
    with pytest.raises(ArgumentError, match="cannot be read"):
        plain(VALUELESS)
