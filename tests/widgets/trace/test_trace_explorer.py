"""TraceExplorer over a fake engine: background work, latest wins, errors as data."""

import json
import threading

import numpy as np
import pytest
import traitlets

from rome_widgets.errors import (
    Cancelled,
    OutOfMemory,
    StateError,
    SubjectNotFound,
)
from rome_widgets.widgets import TraceExplorer, TraceGrid, TraceSettings
from tests.helpers.explorers import edited, traced
from tests.helpers.fake_engine import (
    CLEAN,
    CORRUPTED,
    EXPECTED,
    FUJI,
    NEAR,
    PROMPT,
    SUBJECT,
    FakeEngine,
)
from tests.helpers.waiting import PATIENCE, until


def test_a_prompt_and_a_subject_start_a_trace_by_themselves(explorer, engine):
    assert explorer.status == "done"
    assert explorer.progress == 1.0
    assert explorer.trace.prompt == PROMPT
    assert engine.traced == [TraceSettings(PROMPT, SUBJECT)]
    assert explorer._trace["settings"]["noise"] == 3.0
    assert explorer._trace["ms"] >= 0


@pytest.mark.parametrize(
    "given", [{}, {"prompt": PROMPT}, {"prompt": PROMPT, "subject": SUBJECT, "auto_run": False}]
)
def test_otherwise_nothing_runs_until_asked(engine, given):
    explorer = TraceExplorer(engine, **given)
    assert explorer.wait(PATIENCE)
    assert explorer.status == "idle"
    assert engine.traced == []
    assert explorer.engine["examples"][0] == [PROMPT, SUBJECT]


def test_setting_the_form_from_python_runs_nothing(explorer, engine):
    explorer.prompt, explorer.subject, explorer.noise = FUJI, "Mount Fuji", 5
    assert explorer.wait(PATIENCE)
    assert len(engine.traced) == 1
    explorer.run()
    assert explorer.wait(PATIENCE)
    assert engine.traced[1] == TraceSettings(FUJI, "Mount Fuji", noise=5.0)
    assert explorer.trace.prompt == FUJI


def test_run_and_wait_returns_the_trace_or_raises_its_error(explorer):
    assert explorer.run(wait=True) is explorer.trace
    explorer.subject = "nowhere"
    with pytest.raises(SubjectNotFound):
        explorer.run(wait=True)


