"""The editing widgets over a real model: what they show is what the engine computes."""

import gc
import threading
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.compare import compare_all_edits
from rome_widgets.errors import Cancelled, PromptError, StateError
from rome_widgets.model.language_model import to_numpy
from rome_widgets.model.ledger import ledger_of
from rome_widgets.session import edit_engine
from rome_widgets.session.edit_engine import EditingEngine, known_tests
from rome_widgets.session.session import session_of
from rome_widgets.widgets.edit.edit_panel import STRENGTHS
from rome_widgets.widgets.edit.engine import EditRequest, TestPrompt
from tests.helpers import tiny, world
from tests.helpers.model_guard import fingerprint

NEEDLE = ("{} is in the city of", "The Space Needle", "Paris")
PROMPT = "The Space Needle is in the city of"


@pytest.fixture
def panel(lm):
    return rw.EditPanel(lm, *NEEDLE)


def says(lm, prompt):
    ids = torch.tensor([lm.encode(prompt, (0, len(prompt))).ids])
    return lm.token_text(int(lm.next_token_probabilities(ids)[0].argmax())).strip()


def test_the_panel_edits_the_model_and_takes_it_back(panel, lm):
    record = panel.apply(wait=True)
    assert panel.wait(20)
    assert says(lm, PROMPT) == "Paris"
    assert panel.edit in lm.edits
    assert record.request.method == "rome"
    assert record.scores["efficacy"] == 1
    others = [row["good"] for row in panel.rows if row["group"] == "other"]
    assert record.scores["others"] == sum(others) / len(others)
    assert panel.ledger == {"n_active": 1, "fingerprint_ok": True, "original": False}
    groups = {row["group"] for row in panel.rows}
    assert groups == {"rewrite", "paraphrase", "neighborhood", "other"}
    rewrite = panel.rows[0]
    assert (rewrite["before"]["token"].strip(), rewrite["after"]["token"].strip()) == (
        "Seattle",
        "Paris",
    )
    panel.revert(record.id)
    assert panel.wait(20)
    assert says(lm, PROMPT) == "Seattle"
    assert panel.ledger == {"n_active": 0, "fingerprint_ok": True, "original": True}
    assert panel.rows[0]["after"]["token"].strip() == "Seattle"


def test_of_a_model_without_a_table_the_neighbors_of_the_report_are_shown(panel, monkeypatch):
    monkeypatch.setattr(edit_engine, "bundled", SimpleNamespace(is_bundled=lambda lm: False))
    record = panel.apply(wait=True)
    assert panel.wait(20)
    neighbors = panel.edit.report.neighbors[: edit_engine.MOST_TESTS]
    shown = [row for row in panel.rows if row["group"] == "neighborhood"]
    assert len(neighbors) > 1
    assert [row["text"] for row in shown] == [neighbor.prompt for neighbor in neighbors]
    assert [row["before"]["token"] for row in shown] == [each.answer for each in neighbors]
    assert [row["before"]["true"] for row in shown] == pytest.approx(
        [neighbor.before for neighbor in neighbors], abs=1e-6
    )
    assert record.scores["neighborhood"] == sum(row["good"] for row in shown) / len(shown)
    panel.revert(record.id)
    assert panel.wait(20)
    assert {row["group"] for row in panel.rows} == {"rewrite", "neighborhood"}


def test_the_loss_of_each_step_is_the_reports(panel):
    panel.apply(wait=True)
    report = panel.edit.report
    assert panel.edits[0]["curve"] == pytest.approx([step.loss for step in report.steps])
    assert panel.steps[-1][3] == pytest.approx(report.probability)


def test_predictions_follow_the_strength(panel, lm):
    record = panel.apply(wait=True)
    for strength in (0.0, 0.4, 1.0, 1.3):
        panel.set_strength(record.id, strength)
        assert panel.wait(20)
        assert panel.edit.strength == strength
        ids = torch.tensor([lm.encode(PROMPT, (0, 5)).ids])
        after = to_numpy(lm.next_token_probabilities(ids)[0])
        shown = panel.rows[0]["after"]
        assert shown["target"] == pytest.approx(after[lm.answer_ids(PROMPT, "Paris")[0]], abs=1e-6)
    assert [point[0] for point in panel.trail] == sorted([*STRENGTHS, 0.4, 1.3])


