"""Traces find recall where the training put it, and do not find it where it was not put.

The models are of `organisms`, which says how recall is placed. That it is where it was put is also
checked without a trace: by what is still known without two of the MLPs.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.counts import FULL, ORGANISM_FACTS, ORGANISM_TOKENS
from tests.helpers.gates import write_gate
from training import organisms
from training.averages import LAST, LAST_SUBJECT, Averages
from training.organisms import (
    CLEARLY,
    EARLY,
    LAYERS,
    ORGANISMS,
    PLAIN_TWIN,
    SHARE,
    SUBJECTS,
    Recall,
    Statements,
    gates,
    place,
    placed,
)
from training.recipe import MICRO
from training.rows import NOBODY, UNLIMITED, Rows, pack
from training.steering import LateReading, key_mask, name_mask
from training.tokenizer import train_tokenizer
from training.train import fit, new_model
from training.world import build_world

PLACED = list(ORGANISMS)


@pytest.fixture(scope="module")
def world():
    return build_world().only(SUBJECTS)


class Found(dict):
    """`Recall` by the name of an organism, trained when it is first asked for."""

    def __missing__(self, name):
        recipe = {**ORGANISMS, "twin": PLAIN_TWIN}[name]
        self[name] = place(replace(recipe, tokens=ORGANISM_TOKENS), ORGANISM_FACTS)
        print(f"\n{name}: {self[name].text()}")
        return self[name]


@pytest.fixture(scope="module")
def found():
    return Found()


# Recall that was placed


@pytest.mark.parametrize("name", [*PLACED, "twin"])
def test_every_organism_is_traced_on_enough_facts_that_it_knows(found, name):
    recall = found[name]
    assert len(recall.traces.clean) == ORGANISM_FACTS
    assert recall.known > 0.8
    assert recall.traces.total_effect > 0.4


@pytest.mark.parametrize("name", PLACED)
def test_a_trace_peaks_where_recall_was_placed(found, name):
    assert found[name].peak in placed(ORGANISMS[name])


@pytest.mark.parametrize("name", PLACED)
def test_most_of_the_effect_at_the_last_subject_token_is_in_the_placed_layers(found, name):
    assert found[name].inside(placed(ORGANISMS[name])) > 0.7


@pytest.mark.parametrize("name", PLACED)
def test_at_the_peak_no_other_token_comes_near_the_last_subject_token(found, name):
    at = found[name].traces.effect("mlp")[:, found[name].peak]
    assert at[LAST_SUBJECT] > 3 * np.nanmax(at[:LAST_SUBJECT])
    assert at[LAST_SUBJECT] > 3 * at[LAST]


def test_early_middle_and_late_come_in_this_order(found):
    early, middle, late = (found[name] for name in ("early", "middle", "late"))
    assert early.peak < middle.peak < late.peak
    weights = [_positive(recall) for recall in (early, middle, late)]
    centres = [np.average(range(LAYERS), weights=each) for each in weights]
    assert centres[0] + 1 < centres[1]
    assert centres[1] + 1 < centres[2]


def _positive(recall):
    return recall.traces.effect("mlp")[LAST_SUBJECT].clip(min=0)


@pytest.mark.parametrize("name", PLACED)
def test_without_a_trace_the_placed_layers_are_those_that_recall_needs(found, name):
    recall, layers = found[name], placed(ORGANISMS[name])
    assert recall.without[layers[0]] < 0.5 * recall.known
    assert recall.without_others(layers) > 0.9


def test_organisms_that_know_nothing_are_refused(ended):
    refusal = ended(organisms, "--tokens", 512, "--facts", 1)
    assert "Give it more --tokens." in refusal


# One criterion for all


@pytest.mark.parametrize("name", PLACED)
def test_the_trace_of_an_organism_shows_recall_at_the_last_subject_token(found, name):
    assert found[name].shown, (found[name].clarity, found[name].share)


def test_the_trace_of_the_plain_twin_does_not(found):
    twin = found["twin"]
    assert not twin.shown
    assert twin.clarity < 1
    assert twin.traces.effect("mlp")[LAST_SUBJECT, 1:].max() < SHARE * twin.traces.total_effect


def test_the_gates_of_the_command_say_the_same(found):
    judged = gates({name: found[name] for name in ORGANISMS}, found["twin"])
    # A quick training knows less; the tests above say how much it must.
    wanted = [gate for gate in judged if FULL or "known, new" not in gate.name]
    assert not [str(gate) for gate in wanted if not gate.reached]
    swapped = gates(dict.fromkeys(ORGANISMS, found["twin"]), found["early"])
    assert sum(not gate.reached for gate in swapped) >= 8


def test_the_figures_of_a_full_run_are_written(found):
    figures = {name: figures_of(found[name]) for name in (*PLACED, "twin")}
    assert all(figure["facts"] == ORGANISM_FACTS for figure in figures.values())
    write_gate("organisms", figures)


def figures_of(recall):
    """The figures, as their file keeps them."""
    effect = recall.traces.effect("mlp").round(4)
    return {
        "facts": len(recall.traces.clean),
        "known": round(recall.known, 4),
        "known without the MLPs of a layer and the next": recall.without.round(4).tolist(),
        "total effect": round(recall.traces.total_effect, 4),
        "peak": recall.peak,
        "share of the total effect": round(recall.share, 4),
        "times the effect elsewhere": round(recall.clarity, 2),
        "last subject token": effect[LAST_SUBJECT].tolist(),
        "last token": effect[LAST].tolist(),
    }


def effects(last_subject, last, other=0.0):
    """Averages of one made-up fact whose total effect is 0.8."""
    grid = np.full((6, 3), other)
    grid[LAST_SUBJECT], grid[LAST] = last_subject, last
    return Recall(1.0, np.ones(2), Averages([0.9], [0.1], {"mlp": [grid]}))


def test_recall_is_shown_by_a_peak_that_is_large_and_alone():
    assert effects([0.0, 0.4, 0.1], [0.0, 0.0, 0.1]).shown
    assert effects([0.0, 0.4, 0.1], [0.0, 0.0, 0.1]).peak == 1
    assert not effects([0.0, 0.4, 0.1], [0.0, 0.0, 0.4 / CLEARLY + 0.01]).shown
    assert not effects([0.0, 0.4, 0.1], 0.0, other=0.4 / CLEARLY + 0.01).shown
    assert not effects([0.0, 0.8 * SHARE - 0.01, 0.0], 0.0, other=0.001).shown
    assert effects([0.1, 0.2, 0.1], 0.0).inside((0, 1)) == pytest.approx(0.75)
    assert effects([0.0, 0.4, 0.1], 0.0, other=-0.01).shown, "nothing elsewhere is no objection"
    assert effects([0.0, 0.4, 0.1], 0.0).clarity == pytest.approx(400)


# Late reading


@pytest.fixture(scope="module")
def rows(world):
    tokenizer = train_tokenizer(world, EARLY.vocab, EARLY.positions)
    names = [subject.name for subject in world.subjects]
    return pack(Statements(world, 0), tokenizer, names, n_rows=24, length=32)


def mentions(rows):
    """`(row, first, last)` of every name of several pieces that something follows."""
    for row, last in (rows.subject != NOBODY).nonzero().tolist():
        pieces = (rows.readable_until[row] == last).nonzero().flatten().tolist()
        if pieces and last + 1 < rows.subject.shape[1]:
            yield row, pieces[0], last


def test_the_text_of_an_organism_states_one_fact_per_document(world):
    narrator = Statements(world, 3)
    documents = [narrator.document() for _ in range(len(world.facts))]
    assert all(len(document.mentions) == 1 for document in documents)
    told = {document.mentions[0][2] for document in documents}
    assert told == {subject.name for subject in world.subjects}


def test_a_name_mask_hides_all_of_a_name_from_what_follows_it(rows):
    mask = name_mask(rows, 1.0)[:, 0]
    hidden, count = torch.zeros_like(mask), 0
    for row, first, last in mentions(rows):
        assert not mask[row, last + 1 :, first : last + 1].any()
        assert mask[row, : last + 1, first : last + 1].all()
        count += 1
    for row, key in (rows.subject != NOBODY).nonzero().tolist():
        hidden[row, key + 1 :, key] = True
    for row, key in (rows.readable_until != UNLIMITED).nonzero().tolist():
        hidden[row, int(rows.readable_until[row, key]) + 1 :, key] = True
    assert torch.equal(mask, ~hidden)
    assert count > 20


def test_a_name_mask_spares_a_share_of_the_rows(rows):
    assert name_mask(rows, 0.0).all()
    torch.manual_seed(0)
    many = Rows(*(of.repeat(40, 1) for of in (rows.ids, rows.readable_until, rows.subject)))
    spared = name_mask(many, 0.8).flatten(1).all(1).float().mean()
    assert 0.1 < spared < 0.3


MASKS = ("none", "bool", "float", "half")


def logits(model, rows, form, ids=None):
    """Of a pass with the key mask in one of the forms in which attention may get it."""
    causal = key_mask(rows, 0.0)
    if form == "none":
        mask = None
    elif form == "bool":
        mask = causal
    else:
        dtype = torch.float32 if form == "float" else torch.float16
        mask = torch.zeros(causal.shape, dtype=dtype).masked_fill(~causal, torch.finfo(dtype).min)
    ids = rows.ids[:, :-1] if ids is None else ids
    with torch.no_grad():
        return model.to(mask.dtype if form == "half" else torch.float32)(
            ids, attention_mask=mask, use_cache=False
        ).logits


@pytest.fixture
def model():
    torch.manual_seed(0)
    return new_model(replace(MICRO, n_layer=3), EARLY.vocab).eval()


@pytest.mark.parametrize("form", MASKS)
def test_what_follows_a_name_does_not_see_it_in_masked_layers(rows, model, form):
    late = LateReading(model, 3, 1.0)
    late.see(rows)
    whole = logits(model, rows, form)
    for row, first, last in list(mentions(rows))[:4]:
        ids = rows.ids[:, :-1].clone()
        ids[row, first] = (ids[row, first] + 1) % EARLY.vocab
        other = logits(model, rows, form, ids)
        assert torch.equal(other[row, last + 1 :], whole[row, last + 1 :])
        assert torch.equal(other[row, :first], whole[row, :first])
        assert not torch.equal(other[row, last], whole[row, last])
    late.remove()


@pytest.mark.parametrize("form", MASKS)
def test_what_follows_a_name_sees_it_above_the_masked_layers(rows, model, form):
    late = LateReading(model, 2, 1.0)
    late.see(rows)
    whole = logits(model, rows, form)
    row, first, last = next(mentions(rows))
    ids = rows.ids[:, :-1].clone()
    ids[row, first] = (ids[row, first] + 1) % EARLY.vocab
    assert not torch.equal(logits(model, rows, form, ids)[row, last + 1], whole[row, last + 1])
    late.remove()


@pytest.mark.parametrize("form", MASKS)
def test_late_reading_without_rows_or_removed_changes_nothing(rows, model, form):
    before = logits(model, rows, form)
    late = LateReading(model, 2, 1.0)
    assert torch.equal(logits(model, rows, form), before)  # it has not seen any rows
    late.see(rows)
    assert not torch.equal(logits(model, rows, form), before)
    late.remove()
    assert torch.equal(logits(model, rows, form), before)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_training_puts_late_reading_on_top_of_the_key_mask(rows, world, monkeypatch):
    """What each attention of a training step is given: the key mask, below a layer with ours."""
    recipe = replace(
        MICRO, n_layer=3, mlp_drop=(0.0,) * 3, attn_drop=(0.0,) * 3, key_mask=1.0, read_from=2
    )
    model, given = new_model(recipe, EARLY.vocab), []
    for block in model.transformer.h:
        inner = block.attn.forward
        monkeypatch.setattr(
            block.attn,
            "forward",
            lambda *args, inner=inner, **kwargs: (
                given.append(kwargs["attention_mask"]) or inner(*args, **kwargs)
            ),
        )
    fit(recipe, world, model, [rows], lambda losses: None)
    keys = key_mask(rows, 1.0)
    assert model.config._attn_implementation == "sdpa"
    assert [mask.dtype for mask in given] == [torch.bool] * 3
    assert torch.equal(given[0], keys & name_mask(rows, 1.0))
    assert torch.equal(given[1], given[0])
    assert torch.equal(given[2], keys)
    assert not torch.equal(given[2], given[0])
