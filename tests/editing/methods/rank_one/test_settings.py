"""The numbers of rank-one edits: published by model, a card's, else such that they scale."""

import pytest

from rome_widgets import RankOneSettings
from rome_widgets.editing.methods import find_editor
from rome_widgets.errors import SettingsError
from tests.helpers import world
from tests.helpers.world import named, small_edit

ROME, R_ROME = find_editor("rome"), find_editor("r-rome")


def test_settings_come_from_the_table_by_name_and_depth():
    known = ROME.known(named("openai-community/gpt2-xl", 48))
    assert (known.layer, known.source) == (17, "the published table")
    assert known.settings == RankOneSettings(learning_rate=0.5)
    assert ROME.known(named("gpt2-medium", 24)).settings.clamp == 3
    llama = R_ROME.known(named("meta-llama/Llama-2-7b-hf", 32))
    assert (llama.layer, llama.settings.steps) == (5, 25)
    assert not llama.settings.use_second_moment
    assert ROME.known(named("my-gpt2-xl", 12)).layer is None


def test_a_card_is_read_plainly():
    card = {"layer": 3, "prefixes": [[10, 5]], "bare": 5, "stop_on": "nll"}
    known = ROME.known(named("mine", 4), card)
    assert (known.layer, known.source) == (3, "the model's card")
    assert known.settings == RankOneSettings(prefixes=((10, 5),), bare=5, stop_on="nll")
    with pytest.raises(SettingsError, match="no setting 'contexts'"):
        ROME.known(named("mine", 4), {"contexts": 10})


@pytest.mark.parametrize("prefixes", [3, [3], [(1, 2, 3)], [("a", 1)], [(-1, 2)], [(1, 0.5)]])
def test_prefixes_are_pairs_of_whole_numbers(prefixes):
    with pytest.raises(SettingsError, match="prefixes is"):
        RankOneSettings(prefixes=prefixes)
    assert RankOneSettings(prefixes=[[4, 2]]).prefixes == ((4, 2),)


def test_without_a_rate_the_first_step_is_as_long_as_the_value_nearly():
    report = small_edit(world.make_lm("gpt2"), "w3 {}", "w14", "w8", settings={"steps": 2}).report
    assert report.settings_from == "numbers found on small real models, with changes"
    assert (report.settings["stop_on"], report.settings["clamp"]) == ("nll", 4.0)
    assert len(report.steps) == 2
    assert 0.4 * report.value_norm <= report.steps[1].norm <= report.value_norm


def test_where_a_norm_hides_how_long_a_value_is_it_may_grow_less():
    for name, clamp in (("gpt2", 4.0), ("llama", 4.0), ("gemma3, text", 1.0)):
        known = ROME.known(world.make_lm(name))
        assert (known.settings.clamp, known.settings.stop_on) == (clamp, "nll"), name
