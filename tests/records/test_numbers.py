"""A number is a number, whoever made it; a truth value, a text and NaN are none."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from rome_widgets.records.numbers import real_number, whole_number

NEITHER = [True, np.True_, torch.tensor(True), "3", b"3", None, [3], np.array([3]), 1j]


@pytest.mark.parametrize("value", [3, np.int8(3), np.array(3), torch.tensor(3)], ids=repr)
def test_whole_numbers(value):
    assert (whole_number(value), real_number(value)) == (3, 3.0)
    assert type(whole_number(value)) is int
    assert type(real_number(value)) is float


@pytest.mark.parametrize("value", [0.5, np.float16(0.5), torch.tensor(0.5), Fraction(1, 2)])
def test_other_numbers(value):
    assert (whole_number(value), real_number(value)) == (None, 0.5)


@pytest.mark.parametrize("value", NEITHER, ids=repr)
def test_what_is_no_number(value):
    assert whole_number(value) is None
    assert real_number(value) is None


def test_infinity_is_a_number_and_nan_is_none():
    assert real_number(math.inf) == math.inf
    assert real_number(math.nan) is None
    assert real_number(10**400) is None
