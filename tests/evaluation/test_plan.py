"""A plan counts what will be run by the code that runs it, and says first what does not fit."""

import pytest

import rome_widgets as rw
from rome_widgets.errors import ArgumentError, OutOfMemory, SettingsError
from rome_widgets.evaluation import plan as module
from rome_widgets.model import language_model
from rome_widgets.model.replay import Replay
from rome_widgets.tracing import replayed_waves
from rome_widgets.tracing.replayed_waves import ReplayedWaves
from rome_widgets.tracing.tracer import CausalTracer
from rome_widgets.tracing.unit_costs import UnitCosts
from tests.helpers.swept import FACTS, QUICK, make_lm, sweep, trace

GRID = {"samples": QUICK["samples"], "window": QUICK["window"], "known_only": False}


def count_rows(monkeypatch, lm, run):
    """Rows of captured passes over all layers, and of calls of blocks from there, in a run."""
    counted = {"captured": 0, "restored": 0}
    capture, through = Replay.capture, ReplayedWaves._through

    def capturing(self, ids, *more):
        counted["captured"] += ids.numel() * lm.n_layers
        return capture(self, ids, *more)

    def calling(self, layer, entering, *more):
        counted["restored"] += entering[..., 0].numel()
        return through(self, layer, entering, *more)

    with monkeypatch.context() as patched:
        patched.setattr(Replay, "capture", capturing)
        patched.setattr(ReplayedWaves, "_through", calling)
        run()
    return counted["captured"], counted["restored"]


@pytest.mark.parametrize("tokens", [1024, 64])
def test_the_planned_rows_are_those_that_are_run(monkeypatch, tokens):
    """Also where a wave has not room for all cells of a position."""
    lm = make_lm()
    monkeypatch.setattr(language_model, "TOKENS_ON_CPU", tokens)
    monkeypatch.setattr(replayed_waves, "CALLS_PER_WAVE", 1)
    rw.trace(lm, *FACTS[3], **QUICK | {"progress": False})  # σ and whatever is made once
    for given, options, run in (
        (FACTS, {"severed": True}, lambda: sweep(lm, severed=True, known_only=False)),
        (FACTS[:4], {"kinds": "mlp"}, lambda: sweep(lm, FACTS[:4], kinds="mlp")),
        (FACTS[0], {}, lambda: trace(lm, FACTS[0])),
    ):
        planned = rw.plan(lm, given, **GRID | options)
        assert count_rows(monkeypatch, lm, run) == tuple(p.block_rows for p in planned.parts[:2])
        assert planned.seconds > 0


def test_what_stands_before_a_subject_makes_no_other_shape(monkeypatch):
    lm, asked = make_lm(), []
    count = module.work_of_prompt
    monkeypatch.setattr(
        module, "work_of_prompt", lambda *a, **k: asked.append(a[1]) or count(*a, **k)
    )
    facts = [("w3 w14 w15 w9", "w14 w15"), ("w3 w5 w4 w14 w15 w9", "w14 w15"), ("w7 w1 w2", "w1")]
    rw.plan(lm, facts, **GRID)
    assert len(asked) == 2


def test_the_facts_that_are_asked_are_evenly_spaced(monkeypatch):
    lm, asked = make_lm(), []
    facts = [(f"w3 w5 {'w4 ' * n}w9", "w5", "w1") for n in range(10)]
    monkeypatch.setattr(module, "ASKED", 6)
    monkeypatch.setattr(
        module, "asking", lambda lm: lambda rows: asked.extend(map(len, rows)) or ()
    )
    rw.plan(lm, facts, **GRID | {"known_only": True})
    assert [length - asked[0] for length in asked] == [0, 1, 3, 5, 6, 8]


def test_facts_that_the_model_does_not_know_are_not_counted():
    lm = make_lm()
    says = trace(lm, FACTS[0], kinds="hidden").answer.strip()
    other = next(word for word in ("w1", "w2") if word != says)
    facts = [(*FACTS[0], says), (*FACTS[0], other)]
    both, known = (rw.plan(lm, facts, **GRID | {"known_only": k}) for k in (False, True))
    assert known.parts[1].block_rows == both.parts[1].block_rows / 2
    assert "knows 1 of 2 facts" in known.notes[-1]


def test_an_edit_is_planned_from_one_of_few_steps_and_changes_nothing(monkeypatch):
    lm, steps = make_lm(), []
    probe = module.edit
    monkeypatch.setattr(
        module, "edit", lambda *a, **k: steps.append(k["settings"].steps) or probe(*a, **k)
    )
    record = {"prompt": "w3 {} w9", "subject": "w14", "target": "w5", "target_new": "w6"}
    options = {"layer": 2, "settings": {"rome": {"steps": 50, "prefixes": ()}}}
    one = rw.plan(lm, record, methods=["rome"], **options)
    options["layer"] = {"rome": 2}
    listed = rw.plan(lm, (record for _ in range(1)), methods="rome", **options)
    assert steps == [module.PROBE_STEPS] * 2
    assert not lm.edits
    assert [part.what for part in one.parts] == ["rome: 1 edit"]
    assert [part.what for part in listed.parts] == ["rome: 1 edit", "measuring"]
    assert (one.what, listed.what) == ("an edit", "an evaluation of 1 record")
    assert "50 steps" in one.parts[0].how
    with pytest.raises(SettingsError):
        rw.plan(lm, record, methods=["rom"])


def test_what_does_not_fit_is_said_first_and_not_begun(monkeypatch):
    lm = make_lm()
    assert rw.plan(lm, FACTS[:2], **GRID).fits
    monkeypatch.setattr(module, "memory_left", lambda device: 100)
    planned = rw.plan(lm, FACTS[:2], **GRID)
    assert not planned.fits
    assert repr(planned).startswith("Plan(Does not fit")
    with pytest.raises(OutOfMemory, match="nothing was run"):
        sweep(lm, FACTS[:2])


def test_no_fact_is_refused_with_the_reason():
    with pytest.raises(ArgumentError, match="w99"):
        rw.plan(make_lm(), [("w3 w5", "w99")])


def test_of_a_tracer_the_same_is_counted_as_of_its_fact(monkeypatch):
    lm = make_lm()
    measured = UnitCosts(3.0, 5.0, 7.0, 40)
    monkeypatch.setattr(module, "measure_unit_costs", lambda *_: measured)
    tracer = CausalTracer(lm, *FACTS[0], **QUICK)
    _, *restored = rw.plan(lm, FACTS[0], **GRID).parts
    assert module.seconds_of_trace(tracer) == sum(part.seconds for part in restored) > 0
