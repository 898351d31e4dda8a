"""EditPanel over a fake engine: nothing lost, nothing twice, the history as the engine has it."""

import contextlib
import gc
import json
import threading
import weakref

import pytest
import traitlets

from rome_widgets.errors import Cancelled, PromptError, RomeWidgetsError
from rome_widgets.widgets import EditPanel, TraceExplorer
from rome_widgets.widgets.edit.edit_panel import STRENGTHS
from rome_widgets.widgets.edit.edit_rows import describe_change, describe_request, read_tests
from rome_widgets.widgets.edit.engine import GROUPS, Outcome, PromptChange, TestPrompt
from tests.helpers.fake_editor import FUJI, NEEDLE, FakeEditor
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine
from tests.helpers.waiting import PATIENCE, until

FORM = {"prompt": NEEDLE.template, "subject": NEEDLE.subject, "target": NEEDLE.target}


@pytest.fixture
def engine():
    return FakeEditor()


@pytest.fixture
def panel(engine):
    made = EditPanel(engine, **FORM, true_object="Seattle")
    yield made
    engine.gate.set()
    engine.slow = False
    made.close()


@pytest.fixture
def edited(panel):
    """A panel with two edits: the Needle's e1, then Mount Fuji's e2, selected."""
    panel.apply()
    panel.template, panel.subject, panel.target, panel.true_object = (
        FUJI.template,
        FUJI.subject,
        FUJI.target,
        FUJI.true_object,
    )
    panel.apply(wait=True)
    return panel


def applied(panel):
    return {edit["id"]: edit["applied"] for edit in panel.edits}


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
    assert panel.ledger == {"n_active": 1, "fingerprint_ok": True}
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


def test_cancel_also_drops_edits_that_have_not_begun(engine, panel):
    engine.slow = True
    panel.apply()
    until(lambda: panel.status == "running")
    panel.set_state({"_orders": [order("a", "edit", request=describe_request(FUJI))]})
    panel.cancel()
    assert panel.wait(PATIENCE)
    assert [what[1] for what in engine.order] == [NEEDLE.subject]
    assert "a" in panel._acks


def order(name, op, **more):
    return {"id": name, "op": op, **more}


def test_an_order_that_arrives_twice_is_done_once(edited, engine):
    done = len(engine.order)
    once = order("x1", "applied", edit="e1", applied=False)
    edited.set_state({"_orders": [once]})
    edited.set_state({"_orders": [once, order("x2", "revert_all")]})
    assert edited.wait(PATIENCE)
    edited.set_state({"_orders": [once]})
    assert edited.wait(PATIENCE)
    assert engine.order[done:] == [("applied", "e1", False), ("revert_all",)]
    assert edited._acks[-2:] == ["x1", "x2"]


def test_orders_that_were_merged_into_one_message_are_all_done_in_order(edited, engine):
    done = len(engine.order)
    edited.set_state(
        {
            "_orders": [
                order("1", "applied", edit="e2", applied=False),
                order("2", "applied", edit="e1", applied=False),
                order("3", "applied", edit="e2", applied=True),
            ]
        }
    )
    assert edited.wait(PATIENCE)
    assert engine.order[done:] == [
        ("applied", "e2", False), ("applied", "e1", False), ("applied", "e2", True),
    ]  # fmt: skip
    assert applied(edited) == {"e1": False, "e2": True}
    assert edited.ledger["n_active"] == 1


def test_an_order_is_acked_when_it_has_ended_not_when_it_came(engine, panel):
    engine.slow = True
    panel.set_state({"_orders": [order("a", "edit", request=describe_request(NEEDLE))]})
    until(lambda: panel.status == "running")
    assert "a" not in panel._acks
    engine.slow = False
    assert panel.wait(PATIENCE)
    assert "a" in panel._acks


