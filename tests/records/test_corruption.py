"""Another subject as a record."""

import pickle

import pytest

import rome_widgets as rw
from rome_widgets.errors import NoiseError


def test_the_words_are_kept_without_the_spaces_around_them():
    other = rw.Subject(" The Eiffel Tower ")
    assert other == rw.Subject("The Eiffel Tower")
    assert repr(other) == "Subject('The Eiffel Tower')"
    assert other.text == "“The Eiffel Tower” in its place"
    assert pickle.loads(pickle.dumps(other)) == other


@pytest.mark.parametrize("words", ["", " ", None, 3, ["Rome"]])
def test_what_names_nobody_is_refused(words):
    with pytest.raises(NoiseError, match=r"rw.Subject\("):
        rw.Subject(words)
