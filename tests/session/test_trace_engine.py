"""The bridge: a real (tiny) model behind the widget, good input and bad."""

import gc
import itertools
import subprocess
import sys
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
import traitlets

import rome_widgets as rw
from rome_widgets import bundled
from rome_widgets.errors import Cancelled, ModelChanged, PromptError
from rome_widgets.session.trace_engine import KEPT_TRACERS, TracingEngine
from rome_widgets.tracing.replayed_runs import ReplayedRuns
from rome_widgets.tracing.tracer import CausalTracer
from rome_widgets.widgets.sweep.sweep_chart import settings_of
from rome_widgets.widgets.trace.trace_settings import TraceSettings
from tests.helpers import tiny, world
from tests.helpers.model_guard import changes

GOOD = {"prompt": tiny.PROMPT, "subject": tiny.SUBJECT}


@pytest.fixture(scope="module")
def lm():
    return tiny.tiny_lm("gpt2", scale=40)


@pytest.fixture(autouse=True)
def sigma_of_the_tiny_words(request, monkeypatch):
    """The shipped subjects mean nothing to a tokenizer of 29 words.

    The bundled model has its own: it is one for all tests, and σ stays with a model.
    """
    if "bundled_lm" not in request.fixturenames:
        monkeypatch.setattr("rome_widgets.bundled.subjects", lambda: ("w14 w15", "w3", "w9 w26"))


def explorer_of(lm, **options):
    return rw.TraceExplorer(lm, **(GOOD | {"samples": 2} | options))


def test_the_widget_shows_what_the_tracer_computes(lm):
    explorer = explorer_of(lm)
    assert explorer.wait(20)
    assert explorer.status == "done"
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2)
    assert explorer._trace["clean"] == pytest.approx(tracer.clean)
    explorer.selection = [(2, 3, "mlp"), (6, 4, "hidden")]
    assert explorer.wait(20)
    states = {*tracer.cell(2, 3, "mlp"), *tracer.cell(6, 4, "hidden")}
    expected = tracer.restore(states)
    assert explorer._restoration["score"] == pytest.approx(expected.probability, abs=1e-6)
    assert explorer._restoration["states"] == [list(state) for state in expected.states]
    assert explorer.selected_states == sorted(states)


BY = {
    "select_states": lambda explorer, states: explorer.select_states(states),
    "page": lambda explorer, states: explorer.set_state({"selection": states, "single": states}),
}


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize(
    "states",
    [
        [(2, 3, "mlp")],
        [(2, 3, "mlp"), (6, 4, "hidden")],
        [(1, 1, "attn"), (2, 2, "mlp"), (2, 3, "mlp")],
    ],
)
@pytest.mark.parametrize("page", ["grid", "flow", "lens"])
def test_single_states_are_restored_without_their_windows(lm, page, states, by):
    explorer = explorer_of(lm, page=page)
    BY[by](explorer, states)
    assert explorer.wait(20)
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2)
    expected = tracer.restore(states)
    assert explorer.selected_states == list(expected.states) == sorted(states)
    assert explorer.restoration.states == expected.states
    assert explorer.restoration.probability == pytest.approx(expected.probability, abs=1e-6)
    if page != "grid":
        assert getattr(explorer, page).states == expected.states
    scope = {"lm": lm}
    exec("\n".join(each for each in explorer.code.splitlines() if "lm = " not in each), scope)
    assert scope["restoration"].states == expected.states


@pytest.mark.parametrize("page", ["grid", "flow"])
def test_the_same_cells_mean_windows_again_once_they_are_selected_as_cells(lm, page):
    explorer = explorer_of(lm, page=page)
    cells = [(2, 3, "mlp")]
    explorer.select_states(cells)
    assert explorer.wait(20)
    explorer.set_state({"selection": cells, "single": []})
    assert explorer.wait(20)
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2)
    assert explorer.selected_states == tracer.cell(*cells[0])
    assert explorer.restoration.states == tuple(tracer.cell(*cells[0]))
    if page == "flow":
        assert explorer.flow.states == tuple(tracer.cell(*cells[0]))
    explorer.select_states(cells)
    explorer.selection = [(3, 3, "mlp")]
    assert explorer.wait(20)
    assert explorer.restoration.states == tuple(tracer.cell(3, 3, "mlp"))


