"""Errors are one tree, drawn in the module's docstring, and say what to do."""

import inspect
import re

import pytest

import rome_widgets as rw
from rome_widgets import errors

CLASSES = {
    name: each
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, rw.RomeWidgetsError)
}


def drawn():
    """Name, parent and the Python error beside it of each line of the drawing."""
    path = []
    for line in errors.__doc__.splitlines():
        found = re.fullmatch(r"    ([│ ]*)(?:[├└]── )?(\w+)(?: \((\w+)\))?(?: .*)?", line)
        if found and found[2] in CLASSES:
            depth = 0 if "──" not in line else 1 + len(found[1]) // 4
            path[depth:] = [found[2]]
            yield found[2], path[depth - 1] if depth else None, found[3]


def test_the_drawing_is_the_tree_of_the_classes():
    rows = list(drawn())
    assert sorted(name for name, *_ in rows) == sorted(CLASSES)
    for name, parent, beside in rows:
        bases = [base.__name__ for base in CLASSES[name].__bases__]
        assert bases == [each for each in (parent or "Exception", beside) if each]


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"Cancelled"}))
def test_each_says_what_was_found_what_was_wanted_and_what_to_do(name):
    error = CLASSES[name]("Found one.", "Wanted two.", "Take another.")
    assert (error.found, error.wanted, error.remedy) == (
        "Found one.",
        "Wanted two.",
        "Take another.",
    )
    assert str(error) == "Found one. Wanted two. Take another."
    assert str(CLASSES[name]("Found one.", remedy="Take another.")) == "Found one. Take another."


def test_what_was_stopped_carries_what_there_is():
    error = errors.Cancelled("The trace was stopped.", partial=7)
    assert str(error) == "The trace was stopped. Run it again to compute the rest."
    assert error.partial == 7
