"""Facts are read in whichever way they are given."""

import pytest

import rome_widgets as rw
from rome_widgets.editing.request import read_request, read_requests
from rome_widgets.errors import ContextTooLong, PromptError, SubjectNotFound
from tests.helpers import tiny, world
from tests.helpers.world import small_edit


def test_a_fact_and_a_record_say_the_same_as_text():
    lm = world.make_lm("gpt2")
    text = small_edit(lm, "w3 {} w26", "w14 w15", "w8")
    filled = small_edit(lm, "w3 w14 w15 w26", "w14 w15", "w8")
    fact = small_edit(lm, rw.Fact("w3 {} w26", "w14 w15", "w2"), target="w8")
    record = {
        "requested_rewrite": {
            "prompt": "w3 {} w26",
            "subject": "w14 w15",
            "target_true": {"str": "w2"},
            "target_new": {"str": "w8"},
        }
    }
    assert text.id == filled.id == fact.id == small_edit(lm, record).id
    assert small_edit(lm, "w3 {} w26", "w14 w15", "  w8 ").id == text.id


def test_a_bad_fact_is_refused_before_anything_runs():
    lm = world.make_lm("gpt2")
    calls = [
        (PromptError, ("w3 {} w26", "w14", None)),
        (PromptError, ("w3 {} w26", "w14", "  ")),
        (PromptError, ("w3 {} {} w26", "w14", "w8")),
        (PromptError, ("w3 {} w26", None, "w8")),
        (PromptError, ("", "w14", "w8")),
        (PromptError, (rw.Fact("w3 {}", "w14", "w2"),)),
        (PromptError, ("w3 {} \ud800", "w14", "w8")),
        (SubjectNotFound, ("w3 w4", "w14", "w8")),
        (ContextTooLong, ("w3 {} " + "w4 " * 12, "w14", "w8")),
    ]
    for error, arguments in calls:
        with pytest.raises(error):
            small_edit(lm, *arguments)


def test_a_list_holds_records_triples_or_facts_with_one_target():
    lm = world.make_lm("gpt2")
    record = {"prompt": "w3 {}", "subject": "w14", "target_new": {"str": "w8"}}
    fact = rw.Fact("w3 {}", "w14", "w2")
    wanted = read_request(lm, record, None, None)
    assert read_requests(lm, [record, ("w3 {}", "w14", "w8")], None, None) == (wanted, wanted)
    assert read_requests(lm, [fact], None, "w8") == read_requests(lm, record, None, None)
    with pytest.raises(PromptError, match="no fact"):
        read_requests(lm, [], None, None)
    with pytest.raises(PromptError, match="No target"):
        read_requests(lm, [fact], None, None)


MESSAGES = [
    {"role": "system", "content": "You know the Space Needle."},
    {"role": "user", "content": "Where is the Space Needle?"},
]


@pytest.mark.parametrize("kind", tiny.CHATS)
def test_messages_ids_and_their_text_state_the_fact_with_the_ids_of_transformers(kind):
    lm = tiny.chat_lm(kind)
    ids = lm.tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True)["input_ids"]
    for prompt in (MESSAGES, ids):
        request = read_request(lm, prompt, "the Space Needle", "Seattle")
        assert list(lm.prompt_ids(request.prompt)) == ids
        assert request.prompt == lm.tokenizer.decode(ids)
        assert request.fact.prompt.endswith("Where is {}?<|end|>\n<|start|>assistant\n")
        assert request.prompt[slice(*request.subject_place)] == "the Space Needle"
    hole = [MESSAGES[0], {"role": "user", "content": "Where is {}?"}]
    other = read_request(lm, hole, "the space needle", "Seattle")
    assert other.fact.text == request.fact.text.replace("is the Space N", "is the space n")
    assert list(other.prompt.ids) == list(lm.prompt_ids(other.prompt))


def test_the_mention_that_an_edit_means_is_that_of_a_trace():
    lm = world.make_lm("gpt2")
    text = "w14 w15 w3 w14 w5"
    assert read_request(lm, text, "w14", "w8").fact.prompt == "w14 w15 w3 {} w5"
    assert read_request(lm, text, (0, 3), "w8").fact.prompt == "{} w15 w3 w14 w5"
    assert read_request(lm, "w1 met w11 x", "w1", "w8").fact.prompt == "{} met w11 x"


def test_an_edit_is_written_at_one_mention():
    lm = tiny.shared_lm()
    with pytest.raises(PromptError, match="2 spans of characters"):
        read_request(lm, "w3 w14 w5 w14", [(3, 6), (10, 13)], "w7")