def test_a_selected_path_brings_back_what_the_search_said(lm):
    explorer = explorer_of(lm)
    explorer.wait(20)
    path = explorer.find_path(0.8, wait=True)
    explorer.select_states(path.states)
    assert explorer.wait(20)
    assert explorer.restoration.probability == pytest.approx(path.score, abs=1e-6)
    assert len(explorer.restoration.states) == len(path.states)


def test_brackets_moved_on_the_page_trace_those_positions(lm):
    explorer = explorer_of(lm)
    assert explorer.wait(20)
    explorer.set_state({"_request": {"id": 1, "op": "subject", "start": 0, "stop": 2}})
    assert explorer.wait(20)
    assert explorer.trace.subject_span == (0, 2)
    assert explorer.subject == " ".join(tiny.PROMPT.split()[:2])


def test_what_a_sweep_traced_of_another_target_the_explorer_traces_alike(lm):
    facts = [(tiny.PROMPT, tiny.SUBJECT, "w3")]
    sweep = rw.sweep(lm, facts, samples=2, known_only=False, progress=False)
    (fact,) = sweep.traced
    assert fact.answer.strip() != fact.target, "the top token was followed"
    settings = settings_of(sweep, fact, TraceSettings("", ""))
    trace = TracingEngine(lm).trace(settings, lambda _: None, lambda: False)
    assert (trace.answer_id, trace.clean) == (fact.answer_id, pytest.approx(fact.clean))
    for kind, scores in fact.scores.items():
        assert trace.scores[kind] == pytest.approx(scores, abs=1e-5)


def traced(lm):
    """What a run tells, and its trace."""
    told = []
    settings = TraceSettings(tiny.PROMPT, tiny.SUBJECT, samples=2)
    trace = TracingEngine(lm).trace(settings, told.append, lambda: False)
    return told, trace


def test_a_run_tells_an_estimate_before_its_first_row(lm):
    told, trace = traced(lm)
    assert [progress.trace.estimated for progress in told[:2]] == [True, False]
    assert (told[0].done, told[0].total) == (0, told[-1].total)
    expected = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2).estimate()
    assert (told[0].trace.scores["mlp"] == expected.scores["mlp"]).all()
    assert not trace.estimated


@pytest.mark.parametrize(("few", "estimated_first"), [(10**9, False), (1, True)])
def test_of_a_slow_model_the_strongest_rows_of_the_estimate_come_first(
    lm, few, estimated_first, monkeypatch
):
    monkeypatch.setattr("rome_widgets.session.trace_engine.FEW_PARAMETERS", few)
    told, whole = traced(lm)
    effects = [told[0].trace.indirect_effect(kind) for kind in whole.kinds]
    ranked = np.argsort(-np.max(effects, axis=(0, 2)))
    filled = [set(np.flatnonzero(~np.isnan(p.trace.scores["mlp"][:, 0]))) for p in told[1:]]
    rows = [row for before, now in itertools.pairwise(filled) for row in now - before]
    usually = [whole.subject_span[1] - 1, len(whole.tokens) - 1]
    estimates = [progress.seconds for progress in told if progress.trace.estimated]
    assert [seconds is not None for seconds in estimates] == [False, True][: 1 + estimated_first]
    assert rows[:2] == (ranked[:2].tolist() if estimated_first else usually)
    assert ranked[:2].tolist() != usually, "else nothing is shown"


@pytest.mark.parametrize("error", [RuntimeError("no gradient here"), MemoryError("too much")])
def test_an_estimate_that_fails_is_logged_and_the_exact_trace_goes_on(
    lm, error, monkeypatch, caplog
):
    def fail(self):
        raise error

    monkeypatch.setattr(CausalTracer, "estimate", fail)
    with caplog.at_level("INFO"):
        told, trace = traced(lm)
    assert str(error) in caplog.text
    assert trace.complete
    assert not any(progress.trace.estimated for progress in told)


def test_a_run_that_is_cancelled_at_once_estimates_nothing(lm, monkeypatch):
    told, asked = [], []
    monkeypatch.setattr(CausalTracer, "estimate", lambda self: asked.append(self))
    settings = TraceSettings(tiny.PROMPT, tiny.SUBJECT, samples=2)
    with pytest.raises(Cancelled):
        TracingEngine(lm).trace(settings, told.append, lambda: True)
    assert told == asked == []


