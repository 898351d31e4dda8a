"""What a model writes with and without its edits."""

import pytest
import torch

import rome_widgets as rw
from tests.helpers import tiny, world

NEEDLE = ("{} is in the city of", "The Space Needle", "Paris")
PROMPT = "The Space Needle is in the city of"


def test_all_of_a_comparison_is_of_one_model(lm):
    edit = rw.edit(lm, *NEEDLE)
    widget = rw.GenerationCompare(lm, [PROMPT] * 4, max_new_tokens=2, auto_run=False)
    widget.observe(lambda change: edit.apply() if widget.progress > 0.3 else None, "progress")
    widget.run()
    assert widget.wait(30)
    assert len({row["after"] for row in widget.texts if row}) <= 1 or widget.status == "error"


def test_the_models_own_settings_of_sampling_change_nothing(lm):
    edit = rw.edit(lm, *NEEDLE)
    (plain,) = edit.compare(PROMPT, generate=6)
    own = lm.model.generation_config
    own.suppress_tokens = lm.answer_ids(PROMPT, "Paris")
    own.num_return_sequences = 3
    own.do_sample = True
    (found,) = edit.compare(PROMPT, generate=6)
    assert found == plain


@pytest.mark.parametrize("kind", tiny.CHATS)
def test_chats_and_ids_are_gone_on_from_with_their_ids(kind):
    lm = tiny.chat_lm(kind)
    messages = [{"role": "user", "content": "Where is the Space Needle?"}]
    ids = lm.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    written = lm.model.generate(torch.tensor([ids]), max_new_tokens=5, do_sample=False)
    wanted = lm.tokenizer.decode(written[0][len(ids) :], skip_special_tokens=True)
    for prompts in (messages, ids, [messages], [ids, "Rome"]):
        compare = rw.GenerationCompare(lm, prompts, max_new_tokens=5)
        assert compare.wait(20)
        assert compare.texts[0]["after"] == wanted
        assert compare.prompts[0] == lm.tokenizer.decode(ids)


class TestGenerations:
    PROMPTS = ("The Space Needle is in the city of", "Miles Davis plays the")

    def test_an_edit_is_compared_without_being_applied(self, lm):
        edit = rw.edit(lm, *NEEDLE)
        widget = rw.GenerationCompare(edit, self.PROMPTS, max_new_tokens=4)
        assert widget.wait(30)
        assert widget.status == "done"
        assert not edit.applied
        needle = widget.texts[0]
        assert needle["before"].strip().startswith("Seattle")
        assert needle["after"].strip().startswith("Paris")

    def test_a_model_is_compared_with_itself_unedited(self, lm):
        with rw.edit(lm, *NEEDLE):
            widget = rw.GenerationCompare(lm, self.PROMPTS, max_new_tokens=4)
            assert widget.wait(30)
        assert widget.texts[0]["before"] != widget.texts[0]["after"]
        widget.run(wait=True)
        assert widget.texts[0]["before"] == widget.texts[0]["after"]

    def test_it_streams_and_can_be_stopped(self, lm):
        edit, told = rw.edit(lm, *NEEDLE), []
        widget = rw.GenerationCompare(edit, self.PROMPTS, max_new_tokens=100, auto_run=False)
        widget.observe(lambda change: told.append(change["new"]), "cells")
        widget.observe(lambda change: widget.cancel() if told[-1] else None, "cells")
        widget.run()
        assert widget.wait(60)
        assert widget.status == "cancelled"
        assert len(widget.texts[0]["after"]) < 400


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3, text", "bloom", "mistral"])
def test_text_is_written_as_without_a_cache(name):
    lm = world.make_lm(name, torch.float64)
    edit = world.made_up_edit(lm, 0)
    (found,) = edit.compare("w3 w14 w15", generate=6)
    for applied, text in ((False, found.before), (True, found.after)):
        ids = list(lm.encode("w3 w14 w15", (0, 2)).ids)
        start = len(ids)
        if applied:
            edit.apply()
        for _ in range(6):
            ids.append(int(lm.next_token_probabilities(torch.tensor([ids]))[0].argmax()))
        edit.revert()
        assert text == lm.tokenizer.decode(ids[start:], skip_special_tokens=True)