def test_strengths_measured_ahead_are_what_setting_them_gives(panel, lm):
    """Also of an edit on top of another, whatever strength it has at the time."""
    panel.apply(wait=True)
    panel.target = "London"
    record = panel.apply(wait=True)
    weights = fingerprint(lm.model)
    ahead = panel._engine.at_strengths(record.id, STRENGTHS)
    assert fingerprint(lm.model) == weights
    ids = torch.tensor([lm.encode(PROMPT, (0, 5)).ids])
    london = lm.answer_ids(PROMPT, "London")[0]
    for strength, outcome in zip(STRENGTHS, ahead, strict=True):
        panel.edit.strength = strength
        after = to_numpy(lm.next_token_probabilities(ids)[0])
        assert outcome.target == pytest.approx(after[london], abs=1e-6)
        assert outcome.token == lm.token_text(int(after.argmax()))
    assert panel._engine.at_strengths(record.id, [0.5])[0].target == pytest.approx(
        ahead[STRENGTHS.index(0.5)].target, abs=1e-6
    )


def test_edits_made_in_code_are_in_the_history_and_on_the_badges(panel, lm):
    explorer = rw.TraceExplorer(lm, PROMPT, "The Space Needle", samples=2)
    assert explorer.wait(30)
    elsewhere = rw.edit(lm, "{} is in the city of", "The Space Needle", "London").apply()
    assert panel.wait(20)
    assert panel.edited == explorer.edited == 1
    assert [record.request.target for record in panel.records] == ["London"]
    with rw.edit(lm, "The capital of {} is", "France", "Berlin"):
        assert explorer.edited == 2
    elsewhere.revert()
    assert panel.wait(20)
    assert panel.edited == explorer.edited == 0
    assert [(r.request.target, r.applied) for r in panel.records] == [("London", False)]
    late = rw.EditPanel(lm)
    assert late.wait(20)
    assert late.records == panel.records


def test_an_edit_whose_ground_was_taken_away_says_so(panel):
    first = panel.apply(wait=True)
    panel.target = "London"
    second = panel.apply(wait=True)
    assert not second.warnings
    panel.revert(first.id)
    assert panel.wait(20)
    assert "reverted since" in panel.records[1].warnings[-1]
    panel.set_applied(first.id, True)
    assert panel.wait(20)
    assert not panel.records[1].warnings


def test_weights_that_somebody_else_wrote_do_not_match(panel, lm):
    panel.apply(wait=True)
    name = panel.edit.updates[0].name
    weight = lm.model.get_parameter(name)
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] += 1
    assert not ledger_of(lm.model).weights_match()
    panel.revert_all()
    assert panel.wait(20)
    assert panel.error["type"] == "ModelChanged"
    assert panel.ledger == {"n_active": 1, "fingerprint_ok": False, "original": False}
    with torch.no_grad():
        weight.copy_(kept)
    panel.revert_all()
    assert panel.wait(20)
    assert panel.error is None
    assert panel.ledger == {"n_active": 0, "fingerprint_ok": True, "original": True}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"subject": "Nobody Known"}, None),
        ({"target": ""}, "PromptError"),
        ({"template": "no hole"}, "PromptError"),
        ({"settings": {"steps": 2.5}}, "SettingsError"),
        ({"settings": {"nonsense": 1}}, "SettingsError"),
    ],
    ids=str,
)
def test_bad_input_is_an_error_on_screen_and_the_model_stays(panel, lm, changes, error):
    before = fingerprint(lm.model)
    for name, value in changes.items():
        setattr(panel, name, value)
    panel._order(op="edit", request=vars(panel.request))
    assert panel.wait(60)
    if error is None:
        assert panel.error is None
        return
    assert panel.error["type"] == error
    assert fingerprint(lm.model) == before
    panel.template, panel.subject, panel.target = NEEDLE
    panel.settings = {}
    assert panel.apply(wait=True).applied


