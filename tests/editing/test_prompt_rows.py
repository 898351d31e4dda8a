"""A fact becomes rows of tokens: with each prefix, and the one that should stay."""

import copy

import pytest

from rome_widgets.editing.prompt_rows import about_row, prefixed_rows
from rome_widgets.editing.request import read_request
from rome_widgets.errors import PromptError
from tests.helpers import tiny, world


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


@pytest.mark.parametrize("kind", tiny.CHATS)
def test_prefixes_of_a_chat_stand_where_its_words_begin(kind):
    lm = tiny.chat_lm(kind)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is the Space Needle?"},
    ]
    ids = lm.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    chat = copy.deepcopy(messages)
    messages[1]["content"] = "It rained. " + messages[1]["content"]
    longer = lm.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    for prompt in (chat, ids):
        request = read_request(lm, prompt, "the Space Needle", "Seattle")
        bare, prefixed = prefixed_rows(lm, request, ("", "It rained"))
        more = list(request.target_ids[:-1])
        assert list(bare.ids) == ids + more
        assert list(prefixed.ids) == longer + more
        assert prefixed.pos - bare.pos == len(longer) - len(ids)
        assert lm.token_text(bare.ids[bare.pos]) == lm.token_text(prefixed.ids[prefixed.pos])


def test_prefixes_of_ids_that_no_text_gives_are_put_between_them():
    lm = tiny.chat_lm()
    ids = [*lm.encode_alone("<|start|>"), *lm.encode_alone("Th"), *lm.encode_alone("e Space is")]
    request = read_request(lm, ids, "Space", "Seattle")
    assert not request.rendered.plain
    assert not request.rendered.whole
    bare, prefixed = prefixed_rows(lm, request, ("", "It rained"))
    more = list(request.target_ids[:-1])
    assert list(bare.ids) == ids + more
    assert list(prefixed.ids) == [ids[0], *lm.encode_alone("It rained. "), *ids[1:], *more]
