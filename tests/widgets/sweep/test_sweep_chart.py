"""A sweep on a page: its numbers, its cell, its facts, and the explorer that follows."""

from dataclasses import replace

import numpy as np
import pytest

from rome_widgets.errors import ArgumentError, StateError, TraitRefused
from rome_widgets.records.states import KINDS
from rome_widgets.records.swept_fact import ROLES
from rome_widgets.widgets import SweepChart, TraceExplorer, TraceSettings, fallback
from rome_widgets.widgets.sweep.sweep_chart import settings_of
from tests.helpers.fake_engine import FakeEngine
from tests.helpers.fake_sweep import fake_fact, fake_sweep
from tests.helpers.waiting import PATIENCE

SWEEP = fake_sweep(7, n_layers=5)
LAST = ROLES.index("last subject")


def numbers(packed, *shape):
    return np.frombuffer(packed, "<f4").reshape(*shape, 3, len(ROLES), 5)


def test_the_page_has_the_averages_their_intervals_the_peaks_and_every_facts_effects():
    chart = SweepChart(SWEEP)
    for at, kind in enumerate(KINDS):
        found = SWEEP.effects(kind)
        assert np.allclose(numbers(chart.averages)[at], found.mean, equal_nan=True)
        assert np.allclose(numbers(chart.intervals)[at], found.interval, equal_nan=True)
        assert np.allclose(numbers(chart.peaks)[at], SWEEP.peaks(kind) / 7)
        assert numbers(chart.peaks)[at].sum() == pytest.approx(1)
        for number, fact in enumerate(SWEEP.traced):
            own = numbers(chart.effects, 7)[number, at]
            assert np.allclose(own, fact.by_role(kind), equal_nan=True)
    described = chart._sweep["facts"][2]
    peak = SWEEP.facts[2].peak("mlp")
    assert described["peaks"]["mlp"] == [ROLES.index(peak.role), peak.layer]
    assert chart._sweep["counts"] == SWEEP.effects("mlp").n.tolist()


def test_it_opens_where_the_average_of_the_mlps_is_greatest():
    chart = SweepChart(SWEEP)
    role, layer, _ = SWEEP.strongest("mlp")
    assert (chart.kind, chart.role, chart.layer, chart.example) == ("mlp", role, layer, None)
    chart = SweepChart(SWEEP, "attn", "last", 1, 3, shows="peaks")
    assert (chart.kind, chart.role, chart.layer, chart.example) == ("attn", "last", 1, 3)
    assert chart.fact is SWEEP.facts[3]
    assert SweepChart(fake_sweep(2, kinds=("hidden",), windows={"hidden": 1})).kind == "hidden"


def test_facts_are_ranked_by_their_effect_at_the_cell_and_those_without_the_role_left_out():
    chart = SweepChart(SWEEP, "hidden", "last subject", 2)
    effects = [fact.by_role("hidden")[LAST, 2] for fact in SWEEP.traced]
    assert [effect for _, effect in chart.ranking] == sorted(effects, reverse=True)
    assert all(fact.by_role("hidden")[LAST, 2] == effect for fact, effect in chart.ranking)
    chart.role = "middle subject"
    assert {fact.number for fact, _ in chart.ranking} == {0, 1, 2, 4, 5, 6}, "3 has two tokens"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("layer", 5, "0 to 4 was wanted"),
        ("kind", "attn", "has no 'attn' scores"),
        ("example", 2, "Fact 2 was not traced"),
        ("role", "end", "role"),
    ],
)
def test_a_cell_or_a_fact_that_there_is_not_is_refused_from_python_and_from_the_page(
    name, value, says
):
    sweep = fake_sweep(2, 5, kinds=("hidden", "mlp"), windows={"hidden": 1, "mlp": 1})
    chart = SweepChart(sweep)
    before = getattr(chart, name)
    with pytest.raises(TraitRefused, match=says):
        setattr(chart, name, value)
    chart.set_state({name: value})
    assert getattr(chart, name) == before


def test_what_is_no_sweep_no_explorer_or_one_of_another_depth_is_refused():
    with pytest.raises(ArgumentError, match="is no sweep"):
        SweepChart("sweep")
    with pytest.raises(ArgumentError, match="is no explorer"):
        SweepChart(SWEEP).link(SweepChart(SWEEP))
    with pytest.raises(StateError, match=r"has 8 layers\. One of 5"):
        SweepChart(SWEEP, explorer=TraceExplorer(FakeEngine()))


def test_a_linked_explorer_traces_the_fact_that_the_page_selects_until_it_is_closed():
    sweep = fake_sweep(6)
    explorer = TraceExplorer(FakeEngine(), samples=2)
    chart = SweepChart(sweep, explorer=explorer)
    assert chart.linked
    assert explorer.trace is None
    chart.set_state({"example": 5})
    assert explorer.wait(PATIENCE)
    assert explorer.trace.prompt == "The Tokyo Tower is in the city of"
    assert explorer.settings.samples == 10
    chart.set_state({"example": None})
    assert explorer.prompt == "The Tokyo Tower is in the city of", "it keeps what it has"
    explorer.close()
    chart.example = 0
    assert (chart.linked, chart.explorer) == (False, None)