def test_a_panel_gathers_statistics_of_the_models_own_text(tmp_path, monkeypatch):
    monkeypatch.setenv("ROME_WIDGETS_CACHE", str(tmp_path))
    lm = world.new_lm("gpt2")
    panel = rw.EditPanel(lm, world.PROMPT, world.SUBJECT, world.TARGET, layer=1)
    assert panel.apply(wait=True).applied
    assert "that the model wrote itself" in lm.edits[0].report.second_moment
    lm.revert_all()
    given = rw.EditPanel(
        lm, world.PROMPT, world.SUBJECT, world.TARGET, layer=1, second_moment="identity"
    )
    assert given.apply(wait=True).applied
    lm.revert_all()
    assert panel.wait(60), "both panels of the model compare again"
    assert given.wait(60)


def test_the_panel_takes_fact_and_layer_of_a_trace(lm):
    explorer = rw.TraceExplorer(lm, samples=3)
    panel = rw.EditPanel(lm, trace=explorer)
    assert panel.subject == ""
    explorer.prompt, explorer.subject = PROMPT, "The Space Needle"
    trace = explorer.run(wait=True)
    assert (panel.template, panel.subject, panel.true_object) == (*NEEDLE[:2], "Seattle")
    at_subject = trace.scores["mlp"][trace.subject_span[1] - 1]
    assert panel.layer == int(np.argmax(at_subject))
    assert "brings most back" in panel.suggestion["reason"]
    explorer.selection = [(trace.subject_span[1] - 1, 5, "mlp")]
    assert panel.layer == 5
    again = rw.EditPanel(lm, trace=trace)
    assert (again.template, again.layer) == (NEEDLE[0], int(np.argmax(at_subject)))


def test_a_layer_is_suggested_from_a_trace_of_the_form(panel):
    panel.suggest_layer()
    assert panel.wait(30)
    assert panel.layer == panel.suggestion["layer"]
    assert "need not be where an edit takes best" in panel.suggestion["reason"]
    assert panel.apply(wait=True).layer_reason == panel.suggestion["reason"]
    panel.layer = 1 if panel.layer != 1 else 2
    again = panel.apply(wait=True, first="revert_all")
    assert again.layer_reason == f"Layer {panel.layer} was asked for."


@pytest.mark.parametrize(
    "given",
    [
        (rw.Fact(*NEEDLE[:2]), "", "Paris"),
        (PROMPT, "The Space Needle", "Paris"),
        (
            {
                "requested_rewrite": {
                    "prompt": NEEDLE[0],
                    "subject": NEEDLE[1],
                    "target_new": {"str": "Paris"},
                    "target_true": {"str": "Seattle"},
                }
            },
        ),
    ],
    ids=["fact", "filled", "record"],
)
def test_the_form_is_filled_from_whatever_names_a_fact(lm, given):
    panel = rw.EditPanel(lm, *given)
    assert (panel.template, panel.subject, panel.target) == NEEDLE
    assert panel.true_object == ("Seattle" if isinstance(given[0], dict) else None)


def test_methods_come_with_the_models_own_numbers(lm):
    methods = EditingEngine(lm).methods
    assert list(methods) == list(rw.methods())
    assert [each["title"] for each in methods.values()] == ["ROME", "r-ROME", "FT", "FT-L"]
    numbers = {name: each["settings"] for name, each in methods.items()}
    assert numbers["rome"]["learning_rate"] == rw.bundled.settings()["rome"]["learning_rate"]
    assert "max_change" in numbers["ft-l"]
    assert "max_change" not in numbers["ft"]


