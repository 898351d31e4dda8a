"""Arguments are checked by their kind, before anything of a function runs."""

import inspect
import threading
from pathlib import Path

import numpy as np
import pytest

from rome_widgets.errors import ArgumentError, SaveFailed
from rome_widgets.records import arguments
from rome_widgets.records.arguments import a_path, optional, takes


class Odd:
    """Neither a path nor a function, and it cannot even be written out."""

    def __repr__(self):
        raise ValueError("no words")

    __bool__ = __iter__ = __fspath__ = __repr__


FITS = {
    arguments.callback: [None, print, lambda step: None, [].append],
    arguments.cancel_flag: [None, threading.Event()],
    arguments.truth: [True, 0, "yes", np.bool_(1)],
    arguments.text: ["", "w"],
    arguments.texts: ["w", ["w"], [], ("v", "w")],
    arguments.several: [[1], (), range(3), np.zeros(2)],
    a_path(SaveFailed): ["there", Path("there")],
    optional(arguments.text): [None, "w"],
}
DOES_NOT_FIT = {
    arguments.callback: [5, "w", object(), lambda: None, Odd()],
    arguments.cancel_flag: [5, "w", threading.Event, Odd()],
    arguments.truth: [np.zeros(2), Odd()],
    arguments.text: [None, 5, b"w", Odd()],
    arguments.texts: [None, 5, b"w", {"w": 1}, ["w", 5], Odd()],
    arguments.several: [None, 5, Odd()],
    a_path(SaveFailed, "file"): [None, 5, "", Path(), "/", "a\0b", "\ud800", b"there", Odd()],
    optional(arguments.text): [5, Odd()],
}


@pytest.mark.parametrize(("kind", "value"), [(k, v) for k, some in FITS.items() for v in some])
def test_what_fits_goes_through(kind, value):
    kind(value, "it")


@pytest.mark.parametrize("kind", DOES_NOT_FIT)
def test_what_does_not_fit_is_refused_by_name_whatever_it_is(kind):
    for value in DOES_NOT_FIT[kind]:
        with pytest.raises((ArgumentError, SaveFailed), match=r"^it is .* wanted"):
            kind(value, "it")


def test_paths_and_texts_come_as_one_type():
    assert a_path(SaveFailed)("there", "path") == Path("there")
    assert arguments.texts("w", "prompts") == ["w"]


@takes(progress=arguments.callback, prompts=arguments.texts)
def work(prompts, k=1, *, progress=None):
    """Works."""
    return prompts, k, progress


def test_checked_functions_keep_their_signature_and_their_words():
    assert str(inspect.signature(work)) == "(prompts, k=1, *, progress=None)"
    assert work.__doc__ == "Works."
    assert work("w", 2) == (["w"], 2, None)


def test_arguments_are_checked_by_place_and_by_name():
    for call in (lambda: work(5), lambda: work(prompts=5), lambda: work("w", progress=5)):
        with pytest.raises(ArgumentError):
            call()


def test_a_wrong_signature_is_a_type_error_as_of_any_function():
    for call in (lambda: work(), lambda: work("w", 1, 2), lambda: work("w", steps=5)):
        with pytest.raises(TypeError, match="work"):
            call()


def test_a_kind_of_an_argument_that_is_not_there_is_a_mistake():
    with pytest.raises(AssertionError, match="stop"):
        takes(stop=arguments.cancel_flag)(work)
