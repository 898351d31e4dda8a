"""EditPanel over a fake engine: nothing lost, nothing twice, the history as the engine has it."""

import gc
import json
import threading
import weakref

import numpy as np
import pytest

from rome_widgets.errors import Cancelled, PromptError, RomeWidgetsError, StateError
from rome_widgets.widgets import EditPanel, TraceExplorer
from rome_widgets.widgets.edit.edit_panel import STRENGTHS
from rome_widgets.widgets.edit.edit_rows import describe_request
from rome_widgets.widgets.edit.engine import TestPrompt
from tests.helpers.fake_editor import NEEDLE, FakeEditor
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine
from tests.helpers.panels import FORM, applied, order
from tests.helpers.records import make_trace
from tests.helpers.waiting import PATIENCE, until

TRACED = make_trace()


def test_apply_computes_the_form_and_shows_its_history_and_its_predictions(panel, engine):
    record = panel.apply(wait=True)
    assert record.request.prompt == PROMPT
    assert panel.status == "done"
    assert panel.progress == 1.0
    (edit,) = panel.edits
    assert edit["request"] == describe_request(record.request)
    assert edit["layer_reason"] == "the model card's layer"
    assert edit["scores"]["neighborhood"] == 0.74
    assert edit["scores"]["others"] == 0.5
    assert len(panel.steps) == engine.n_steps == len(edit["curve"])
    assert panel.ledger == {"n_active": 1, "fingerprint_ok": True, "original": False}
    assert [row["verdict"] for row in panel.rows] == [
        "new", "follows", "follows", "kept", "kept", "bled",
    ]  # fmt: skip
    assert engine.threads == {"rome_widgets worker: fake world"}
    json.dumps([panel.edits, panel.rows, panel.trail, panel.steps], allow_nan=False)


def test_the_form_reaches_the_engine_as_it_was_when_pressed(engine, panel):
    panel.layer, panel.method, panel.settings = 6, "ft-l", {"steps": 7}
    panel.apply()
    panel.layer, panel.method, panel.subject = 1, "ft", "Somewhere Else"
    assert panel.wait(PATIENCE)
    (record,) = panel.records
    assert (record.layer, record.request.method) == (6, "ft-l")
    assert record.request.settings == {"steps": 7}
    assert record.request.subject == NEEDLE.subject


def test_steps_stream_while_the_edit_runs(engine, panel):
    engine.slow = True
    panel.apply()
    until(lambda: panel.status == "running")
    for _ in range(3):
        engine.step.set()
        until(lambda: not engine.step.is_set())
        threading.Event().wait(0.11)
    until(lambda: len(panel.steps) >= 2)
    assert 0 < panel.progress < 1
    assert panel.edits == []
    loss, nll, kl, _probability, _norm = panel.steps[0]
    assert loss == pytest.approx(nll + kl)
    engine.slow = False
    assert panel.wait(PATIENCE)
    assert len(panel.steps) == engine.n_steps


def test_cancel_stops_a_running_edit_and_changes_nothing(engine, panel):
    engine.slow = True
    panel.apply()
    until(lambda: panel.status == "running")
    panel.set_state({"_cancel_id": 1})
    assert panel.wait(PATIENCE)
    assert panel.status == "cancelled"
    assert panel.edits == []
    assert panel.error is None


def test_edits_are_reverted_in_any_order_and_all_at_once(edited):
    edited.revert("e1")
    assert edited.wait(PATIENCE)
    assert applied(edited) == {"e1": False, "e2": True}
    edited.set_applied("e1", True)
    edited.revert_all()
    assert edited.wait(PATIENCE)
    assert applied(edited) == {"e1": False, "e2": False}
    assert edited.ledger == {"n_active": 0, "fingerprint_ok": True, "original": True}
    assert len(edited.edits) == 2


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("template", "no place", "0 places"),
        ("template", "{} and {}", "2 places"),
        ("subject", "  ", "subject is empty"),
        ("target", "", "target is empty"),
    ],
)
def test_a_form_that_is_no_edit_is_refused_before_the_model_is_asked(
    panel, engine, name, value, found
):
    setattr(panel, name, value)
    with pytest.raises(PromptError, match=found):
        panel.apply(wait=True)
    assert engine.order == []
    assert found in panel.error["found"]