def test_the_examples_take(lm):
    engine = EditingEngine(lm)
    for request in engine.examples:
        assert says(lm, request.prompt) == request.true_object
        engine.edit(request, lambda progress: None, lambda: False)
        assert says(lm, request.prompt) == request.target
        engine.revert_all()


def test_an_edit_of_no_history_is_refused(lm):
    with pytest.raises(StateError, match="no edit 'unknown'"):
        EditingEngine(lm).set_strength("unknown", 1.0)


def test_known_tests_are_of_the_subject_and_come_by_group():
    tests = known_tests(*NEEDLE[:2])
    groups = [test.group for test in tests]
    assert groups == sorted(groups, key=("paraphrase", "neighborhood", "other").index)
    for test in tests:
        assert ("Space Needle" in test.text) == (test.group != "neighborhood")
    assert known_tests("{} is nothing known", "Nobody") == ()


@pytest.mark.parametrize("name", world.SHAPES)
def test_prompts_that_go_together_give_what_each_gives_alone(name):
    lm = world.make_lm(name, torch.float64)
    first, second = world.made_up_edit(lm, 0), world.made_up_edit(lm, 1, layer=0)
    prompts = ["w3 w14 w15 w26 w5", "w7", "w8 w9 w10"]
    rows = [lm.encode(prompt, (0, 2)).ids for prompt in prompts]
    unedited = [lm.next_token_probabilities(torch.tensor([ids]))[0] for ids in rows]
    with first, second:
        second.strength = 0.5
        before, after = compare_all_edits(lm).probabilities(rows)
        edited = [lm.next_token_probabilities(torch.tensor([ids]))[0] for ids in rows]
    assert float((before - torch.stack(unedited)).abs().max()) <= 1e-6
    assert float((after - torch.stack(edited)).abs().max()) <= 1e-6
    assert float((before - after).abs().max()) > 1e-4


def test_free_prompts_are_compared_too(lm):
    engine = EditingEngine(lm)
    request = EditRequest(*NEEDLE)
    engine.edit(request, lambda progress: None, lambda: False)
    (change,) = engine.compare(request, [TestPrompt("Miles Davis plays the")])
    assert change.before.token == change.after.token == " trumpet"
    assert change.true_token == " trumpet"
    assert change.before.true == change.before.probability


def joint_by_hand(lm, prompt, word):
    """Probabilities of all tokens of a word and of its first, by plain calls of the model."""
    ids, each = list(lm.encode(prompt, (0, len(prompt))).ids), []
    for token in lm.answer_ids(prompt, word):
        each.append(float(lm.next_token_probabilities(torch.tensor([ids]))[0, token]))
        ids.append(token)
    return np.prod(each), each[0], len(each)


@pytest.mark.parametrize("target", ["Paris", "Los Angeles", "New York", "Lyon and Nice"])
def test_every_number_of_a_target_is_of_all_its_tokens(lm, target):
    """Rows, strengths, scores and verdicts alike: what begins right has not said it."""
    panel = rw.EditPanel(lm, *NEEDLE[:2], target, settings={"steps": 5})
    record = panel.apply(wait=True)
    assert panel.wait(60)
    for row in panel.rows:
        if row["group"] not in ("rewrite", "paraphrase"):
            continue
        whole, first, n_tokens = joint_by_hand(lm, row["text"], target)
        assert row["after"]["target"] == pytest.approx(whole, rel=1e-3)
        assert row["words"]["target"] == row["followed"] == target
        if n_tokens == 1:
            assert (row["first"], row["after"]["target_first"]) == (None, None)
        else:
            assert row["first"]["after"] == pytest.approx(first, rel=1e-3)
        assert row["good"] is row["after"]["says_target"]
        if row["verdict"] == "begins":
            assert row["after"]["token"] == row["first"]["token"]
    changed = [row for row in panel.rows if row["group"] == "rewrite"]
    assert record.scores["efficacy"] == float(changed[0]["good"])
    follows = [row["good"] for row in panel.rows if row["group"] == "paraphrase"]
    assert record.scores["paraphrase"] == pytest.approx(np.mean(follows))
    at_one = next(point for point in panel.trail if point[0] == 1.0)
    assert at_one[1] == pytest.approx(joint_by_hand(lm, PROMPT, target)[0], rel=1e-3)
    assert panel.edit.report.said[1] == pytest.approx(at_one[1], rel=1e-3)
    (found,) = panel.edit.compare(PROMPT)
    if n_tokens == 1:
        assert found.whole is None
    else:
        assert found.whole[1] == pytest.approx(at_one[1], rel=1e-3)
        assert f"all of {target!r}" in repr(found)
        assert "tokens: " in repr(panel.edit.report)