def test_linking_later_loads_the_fact_at_once_and_unlinking_ends_it():
    explorer = TraceExplorer(FakeEngine())
    chart = SweepChart(fake_sweep(6), example=0)
    chart.link(explorer)
    assert explorer.wait(PATIENCE)
    assert explorer.trace.subject == "The Space Needle"
    chart.unlink()
    chart.example = 1
    assert explorer.prompt == "The Space Needle is in the city of"
    explorer.close()


def test_a_fact_is_traced_with_the_settings_of_its_sweep():
    now = TraceSettings("", "", noise=1.5, seed=9)
    settings = settings_of(fake_sweep(1, samples=4, seed=7), fake_fact(0), now)
    assert settings == TraceSettings(
        "The Space Needle is in the city of", "The Space Needle", 3.0, 4, 7, 3,
        answer="Seattle", answer_id=0,
    )  # fmt: skip
    other = fake_sweep(
        1, metric="logit_difference", seed=None, noise={"subject": "Big Ben"},
        kinds=("hidden",), windows={"hidden": 1},
    )  # fmt: skip
    settings = settings_of(other, fake_fact(0), now)
    assert (settings.other_subject, settings.window, settings.seed) == ("Big Ben", None, 9)
    assert (settings.metric, settings.answer) == ("probability", "Seattle")


def test_the_explorer_follows_the_token_that_the_sweep_followed_whatever_the_target_was():
    followed = replace(fake_fact(0), answer=" the", answer_id=6, clean=0.4)
    assert followed.target == "Seattle"
    engine = FakeEngine()
    engine.taken = 0.9  # An edited model, which says Paris by itself.
    explorer = TraceExplorer(engine)
    chart = SweepChart(replace(fake_sweep(0), facts=(followed,)), explorer=explorer, example=0)
    assert explorer.wait(PATIENCE)
    assert (engine.traced[-1].answer, engine.traced[-1].answer_id) == ("the", 6)
    assert explorer.answer == "the", "the form says it"
    explorer.answer = "London"
    assert explorer.settings.answer_id is None, "another word has another token"
    chart.close()
    explorer.close()


def test_a_model_of_another_vocabulary_follows_the_word_and_not_the_id():
    fact = replace(fake_fact(0), answer=" Seattle", answer_id=3)
    engine = FakeEngine()
    explorer = TraceExplorer(engine)
    SweepChart(replace(fake_sweep(0), facts=(fact,)), explorer=explorer, example=0)
    assert explorer.wait(PATIENCE)
    assert (engine.traced[-1].answer, engine.traced[-1].answer_id) == ("Seattle", None)
    explorer.close()


@pytest.mark.parametrize(
    ("noise", "says"),
    [
        ({"text": "standard deviation 0.1", "std": 0.1}, "standard deviation 0.1"),
        ({"text": "uniform on ±0.2"}, "uniform on ±0.2"),
        ({"text": "3 × σ", "multiple": 3.0, "n_subjects": 2}, "2 subjects of your own"),
    ],
)
def test_noise_that_an_explorer_cannot_add_is_refused(noise, says):
    explorer, chart = TraceExplorer(FakeEngine()), SweepChart(fake_sweep(2, noise=noise))
    with pytest.raises(StateError, match=f"{says}.*trace the fact with"):
        chart.link(explorer)
    assert not chart.linked
    explorer.close()


def test_the_text_and_what_stays_say_the_cell_its_average_and_the_facts_at_its_ends():
    chart = SweepChart(SWEEP, "mlp", "last subject", 2, example=4)
    mean = SWEEP.effects("mlp").at(LAST, 2)
    (best, most), (_, little) = chart.ranking[0], chart.ranking[-1]
    text = chart.to_text()
    assert f"MLP layer 2, last subject token: {mean.value:+.4f} ± {mean.interval:.4f}" in text
    assert f"greatest: {most:+.4f}, {best.prompt!r}" in text
    assert f"least: {little:+.4f}" in text
    still = chart._still()
    assert "data:image/svg+xml" in still
    assert f"{most:+.4f}" in still
    assert "the 7 of 7 facts with the greatest effects" in still
    assert "1 not known to the model" in still
    assert still.count("←") == 1
    assert "Middle subject tokens, layer 0" in chart.to_html_table()


def test_a_sweep_of_which_nothing_was_traced_is_shown_all_the_same():
    chart = SweepChart(fake_sweep(0))
    assert chart.ranking == []
    assert "no fact" in chart.to_text()
    assert "0 facts traced" in chart._still()
    assert "0 facts traced" in chart.to_html_table()


def test_what_stays_in_a_saved_notebook_follows_the_cell_and_the_fact(monkeypatch):
    chart, followed = SweepChart(SWEEP, "mlp", "last subject", 2), []
    monkeypatch.setattr(chart._still_copy, "follow", lambda: followed.append(chart._still()))
    chart.layer = 1
    chart.example = 4
    assert "MLP layer 1" in followed[0]
    assert [each.count("←") for each in followed] == [0, 1]


def test_the_picture_that_stays_is_drawn_once_whatever_is_selected(monkeypatch):
    chart, drawn = SweepChart(SWEEP, "mlp", "last subject", 2), []
    still = fallback.still_sweep
    monkeypatch.setattr(fallback, "still_sweep", lambda sweep: drawn.append(sweep) or still(sweep))
    before = chart._still()
    chart.layer, chart.example, chart.shows = 1, 4, "peaks"
    assert chart._still() != before
    assert drawn == [SWEEP]