def test_an_error_of_the_engine_arrives_as_data_and_leaves_the_history(edited, engine):
    engine.broken = RomeWidgetsError("No statistics.", "A second moment.", "Pass texts.")
    with pytest.raises(RomeWidgetsError):
        edited.apply(wait=True, first="on_top")
    assert edited.status == "error"
    assert edited.error["remedy"] == "Pass texts."
    assert len(edited.edits) == 2
    assert edited.error["cause"] == "edit"
    engine.broken = None
    edited.revert("e1")
    assert edited.wait(PATIENCE)
    assert edited.error is None


@pytest.mark.parametrize(
    "sent", [{"method": "bogus"}, {"layer": 8}, {"settings": {"steps": "many"}}, {"tests": [{}, 3]}]
)
def test_the_page_is_told_of_a_value_that_is_refused(panel, sent):
    panel.set_state(sent)
    assert panel.error["type"] == "TraitError"
    ((name, value),) = sent.items()
    assert getattr(panel, name) != value
    panel.subject = "Someone"
    assert panel.error is None


def test_of_many_strengths_the_latest_is_set_and_shown(edited, engine):
    edited.selected = "e1"
    assert edited.wait(PATIENCE)
    engine.gate.clear()
    edited.set_state({"_strengths": {"e1": [1, 0.1]}})
    until(lambda: edited._worker._running)
    for count in range(2, 9):
        edited.set_state({"_strengths": {"e1": [count, count / 10]}})
    engine.gate.set()
    assert edited.wait(PATIENCE)
    assert engine.strengths == [("e1", 0.1), ("e1", 0.8)]
    assert edited.edits[0]["strength"] == 0.8
    assert edited.rows[0]["after"]["target"] == pytest.approx(
        engine.compare(NEEDLE, [TestPrompt(PROMPT, "rewrite")])[0].after.target
    )


def test_strengths_of_two_edits_do_not_replace_each_other(edited, engine):
    engine.gate.clear()
    edited.set_state({"_strengths": {"e2": [1, 0.9]}})
    until(lambda: edited._worker._running)
    edited.set_state({"_strengths": {"e2": [1, 0.9], "e1": [2, 0.3]}})
    edited.set_state({"_strengths": {"e2": [3, 0.4], "e1": [2, 0.3]}})
    engine.gate.set()
    assert edited.wait(PATIENCE)
    assert {edit["id"]: edit["strength"] for edit in edited.edits} == {"e1": 0.3, "e2": 0.4}


def test_a_strength_never_lands_in_the_middle_of_another_job(engine, panel):
    panel.apply(wait=True)
    engine.slow = True
    panel.apply(first="on_top")
    until(lambda: panel.status == "running")
    panel.set_strength("e1", 0.5)
    for _ in range(3):
        engine.step.set()
        until(lambda: not engine.step.is_set())
    assert engine.strengths == []
    engine.slow = False
    assert panel.wait(PATIENCE)
    assert engine.strengths == [("e1", 0.5)]


def test_the_trail_keeps_what_was_seen_until_the_model_changes_otherwise(panel):
    panel.apply(wait=True)
    assert [point[0] for point in panel.trail] == [*STRENGTHS]
    panel.set_strength("e1", 0.4)
    assert panel.wait(PATIENCE)
    assert [point[0] for point in panel.trail] == sorted([*STRENGTHS, 0.4])
    assert [point[1] for point in panel.trail] == sorted(point[1] for point in panel.trail)
    panel.revert_all()
    assert panel.wait(PATIENCE)
    assert panel.trail == []


def test_strengths_are_measured_once_ahead_and_not_of_an_edit_that_is_out(panel, engine):
    panel.apply(wait=True)
    (asked,) = engine.measured
    assert sorted([*asked, 1.0]) == [*STRENGTHS], "the one it has is known from the rows"
    panel.set_strength("e1", 0.4)
    panel.tests = ["My own text"]
    assert panel.wait(PATIENCE)
    assert engine.measured == [asked]
    panel.revert("e1")
    assert panel.wait(PATIENCE)
    assert (engine.measured, panel.trail) == ([asked], [])


