"""Orders of a panel: none is lost, none is done twice; and the comparisons that follow."""

import contextlib
import json
import threading

import pytest

from rome_widgets.errors import PromptError, RomeWidgetsError
from rome_widgets.widgets.edit.edit_rows import describe_request
from tests.helpers.fake_editor import FUJI, NEEDLE
from tests.helpers.panels import applied, order
from tests.helpers.waiting import PATIENCE, until


def test_cancel_also_drops_edits_that_have_not_begun(engine, panel):
    engine.slow = True
    panel.apply()
    until(lambda: panel.status == "running")
    panel.set_state({"_orders": [order("a", "edit", request=describe_request(FUJI))]})
    panel.cancel()
    assert panel.wait(PATIENCE)
    assert [what[1] for what in engine.order] == [NEEDLE.subject]
    assert "a" in panel._acks


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
