"""Kept settings: found again for the same model and method alone, and never in the way."""

import json

import pytest

from rome_widgets.editing.methods import known_for
from rome_widgets.editing.methods.rank_one.settings import RankOneSettings
from rome_widgets.editing.tuned_settings import keep_tuned, known_by_tuning
from tests.helpers import world

FOUND = RankOneSettings(clamp=float("inf"), prefixes=((3, 2),), first_words=("I",), steps=7)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROME_WIDGETS_CACHE", str(tmp_path))
    return tmp_path


def test_they_are_read_as_they_were_kept():
    lm = world.new_lm("gpt2")
    keep_tuned(lm, "rome", 2, FOUND, 30)
    known = known_by_tuning(world.new_lm("gpt2"), "rome", RankOneSettings)
    assert (known.layer, known.settings) == (2, FOUND)
    assert "30 facts" in known.source
    assert known_for(lm, "rome") == known
    assert known_by_tuning(lm, "r-rome", RankOneSettings) is None


def test_a_model_of_other_weights_has_its_own():
    lm = world.new_lm("gpt2")
    keep_tuned(lm, "rome", 2, FOUND, 30)

    def other(model):
        model.transformer.h[0].mlp.c_fc.weight.data += 1

    lm = world.new_lm("gpt2", prepare=other)
    assert known_by_tuning(lm, "rome", RankOneSettings) is None


def test_an_edit_that_the_model_carries_makes_it_no_other():
    lm = world.new_lm("gpt2")
    keep_tuned(lm, "rome", 2, FOUND, 30)
    with world.made_up_edit(lm, 0):
        assert known_by_tuning(lm, "rome", RankOneSettings).settings == FOUND


@pytest.mark.parametrize(
    "stated",
    [
        "",
        "[]",
        "{}",
        '{"layer": 2, "settings": {"clamp": 1.0}}',
        '{"layer": 99, "settings": {}, "n_facts": 3}',
        '{"layer": "2", "settings": {}, "n_facts": 3}',
        '{"layer": 2, "settings": {"clamp": -1}, "n_facts": 3}',
        '{"layer": 2, "settings": {"none": 1}, "n_facts": 3}',
        '{"layer": 2, "settings": 5, "n_facts": 3}',
        b"\xff\xfe",
    ],
)
def test_a_file_of_something_else_is_left_out_with_a_warning(cache, caplog, stated):
    lm = world.new_lm("gpt2")
    path = keep_tuned(lm, "rome", 2, FOUND, 30)
    path.write_bytes(stated if isinstance(stated, bytes) else stated.encode())
    assert known_by_tuning(lm, "rome", RankOneSettings) is None
    assert str(path) in caplog.text


def test_without_a_place_nothing_is_kept_and_nothing_fails(cache, caplog, monkeypatch):
    lm = world.new_lm("gpt2")
    (cache / "tuned_settings").write_text("a file where the folder should be")
    assert keep_tuned(lm, "rome", 2, FOUND, 30) is None
    assert "not kept" in caplog.text
    monkeypatch.setattr("rome_widgets.editing.tuned_settings.cache_folder", lambda: None)
    assert keep_tuned(lm, "rome", 2, FOUND, 30) is None
    assert known_by_tuning(lm, "rome", RankOneSettings) is None


def test_a_person_can_read_it(cache):
    path = keep_tuned(world.new_lm("gpt2"), "rome", 2, FOUND, 30)
    stated = json.loads(path.read_text())
    assert (stated["layer"], stated["settings"]["steps"], stated["n_facts"]) == (2, 7, 30)