def test_a_strength_of_another_edit_makes_the_measured_ones_void(panel, engine):
    panel.apply(wait=True)
    panel.apply(wait=True, first="on_top")
    assert panel.selected == "e2"
    before = panel.trail
    panel.set_strength("e1", 0.0)
    assert panel.wait(PATIENCE)
    assert [point[0] for point in panel.trail] == [*STRENGTHS]
    assert panel.trail[0][1] < before[0][1]


def test_where_strengths_cannot_be_measured_the_rows_stay(panel, engine):
    def fail(edit, strengths):
        raise RomeWidgetsError("no luck")

    engine.at_strengths = fail
    panel.apply(wait=True)
    assert panel.rows[0]["verdict"] == "new"
    assert [point[0] for point in panel.trail] == [1.0]
    assert panel.error["cause"] == "compare"


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan")])
def test_a_strength_out_of_range_is_refused(panel, strength):
    panel.apply(wait=True)
    with pytest.raises(ValueError, match="between 0 and"):
        panel.set_strength("e1", strength)


def test_selecting_an_edit_compares_its_prompts_and_the_users_own(edited, engine):
    edited.tests = ["My own text", TestPrompt("Another city", "other")]
    edited.selected = "e1"
    assert edited.wait(PATIENCE)
    assert edited.rows[0]["text"] == PROMPT
    assert [row["group"] for row in edited.rows[-2:]] == ["free", "other"]
    assert edited.rows[-2]["text"] == "My own text"
    assert engine.compared[-1][0] == PROMPT


def test_a_layer_is_suggested_on_request_with_its_reason(panel):
    panel.set_state({"_request": {"id": 1, "op": "suggest"}})
    assert panel.wait(PATIENCE)
    assert panel.layer == 5
    assert panel.suggestion == {"layer": 5, "reason": "the MLP trace peaks at layer 5"}


@pytest.mark.parametrize("take_out", ["revert", "revert_all", "strength"])
def test_every_row_of_an_edit_that_is_out_reads_as_before(edited, take_out):
    edited.tests = ["My own text"]
    assert edited.wait(PATIENCE)
    assert "new" in {row["verdict"] for row in edited.rows}
    if take_out == "strength":
        edited.set_strength(edited.selected, 0.0)
    else:
        getattr(edited, take_out)(*([edited.selected] if take_out == "revert" else []))
    assert edited.wait(PATIENCE)
    assert {(row["verdict"], row["good"]) for row in edited.rows} == {("as before", None)}
    edited.set_applied(edited.selected, True)
    edited.set_strength(edited.selected, 1.0)
    assert edited.wait(PATIENCE)
    assert "new" in {row["verdict"] for row in edited.rows}


OTHER_WORDS = [
    {"subject": "The Colosseum"},
    {"template": "{} stands in"},
    {"template": "{} plays the", "subject": "Miles Davis", "target": "piano"},
]


@pytest.mark.parametrize("by", ["python", "page"])
@pytest.mark.parametrize("words", OTHER_WORDS)
def test_another_fact_drops_the_layer_of_a_trace_and_the_reason(engine, words, by):
    panel = EditPanel(engine, target="Paris", trace=TRACED)
    assert panel.layer is not None
    assert panel.suggestion["reason"].startswith("the MLP trace peaks")
    if by == "page":
        panel.set_state(words)
    else:
        for name, value in words.items():
            setattr(panel, name, value)
    assert (panel.layer, panel.suggestion) == (None, {})
    assert panel.true_object is None, "nor what the model says of the other one"
    record = panel.apply(wait=True)
    assert record.layer_reason == "the model card's layer"