def test_selecting_asks_for_the_restoration_of_exactly_that_selection(explorer, engine):
    explorer.selection = [(2, 4, "hidden"), (2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    assert engine.restored == [((2, 3, "mlp"), (2, 4, "hidden"))]
    answer = explorer._restoration
    assert answer["selection"] == [[2, 3, "mlp"], [2, 4, "hidden"]]
    assert answer["source"] == "exact"
    assert answer["states"] == [[2, 2, "mlp"], [2, 3, "mlp"], [2, 4, "hidden"], [2, 4, "mlp"]]
    assert {row["token"] for row in answer["rows"]} >= {" Seattle", " Paris"}
    json.dumps(answer, allow_nan=False)


def test_one_cell_restored_is_the_number_in_the_grid(explorer):
    explorer.selection = [(2, 4, "hidden")]
    assert explorer.wait(PATIENCE)
    assert explorer._restoration["score"] == pytest.approx(explorer.trace.scores["hidden"][2, 4])


def test_of_many_selections_only_the_first_and_the_last_are_computed(explorer, engine):
    engine.restore_gate.clear()
    explorer.selection = [(0, 0, "mlp")]
    until(lambda: explorer._worker._running)
    for layer in range(8):
        explorer.selection = [(2, layer, "mlp")]
    engine.restore_gate.set()
    assert explorer.wait(PATIENCE)
    assert engine.restored == [((0, 0, "mlp"),), ((2, 7, "mlp"),)]
    assert explorer._restoration["selection"] == [[2, 7, "mlp"]]


def test_an_answer_that_was_superseded_is_never_shown(explorer, engine):
    shown = []
    explorer.observe(lambda change: shown.append(change["new"].get("selection")), "_restoration")
    engine.restore_gate.clear()
    explorer.selection = [(0, 0, "mlp")]
    until(lambda: explorer._worker._running)
    explorer.selection = [(2, 7, "mlp")]
    engine.restore_gate.set()
    assert explorer.wait(PATIENCE)
    assert shown == [[[2, 7, "mlp"]]]


def test_clearing_the_selection_drops_the_waiting_answer(explorer, engine):
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    explorer.selection = []
    assert explorer._restoration == {}


def test_a_selection_survives_a_new_trace_of_the_same_size_and_is_answered_again(explorer, engine):
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    explorer.noise = 5
    explorer.run()
    assert explorer.wait(PATIENCE)
    assert explorer.selection == [(2, 3, "mlp")]
    assert len(engine.restored) == 2
    assert explorer._restoration["selection"] == [[2, 3, "mlp"]]


def test_a_selection_that_the_new_prompt_does_not_have_is_dropped(explorer):
    explorer.selection = [(7, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    explorer.prompt, explorer.subject = FUJI, "Mount Fuji"
    explorer.run()
    assert explorer.wait(PATIENCE)
    assert explorer.selection == []
    assert explorer._restoration == {}


def test_the_page_asks_through_traits(explorer, engine):
    explorer.set_state(
        {"prompt": FUJI, "subject": "Mount Fuji", "_request": {"id": 1, "op": "trace"}}
    )
    assert explorer.wait(PATIENCE)
    assert explorer.trace.prompt == FUJI
    explorer.set_state({"selection": [[1, 3, "mlp"]]})
    assert explorer.wait(PATIENCE)
    explorer.set_state({"_request": {"id": 2, "op": "restore"}})
    assert explorer.wait(PATIENCE)
    assert len(engine.restored) == 2


def test_progress_shows_rows_that_are_done_and_leaves_the_rest_not_computed(engine, monkeypatch):
    monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)
    seen = []
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT, auto_run=False)
    explorer.observe(
        lambda change: seen.append((explorer.progress, np.frombuffer(change["new"], "<f4"))),
        "scores",
    )
    explorer.run(wait=True)
    partial = [scores for progress, scores in seen if 0 < progress < 1 and scores.size]
    computed = [int((~np.isnan(scores)).sum()) for scores in partial]
    assert computed == sorted(computed)
    assert 8 <= computed[0] < partial[0].size
    assert explorer._trace["tokens"] == list(explorer.trace.tokens)


def test_progress_is_sent_ten_times_a_second_at_most(engine, monkeypatch):
    monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", float("inf"))
    seen = []
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT, auto_run=False)
    explorer.observe(lambda change: seen.append(change["new"]), "progress")
    explorer.run(wait=True)
    assert len(seen) <= 2


def test_a_run_is_told_how_long_it_will_take_and_the_next_one_begins_without(engine):
    engine.preview = True
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT, auto_run=False)
    seen = []
    explorer.observe(lambda change: seen.append(change["new"]), "expected_seconds")
    explorer.run(wait=True)
    explorer.run(wait=True)
    assert seen == [EXPECTED, 0.0, EXPECTED]


def test_rows_of_a_new_prompt_carry_their_tokens_while_it_fills_in(engine, monkeypatch):
    monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)
    engine.slow = True
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    engine.step.set()
    until(lambda: explorer._trace)
    assert explorer._trace["tokens"][:3] == ["The", " Space", " Needle"]
    assert explorer._trace["clean"] == pytest.approx(CLEAN)
    assert explorer._trace["subject_span"] == [0, 3]
    explorer.cancel()
    assert explorer.wait(PATIENCE)