def test_edits_are_reverted_in_any_order_and_all_at_once(edited):
    edited.revert("e1")
    assert edited.wait(PATIENCE)
    assert applied(edited) == {"e1": False, "e2": True}
    edited.set_applied("e1", True)
    edited.revert_all()
    assert edited.wait(PATIENCE)
    assert applied(edited) == {"e1": False, "e2": False}
    assert edited.ledger == {"n_active": 0, "fingerprint_ok": True}
    assert len(edited.edits) == 2


@pytest.mark.parametrize(
    "broken",
    [
        {"op": "nonsense"},
        {"op": "applied"},
        {"op": "edit", "request": {"template": "{}", "bogus": 1}},
        {"op": "applied", "edit": "e99", "applied": True},
    ],
)
def test_an_order_that_cannot_be_done_is_acked_and_its_error_told(panel, broken):
    panel.set_state({"_orders": [{"id": "bad", **broken}]})
    assert panel.wait(PATIENCE)
    assert panel._acks == ["bad"]
    assert panel.status == "error"
    assert panel.error["message"]


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
        edited.apply(wait=True)
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
    panel.apply()
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
    panel.apply(wait=True)
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


class TestVerdicts:
    def change(self, group, before, after, **more):
        return describe_change(PromptChange(TestPrompt("x", group, **more), before, after), NEEDLE)

    @pytest.mark.parametrize(
        ("group", "token", "verdict", "good"),
        [
            ("rewrite", " Paris", "new", True),
            ("rewrite", " Seattle", "not yet", False),
            ("paraphrase", " Paris", "follows", True),
            ("paraphrase", " Par", "not yet", False),
            ("paraphrase", " the", "not yet", False),
            ("neighborhood", " Seattle", "kept", True),
            ("neighborhood", " Paris", "bled", False),
            ("other", " Seattle", "kept", True),
            ("other", " Paris", "bled", False),
            ("free", " Seattle", "same", None),
            ("free", " Paris", "changed", None),
            ("rewrite", " ", "not yet", False),
            ("rewrite", " Par", "not yet", False),
        ],
    )
    def test_each_group_has_its_own_idea_of_good(self, group, token, verdict, good):
        row = self.change(group, Outcome(" Seattle", 0.9), Outcome(token, 0.8))
        assert (row["verdict"], row["good"]) == (verdict, good)

    @pytest.mark.parametrize(
        ("group", "token", "verdict", "good"),
        [
            ("rewrite", " Par", "begins", True),
            ("rewrite", " Pa", "not yet", False),
            ("paraphrase", " Par", "follows", True),
            ("paraphrase", "Par", "not yet", False),
        ],
    )
    def test_a_word_of_several_tokens_is_begun_by_its_own_first_one(
        self, group, token, verdict, good
    ):
        outcomes = Outcome(" Seattle", 0.9), Outcome(token, 0.8)
        change = PromptChange(TestPrompt("x", group), *outcomes, " Par")
        row = describe_change(change, NEEDLE)
        assert (row["verdict"], row["good"]) == (verdict, good)

    @pytest.mark.parametrize(
        ("before", "after", "verdict", "good"),
        [
            (" America", " America", "kept", True),
            (" the", " America", "kept", True),
            (" America", " France", "bled", False),
            (" the", " France", "bled", False),
            (" the", " the", "not known", False),
        ],
    )
    def test_what_should_stay_is_right_where_the_true_object_is_said(
        self, before, after, verdict, good
    ):
        outcomes = Outcome(before, 0.9), Outcome(after, 0.8)
        for group in ("neighborhood", "other"):
            row = self.change(group, *outcomes, true_object="America")
            assert (row["verdict"], row["good"]) == (verdict, good)

    def test_an_object_that_was_said_before_is_not_new(self):
        row = self.change("rewrite", Outcome(" Paris", 0.9), Outcome(" Paris", 0.95))
        assert (row["verdict"], row["good"]) == ("already", True)

    def test_what_should_change_follows_the_new_word_and_what_should_not_the_true_one(self):
        outcomes = Outcome(" Seattle", 0.9, 0.1, 0.9), Outcome(" Paris", 0.8, 0.8, 0.15)
        row = self.change("rewrite", *outcomes)
        assert (row["followed"], row["delta"]) == ("Paris", pytest.approx(0.7))
        row = self.change("neighborhood", *outcomes)
        assert (row["followed"], row["delta"]) == ("Seattle", pytest.approx(-0.75))

    def test_a_prompt_of_ones_own_follows_what_the_model_said_before(self):
        outcomes = Outcome(" trumpet", 0.9, 0.1, 0.9), Outcome(" piano", 0.8, 0.2, 0.15)
        change = PromptChange(TestPrompt("x"), *outcomes, " Paris", " trumpet")
        row = describe_change(change, NEEDLE)
        assert (row["followed"], row["delta"]) == (" trumpet", pytest.approx(-0.75))

    @pytest.mark.parametrize(
        ("token", "shown"),
        [(" Par", "Par…"), (" Paris", "Paris"), (None, "Paris"), ("⟨C3⟩", "⟨C3⟩…")],
    )
    def test_a_probability_of_a_first_token_names_that(self, token, shown):
        outcomes = Outcome(" Seattle", 0.9, 0.1, 0.9), Outcome(" Paris", 0.8, 0.8, 0.1)
        for group in ("rewrite", "paraphrase"):
            row = describe_change(PromptChange(TestPrompt("x", group), *outcomes, token), NEEDLE)
            assert row["followed"] == row["words"]["target"] == shown
            assert row["words"]["true"] == "Seattle"

    def test_without_a_probability_there_is_no_difference(self):
        row = self.change("rewrite", Outcome(" a", 0.9), Outcome(" b", float("nan"), 0.2))
        assert row["delta"] is None
        assert row["after"]["probability"] is None