def test_before_its_trace_is_there_an_explorer_gives_its_fact(engine):
    explorer = TraceExplorer(FakeEngine(), PROMPT, "The Space Needle", auto_run=False)
    panel = EditPanel(engine, target="Paris", trace=explorer)
    assert explorer.trace is None
    assert (panel.template, panel.subject) == ("{} is in the city of", "The Space Needle")
    assert panel.layer is None


def test_an_explorer_without_a_subject_leaves_the_form_empty(engine):
    explorer = TraceExplorer(FakeEngine(), PROMPT, "", auto_run=False)
    panel = EditPanel(engine, target="Paris", trace=explorer)
    assert (panel.template, panel.subject) == ("{}", "")


def test_another_fact_keeps_a_layer_that_a_person_chose(engine):
    panel = EditPanel(engine, target="Paris", trace=TRACED)
    panel.layer = chosen = (panel.layer + 1) % engine.n_layers
    panel.subject = "The Colosseum"
    assert (panel.layer, panel.suggestion) == (chosen, {})


@pytest.mark.parametrize("words", [{"target": "Rome"}, {"true_object": "Rome"}])
def test_another_object_of_the_same_fact_keeps_both(engine, words):
    panel = EditPanel(engine, target="Paris", trace=TRACED)
    before = panel.layer, panel.suggestion
    panel.set_state(words)
    assert (panel.layer, panel.suggestion) == before


@pytest.mark.parametrize(
    ("tokens", "span", "template"),
    [
        (("Ann", " met", " Ann", "a", " in"), (0, 1), "{} met Anna in"),
        (("<s>", "Ann", " met", " Ann", "a", " in"), (1, 2), "{} met Anna in"),
        (("Ann", " met", " Ann", "a", " in"), (2, 3), "Ann met {}a in"),
    ],
)
def test_the_place_that_was_traced_is_the_one_cut_out(engine, tokens, span, template):
    grids = {"mlp": np.random.RandomState(0).rand(len(tokens), 3)}
    trace = make_trace(
        prompt="Ann met Anna in", subject="Ann", tokens=tokens, token_ids=tuple(range(len(tokens))),
        subject_span=span, scores=grids, recorded={},
    )  # fmt: skip
    panel = EditPanel(engine, trace=trace)
    assert (panel.template, panel.subject) == (template, "Ann")


@pytest.mark.parametrize("made_by", ["python", "page", "elsewhere"])
def test_a_fact_that_is_applied_already_is_not_stacked_unasked(panel, engine, made_by):
    if made_by == "python":
        panel.apply(wait=True)
    elif made_by == "page":
        panel.set_state({"_orders": [order("o1", "edit", request=describe_request(panel.request))]})
    else:
        engine.edit(panel.request, lambda step: None, lambda: False)
    assert panel.wait(PATIENCE)
    panel.target = f"{panel.target} "
    panel.layer = 6  # Elsewhere it is the same fact all the same.
    with pytest.raises(StateError, match="Already applied: “The Space Needle"):
        panel.apply(wait=True)
    assert len(panel.records) == 1
    panel.revert("e1")
    panel.apply(wait=True)
    assert applied(panel) == {"e1": False, "e2": True}


@pytest.mark.parametrize(
    ("first", "left"),
    [("on_top", {"e1": True, "e2": True}), ("revert_all", {"e1": False, "e2": True})],
)
def test_it_is_stacked_or_replaced_where_that_is_said(panel, first, left):
    panel.apply(wait=True)
    panel.apply(wait=True, first=first)
    assert applied(panel) == left


def test_another_object_of_the_same_subject_goes_on_top(panel):
    panel.apply(wait=True)
    panel.target = "London"
    panel.apply(wait=True)
    assert applied(panel) == {"e1": True, "e2": True}


def test_two_presses_before_the_first_is_done_make_one_edit(panel, engine):
    panel.apply()
    panel.apply()
    assert panel.wait(PATIENCE)
    assert applied(panel) == {"e1": True}
    assert "Already applied" in panel.error["message"]


def test_a_history_made_elsewhere_is_shown_at_once_and_followed(engine):
    engine.edit(NEEDLE, lambda step: None, lambda: False)
    panel = EditPanel(engine)
    assert panel.wait(PATIENCE)
    assert applied(panel) == {"e1": True}
    engine.set_applied("e1", False)
    assert panel.wait(PATIENCE)
    assert applied(panel) == {"e1": False}
    assert panel.edited == 0