def test_a_cancelled_trace_stays_as_far_as_it_came(engine):
    engine.slow = True
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    for _ in range(3):
        engine.step.set()
        until(lambda: not engine.step.is_set())
    explorer.set_state({"_cancel_id": 1})
    assert explorer.wait(PATIENCE)
    assert explorer.status == "cancelled"
    assert explorer.error is None
    assert not explorer.trace.complete
    computed = (~np.isnan(np.frombuffer(explorer.scores, "<f4"))).sum()
    assert 8 <= computed < 8 * 8 * 3


def grids(explorer):
    """The exact numbers and the estimated ones that the page has."""
    return np.frombuffer(explorer.scores, "<f4"), np.frombuffer(explorer.estimate, "<f4")


@pytest.fixture
def previewed(monkeypatch):
    """An explorer that stands still between its estimate and its first exact row."""
    monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)
    engine = FakeEngine(slow=True, preview=True)
    made = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    until(lambda: made.estimate)
    yield made
    engine.slow = False
    made.close()


def test_an_estimate_is_shown_before_the_first_exact_row_and_goes_when_all_are_there(previewed):
    engine = previewed._engine
    exact, guess = grids(previewed)
    assert np.isnan(exact).all()
    assert exact.shape == guess.shape
    assert not np.isnan(guess).any()
    assert (previewed.status, previewed.progress) == ("running", 0.0)
    assert previewed.trace is None
    engine.slow = False
    assert previewed.wait(PATIENCE)
    assert not np.isnan(grids(previewed)[0]).any()
    assert previewed.estimate == b""
    assert not previewed.trace.estimated


def test_exact_rows_land_on_the_estimate_one_by_one(monkeypatch):
    monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)
    explorer = TraceExplorer(FakeEngine(preview=True), auto_run=False)
    explorer.prompt, explorer.subject = PROMPT, SUBJECT
    seen = []
    explorer.observe(lambda _: seen.append(grids(explorer)), "scores")
    explorer.run(wait=True)
    computed = [(~np.isnan(exact)).sum() for exact, guess in seen if guess.size]
    assert computed[:2] == [0, 8]
    assert len(computed) > 20


def test_a_cancelled_run_keeps_exact_rows_and_no_estimate(previewed):
    previewed._engine.step.set()
    until(lambda: previewed.progress > 0)
    previewed.cancel()
    assert previewed.wait(PATIENCE)
    assert previewed.status == "cancelled"
    assert previewed.estimate == b""
    assert np.isnan(grids(previewed)[0]).sum() == 192 - 8
    assert np.isnan(previewed.trace.scores["attn"]).all()


@pytest.mark.parametrize("samples", [10, 5])
def test_a_run_that_fails_after_its_estimate_leaves_the_last_result_alone(
    explorer, engine, samples
):
    before, asked, restore = (explorer._trace, explorer.scores), [], engine.restore

    def fail(settings, progress, cancelled):
        FakeEngine(preview=True).trace(settings, progress, cancelled)
        raise ValueError("no luck")

    engine.trace = fail
    engine.restore = lambda settings, *cells: asked.append(settings) or restore(settings, *cells)
    explorer.samples = samples
    explorer.run()
    assert explorer.wait(PATIENCE)
    assert explorer.status == "error"
    assert (explorer._trace, explorer.scores, explorer.estimate) == (*before, b"")
    explorer.selection = [(2, 4, "hidden")]
    assert explorer.wait(PATIENCE)
    assert asked == [TraceSettings(PROMPT, SUBJECT)]


def test_a_click_on_an_estimated_cell_restores_it_exactly_while_the_trace_goes_on(previewed):
    previewed.selection = [(2, 4, "hidden")]
    until(lambda: previewed.restoration)
    assert previewed.status == "running"
    assert np.isnan(grids(previewed)[0]).all()
    assert previewed._restoration["source"] == "exact"
    expected = CORRUPTED + (grids(previewed)[1][2 * 8 + 4] - CORRUPTED) / 1.2
    assert previewed._restoration["score"] == pytest.approx(expected, abs=1e-6)