def test_test_prompts_are_read_from_texts_and_dicts_and_nothing_else():
    assert read_tests(["a"])[0]["group"] == "free"
    for group in GROUPS:
        assert read_tests([{"text": "a", "group": group}])[0]["group"] == group
    for wrong in ({"text": 1}, {"text": "a", "group": "x"}, {"text": "a", "more": 1}):
        with pytest.raises(traitlets.TraitError):
            read_tests([wrong])


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
        EditPanel(engine, **FORM).apply()
    threading.Timer(0.2, lambda: panel.set_state({"_cancel_id": 1})).start()
    threading.Timer(0.4, lambda: setattr(engine, "slow", False)).start()
    with pytest.raises(Cancelled):
        panel.apply(wait=True)
    assert panel.status == "cancelled"


def test_waiting_for_an_edit_returns_it_whatever_else_is_ordered(engine, panel):
    engine.slow = True

    def order_more():
        panel.set_state({"_orders": [order("a", "edit", request=describe_request(FUJI))]})
        engine.slow = False

    threading.Timer(0.2, order_more).start()
    assert panel.apply(wait=True).request.subject == NEEDLE.subject
    assert panel.selected == "e2"


def test_an_error_of_another_order_is_not_that_of_the_edit_waited_for(engine, panel):
    engine.slow = True

    def order_more():
        panel.set_state({"_orders": [order("a", "nonsense")]})
        engine.slow = False

    threading.Timer(0.2, order_more).start()
    assert panel.apply(wait=True).request.subject == NEEDLE.subject


def test_reverting_first_is_one_order_and_no_edit_follows_a_revert_that_failed(panel, engine):
    panel.apply(wait=True)
    done = len(engine.order)
    request = describe_request(FUJI)
    panel.set_state({"_orders": [order("a", "edit", first="revert_all", request=request)]})
    assert panel.wait(PATIENCE)
    assert engine.order[done:] == [("revert_all",), ("edit", FUJI.subject)]
    assert applied(panel) == {"e1": False, "e2": True}

    def fail():
        raise RomeWidgetsError("Somebody else wrote the weights.")

    engine.revert_all = fail
    panel.set_state({"_orders": [order("b", "edit", first="revert_all", request=request)]})
    assert panel.wait(PATIENCE)
    assert len(engine.order) == done + 2
    assert "Somebody else" in panel.error["message"]
    assert panel._acks[-1] == "b"
    panel.set_state({"_orders": [order("c", "edit", first="nonsense", request=request)]})
    assert panel.error["cause"] == "edit"


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