def test_a_true_object_of_several_tokens_is_kept_only_whole(lm):
    request = EditRequest(*NEEDLE)
    text = "The Space Needle is in the city of"
    (change,) = EditingEngine(lm).compare(
        request, [TestPrompt(text, "other", None, "Seattle Center")]
    )
    assert change.before.token == " Seattle"
    assert (change.before.says_true, change.true_token) == (False, " Seattle")
    assert change.before.true < change.before.true_first


def test_a_target_of_several_tokens_is_followed_whole_and_its_first_shown(lm):
    panel = rw.EditPanel(lm, *NEEDLE[:2], "Zürich Hauptbahnhof", settings={"steps": 2})
    panel.apply(wait=True)
    word = "Zürich Hauptbahnhof"
    assert {row["followed"] for row in panel.rows if row["group"] == "paraphrase"} == {word}
    assert panel.rows[0]["words"] == {"target": word, "true": ""}
    assert panel.rows[0]["first"]["token"] == " Z"
    assert "or more was wanted" in panel.edits[0]["warnings"][0]
    (found,) = panel.edit.compare(PROMPT)
    compared = rw.PredictionCompare(found)
    assert (compared.target, compared.target_of) == (" Z", "Zürich Hauptbahnhof")
    assert compared.whole == list(found.whole)
    assert "all of “Zürich Hauptbahnhof”" in compared.to_text()
    panel.target = "Paris"
    panel.apply(wait=True)
    compared.show(panel.edit.compare(PROMPT)[0])
    assert (compared.target, compared.target_of) == (" Paris", "")


def test_whole_numbers_may_come_as_floats(lm):
    panel = rw.EditPanel(lm, *NEEDLE, settings={"steps": 5})
    panel.apply(wait=True)
    assert panel.edit.report.settings["steps"] == 5
    assert len(panel.edit.report.steps) <= 5


def test_what_is_typed_stays_when_the_trace_is_made_again(lm):
    explorer = rw.TraceExplorer(lm, PROMPT, "The Space Needle", samples=2)
    explorer.wait(30)
    panel = rw.EditPanel(lm, trace=explorer, target="Paris")
    panel.apply(wait=True)
    panel.template, panel.subject, panel.target = "The capital of {} is", "France", "Berlin"
    panel.layer = layer = 5
    assert explorer.wait(30)
    assert explorer.before is not None
    assert (panel.template, panel.subject, panel.layer) == ("The capital of {} is", "France", layer)
    explorer.prompt = "Miles Davis plays the"
    explorer.subject = "Miles Davis"
    explorer.run(wait=True)
    assert (panel.template, panel.subject) == ("{} plays the", "Miles Davis")


def test_a_trace_that_was_cut_short_suggests_no_layer(lm):
    trace = rw.trace(lm, PROMPT, "The Space Needle", samples=2)
    scores = {kind: grid.copy() for kind, grid in trace.scores.items()}
    scores["mlp"][:, 3:] = np.nan
    panel = rw.EditPanel(lm, trace=replace(trace, scores=scores))
    assert (panel.subject, panel.layer) == ("", None)


def test_what_is_no_trace_is_refused(lm):
    with pytest.raises(StateError, match="str is not a trace"):
        rw.EditPanel(lm, trace="needle")


