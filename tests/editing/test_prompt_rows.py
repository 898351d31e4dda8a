"""A fact becomes rows of tokens: with each prefix, and the one that should stay."""

import pytest

from rome_widgets.editing.prompt_rows import about_row, prefixed_rows
from rome_widgets.editing.request import read_request
from rome_widgets.errors import PromptError
from tests.helpers import world


def test_rows_are_weighted_and_end_before_the_last_token_of_the_target():
    lm = world.make_lm("gpt2")
    request = read_request(lm, world.PROMPT, world.SUBJECT, "w8 w9")
    rows = prefixed_rows(lm, request, ("", "w1 w2", ""))
    assert [row.weight for row in rows] == [2 / 3, 1 / 3]
    for row, (ids, pos) in zip(rows, world.rows_of(["", "w1 w2"]), strict=True):
        assert row.ids == (*ids, 8)
        assert row.pos == pos
        assert row.wanted == (len(ids) - 1, len(ids))
    with pytest.raises(PromptError, match="lack the empty one"):
        prefixed_rows(lm, request, ("w1 w2",))


def test_the_row_about_the_subject_is_read_where_the_settings_say():
    lm = world.make_lm("gpt2")
    request = read_request(lm, world.PROMPT, world.SUBJECT, "w8")
    subject, end = (about_row(lm, request, where) for where in ("subject", "end"))
    assert subject.ids == (14, 15)
    assert subject.wanted == (subject.pos,) == (end.pos,) == (1,)
    assert end.wanted == (3,)
    assert end.ids[:2] == subject.ids
