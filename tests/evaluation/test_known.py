"""The facts a model knows: against a loop that runs each prompt by itself."""

import threading

import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import PromptError
from rome_widgets.evaluation.known import known_to
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.fact_records import BadRecord, FactRecords
from tests.helpers import tiny, world

PROMPTS = [" ".join(f"w{(3 * n + k) % 29}" for k in range(2 + n % 5)) for n in range(24)]
"""Of five lengths."""


def likeliest(lm, prompt):
    """By a whole pass of the model itself over one prompt."""
    ids = torch.tensor([lm.tokenizer(prompt)["input_ids"]])
    with torch.no_grad():
        return int(lm.model(ids).logits[0, -1].argmax())


def records_for(lm):
    """Two of three known, in an order that has nothing to do with their lengths."""
    records = []
    for number, prompt in enumerate(PROMPTS):
        word = (likeliest(lm, prompt) + (number % 3 == 0)) % 29
        target = f"w{word}" + (" w4" if number % 7 == 1 else "")
        records.append(FactRecord(prompt, prompt.split()[0], target, id=str(number)))
    return FactRecords(records, "made up", [BadRecord("there", "before")])


def by_a_loop(lm, records):
    """One prompt after another."""
    for record in records:
        word = lm.tokenizer.decode([likeliest(lm, record.text)]).strip()
        if word == record.target.split()[0]:
            yield record


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_those_are_kept_whose_object_begins_with_the_likeliest_token(name):
    lm = world.make_lm(name)
    records = records_for(lm)
    wanted = list(by_a_loop(lm, records))
    assert len(wanted) == 16
    found = known_to(lm, records, progress=False)
    assert list(found) == wanted  # in their order
    assert (found.source, found.left_out) == ("made up", records.left_out)
    assert known_to(lm, list(records), progress=False) == found


def test_prompts_run_once_each_and_those_of_one_length_together(monkeypatch):
    lm = world.make_lm("gpt2")
    records = records_for(lm)
    shapes, told = [], []
    ask = type(lm).next_token_probabilities
    monkeypatch.setattr(
        type(lm),
        "next_token_probabilities",
        lambda self, rows, *rest: shapes.append(tuple(rows.shape)) or ask(self, rows, *rest),
    )
    found = known_to(lm, [*records, *records], progress=told.append)
    assert [each.id for each in found] == 2 * [each.id for each in known_to(lm, records)]
    distinct = {each.text for each in records}
    assert shapes[:5] == [
        (len([text for text in distinct if len(text.split()) == length]), length)
        for length in range(2, 7)
    ]
    assert [each.done for each in told][-1] == told[0].total == len(distinct)


def test_what_cannot_be_asked_is_told_and_ends_nothing():
    lm = tiny.shared_lm()
    fact = FactRecord("w3 w4", "w3", f"w{likeliest(lm, 'w3 w4')}")
    none, long = FactRecord("w3", "w3"), FactRecord("w3 " * 40, "w3", "w5")
    found = known_to(lm, [none, fact, long], progress=False)
    assert list(found) == [fact]
    assert [each.place for each in found.left_out] == ["record 0", "record 2"]
    assert "names no true object" in found.left_out[0].reason
    assert "16" in found.left_out[1].reason
    for records in ([], [none]):
        with pytest.raises(PromptError, match=f"None of the {len(records)} facts"):
            known_to(lm, records, progress=False)
    with pytest.raises(PromptError, match="is no record of a fact"):
        known_to(lm, ["text"], progress=False)
    with pytest.raises(rw.RomeWidgetsError, match="records is"):
        known_to(lm, fact, progress=False)


def test_a_cancel_stops_between_batches():
    lm, stop, told = tiny.shared_lm(), threading.Event(), []
    records = [FactRecord(prompt, prompt.split()[0], "w5") for prompt in PROMPTS]
    with pytest.raises(rw.Cancelled, match="of 24 prompts"):
        known_to(lm, records, progress=lambda step: told.append(step) or stop.set(), cancel=stop)
    assert len(told) == 1


def test_the_bundled_model_knows_its_world(bundled_lm):
    facts = rw.datasets.bundled().sample(24, seed=1)
    assert len(known_to(bundled_lm, facts, progress=False)) > 20