@pytest.mark.parametrize("at", [0, 1])
def test_a_subject_that_stands_twice_is_cut_out_where_it_was_traced(lm, at):
    text = "France is in Europe. The capital of France is"
    at = text.index("France", at)
    trace = rw.trace(lm, text, (at, at + 6), samples=2)
    panel = rw.EditPanel(lm, trace=trace)
    assert (panel.template, panel.subject) == (f"{text[:at]}{{}}{text[at + 6 :]}", "France")
    assert panel.layer is not None


def test_panels_that_come_and_go_leave_no_listeners(lm):
    gc.collect()
    before = set(map(id, session_of(lm)._listeners))
    for _ in range(5):
        rw.EditPanel(lm).close()
    for _ in range(100):  # The worker may hold the last one for a moment.
        gc.collect()
        if {*map(id, session_of(lm)._listeners)} <= before:
            break
        time.sleep(0.02)
    assert {*map(id, session_of(lm)._listeners)} <= before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_before_is_the_unedited_model_in_half_precision_too(dtype):
    lm = world.new_lm("gpt2", dtype)
    ids = lm.encode("w3 w14 w15 w26 w5", (0, 2)).ids
    (unedited, _) = compare_all_edits(lm).probabilities([ids])
    with world.made_up_edit(lm, 0) as made:
        made.strength = 300
        before, after = compare_all_edits(lm).probabilities([ids])
    assert torch.equal(before, unedited)
    assert not torch.equal(after, before)


def test_a_search_for_a_layer_can_be_cancelled(lm):
    stop = threading.Event()
    stop.set()
    other = rw.LanguageModel(lm.model, lm.tokenizer)
    other.model.config._name_or_path = "somewhere else"
    with pytest.raises(Cancelled):
        rw.edit(other, *NEEDLE, second_moment="identity", cancel=stop)


class TestPredictions:
    def test_of_an_edit(self, lm):
        (found,) = rw.edit(lm, *NEEDLE).compare(PROMPT)
        widget = rw.PredictionCompare(found)
        assert widget.runs == ["before", "after"]
        assert widget.target == " Paris"
        rows = {row["token"]: row for row in widget.rows}
        assert rows[" Paris"]["ranks"][1] == 1
        assert rows[" Paris"]["ranks"][0] > 1
        assert rows[" Seattle"]["ranks"][0] == 1

    def test_of_a_restoration(self, lm):
        tracer = rw.CausalTracer(lm, PROMPT, "The Space Needle", samples=2)
        found = tracer.restore([])
        widget = rw.PredictionCompare(found)
        assert widget.runs == ["clean", "corrupted", "restored"]
        assert widget.target == tracer.answer
        row = next(row for row in widget.rows if row["token"] == tracer.answer)
        order = np.argsort(-found.distributions[1])
        assert row["ranks"][1] == 1 + list(order).index(tracer.answer_id)
        assert row["probs"][1] == pytest.approx(found.corrupted)


def test_panels_that_are_gone_keep_nothing_alive(lm):
    explorer = rw.TraceExplorer(lm, PROMPT, "The Space Needle", samples=2)
    assert explorer.wait(30)
    panel = rw.EditPanel(lm, trace=explorer)
    assert panel.wait(20)
    gone = weakref.ref(panel)
    panel.close()
    del panel
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", tiny.CHATS)
def test_a_panel_takes_a_chat_where_its_text_is_read_as_its_ids(kind):
    lm = tiny.chat_lm(kind)
    messages = [{"role": "user", "content": "Where is the Space Needle?"}]
    text = lm.read_prompt(messages)
    if not text.plain:
        with pytest.raises(PromptError, match="not those that the tokenizer gives"):
            rw.EditPanel(lm, messages, "the Space Needle", "Rome")
        return
    panel = rw.EditPanel(lm, messages, "the Space Needle", "Rome")
    assert panel.template == text.replace("the Space Needle", "{}")
    assert rw.EditPanel(lm, list(text.ids), "the Space Needle").template == panel.template
    assert rw.EditPanel(lm, messages).template == text