def test_every_widget_of_the_model_wears_the_badge():
    engine = FakeEditor()
    explorer = TraceExplorer(FakeEngine(session=engine.session), prompt=PROMPT, subject=SUBJECT)
    panel, other = (EditPanel(engine, **FORM) for _ in range(2))
    stranger = TraceExplorer(FakeEngine())
    panel.apply(wait=True)
    until(lambda: len(other.edits) == 1)
    later = TraceExplorer(FakeEngine(session=engine.session))
    assert [w.edited for w in (explorer, panel, other, later, stranger)] == [1, 1, 1, 1, 0]
    panel.revert_all()
    assert panel.wait(PATIENCE)
    assert [w.edited for w in (explorer, panel, other, later)] == [0, 0, 0, 0]


def test_two_panels_of_one_model_come_to_rest():
    engine = FakeEditor()
    one, two = (EditPanel(engine, **FORM) for _ in range(2))
    one.apply(wait=True)
    assert two.wait(PATIENCE)
    compared = len(engine.compared)
    threading.Event().wait(0.2)
    assert len(engine.compared) == compared
    assert two.edits == one.edits


def test_closing_a_panel_reverts_nothing(edited, engine):
    edited.close()
    assert [record.applied for record in engine.records()] == [True, True]


def test_a_panel_that_is_let_go_stops_its_edit():
    engine = FakeEditor(slow=True)
    panels = [EditPanel(engine, **FORM)]
    panels[0].apply()
    until(lambda: panels[0].status == "running")
    slots = panels[0]._places()
    panels[0].close()
    gone = weakref.ref(panels.pop())
    assert engine.session.worker.wait(slots, PATIENCE)
    until(lambda: gc.collect() is not None and gone() is None)
    assert engine.records() == []


def test_interrupting_apply_cancels_the_edit(engine, panel, monkeypatch):
    engine.slow = True

    def interrupt(slots, timeout=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(panel._worker, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            panel.apply(wait=True)
    assert panel.wait(PATIENCE)
    assert panel.status == "cancelled"


def test_cancelled_is_no_error_of_the_tree(engine, panel):
    engine.broken = Cancelled("stopped")
    with pytest.raises(Cancelled):
        panel.apply(wait=True)
    assert (panel.status, panel.error) == ("cancelled", None)


@pytest.mark.parametrize("begun", [False, True])
def test_waiting_for_an_edit_that_is_cancelled_returns_no_older_one(engine, panel, begun):
    panel.apply(wait=True)
    engine.slow = True
    if not begun:
        EditPanel(engine, **FORM).apply(first="on_top")
    threading.Timer(0.2, lambda: panel.set_state({"_cancel_id": 1})).start()
    threading.Timer(0.4, lambda: setattr(engine, "slow", False)).start()
    with pytest.raises(Cancelled):
        panel.apply(wait=True, first="on_top")
    assert panel.status == "cancelled"


class TestAnErrorSaysWhatFailed:
    @pytest.mark.parametrize(
        ("do", "cause"),
        [
            (lambda panel: panel.apply(), "edit"),
            (lambda panel: panel.set_state({"template": "x"}) or panel.apply(), "edit"),
            (lambda panel: panel.revert("e1"), "order"),
            (lambda panel: panel.revert_all(), "order"),
            (lambda panel: panel.set_strength("e1", 0.5), "strength"),
            (lambda panel: panel.suggest_layer(), "suggest"),
            (lambda panel: panel.set_trait("tests", ["x"]), "compare"),
            (lambda panel: panel.set_state({"layer": 99}), "form"),
        ],
    )
    def test_by_its_cause(self, panel, engine, do, cause):
        panel.apply(wait=True)
        engine.broken = RomeWidgetsError("No luck.")
        do(panel)
        assert panel.wait(PATIENCE)
        assert cause in panel._errors
        assert panel._errors[cause]["cause"] == cause