def test_a_trace_that_never_started_can_be_cancelled(explorer, engine):
    engine.restore_gate.clear()
    explorer.selection = [(2, 3, "mlp")]
    until(lambda: explorer._worker._running)
    explorer.run()
    assert explorer.status == "queued"
    explorer.cancel()
    assert explorer.status == "cancelled"
    engine.restore_gate.set()
    assert explorer.wait(PATIENCE)
    assert len(engine.traced) == 1
    assert explorer.trace is not None


def test_a_new_trace_supersedes_the_running_one_without_a_word(engine):
    statuses = []
    engine.slow = True
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    explorer.observe(lambda change: statuses.append(change["new"]), "status")
    until(lambda: explorer.status == "running")
    engine.slow = False
    explorer.prompt, explorer.subject = FUJI, "Mount Fuji"
    explorer.run()
    assert explorer.wait(PATIENCE)
    assert explorer.trace.prompt == FUJI
    assert "cancelled" not in statuses
    assert statuses[-1] == "done"


def test_an_error_of_ours_arrives_as_data_and_the_last_result_stays(explorer):
    before, scores = explorer.trace, explorer.scores
    explorer.subject = "the space needle"
    explorer.run()
    assert explorer.wait(PATIENCE)
    assert explorer.status == "error"
    assert explorer.error["type"] == "SubjectNotFound"
    assert "'the space needle' is not in the prompt" in explorer.error["found"]
    assert explorer.error["wanted"]
    assert explorer.error["remedy"]
    assert explorer.trace is before
    assert explorer.scores == scores
    assert explorer._trace["prompt"] == PROMPT


def test_the_widget_is_usable_after_an_error(explorer):
    explorer.subject = "nowhere"
    explorer.run()
    assert explorer.wait(PATIENCE)
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    assert explorer._restoration["source"] == "exact"
    explorer.subject = SUBJECT
    explorer.run()
    assert explorer.wait(PATIENCE)
    assert explorer.status == "done"
    assert explorer.error is None


def test_the_error_of_a_restoration_goes_when_one_succeeds_or_a_run_starts(explorer, engine):
    broken = SubjectNotFound("Not there.", "Somewhere.", "Look again.")
    engine.broken = broken
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    explorer.samples = 5
    assert explorer.error["found"] == "Not there."
    engine.broken = None
    explorer.selection = [(2, 4, "mlp")]
    assert explorer.wait(PATIENCE)
    assert explorer.error is None
    engine.broken = broken
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    engine.broken = None
    explorer.run()
    assert explorer.error is None
    assert explorer.wait(PATIENCE)
    assert explorer.error is None


def test_a_failed_restoration_says_so_in_its_own_place(explorer, engine):
    engine.broken = SubjectNotFound("Not there.", "Somewhere.", "Look again.")
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    assert explorer._restoration["message"] == "Not there."
    assert explorer.error["remedy"] == "Look again."
    assert explorer.status == "done"


@pytest.mark.parametrize(
    "values",
    [
        {"samples": 0},
        {"noise": -1},
        {"window": 0},
        {"seed": -1},
        {"samples": "many"},
        {"status": "asleep"},
    ],
)
def test_a_setting_out_of_range_is_refused(explorer, values):
    with pytest.raises(traitlets.TraitError):
        explorer.set_trait(*next(iter(values.items())))


def test_a_misspelt_keyword_is_refused(engine):
    with pytest.raises(TypeError, match=r"'promt'\. Did you mean 'prompt'"):
        TraceExplorer(engine, promt=PROMPT)


def test_settings_are_a_key(explorer):
    assert hash(explorer.settings) == hash(TraceSettings(PROMPT, SUBJECT))


def test_a_selection_stays_for_the_same_words_and_goes_with_them(explorer):
    explorer.selection = [(2, 3, "mlp")]
    explorer.window = 1
    explorer.run(wait=True)
    assert explorer.selection == [(2, 3, "mlp")]
    explorer.prompt, explorer.subject = FUJI, "Mount Fuji"
    explorer.run(wait=True)
    assert explorer.selection == []
    assert explorer._restoration == {}