@pytest.mark.parametrize(
    "fact",
    [
        rw.Fact("w3 {} w9 w26 w5 w8", "w14 w15"),
        {"prompt": tiny.PROMPT, "subject": tiny.SUBJECT, "attribute": "w1"},
    ],
)
def test_a_fact_can_be_given_instead_of_text(lm, fact):
    explorer = rw.TraceExplorer(lm, fact, samples=2)
    assert (explorer.prompt, explorer.subject) == (tiny.PROMPT, tiny.SUBJECT)
    assert explorer.wait(20)


def test_a_template_is_filled(lm):
    explorer = rw.TraceExplorer(lm, "{} w9", "w14 w15", samples=2)
    assert explorer.prompt == "w14 w15 w9"
    assert explorer.wait(20)


def test_a_facts_own_place_is_corrupted_while_the_subject_stands_there(lm):
    explorer = rw.TraceExplorer(lm, rw.Fact("{} and w14 w9", "w14"), samples=2)
    assert explorer.run(wait=True).subject_span == (0, 1)
    explorer.prompt = "w14 and w14 w9 w8"
    assert explorer.run(wait=True).subject_span == (0, 1)
    explorer.prompt = "and w14 w14 w9"
    assert explorer.run(wait=True).subject_span == (2, 3)


@pytest.mark.parametrize("kind", tiny.CHATS)
def test_chats_and_ids_are_explored_and_told_in_code_with_their_ids(kind):
    lm = tiny.chat_lm(kind)
    messages = [
        {"role": "system", "content": "You know the Space Needle."},
        {"role": "user", "content": "Where is the Space Needle?"},
    ]
    ids = lm.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    for prompt in (messages, ids):
        explorer = rw.TraceExplorer(lm, prompt, "the Space Needle", samples=2, noise=9)
        trace = explorer.run(wait=True)
        assert list(trace.token_ids) == ids
        assert explorer.prompt == trace.prompt == lm.tokenizer.decode(ids)
        scope = {}
        code = explorer.code.replace(explorer._engine.load_code, "the_lm")
        exec(code, scope | {"the_lm": lm, "print": lambda *_: None}, scope)
        assert scope["trace"].token_ids == trace.token_ids
        assert scope["trace"].subject_span == trace.subject_span
        assert explorer._engine.subject_at(explorer.settings, *trace.subject_span)[0] == (
            "the Space Needle"
        )
        explorer.prompt = explorer.prompt + "It is"
        more = lm.tokenizer(explorer.prompt)["input_ids"]
        read = list(explorer.run(wait=True).token_ids)
        assert read in (more, more[1:], more[:-1], more[1:-1])
        explorer.recall(1)
        assert list(explorer.run(wait=True).token_ids) == ids


def test_every_mention_of_a_subject_is_traced(lm):
    options = {"samples": 2, "occurrence": "all"}
    explorer = rw.TraceExplorer(lm, "w3 w14 w5 w14 w8", "w14", **options)
    trace = explorer.run(wait=True)
    assert trace.subject_spans == ((1, 2), (3, 4))
    wanted = rw.trace(lm, "w3 w14 w5 w14 w8", "w14", **options)
    assert (trace.scores["mlp"] == wanted.scores["mlp"]).all()


def test_the_likeliest_subject_is_one_of_the_bundled_list_before_others(lm, monkeypatch):
    monkeypatch.setattr(bundled, "subjects", lambda: ["Rome", "France"])
    engine = TracingEngine(lm)
    assert engine.likely_subject("Zanzibar Kong saw France in") == "France"
    assert engine.likely_subject("Zanzibar Kong is in") == "Zanzibar Kong"


def test_a_resumed_widget_has_the_numbers_of_an_uninterrupted_one(lm, monkeypatch):
    settings, told = TraceSettings(tiny.PROMPT, tiny.SUBJECT, samples=2), []
    engine = TracingEngine(lm)
    with pytest.raises(Cancelled) as caught:
        engine.trace(settings, told.append, lambda: len(told) > 2)
    partial, told = caught.value.partial, []
    assert not partial.complete
    resumed = engine.trace(settings, told.append, lambda: False, resume=partial)
    whole = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2).trace()
    assert not told[0].trace.estimated
    for kind in whole.kinds:
        assert resumed.scores[kind] == pytest.approx(whole.scores[kind], abs=1e-6)


