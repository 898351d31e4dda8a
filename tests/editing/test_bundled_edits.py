"""Edits of the bundled model take, carry over to other sentences, and leave neighbours alone.

The table: each fact is edited by itself, from the unedited model. "top-1" counts where the wanted
token is the most likely one; for a neighbour that is its own, true object, kept. "success" counts
as the paper does: the new object more likely than the true one, or for a neighbour less likely.
S is the harmonic mean of the three shares of success. What fine-tuning does is reported, not
demanded.
"""

import random
from collections import defaultdict

import pytest
import torch
from counts import EDITED_FACTS, FULL
from gates import write_gate
from watch import fingerprint

import rome_widgets as rw

METHODS = ("rome", "r-rome", "ft", "ft-l")
KINDS = ("efficacy", "paraphrase", "neighbourhood")


def next_tokens(lm, prompts):
    """Probabilities of the next token after each prompt; prompts of one length run together."""
    rows = defaultdict(list)
    for number, prompt in enumerate(prompts):
        ids = lm.encode(prompt, (0, len(prompt))).ids
        rows[len(ids)].append((number, ids))
    found = {}
    for some in rows.values():
        predicted = lm.next_token_probabilities(torch.tensor([ids for _, ids in some]))
        found |= {number: row for (number, _), row in zip(some, predicted, strict=True)}
    return [found[number] for number in range(len(prompts))]


def relation_of(record):
    return record["requested_rewrite"]["relation_id"]


def drawn(count):
    """Facts drawn at random, the same in every run, with one of every relation before the rest."""
    shuffled = random.Random(0).sample(rw.bundled.facts(), len(rw.bundled.facts()))
    first = {relation_of(record): record for record in reversed(shuffled)}
    rest = [record for record in shuffled if first[relation_of(record)] is not record]
    return [*first.values(), *rest][:count]


def others_of(record):
    """(prompt, object) of what the model was taught of the same subject besides."""
    subject = record["requested_rewrite"]["subject"]
    return [
        (filled(rewrite), rewrite["target_true"]["str"])
        for rewrite in (other["requested_rewrite"] for other in rw.bundled.facts())
        if rewrite["subject"] == subject and rewrite["relation_id"] != relation_of(record)
    ]


def filled(rewrite):
    return rewrite["prompt"].replace("{}", rewrite["subject"], 1)


def share(found):
    return round(sum(found) / len(found), 4)


def harmonic_mean(shares):
    return round(len(shares) / sum(1 / each for each in shares), 4) if all(shares) else 0.0


def measure(lm, method):
    top, success = ({kind: [] for kind in KINDS} for _ in range(2))
    others, seconds, probability, rises, doubted, warned = [], [], [], [], [], 0
    facts = drawn(EDITED_FACTS)
    for record in facts:
        rewrite = record["requested_rewrite"]
        prompt = filled(rewrite)
        new, true = (
            lm.answer_ids(prompt, rewrite[target]["str"])[0]
            for target in ("target_new", "target_true")
        )
        edit = rw.edit(lm, record, method=method)
        seconds.append(edit.report.seconds)
        doubted.append(any("was wanted" in warning for warning in edit.report.warnings))
        warned += len(edit.report.warnings) > doubted[-1]
        before, after, _ = edit.report.perplexity
        rises.append(after / before)
        asked = {
            "efficacy": [prompt],
            "paraphrase": record["paraphrase_prompts"],
            "neighbourhood": record["neighborhood_prompts"],
        }
        kept = others_of(record)
        with edit:
            for kind, prompts in asked.items():
                wanted, other = (true, new) if kind == "neighbourhood" else (new, true)
                for p in next_tokens(lm, prompts):
                    top[kind].append(int(p.argmax()) == wanted)
                    success[kind].append(bool(p[wanted] > p[other]))
                    if kind == "efficacy":
                        probability.append(float(p[new]))
            predicted = next_tokens(lm, [text for text, _ in kept])
        for (text, known), p in zip(kept, predicted, strict=True):
            others.append(int(p.argmax()) == lm.answer_ids(text, known)[0])
    assert doubted == [p < 0.5 for p in probability], "what the model does not say is warned of"
    return {
        "facts": len(facts),
        "relations": len({relation_of(record) for record in facts}),
        "layer": edit.report.layer,
        "top-1": {kind: share(found) for kind, found in top.items()},
        "success": {kind: share(found) for kind, found in success.items()},
        "S": harmonic_mean([share(found) for found in success.values()]),
        "other facts of the subject kept, top-1": share(others),
        "other facts": len(others),
        "mean probability of the target": share(probability),
        "perplexity after / before": [round(min(rises), 3), round(max(rises), 3)],
        "edits warned of for another reason": warned,
        "edits warned of, as the model does not say the target": sum(doubted),
        "seconds per edit": round(sum(seconds) / len(seconds), 3),
    }


FIGURES = {}


@pytest.mark.parametrize("method", METHODS)
def test_edits_take_and_stay_where_they_belong(bundled_lm, method):
    before = fingerprint(bundled_lm.model)
    figures = FIGURES[method] = measure(bundled_lm, method)
    assert fingerprint(bundled_lm.model) == before
    print(method, figures)
    if len(FIGURES) == len(METHODS):
        write_gate("rome", FIGURES)
    assert figures["relations"] == len({relation_of(r) for r in rw.bundled.facts()})
    if method in ("rome", "r-rome"):
        assert figures["top-1"]["efficacy"] >= (0.97 if FULL else 0.95)
        assert figures["top-1"]["paraphrase"] >= (0.95 if FULL else 0.9)
        assert figures["top-1"]["neighbourhood"] >= (0.97 if FULL else 0.95)
        assert figures["perplexity after / before"][1] < 1.1
        assert figures["edits warned of for another reason"] == 0


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