def test_cancelling_a_queued_run_goes_back_to_the_last_result(engine, monkeypatch):
    monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    assert explorer.wait(PATIENCE)
    engine.slow = True
    explorer.prompt, explorer.subject = "Mount Fuji is in the country of", "Mount Fuji"
    explorer.run()
    engine.step.set()
    until(lambda: explorer._trace["subject"] == "Mount Fuji")
    explorer.samples = 5
    explorer.run()
    explorer.cancel()
    assert explorer.wait(PATIENCE)
    assert explorer.status == "cancelled"
    assert explorer._trace["subject"] == SUBJECT == explorer.trace.subject
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    assert explorer._restoration["selection"] == [[2, 3, "mlp"]]


def test_pressing_trace_twice_traces_once(engine):
    engine.slow = True
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    until(lambda: explorer.status == "running")
    explorer.run()
    engine.slow = False
    assert explorer.wait(PATIENCE)
    assert len(engine.traced) == 1
    explorer.run(wait=True)
    assert len(engine.traced) == 2


@pytest.mark.parametrize("begun", [False, True])
def test_waiting_for_a_run_that_is_cancelled_raises_with_what_there_is(engine, begun):
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    assert explorer.wait(PATIENCE)
    before = explorer.trace
    engine.slow = True
    if not begun:
        first = TraceExplorer(engine, prompt=FUJI, subject="Mount Fuji")
        first.run()
    else:
        threading.Timer(0.2, engine.step.set).start()
    threading.Timer(0.5, explorer.cancel).start()
    explorer.samples = 3
    with pytest.raises(Cancelled) as caught:
        explorer.run(wait=True)
    engine.slow = False
    assert explorer.status == "cancelled"
    assert (caught.value.partial is not None) is begun
    assert (explorer.trace is before) is not begun


def test_waiting_for_a_run_that_another_one_replaces_is_not_answered_with_that_one(engine):
    explorer = TraceExplorer(engine)
    engine.slow = True
    explorer.prompt, explorer.subject = PROMPT, SUBJECT

    def ask_for_another():
        explorer.set_state({"samples": 3, "_request": {"id": 1, "op": "trace"}})
        engine.slow = False

    threading.Timer(0.3, ask_for_another).start()
    with pytest.raises(Cancelled, match="Another trace"):
        explorer.run(wait=True)
    assert explorer.wait(PATIENCE)
    assert explorer.trace.samples == 3


def test_a_failing_observer_of_the_users_does_not_leave_the_widget_running(engine, caplog):
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT, auto_run=False)

    def fail(change):
        raise ZeroDivisionError("in the user's observer")

    explorer.observe(fail, "scores")
    explorer.run()
    assert explorer.wait(PATIENCE)
    assert explorer.status == "error"
    assert "in the user's observer" in explorer.error["message"]
    assert "ZeroDivisionError" in caplog.text


def test_a_trace_grid_of_something_else_is_refused(engine):
    with pytest.raises(StateError, match="use rome_widgets\\.TraceExplorer"):
        TraceGrid(engine)


def test_places_from_the_end_need_a_trace(engine):
    with pytest.raises(traitlets.TraitError, match="counted from the end"):
        TraceExplorer(engine, selection=[(-1, -1, "mlp")])


def test_brackets_moved_on_the_page_become_the_subject_of_a_new_trace():
    engine = FakeEngine()
    explorer = TraceExplorer(engine, prompt="to be or not to be", subject="to be")
    assert explorer.wait(20)
    explorer.set_state({"_request": {"id": 1, "op": "subject", "start": 0, "stop": 2}})
    assert explorer.wait(20)
    assert explorer.subject == "to be"
    assert engine.traced[-1].place == (0, 5)  # Not the last occurrence, which it was before.
    explorer.set_state({"_request": {"id": 2, "op": "subject", "start": 3, "stop": 5}})
    assert explorer.wait(20)
    assert explorer.subject == "not to"