def test_the_code_of_a_view_prints_its_probability(lm, capsys):
    explorer = explorer_of(lm, noise=2.0, seed=4, window=2, answer="w5")
    explorer.selection = [(2, 3, "mlp"), (6, 4, "hidden")]
    assert explorer.wait(20)
    assert "rw.LanguageModel(model, tokenizer)" in explorer.code  # No folder has it.
    scope = {"model": lm.model, "tokenizer": lm.tokenizer}
    exec(explorer.code, scope)
    probability = explorer._restoration["score"]
    assert scope["restoration"].probability == pytest.approx(probability, abs=1e-6)
    assert float(capsys.readouterr().out.splitlines()[-1]) == pytest.approx(probability, abs=1e-6)
    assert scope["trace"].scores["mlp"] == pytest.approx(explorer.trace.scores["mlp"], abs=1e-6)


def test_a_metric_and_another_subject_of_the_form_are_what_is_traced_and_copied(lm, capsys):
    noise = rw.Subject("w5 w6")
    other = rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise).restore([]).top(2)[0]
    form = {"metric": "logit_difference", "against": other.token}
    explorer = explorer_of(lm, noise=noise, window=2, **form)
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(20)
    tracer = rw.CausalTracer(lm, explorer.prompt, explorer.subject, noise=noise, window=2, **form)
    restored = tracer.restore(tracer.cell(2, 3, "mlp"))
    assert explorer.other_subject == "w5 w6"
    assert explorer.trace.scores["mlp"] == pytest.approx(tracer.trace().scores["mlp"], abs=1e-6)
    assert explorer._restoration["score"] == pytest.approx(restored.score, abs=1e-6)
    said = [explorer._trace[name] for name in ("metric", "against", "other_subject", "samples")]
    assert said == ["logit_difference", other.token, "w5 w6", 1]
    assert explorer.find_path(0.1, wait=True).metric == "logit_difference"
    exec(explorer.code, {"model": lm.model, "tokenizer": lm.tokenizer})
    printed = float(capsys.readouterr().out.splitlines()[-1])
    assert printed == pytest.approx(restored.score, abs=1e-4)
    explorer.metric, explorer.other_subject = "probability", None
    assert explorer.settings.against is None  # the form keeps the word
    assert explorer.run(wait=True).metric == "probability"
    assert explorer.against == other.token
    words = f"“w5 w6” in its place · logit difference · against {other.token}"
    assert words in explorer.history[0]["words"]


def test_what_the_form_lacks_for_a_metric_or_a_subject_is_an_error_of_the_run(lm):
    explorer = explorer_of(lm, metric="logit_difference")
    assert explorer.wait(20)
    assert explorer.error["type"] == "ArgumentError"
    assert "pass against=" in explorer.error["remedy"]
    explorer.metric, explorer.other_subject = "probability", "w21"
    explorer.run()
    assert explorer.wait(20)
    assert explorer.error["type"] == "NoiseError"
    assert "1 token in the place of" in explorer.error["found"]


def test_the_code_of_the_bundled_model_loads_it():
    lm = rw.load()
    fact = "The Space Needle is in the city of", "The Space Needle"
    explorer = rw.TraceExplorer(lm, *fact, samples=10)
    explorer.selection = [(6, 4, "hidden")]
    assert explorer.wait(60)
    scope = {}
    exec(explorer.code, scope)
    probability = explorer._restoration["score"]
    assert scope["restoration"].probability == pytest.approx(probability, abs=1e-6)


def test_tracing_again_sees_weights_that_changed():
    lm = tiny.tiny_lm("gpt2", scale=40)
    explorer = explorer_of(lm)
    before = explorer.run(wait=True)
    weight = lm.model.transformer.h[1].mlp.c_proj.weight.data
    saved = weight.clone()
    weight.mul_(3)
    fresh = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2)
    assert explorer.run(wait=True).clean == pytest.approx(fresh.clean)
    assert explorer.trace.clean != pytest.approx(before.clean)
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(20)
    expected = fresh.restore(fresh.cell(2, 3, "mlp")).probability
    assert explorer._restoration["score"] == pytest.approx(expected, abs=1e-6)
    weight.copy_(saved)


