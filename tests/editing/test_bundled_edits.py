"""Edits of the bundled model take, carry over to other sentences, and leave neighbours alone."""

import random

import pytest
import torch
from counts import EDITED_FACTS, FULL
from gates import write_gate
from watch import fingerprint

import rome_widgets as rw

METHODS = ("rome", "r-rome")


def top(lm, prompts):
    """Most likely next token per prompt, and all probabilities."""
    return [lm.next_token_probabilities(ids_of(lm, prompt))[0] for prompt in prompts]


def ids_of(lm, prompt):
    return torch.tensor([lm.encode(prompt, (0, len(prompt))).ids])


def records():
    """Facts drawn at random, the same in every run."""
    return random.Random(0).sample(rw.bundled.facts(), EDITED_FACTS)


def others_of(record, facts):
    """What the model knows of the same subject besides."""
    subject, relation = (record["requested_rewrite"][k] for k in ("subject", "relation_id"))
    return [
        fact["requested_rewrite"]
        for fact in facts
        if fact["requested_rewrite"]["subject"] == subject
        and fact["requested_rewrite"]["relation_id"] != relation
    ]


def share(found):
    return round(sum(found) / len(found), 4) if found else None


def measure(lm, method):
    facts = rw.bundled.facts()
    scores = {"efficacy": [], "paraphrase": [], "neighbourhood": [], "other facts": []}
    probability, divisors, warned = [], [], 0
    for record in records():
        rewrite = record["requested_rewrite"]
        prompt = rewrite["prompt"].replace("{}", rewrite["subject"], 1)
        new = lm.answer_ids(prompt, rewrite["target_new"]["str"])[0]
        true = lm.answer_ids(prompt, rewrite["target_true"]["str"])[0]
        edit = rw.edit(lm, record, method=method)
        warned += bool(edit.report.warnings)
        divisors.append(edit.report.key_dot_u)
        with edit:
            (here,) = top(lm, [prompt])
            scores["efficacy"].append(int(here.argmax()) == new)
            probability.append(float(here[new]))
            for p in top(lm, record["paraphrase_prompts"]):
                scores["paraphrase"].append(int(p.argmax()) == new)
            for p in top(lm, record["neighborhood_prompts"]):
                scores["neighbourhood"].append(int(p.argmax()) == true)
            for other in others_of(record, facts):
                text = other["prompt"].replace("{}", other["subject"], 1)
                kept = lm.answer_ids(text, other["target_true"]["str"])[0]
                scores["other facts"].append(int(top(lm, [text])[0].argmax()) == kept)
    return {
        "facts": EDITED_FACTS,
        **{name: share(found) for name, found in scores.items()},
        "mean probability of the target": round(sum(probability) / len(probability), 4),
        "smallest k·u": round(min(divisors), 3),
        "edits with a warning": warned,
    }


FIGURES = {}


@pytest.mark.parametrize("method", METHODS)
def test_edits_take_and_stay_where_they_belong(bundled_lm, method):
    before = fingerprint(bundled_lm.model)
    figures = FIGURES[method] = measure(bundled_lm, method)
    assert fingerprint(bundled_lm.model) == before
    if len(FIGURES) == len(METHODS):
        write_gate("rome", FIGURES)
    print(figures)
    assert figures["efficacy"] >= (0.97 if FULL else 0.95)
    assert figures["paraphrase"] >= 0.9
    assert figures["neighbourhood"] >= 0.95


def test_the_space_needle_moves_to_paris(bundled_lm):
    edit = rw.edit(bundled_lm, "{} is in the city of", "The Space Needle", "Paris")
    assert edit.report.layer == rw.bundled.settings()["edit"]["layer"]
    assert edit.report.settings_from == "the model's card"
    assert edit.report.probability > 0.9
    (found,) = edit.compare("The Space Needle is in the city of", generate=3)
    assert found.rows[0].token == " Paris"
    assert found.before.strip().startswith("Seattle")
    assert found.after.strip().startswith("Paris")
    assert "Paris" in edit.to_code()