def test_moved_brackets_belong_to_the_prompt_of_the_grid_whatever_the_form_says_now():
    engine = FakeEngine()
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    assert explorer.wait(20)
    explorer.prompt = "Something else"
    explorer.set_state({"_request": {"id": 1, "op": "subject", "start": 1, "stop": 3}})
    assert explorer.wait(20)
    assert (explorer.prompt, explorer.subject) == (PROMPT, "Space Needle")


@pytest.mark.parametrize("span", [{}, {"start": 3, "stop": 99}, {"start": "a", "stop": "b"}])
def test_brackets_that_hold_nothing_are_refused_and_the_trace_stays(span):
    engine = FakeEngine()
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    assert explorer.wait(20)
    explorer.set_state({"_request": {"id": 1, "op": "subject", **span}})
    assert explorer.error["cause"] == "form"
    assert explorer.subject == SUBJECT
    assert len(engine.traced) == 1


TWICE = "The Space Needle is in the city of The Space Needle and"


class TestPlace:
    def test_an_occurrence_that_is_chosen_is_the_one_that_is_traced(self, engine):
        explorer = TraceExplorer(engine, prompt=TWICE, subject=SUBJECT, auto_run=False)
        assert traced(explorer)[0].subject_span == (8, 11)
        explorer.set_state({"place": [0, 16], "_request": {"id": 1, "op": "trace"}})
        assert explorer.wait(PATIENCE)
        assert explorer.trace.subject_span == (0, 3)
        assert engine.traced[-1].place == (0, 16)
        assert "(0, 16)," in explorer.code

    def test_it_holds_while_the_subject_stands_there(self, engine):
        explorer = TraceExplorer(engine, prompt=TWICE, subject=SUBJECT, place=(0, 16))
        assert explorer.wait(PATIENCE)
        explorer.prompt = TWICE + " so"
        assert explorer.settings.place == (0, 16)
        explorer.prompt = "So " + TWICE
        assert explorer.settings.place is None

    def test_every_mention_can_be_meant_and_the_code_says_so(self, engine):
        explorer = TraceExplorer(engine, prompt=TWICE, subject=SUBJECT, occurrence="all")
        assert explorer.wait(PATIENCE)
        assert explorer.all_mentions
        assert engine.traced[-1].all_mentions
        assert 'occurrence="all"' in explorer.code
        assert "every mention" in explorer.history[-1]["words"]
        explorer.set_state({"_request": {"id": 1, "op": "subject", "start": 0, "stop": 3}})
        assert not explorer.all_mentions

    @pytest.mark.parametrize(("occurrence", "place"), [("first", (0, 16)), (-1, (35, 51))])
    def test_one_mention_can_be_named_by_its_number(self, engine, occurrence, place):
        explorer = TraceExplorer(engine, TWICE, SUBJECT, occurrence=occurrence, auto_run=False)
        assert explorer.place == place

    def test_python_says_where_the_subject_may_be(self, engine):
        explorer = TraceExplorer(engine, "Ann met Anna and Ann", "Ann", auto_run=False)
        assert explorer.subject_places["at"] == [[0, 3], [17, 20]]
        explorer.subject = "Anna"
        assert explorer.subject_places["at"] == [[8, 12]]
        explorer.subject = "anna"
        assert explorer.subject_places["at"] == []
        assert explorer.subject_places["offers"][0] == "Anna"


EIFFEL = "I saw the Eiffel Tower in"