def test_a_whole_answer_is_followed_beyond_an_edit_too():
    """The trace after it has the first token of the one before it, and the same word."""
    lm = tiny.tiny_lm("gpt2", scale=40)
    explorer = explorer_of(lm, answer="w2 w4")
    assert explorer.wait(20)
    before = explorer.trace
    assert (before.whole.text, explorer._trace["whole"]["tokens"]) == ("w2 w4", ["w2", "w4"])
    explorer.selection = [(2, 1, "hidden")]
    assert explorer.wait(10)
    shown = explorer._restoration["whole"]
    tracer = rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2, answer="w2 w4")
    assert shown["restored"] == tracer.restore([(2, 1, "hidden")]).whole.restored
    weight = lm.model.transformer.h[1].mlp.c_proj.weight
    saved = weight.detach().clone()
    with torch.no_grad():
        weight.copy_(-3 * saved)
    explorer._session.edits_changed()
    assert explorer.wait(20)
    assert explorer.before is not None
    assert explorer.trace.answer_id == before.answer_id
    assert explorer.trace.whole.text == "w2 w4"
    assert explorer.trace.whole.clean != before.whole.clean
    with torch.no_grad():
        weight.copy_(saved)


def test_an_edit_is_followed_with_the_same_noise_and_the_same_answer_and_back():
    lm = tiny.tiny_lm("gpt2", scale=40)
    explorer = explorer_of(lm)
    assert explorer.wait(20)
    before = explorer.trace
    weight = lm.model.transformer.h[1].mlp.c_proj.weight
    saved = weight.detach().clone()
    for values, count in ((-3 * saved, 1), (saved, 0)):
        with torch.no_grad():
            weight.copy_(values)
        explorer._session.edits_changed()
        assert explorer.wait(20)
        fresh = CausalTracer(
            lm, tiny.PROMPT, tiny.SUBJECT, samples=2, answer=before.answer_id
        ).trace()
        assert explorer.trace.answer_id == before.answer_id
        assert (explorer.trace.scores["mlp"] == fresh.scores["mlp"]).all()
        assert explorer.before is before
        assert explorer._comparison["same"] is (count == 0)
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(20)
    assert explorer._restoration["answer"] == before.answer


def test_an_edit_between_the_start_and_the_runs_is_not_shown_as_the_unedited_model(monkeypatch):
    lm = tiny.tiny_lm("gpt2", scale=40)
    weight = lm.model.transformer.h[1].mlp.c_proj.weight
    saved, make, made = weight.detach().clone(), TracingEngine._make, []

    def edited_first(self, settings):
        if not made:
            with torch.no_grad():
                weight.mul_(-3)
        made.append(settings)
        return make(self, settings)

    monkeypatch.setattr(TracingEngine, "_make", edited_first)
    explorer = explorer_of(lm)
    assert explorer.wait(20)
    assert (explorer.status, explorer.before, len(made)) == ("done", None, 2)
    expected = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2).trace()
    assert (explorer.trace.scores["mlp"] == expected.scores["mlp"]).all()
    explorer.close()
    with torch.no_grad():
        weight.copy_(saved)


def test_runs_that_an_edit_came_into_are_not_kept_for_the_edited_model(monkeypatch):
    lm = tiny.tiny_lm("gpt2", scale=40)
    weight = lm.model.transformer.h[1].mlp.c_proj.weight
    saved, engine, make = weight.detach().clone(), TracingEngine(lm), TracingEngine._make
    settings = TraceSettings(tiny.PROMPT, tiny.SUBJECT, samples=2)

    def edited_after(self, settings):
        tracer = make(self, settings)
        with torch.no_grad():
            weight.mul_(-3)
        return tracer

    monkeypatch.setattr(TracingEngine, "_make", edited_after)
    with pytest.raises(ModelChanged):
        engine.trace(settings, lambda progress: None, lambda: False)
    monkeypatch.setattr(TracingEngine, "_make", make)
    fresh = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2)
    expected = fresh.restore(fresh.cell(2, 3, "mlp")).probability
    assert engine.restore(settings, [(2, 3, "mlp")]).probability == pytest.approx(expected)
    with torch.no_grad():
        weight.copy_(saved)


