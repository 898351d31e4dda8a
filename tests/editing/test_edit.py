"""An edit is computed for what was asked, refused with a reason, and cancelled without a trace."""

import threading
from itertools import groupby

import pytest

import rome_widgets as rw
from rome_widgets.errors import Cancelled, SettingsError
from tests.helpers import world
from tests.helpers.world import small_edit
from tests.model.test_ledger import same, weights


def test_bad_options_are_refused_before_anything_runs():
    lm = world.make_lm("gpt2")
    wrong = [
        {"method": "mend"},
        {"layer": 9},
        {"layer": "1"},
        {"seed": "1"},
        {"settings": {"lr": 1}},
        {"settings": {"steps": 0}},
        {"settings": {"clamp": float("nan")}},
        {"settings": {"learning_rate": -1}},
        {"settings": {"stop_on": "kl"}},
    ]
    for options in wrong:
        with pytest.raises(SettingsError):
            small_edit(lm, "w3 {} w26", "w14", "w8", **options)


def test_without_statistics_the_models_own_text_gives_them(monkeypatch, tmp_path):
    monkeypatch.setenv("ROME_WIDGETS_CACHE", str(tmp_path))
    lm, told = world.make_lm("gpt2"), []
    options = {"layer": 1, "second_moment": None, "progress": told.append}
    made = small_edit(lm, "w3 {}", "w14", "w8", **options)
    assert made.report.second_moment == "200 tokens that the model wrote itself"
    assert [phase for phase, _ in groupby(step.phase for step in told)][:2] == [
        "own text",
        "statistics",
    ]
    same = small_edit(lm, "w3 {}", "w14", "w8", layer=1, second_moment="self")
    assert same.id == made.id
    no_need = dict(world.SETTINGS, use_second_moment=False)
    made = small_edit(lm, "w3 {}", "w14", "w8", second_moment=None, settings=no_need)
    assert "identity" in made.report.second_moment


def test_few_tokens_of_statistics_are_warned_of():
    made = small_edit(world.make_lm("gpt2"), "w3 {}", "w14", "w8", second_moment=["w1 w2 w3"])
    assert any("The second moment is of 3 tokens" in each for each in made.report.warnings)


def test_a_cancel_leaves_nothing_behind():
    lm = world.make_lm("gpt2")
    before, cancel, told = weights(lm), threading.Event(), []

    def progress(step):
        told.append(step)
        if step.phase == "value" and step.done == 3:
            cancel.set()

    with pytest.raises(Cancelled):
        small_edit(lm, "w3 {} w26", "w14", "w8", progress=progress, cancel=cancel)
    assert told[-1].done == 3
    assert told[-1].step.norm > 0
    assert [step.phase for step in told] == ["prefixes", "key", *["value"] * 3]
    assert same(before, weights(lm))
    with pytest.raises(Cancelled):
        small_edit(lm, "w3 {} w26", "w14", "w8", cancel=cancel)


def test_the_seed_decides_the_edit_and_a_number_is_a_number():
    import numpy as np

    lm = world.make_lm("gpt2")
    fact = (world.PROMPT, world.SUBJECT, "w8")
    assert small_edit(lm, *fact, seed=np.int64(0), layer=np.int8(1)).id == small_edit(lm, *fact).id
    assert small_edit(lm, *fact, seed=1).id != small_edit(lm, *fact).id


def test_many_facts_are_refused_by_a_method_that_writes_one():
    fact = (world.PROMPT, world.SUBJECT, "w8")
    with pytest.raises(SettingsError, match="2 facts, and ROME writes one"):
        rw.edit(world.make_lm("gpt2"), [fact, fact])