class TestNewPrompt:
    """Only a prompt is typed on the page; its subject is not yet said."""

    def test_the_likeliest_subject_takes_the_place_of_the_one_before(self, explorer, engine):
        explorer.set_state({"prompt": EIFFEL, "_request": {"id": 1, "op": "trace"}})
        assert explorer.wait(PATIENCE)
        assert (explorer.subject, explorer.error) == ("Eiffel Tower", None)
        assert engine.traced[-1].subject == "Eiffel Tower"

    def test_so_it_does_where_the_request_comes_first(self, explorer, engine):
        explorer.set_state({"_request": {"id": 1, "op": "trace"}, "prompt": EIFFEL})
        assert explorer.wait(PATIENCE)
        assert (engine.traced[-1].subject, explorer.error) == ("Eiffel Tower", None)

    def test_an_empty_form_finds_a_subject_too(self, engine):
        explorer = TraceExplorer(engine)
        explorer.set_state({"prompt": EIFFEL})
        assert explorer.subject_places["offers"] == ["Eiffel Tower"]
        assert explorer.subject == "", "somebody may be typing it"
        explorer.set_state({"_request": {"id": 1, "op": "trace"}})
        assert explorer.wait(PATIENCE)
        assert engine.traced[-1].subject == explorer.subject == "Eiffel Tower"

    def test_where_none_is_likely_nothing_is_traced_and_no_error_shown(self, explorer, engine):
        before = len(engine.traced)
        explorer.set_state({"prompt": "it is in", "_request": {"id": 1, "op": "trace"}})
        assert explorer.wait(PATIENCE)
        assert (len(engine.traced), explorer.error) == (before, None)
        assert not explorer.subject_places["there"]

    def test_a_subject_that_was_typed_stays_and_is_answered_with_what_may_be_meant(self, explorer):
        explorer.set_state({"subject": "Eifel Tower"})
        explorer.set_state({"prompt": EIFFEL, "_request": {"id": 1, "op": "trace"}})
        assert explorer.wait(PATIENCE)
        assert explorer.subject == "Eifel Tower"
        assert explorer.subject_places["offers"] == ["Eiffel Tower"]
        assert explorer.error["type"] == "SubjectNotFound"

    def test_python_sets_only_what_it_names(self, explorer):
        explorer.prompt = EIFFEL
        assert explorer.subject == SUBJECT
        assert explorer.subject_places["offers"][-1] == "Eiffel Tower"


class TestFixes:
    def test_a_near_subject_can_be_used_with_one_click(self, explorer):
        explorer.subject = "space needle"
        with pytest.raises(SubjectNotFound):
            explorer.run(wait=True)
        fix = explorer.error["fix"]
        assert fix == {"label": f"Use “{NEAR}”", "values": {"subject": NEAR}}
        explorer.set_state({**fix["values"], "_request": {"id": 1, "op": "trace"}})
        assert explorer.wait(PATIENCE)
        assert (explorer.status, explorer.trace.subject) == ("done", NEAR)

    def test_where_memory_runs_out_fewer_samples_are_offered(self, explorer, engine):
        engine.broken = OutOfMemory("No room.", "", "Use fewer samples.")
        with pytest.raises(OutOfMemory):
            explorer.run(wait=True)
        assert explorer.error["fix"] == {"label": "samples 10 → 5", "values": {"samples": 5}}
        with pytest.raises(OutOfMemory):
            traced(explorer, samples=1)
        assert explorer.error["fix"] is None