def test_a_click_in_one_widget_is_answered_while_another_traces(lm, monkeypatch):
    monkeypatch.setattr(ReplayedRuns, "tokens_per_call", 1)
    quick, slow = explorer_of(lm), explorer_of(lm, prompt=tiny.PROMPT, subject="w26")
    assert quick.wait(20)
    assert slow.wait(20)
    answered_at = []
    quick.observe(lambda change: answered_at.append(slow.progress), "restoration")
    slow.observe(lambda change: setattr(quick, "selection", [(2, 2, "mlp")]), "status")
    slow.samples = 3
    slow.run(wait=True)
    assert quick.wait(20)
    assert answered_at
    assert min(answered_at) < 1


def test_a_script_that_ends_while_a_trace_runs_ends_quietly():
    code = (
        "import rome_widgets as rw\n"
        "lm = rw.load(device='cpu')\n"
        "rw.TraceExplorer(lm, 'The Space Needle is in the city of', 'The Space Needle')\n"
        "import time; time.sleep(0.2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_prompt_nothing_runs(lm):
    explorer = rw.TraceExplorer(lm)
    assert explorer.status == "idle"
    assert explorer.trace is None


BAD = {
    "empty prompt": {"prompt": ""},
    "white space": {"prompt": " \n\t"},
    "no-break space": {"prompt": "\u00a0"},
    "ideographic space": {"prompt": "\u3000"},
    "lone high surrogate": {"prompt": "w14 w15 \ud83d"},
    "lone low surrogate": {"prompt": "\udc00 w14 w15"},
    "empty subject": {"subject": ""},
    "subject of spaces": {"subject": "  "},
    "absent subject": {"subject": "w99"},
    "other case": {"subject": "W14 W15"},
    "misspelt subject": {"subject": "w14 w51"},
    "subject with more space": {"subject": "w14  w15"},
    "subject in another form": {"subject": "ｗ14 ｗ15"},
    "subject longer than the prompt": {"subject": tiny.PROMPT + " w1"},
    "one token too long": {"prompt": " ".join(["w14 w15"] * 8 + ["w3"])},
    "far too long": {"prompt": " ".join(["w14 w15"] * 500)},
    "empty answer": {"answer": ""},
    "answer of spaces": {"answer": " "},
    "answer with a lone surrogate": {"answer": "\ud800"},
    "subject with a lone surrogate": {"subject": "\udfff"},
    "braces without a subject": {"prompt": "{} {} w3", "subject": "w14"},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_an_error_on_screen_and_the_widget_stays_usable(lm, case):
    explorer = explorer_of(lm)
    assert explorer.wait(20)
    before = explorer.trace
    for name, value in BAD[case].items():
        setattr(explorer, name, value)
    with pytest.raises(rw.RomeWidgetsError) as caught:
        explorer.run(wait=True)
    assert explorer.status == "error"
    assert explorer.error["type"] == type(caught.value).__name__
    assert explorer.error["found"]
    assert explorer.error["wanted"] or explorer.error["remedy"]
    assert explorer.trace is before, "the last result stays"
    assert changes() == []
    for name, value in (GOOD | {"answer": None}).items():
        setattr(explorer, name, value)
    assert explorer.run(wait=True) is not None
    assert explorer.status == "done"
    assert explorer.error is None


@pytest.mark.parametrize(
    "trait",
    [
        {"samples": 0},
        {"noise": -1.0},
        {"window": 0},
        {"seed": -1},
        {"selection": [(99, 0, "mlp")]},
        {"selection": [(0, 0, "neuron")]},
        {"kind": "all of them"},
    ],
)
def test_a_setting_out_of_range_is_refused_where_it_is_set(lm, trait):
    explorer = explorer_of(lm)
    assert explorer.wait(20)
    ((name, value),) = trait.items()
    before = getattr(explorer, name)
    with pytest.raises(traitlets.TraitError):
        setattr(explorer, name, value)
    assert getattr(explorer, name) == before


def test_two_widgets_on_one_model_share_a_worker_and_do_not_mix(lm):
    first, second = explorer_of(lm), explorer_of(lm, subject="w26", prompt=tiny.PROMPT)
    assert first.wait(20)
    assert second.wait(20)
    assert first._worker is second._worker
    for layer in range(5):
        first.selection, second.selection = [(2, layer, "mlp")], [(4, layer, "mlp")]
        assert first.wait(20)
        assert second.wait(20)
        for explorer in (first, second):
            tracer = CausalTracer(lm, explorer.prompt, explorer.subject, samples=2)
            expected = tracer.restore(tracer.cell(*explorer.selection[0])).probability
            assert explorer._restoration["score"] == pytest.approx(expected, abs=1e-6)


def test_a_few_tracers_are_kept_and_the_rest_let_go(lm):
    engine = TracingEngine(lm)
    for seed in range(KEPT_TRACERS + 3):
        engine.restore(TraceSettings(**GOOD, samples=1, seed=seed), [])
    assert len(engine._tracers) == KEPT_TRACERS
    kept = next(reversed(engine._tracers.values()))
    engine.restore(TraceSettings(**GOOD, samples=1, seed=KEPT_TRACERS + 2), [])
    assert next(reversed(engine._tracers.values())) is kept


def test_widgets_that_are_gone_leave_no_thread_behind(lm):
    explorer = explorer_of(lm)
    assert explorer.wait(20)
    threads = threading.active_count()
    for _ in range(20):
        other = explorer_of(lm)
        assert other.wait(20)
        gone = weakref.ref(other)
        other.close()
        del other
    gc.collect()
    assert gone() is None
    assert threading.active_count() <= threads  # Those of other tests' models may have ended.


# ---------------------------------------------------------------------- path, flow, lens


SETTINGS = TraceSettings(tiny.PROMPT, tiny.SUBJECT, samples=2, window=3)
CELLS = [(2, 3, "mlp"), (1, 0, "hidden")]


def never():
    return False


def test_the_engine_answers_as_a_tracer_does_with_what_the_cells_restore(lm):
    engine = TracingEngine(lm)
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2, window=3)
    states = {state for cell in CELLS for state in tracer.cell(*cell)}
    assert len(states) > len(CELLS), "a cell of the MLP is a window"
    flow, expected = engine.flow(SETTINGS, CELLS), tracer.flow(states)
    assert flow.states == expected.states
    for kind in lm.kinds:
        assert (flow.moved[kind] == expected.moved[kind]).all()
    assert engine.lens(SETTINGS, CELLS) == tracer.lens(states)
    assert engine.flow(SETTINGS, []).states == engine.lens(SETTINGS, []).states == ()


def test_heads_of_a_selected_attention_are_those_of_the_tracer(lm):
    explorer = explorer_of(lm, window=3)
    assert explorer.wait(20)
    explorer.selection = [(1, 2, "attn"), (4, 2, "attn")]
    found = explorer.open_heads(wait=True)
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2, window=3)
    expected = tracer.heads(2, (1, 4))
    assert (found.layer, found.positions) == (2, (1, 4))
    assert (found.scores == expected.scores).all()
    assert np.ptp(found.scores) > 1e-3, "else any heads would do"
    sent = np.frombuffer(explorer._heads["scores"], "<f4").reshape(2, -1)
    assert sent == pytest.approx(expected.scores, abs=1e-6)