class TestAPromptThatCannotBeRun:
    @pytest.fixture
    def compare(self, engine):
        compare = engine.compare

        def picky(request, prompts):
            if any(len(prompt.text) > 100 for prompt in prompts):
                raise PromptError("The prompt has 200 tokens.", "At most 100.")
            return compare(request, prompts)

        engine.compare = picky

    def test_has_a_row_that_says_why_and_the_others_their_numbers(self, panel, compare):
        panel.apply(wait=True)
        panel.tests = ["x" * 200, "Lyon is in"]
        assert panel.wait(PATIENCE)
        assert panel.error is None
        *_, bad, good = panel.rows
        assert "200 tokens" in bad["message"]
        assert (bad["delta"], bad["group"]) == (None, "free")
        assert good["message"] is None
        assert good["verdict"] == "same"
        assert "200 tokens" in panel.to_text()
        json.dumps(panel.rows, allow_nan=False)

    def test_is_gone_with_its_test(self, panel, compare):
        panel.apply(wait=True)
        panel.tests = ["x" * 200]
        panel.set_state({"tests": []})
        assert panel.wait(PATIENCE)
        assert not any(row["message"] for row in panel.rows)

    def test_when_it_is_the_edits_own_there_is_no_trail(self, panel, engine):
        compare = engine.compare

        def not_the_first(request, prompts):
            if prompts[0].group == "rewrite":
                raise PromptError("no luck")
            return compare(request, prompts)

        engine.compare = not_the_first
        panel.apply(wait=True)
        assert panel.rows[0]["message"] == "no luck"
        assert panel.trail == []


def test_a_strength_that_cannot_be_set_does_not_lose_the_others(edited, engine):
    engine.gate.clear()
    edited.set_state({"_strengths": {"e2": [1, 0.9]}})
    until(lambda: edited._worker._running)
    edited._wanted["e99"] = 0.2
    edited.set_state({"_strengths": {"e2": [1, 0.9], "e1": [2, 0.3]}})
    engine.gate.set()
    assert edited.wait(PATIENCE)
    assert {edit["id"]: edit["strength"] for edit in edited.edits} == {"e1": 0.3, "e2": 0.9}
    assert (edited.error["cause"], "e99" in edited.error["message"]) == ("strength", True)


@pytest.mark.parametrize("trait", ["edits", "selected", "ledger", "progress", "status", "steps"])
def test_a_failing_observer_of_the_users_does_not_leave_the_panel_running(
    panel, engine, caplog, trait
):
    def fail(change):
        raise ZeroDivisionError("in the user's observer")

    panel.wait(PATIENCE)
    panel.observe(fail, trait)
    with contextlib.suppress(ZeroDivisionError):
        panel.set_state({"_orders": [order("a", "edit", request=describe_request(NEEDLE))]})
    assert panel.wait(PATIENCE)
    assert panel._acks == ["a"]
    assert panel.status in ("done", "error")
    assert panel._open == {}
    if trait in ("edits", "selected", "ledger"):
        assert "in the user's observer" in panel.error["message"]
        assert applied(panel) == {"e1": True}
        assert panel.ledger["n_active"] == 1


def test_waiting_looks_at_the_open_orders_while_nobody_changes_them(panel):
    class Watched(dict):
        def values(self):
            assert panel._writing._is_owned()
            return super().values()

    panel._open = Watched(panel._open)
    panel.apply()
    assert panel.wait(PATIENCE)