class TestRecords:
    """What is shown is given as records; who observes them is told."""

    def test_each_is_told_when_it_is_there_and_when_it_goes(self, explorer):
        told = []
        names = ["trace", "restoration", "path", "flow", "lens", "comparison"]
        explorer.observe(lambda change: told.append((change["name"], change["new"])), names)
        explorer.selection = [(2, 3, "mlp")]
        assert explorer.wait(PATIENCE)
        for page in ("flow", "lens"):
            explorer.page = page
            assert explorer.wait(PATIENCE)
        path = explorer.find_path(wait=True)
        kinds = {name: type(value).__name__ for name, value in told}
        assert kinds == {
            "restoration": "FakeRestoration",
            "flow": "Flow",
            "lens": "Lens",
            "path": "RestoringPath",
        }
        assert explorer.path is path
        told.clear()
        traced(explorer, prompt=FUJI, subject="Mount Fuji")
        assert [value for name, value in told if name in ("path", "restoration")] == [None, None]
        assert ("trace", explorer.trace) in told

    def test_what_a_run_is_compared_with_comes_as_two_traces(self, explorer):
        before = explorer.trace
        edited(explorer)
        compared = explorer.comparison
        assert (compared.before, compared.after) == (before, explorer.trace)
        assert compared.words == ("without the edit", "with 1 edit")
        assert not compared.same
        where, size = compared.largest_change
        assert size == compared.changes[where.kind][where.pos, where.layer]

    @pytest.mark.parametrize("name", ["trace", "restoration", "path", "comparison"])
    def test_none_can_be_set(self, explorer, name):
        with pytest.raises(traitlets.TraitError, match="read-only"):
            setattr(explorer, name, None)


def views(page, count):
    return {"_views": {"page": page, "open": count}}


def test_an_explorer_that_nobody_looks_at_any_more_does_not_follow_the_model(engine):
    explorer = TraceExplorer(engine, PROMPT, SUBJECT)
    explorer.set_state(views("a page", 2))
    assert explorer.wait(20)
    traced = len(engine.traced)
    explorer.set_state(views("a page", 0))
    engine.edit(0.5)
    engine.tell(1)
    assert explorer.wait(20)
    assert explorer.stale
    assert len(engine.traced) == traced
    explorer.set_state(views("another page", 1))
    assert explorer.wait(20)
    assert not explorer.stale
    assert explorer.before is not None
    assert len(engine.traced) == traced + 1


def test_of_a_cell_that_was_run_again_only_the_explorer_on_the_page_traces(engine):
    explorers = []
    for _ in range(6):
        for former in explorers:
            former.set_state(views("a page", 0))
        explorers.append(TraceExplorer(engine, PROMPT, SUBJECT))
        explorers[-1].set_state(views("a page", 1))
        assert explorers[-1].wait(20)
    traced = len(engine.traced)
    engine.edit(0.5)
    engine.tell(1)
    assert all(each.wait(20) for each in explorers)
    assert len(engine.traced) == traced + 1
    assert [each.stale for each in explorers] == [True] * 5 + [False]
    explorers[0].run(wait=True)  # Who asks is answered.
    assert not explorers[0].stale


def test_a_run_for_an_edit_that_still_waits_is_given_up_with_the_last_view(engine):
    explorer = TraceExplorer(engine, PROMPT, SUBJECT)
    explorer.set_state(views("a page", 1))
    assert explorer.wait(20)
    free = threading.Event()
    engine.session.worker.submit("somebody else", lambda cancelled: free.wait(20))
    engine.edit(0.5)
    engine.tell(1)
    traced = len(engine.traced)
    explorer.set_state(views("a page", 0))
    free.set()
    assert explorer.wait(20)
    assert len(engine.traced) == traced
    assert explorer.stale
    explorer.set_state(views("a page", 1))
    assert explorer.wait(20)
    assert (explorer.status, explorer.stale) == ("done", False)


@pytest.mark.parametrize("pages", [{}, {"a page": 1}, {"one": 0, "another": 1}])
def test_an_explorer_that_somebody_may_look_at_follows_the_model(engine, pages):
    explorer = TraceExplorer(engine, PROMPT, SUBJECT)
    for page, count in pages.items():
        explorer.set_state(views(page, count))
    assert explorer.wait(20)
    engine.edit(0.5)
    engine.tell(1)
    assert explorer.wait(20)
    assert explorer.before is not None


@pytest.mark.parametrize("sent", [{}, {"page": 3}, {"page": "x", "open": "1"}, {"open": 1}])
def test_a_count_of_views_that_is_none_changes_nothing(engine, sent):
    explorer = TraceExplorer(engine, PROMPT, SUBJECT)
    explorer.set_state({"_views": sent})
    assert explorer._watched