def test_heads_are_stopped_between_their_batches(lm, monkeypatch):
    monkeypatch.setattr(ReplayedRuns, "tokens_per_pass", 1)
    engine, told = TracingEngine(lm), []
    with pytest.raises(Cancelled) as stopped:
        engine.heads(SETTINGS, 2, (1, 4), told.append, lambda: bool(told))
    assert len(told) == 1
    assert np.isnan(stopped.value.partial.scores).sum() == 3


def test_one_kept_tracer_answers_all(lm, monkeypatch):
    engine, make, made = TracingEngine(lm), TracingEngine._make, []
    monkeypatch.setattr(
        TracingEngine, "_make", lambda self, settings: made.append(1) or make(self, settings)
    )
    engine.flow(SETTINGS, CELLS)
    engine.lens(SETTINGS, CELLS)
    engine.restore(SETTINGS, CELLS)
    engine.find_path(SETTINGS, 0.01, lambda path: None, never)
    assert len(made) == 1


def test_a_path_is_told_on_the_way_and_can_be_stopped(bundled_lm):
    engine, told = TracingEngine(bundled_lm), []
    settings = TraceSettings("The Space Needle is in the city of", "The Space Needle", samples=2)
    path = engine.find_path(settings, 0.98, told.append, never)
    assert path.reached
    assert len(path.states) > 1
    assert told[-1].states == path.states
    assert path.states == engine._tracer(settings).find_path(0.98).states
    stopped = []
    with pytest.raises(Cancelled):
        engine.find_path(settings, 0.98, stopped.append, lambda: bool(stopped))
    assert len(stopped) == 1


def test_the_lens_of_an_edited_model_shows_the_unedited_one_too():
    lm = world.new_lm("gpt2")
    settings = TraceSettings(tiny.PROMPT, tiny.SUBJECT, samples=2)
    engine = TracingEngine(lm)
    before = engine.lens(settings, [])
    assert [run.name for run in before.runs] == ["clean", "corrupted"]
    edit = world.made_up_edit(lm, 1, layer=1)
    edit.apply()
    followed = replace(settings, answer_id=before.answer_id)
    after = engine.lens(followed, CELLS[1:])
    edit.revert()
    assert [run.name for run in after.runs] == ["clean", "corrupted", "restored", "unedited"]
    clean, _, _, unedited = after.runs
    assert unedited.probabilities == pytest.approx(before.runs[0].probabilities, rel=1e-9)
    assert unedited.ranks == before.runs[0].ranks
    assert clean.probabilities[0] == pytest.approx(unedited.probabilities[0], rel=1e-9)
    assert clean.probabilities[1] != pytest.approx(unedited.probabilities[1], rel=1e-3)


def test_a_faint_answer_is_not_blamed_on_the_noise(lm):
    """Under a comparison the answer is forced, and an edit may have taken it away."""
    probabilities = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, samples=2).restore([])
    faint = int(probabilities.distributions[0].argmin())
    notes = " ".join(CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, answer=faint, samples=2).notes)
    assert f"gives 'w{faint}' almost no probability" in notes
    assert "more noise" not in notes


@pytest.mark.parametrize("occurrence", [None, "first", 1, "all"])
@pytest.mark.parametrize("form", ["messages", "ids"])
def test_an_explorer_and_its_code_corrupt_what_a_trace_of_the_same_messages_does(form, occurrence):
    """Whatever the template says of the subject by itself, such as a message by default."""
    tokenizer = tiny.chat_tokenizer(before="<s>")
    tokenizer.chat_template = "<|start|>system\nYou know Rome.<|end|>\n" + tiny.CHAT_TEMPLATE
    lm = rw.LanguageModel(tiny.chat_lm().model, tokenizer, name="tiny chat")
    texts = ["Where is Rome?", "It is Rome, in"]
    roles = ("user", "assistant")
    prompt = [{"role": r, "content": text} for r, text in zip(roles, texts, strict=True)]
    if form == "ids":
        prompt = list(lm.prompt_ids(prompt))
    options = {"samples": 2, "occurrence": occurrence}
    wanted = rw.CausalTracer(lm, prompt, "Rome", **options)
    explorer = rw.TraceExplorer(lm, prompt, "Rome", **options)
    trace = explorer.run(wait=True)
    assert (trace.token_ids, trace.subject_spans) == (wanted.token_ids, wanted.subject_spans)
    assert len(explorer.subject_places["at"]) == (3 if form == "ids" else 2)
    scope = {"the_lm": lm, "print": lambda *_: None}
    code = explorer.to_code()
    exec(code.replace(explorer._engine.load_code, "the_lm"), scope)
    made = scope["trace"]
    assert (made.token_ids, made.subject_spans) == (wanted.token_ids, wanted.subject_spans)
    assert made.corrupted == pytest.approx(wanted.corrupted)


@pytest.mark.parametrize("subject", ["", "  "])
def test_without_a_subject_the_likely_one_is_offered_as_by_a_trace(lm, subject):
    prompt = "The home town of Miles Davis is"
    with pytest.raises(PromptError) as told:
        CausalTracer(lm, prompt, subject or None)
    explorer = rw.TraceExplorer(lm, prompt)
    explorer.subject = subject
    with pytest.raises(PromptError, match="Did you mean 'Miles Davis'") as said:
        explorer.run(wait=True)
    assert said.value.remedy == told.value.remedy
    assert explorer.error["fix"]["values"] == {"subject": "Miles Davis"}
    explorer.close()
