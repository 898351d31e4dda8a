"""What a tracer takes, refuses, reports and keeps."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import (
    Cancelled,
    ContextTooLong,
    NoiseError,
    NonFinite,
    PromptError,
    StateError,
    SubjectNotFound,
    UnsupportedModel,
    VocabMismatch,
)
from rome_widgets.records.states import KINDS, State
from rome_widgets.tracing import runs
from rome_widgets.tracing.noise import Noise
from tests.helpers import reference, tiny, world

NOISE = Noise.absolute(1.0)


@pytest.fixture(scope="module")
def lm():
    return tiny.tiny_lm("gpt2", scale=40)


def tracer_of(lm, **options):
    options = {"noise": NOISE, "samples": 4} | options
    return rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, **options)


# ----------------------------------------------------------------------- ways to say a fact


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        (tiny.PROMPT, "w14 w15"),
        (tiny.PROMPT, (3, 10)),
        ("w3 {} w9 w26 w5 w8", "w14 w15"),
        (rw.Fact("w3 {} w9 w26 w5 w8", "w14 w15", "w1"), None),
        ({"prompt": tiny.PROMPT, "subject": "w14 w15", "attribute": "w1"}, None),
        (
            {
                "requested_rewrite": {
                    "prompt": "w3 {} w9 w26 w5 w8",
                    "subject": "w14 w15",
                    "target_true": {"str": "w1"},
                }
            },
            None,
        ),
    ],
)
def test_a_fact_can_be_given_in_every_form(lm, prompt, subject):
    trace = rw.trace(lm, prompt, subject, noise=NOISE, samples=2, kinds="hidden")
    assert trace.prompt == tiny.PROMPT
    assert trace.subject == "w14 w15"
    assert trace.subject_span == (1, 3)


def test_a_fact_fills_its_own_hole_even_where_the_subject_occurs_again(lm):
    fact = rw.Fact("{} w3 w14", "w14")
    assert rw.trace(lm, fact, noise=NOISE, samples=2, kinds="hidden").subject_span == (0, 1)


def test_a_repeated_subject_means_its_last_occurrence_and_says_so(lm):
    trace = rw.trace(lm, "w3 w14 w14 w8", "w14", noise=NOISE, samples=2, kinds="hidden")
    assert trace.subject_span == (2, 3)
    assert "occurs 2 times" in trace.notes[0]


TWICE = "w3 w14 w15 w9 w14 w15 w8"


@pytest.mark.parametrize("engine", ["replay", "whole passes"])
def test_every_mention_is_corrupted_where_all_are_meant(engine):
    lm = tiny.shared_lm("gpt2", scale=40, engine=engine)
    options = {"noise": NOISE, "samples": tiny.SAMPLES}
    tracer = rw.CausalTracer(lm, TWICE, tiny.SUBJECT, occurrence="all", **options)
    assert tracer.subject_spans == ((1, 3), (4, 6))
    assert tracer.subject_span == (4, 6)
    assert "all of them are corrupted" in tracer.notes[0]
    draws = np.random.RandomState(1).randn(tiny.SAMPLES, 4, tiny.D_MODEL)
    noise = torch.zeros(tiny.SAMPLES, 5, tiny.D_MODEL)
    noise[:, [0, 1, 3, 4]] = torch.from_numpy(draws).float()
    names = tiny.NAMES["gpt2"]
    for state in [(2, 3, "hidden"), (3, 1, "mlp"), (5, 2, "attn")]:
        wanted = reference.restored(lm.model, names, tracer.token_ids, (1, 6), noise, [state])
        assert np.allclose(tracer.restore([state]).distributions[2], wanted, atol=1e-6)
    trace = tracer.trace("hidden")
    assert trace.subject_positions == [1, 2, 4, 5]
    assert trace.to_frame().query("in_subject").pos.unique().tolist() == [1, 2, 4, 5]
    first = rw.CausalTracer(lm, TWICE, tiny.SUBJECT, occurrence="first", **options)
    assert first.subject_spans == ((1, 3),)
    assert not np.isclose(first.corrupted, tracer.corrupted)


def test_mentions_named_by_their_characters_are_those_of_all(lm):
    options = {"noise": NOISE, "samples": 2}
    every = rw.CausalTracer(lm, TWICE, tiny.SUBJECT, occurrence="all", **options)
    named = rw.CausalTracer(lm, TWICE, [(3, 10), (14, 21)], **options)
    assert named.subject_spans == every.subject_spans
    assert named.corrupted == every.corrupted


def test_a_trace_of_every_mention_is_saved_and_goes_on_where_it_was_cancelled(lm, tmp_path):
    options = {"noise": NOISE, "samples": 2, "occurrence": "all"}
    tracer = rw.CausalTracer(lm, TWICE, tiny.SUBJECT, **options)
    trace = tracer.trace("hidden")
    assert rw.load_trace(trace.save(tmp_path / "a.safetensors")).subject_spans == ((1, 3), (4, 6))
    assert tracer.trace("hidden", resume=trace).complete
    last = rw.CausalTracer(lm, TWICE, tiny.SUBJECT, noise=NOISE, samples=2)
    with pytest.raises(StateError, match="other subject_spans"):
        last.trace(resume=trace)


def test_a_fact_with_a_hole_can_be_corrupted_at_another_mention(lm):
    fact = rw.Fact("{} w3 w14 w5", "w14")
    spans = {
        each: rw.CausalTracer(lm, fact, noise=NOISE, samples=2, occurrence=each).subject_spans
        for each in (None, "last", "first", "all")
    }
    assert spans[None] == spans["first"] == ((0, 1),)
    assert spans["last"] == ((2, 3),)
    assert spans["all"] == ((0, 1), (2, 3))


@pytest.mark.parametrize("kind", tiny.CHATS)
def test_chats_and_ids_are_traced_with_the_ids_of_transformers(kind):
    lm = tiny.chat_lm(kind)
    messages = [{"role": "user", "content": "Where is the Space Needle?"}]
    ids = lm.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    with torch.no_grad():
        clean = lm.model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    for prompt in (messages, ids, torch.tensor([ids])):
        tracer = rw.CausalTracer(lm, prompt, "the Space Needle", noise=NOISE, samples=2)
        assert list(tracer.token_ids) == ids
        assert tracer.prompt == lm.tokenizer.decode(ids)
        assert type(tracer.prompt) is str
        assert tracer.clean == pytest.approx(float(clean.max()), abs=1e-6)
        start, stop = tracer.subject_span
        assert "".join(tracer.tokens[start:stop]) == " the Space Needle"
    held = [{"role": "user", "content": "Where is {}?"}]
    filled = rw.CausalTracer(lm, held, "the Space Needle", noise=NOISE, samples=2)
    assert list(filled.token_ids) == ids


# ----------------------------------------------------------------------------- whole answers


@pytest.mark.parametrize("name", world.SHAPES)
@pytest.mark.parametrize("answer", ["w2 w4", "w8 w1 w20"])
def test_the_whole_answer_is_the_product_of_traces_token_by_token(name, answer):
    """Each token traced by itself, on the prompt with the right ones behind it, draw by draw."""
    lm = world.make_lm(name)
    noise = np.random.RandomState(0).randn(3, 2, lm.d_embedding)
    tracer = rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, answer=answer)
    states = [*tracer.cell(2, 1, "mlp"), State(3, 0, "hidden")]
    found = tracer.restore(states).whole
    draws = []
    for draw in noise:
        prompt, runs = tiny.PROMPT, np.ones(3)
        for word in answer.split():
            one = rw.CausalTracer(lm, prompt, tiny.SUBJECT, noise=draw[None], answer=word)
            runs *= one.clean, one.corrupted, one.restore(states).probability
            prompt += f" {word}"
        draws.append(runs)
    assert found[2:] == pytest.approx(np.mean(draws, axis=0), rel=1e-4)
    assert found.tokens == tuple(answer.split())
    assert tracer.whole == found._replace(restored=None)
    assert tracer.trace("hidden").whole == tracer.whole
    assert found.corrupted != pytest.approx(found.restored, rel=1e-3)


@pytest.mark.parametrize("held", [1, 2, 3])
def test_the_whole_answer_is_the_same_however_many_draws_run_at_once(lm, held, monkeypatch):
    whole = tracer_of(lm, answer="w2 w4 w1").restore([(2, 0, "hidden")]).whole
    tracer = tracer_of(lm, answer="w2 w4 w1").sever("mlp")
    severed = tracer.restore([(2, 0, "hidden")]).whole
    monkeypatch.setattr(runs, "LOGITS_AT_ONCE", held * 3 * len(tracer._baseline[0]))
    again = tracer_of(lm, answer="w2 w4 w1").restore([(2, 0, "hidden")]).whole
    assert again[2:] == pytest.approx(whole[2:], rel=1e-5)
    assert tracer.restore([(2, 0, "hidden")]).whole[2:] == pytest.approx(severed[2:], rel=1e-5)
    assert severed.restored != pytest.approx(whole.restored, rel=1e-3)


def test_answers_that_begin_alike_are_told_apart_by_their_wholes(lm):
    one, other = (tracer_of(lm, answer=answer) for answer in ("w2 w4", "w2 w8"))
    assert (one.clean, one.corrupted) == (other.clean, other.corrupted)
    assert one.whole.clean != other.whole.clean
    assert one.whole.corrupted != other.whole.corrupted
    for tracer in (one, other):
        for shown in (tracer, tracer.trace("hidden"), tracer.restore([])):
            assert tracer.whole.text in repr(shown)
            assert tracer.whole.text in shown._repr_html_()
        assert any(f"clean {tracer.whole.clean:.3g}" in note for note in tracer.notes)


def test_of_one_token_there_is_no_whole_beside_it(lm):
    assert tracer_of(lm).whole is None
    assert tracer_of(lm, answer="w2").restore([]).whole is None
    assert tracer_of(lm, answer="w2").trace("mlp").whole is None


def test_an_answer_that_goes_beyond_the_last_position_is_followed_by_its_first_alone():
    lm = tiny.tiny_lm("gpt2", scale=40)
    prompt = " ".join(["w7"] * (lm.n_positions - 1))
    fits = rw.CausalTracer(lm, prompt, "w7", noise=NOISE, samples=2, answer="w2 w4")
    assert fits.whole is not None
    beyond = rw.CausalTracer(lm, prompt, "w7", noise=NOISE, samples=2, answer="w2 w4 w1")
    assert (beyond.answer, beyond.whole) == ("w2", None)
    assert any("too long for the model" in note for note in beyond.notes)
    with pytest.raises(ContextTooLong):
        rw.CausalTracer(lm, prompt, "w7", noise=NOISE, samples=2, answer=["w2", "w2 w4 w1"])


def test_an_answer_of_several_tokens_is_followed_by_its_first_and_says_so(lm):
    tracer = tracer_of(lm, answer="w2 w4")
    assert tracer.answer_id == 2
    assert any("'w2 w4' is 2 tokens; its first, 'w2', is followed" in n for n in tracer.notes)


# ------------------------------------------------------------------------------ restoration


def test_the_order_of_states_and_repeats_do_not_matter(lm):
    tracer = tracer_of(lm)
    states = [(3, 2, "mlp"), (1, 0, "hidden"), (3, 2, "mlp")]
    first, second = tracer.restore(states), tracer.restore(reversed(states))
    assert first.states == (State(1, 0, "hidden"), State(3, 2, "mlp"))
    assert np.array_equal(first.distributions, second.distributions)


def test_negative_places_count_from_the_end(lm):
    tracer = tracer_of(lm)
    assert tracer.restore([(-1, -1, "hidden")]).states == (State(6, 4, "hidden"),)


def test_top_rows_are_sorted_and_hold_the_answer(lm):
    restoration = tracer_of(lm, answer="w2").restore([])
    for k in (1, 3, 29, 1000):
        rows = restoration.top(k)
        assert len(rows) == min(k, 29)
        assert restoration.answer_id in [row.id for row in rows]
    assert [r.restored for r in rows] == sorted((r.restored for r in rows), reverse=True)
    assert sum(row.clean for row in rows) == pytest.approx(1, abs=1e-6)


def test_recovery_is_zero_corrupted_and_one_clean(lm):
    tracer = tracer_of(lm)
    assert tracer.restore([]).recovery == pytest.approx(0, abs=1e-9)
    everything = [(pos, 0, "hidden") for pos in range(7)]
    assert tracer.restore(everything).recovery == pytest.approx(1, abs=1e-5)


def test_padded_ids_are_shown_never_fatal():
    """Models pad their embedding; the extra ids can come out on top."""
    model = tiny.tiny_model("gpt2", scale=40)
    lm = rw.LanguageModel(model, tiny.word_tokenizer(n_words=27))
    rows = rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=NOISE).restore([]).top(29)
    assert {"⟨id 27⟩", "⟨id 28⟩"} <= {row.token for row in rows}


# ---------------------------------------------------------------------- progress and cancel


def test_progress_counts_up_and_fills_the_last_subject_row_first(lm):
    seen = []
    trace = rw.trace(
        lm, tiny.PROMPT, tiny.SUBJECT, noise=NOISE, samples=2, kinds="mlp", progress=seen.append
    )
    assert all(p.total == 35 for p in seen)
    done = [p.done for p in seen]
    assert done == sorted(set(done))
    assert done[-1] == 35
    known, first, second = (p.trace.scores["mlp"] for p in seen[:3])
    # What cannot differ from the corrupted run is known at once: it was never corrupted, or it is
    # a contribution of the last block to a position that nothing reads.
    assert np.array_equal(np.isnan(known), _can_matter(trace))
    assert not np.isnan(first[2]).any()
    assert np.isnan(first[[1, 3, 4, 5, 6], 2]).all()
    assert not np.isnan(second[6]).any()
    assert np.array_equal(seen[-1].trace.scores["mlp"], trace.scores["mlp"])


def test_the_strongest_rows_of_another_trace_can_come_first(lm):
    tracer, seen = tracer_of(lm), []
    whole = tracer.trace()
    scores = {kind: grid.copy() for kind, grid in whole.scores.items()}
    scores["attn"][4, 1], scores["mlp"][1, 0] = 0.9, 0.8
    like = replace(whole, scores=scores, estimated=True)
    again = tracer.trace(first=like, progress=seen.append)
    for kind in whole.kinds:
        assert np.array_equal(again.scores[kind], whole.scores[kind])
    filled = [~np.isnan(p.trace.scores["hidden"][:, 2]) for p in seen]
    assert filled[0].tolist() == [True, *[False] * 6], "before the subject nothing can matter"
    assert filled[1].tolist() == [True, False, False, False, True, False, False]
    assert filled[2].tolist() == [True, True, False, False, True, False, False]
    with pytest.raises(StateError, match="strongest rows"):
        tracer.trace(first=replace(whole, token_ids=(1, 2)))


def _can_matter(trace):
    matters = np.ones((7, 5), bool)
    matters[: trace.subject_span[0]] = False
    matters[:-1, -1] = False
    return matters


def test_cancel_keeps_what_was_computed(lm):
    stop = threading.Event()

    def after_a_row(progress):
        if not np.isnan(progress.trace.scores["attn"][2]).any():
            stop.set()

    with pytest.raises(Cancelled, match="of 105 cells") as caught:
        tracer_of(lm).trace(progress=after_a_row, cancel=stop)
    partial = caught.value.partial
    assert not partial.complete
    whole = tracer_of(lm).trace()
    for kind in KINDS:
        done = ~np.isnan(partial.scores[kind])
        assert done[2].all()
        assert not done[3, :4].any()
        assert np.array_equal(partial.scores[kind][done], whole.scores[kind][done])


def cancelled_after_a_row(tracer, **options):
    """What is left of a trace that was stopped at its first progress."""
    stop = threading.Event()
    with pytest.raises(Cancelled) as caught:
        tracer.trace(progress=lambda progress: stop.set(), cancel=stop, **options)
    return caught.value.partial


def test_a_resumed_trace_computes_the_rest_and_has_the_numbers_of_an_uninterrupted_one(
    lm, monkeypatch
):
    tracer = tracer_of(lm)
    whole = tracer.trace()
    partial, told, asked = cancelled_after_a_row(tracer), [], []
    missing = sum(int(np.isnan(grid).sum()) for grid in partial.scores.values())
    predict = tracer._runs.predict
    monkeypatch.setattr(
        tracer._runs, "predict", lambda cells, *rest: asked.extend(cells) or predict(cells, *rest)
    )
    resumed = tracer.trace(resume=partial, progress=told.append)
    assert 0 < len(asked) == missing < 105
    assert told[0].done > 105 - missing
    assert (told[-1].done, told[-1].total) == (105, 105)
    for kind in KINDS:
        np.testing.assert_allclose(resumed.scores[kind], whole.scores[kind], atol=1e-6)
        was = ~np.isnan(partial.scores[kind])
        assert (resumed.scores[kind][was] == partial.scores[kind][was]).all()


def test_a_complete_trace_resumed_runs_nothing_and_a_missing_kind_is_computed(lm):
    tracer = tracer_of(lm)
    whole, hidden = tracer.trace(), tracer.trace("hidden")
    again = tracer.trace(resume=whole)
    assert all((again.scores[kind] == whole.scores[kind]).all() for kind in KINDS)
    assert tracer.trace(resume=hidden).complete


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": 2}, "seed"),
        ({"samples": 3}, "samples"),
        ({"window": 3}, "windows"),
        ({"noise": Noise.absolute(2.0)}, "noise"),
        ({"answer": "w2"}, "answer_id"),
    ],
)
def test_a_trace_of_other_runs_cannot_be_resumed(lm, options, named):
    with pytest.raises(StateError, match=f"of other .*{named}"):
        tracer_of(lm).trace(resume=tracer_of(lm, **options).trace("mlp"))


def test_neither_an_estimate_nor_a_recording_is_resumed(lm):
    tracer = tracer_of(lm)
    with pytest.raises(StateError, match="is an estimate"):
        tracer.trace(resume=tracer.estimate())
    with pytest.raises(StateError, match="Leave out resume, or record"):
        tracer.trace(resume=tracer.trace("mlp"), record=3)


def test_a_trace_of_other_weights_cannot_be_resumed(lm):
    other = tiny.tiny_lm("gpt2", scale=30)
    with pytest.raises(StateError, match="of other weights"):
        tracer_of(lm).trace(
            resume=replace(tracer_of(other).trace("mlp"), answer_id=tracer_of(lm).answer_id)
        )


def test_an_error_in_a_progress_callback_comes_out_and_harms_nothing(lm):
    def fail(progress):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tracer_of(lm).trace(progress=fail)


# ---------------------------------------------------------------------------------- records


def test_record_keeps_the_top_predictions_of_every_cell(lm):
    tracer = tracer_of(lm)
    trace = tracer.trace(["mlp"], record=3)
    ids, probabilities = trace.recorded["mlp"]
    assert ids.shape == probabilities.shape == (7, 5, 3)
    expected = tracer.restore(tracer.cell(3, 2, "mlp")).distributions[2]
    assert ids[3, 2].tolist() == np.argsort(-expected)[:3].tolist()
    np.testing.assert_allclose(probabilities[3, 2], np.sort(expected)[::-1][:3], rtol=1e-6)
    assert trace.recorded_tokens[int(ids[3, 2, 0])] == f"w{ids[3, 2, 0]}"


def test_only_the_kinds_asked_for_are_traced(lm):
    trace = rw.trace(lm, tiny.PROMPT, tiny.SUBJECT, noise=NOISE, samples=2, kinds=["attn", "mlp"])
    assert trace.kinds == ("mlp", "attn")
    with pytest.raises(StateError, match="no 'hidden' scores"):
        trace.indirect_effect("hidden")


# ------------------------------------------------------------------- the model's own surroundings


def test_random_numbers_of_the_user_are_not_drawn(lm):
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    tracer_of(lm).trace()
    assert (torch.rand(1), np.random.rand()) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_models_trace_with_a_wide_softmax(dtype):
    lm = tiny.tiny_lm("llama", scale=20, dtype=dtype)
    result = tracer_of(lm).restore([])
    assert result.distributions.sum(axis=1) == pytest.approx(1, abs=1e-6)


# --------------------------------------------------------------------------------- refusals

BAD = {
    "empty prompt": (PromptError, "prompt is empty", {"prompt": "  "}),
    "prompt is not text": (PromptError, "not text", {"prompt": 7}),
    "lone surrogate": (PromptError, "lone surrogate", {"prompt": "w3 w14 w15 \udc00"}),
    "no subject": (PromptError, "No subject", {"subject": None}),
    "empty subject": (PromptError, "subject is empty", {"subject": ""}),
    "absent subject": (SubjectNotFound, "'w99' is not in the prompt", {"subject": "w99"}),
    "other case": (SubjectNotFound, "Did you mean 'w14 w15'", {"subject": "W14 W15"}),
    "span outside": (PromptError, "are not a subject", {"subject": (3, 999)}),
    "too long": (
        ContextTooLong,
        "17 tokens.*at most 16",
        {"prompt": " ".join(["w14 w15"] * 9)[:-4]},
    ),
    "record of nothing": (PromptError, "does not state a fact", {"prompt": {"x": 1}}),
    "unknown kind": (StateError, "no kind 'mpl'", {"kinds": ("mpl",)}),
    "no kinds": (StateError, "No kind was named", {"kinds": ()}),
    "window of zero": (StateError, "window is 0", {"window": 0}),
    "window of text": (StateError, "window is 'three'", {"window": "three"}),
    "negative noise": (NoiseError, "noise is -1", {"noise": -1.0}),
    "noise of nan": (NoiseError, "noise is nan", {"noise": float("nan")}),
    "noise of text": (NoiseError, "noise is 's3'", {"noise": "s3"}),
    "array of another shape": (NoiseError, r"\[any, 2, 8\]", {"noise": np.zeros((4, 3, 8))}),
    "array with nan": (NoiseError, "NaN or infinity", {"noise": np.full((4, 2, 8), np.nan)}),
    "no samples": (NoiseError, "samples is 0", {"samples": 0}),
    "half a sample": (NoiseError, "samples is 2.5", {"samples": 2.5}),
    "too many samples": (NoiseError, "samples is 10000000", {"samples": 10_000_000}),
    "negative seed": (NoiseError, "seed is -1", {"seed": -1}),
    "kinds is nothing": (StateError, "no kind 'None'", {"kinds": None}),
    "negative record": (StateError, "record is -1", {"record": -1}),
    "record without a subject": (
        PromptError,
        "The field 'subject' is None",
        {"prompt": {"requested_rewrite": {"prompt": "{} is"}}},
    ),
    "empty answer": (PromptError, "answer is empty", {"answer": " "}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_says_what_was_found_what_was_wanted_and_what_to_do(lm, case):
    error, message, changed = BAD[case]
    arguments = {"prompt": tiny.PROMPT, "subject": tiny.SUBJECT, "noise": NOISE} | changed
    with pytest.raises(error, match=message) as caught:
        rw.trace(lm, arguments.pop("prompt"), arguments.pop("subject"), **arguments)
    assert isinstance(caught.value, rw.RomeWidgetsError)
    assert caught.value.found
    assert caught.value.wanted or caught.value.remedy
    assert str(caught.value).startswith(caught.value.found)
    assert np.isfinite(tracer_of(lm).corrupted), "the model is still usable"


@pytest.mark.parametrize(
    "states",
    [
        [(7, 0, "mlp")],
        [(0, 5, "mlp")],
        [(-8, 0, "mlp")],
        [(0, 0, "neuron")],
        [(0, 0)],
        [3],
        ["abc"],
    ],
)
def test_a_state_the_model_does_not_have_is_refused(lm, states):
    with pytest.raises(StateError):
        tracer_of(lm).restore(states)


def test_an_id_without_an_embedding_is_refused():
    lm = rw.LanguageModel(tiny.tiny_model("gpt2"), tiny.word_tokenizer(n_words=40))
    with pytest.raises(VocabMismatch, match="id 35, but the model embeds only 29"):
        rw.trace(lm, "w3 w35", "w3", noise=NOISE)


def test_weights_that_turned_nan_after_attaching_are_named():
    lm = tiny.tiny_lm("gpt2")
    weight = lm.model.transformer.h[2].mlp.c_fc.weight.data
    saved = weight.clone()
    weight[:] = float("nan")
    with pytest.raises(NonFinite, match=r"first in transformer\.h\.2\.mlp\.c_fc"):
        tracer_of(lm)
    weight.copy_(saved)


def test_a_bare_transformers_model_is_refused_with_the_remedy():
    model = tiny.tiny_model("gpt2")
    for call in (rw.trace, rw.CausalTracer, rw.TraceExplorer):
        with pytest.raises(UnsupportedModel, match=r"Wrap it: rome_widgets\.LanguageModel"):
            call(model, tiny.PROMPT, tiny.SUBJECT)


def test_ids_of_answers_and_subjects_without_an_embedding_are_refused():
    lm = rw.LanguageModel(tiny.tiny_model("gpt2"), tiny.word_tokenizer(n_words=40))
    with pytest.raises(VocabMismatch, match="id 35"):
        rw.trace(lm, tiny.PROMPT, tiny.SUBJECT, noise=NOISE, answer="w35")
    with pytest.raises(VocabMismatch, match="id 36"):
        rw.trace(lm, tiny.PROMPT, tiny.SUBJECT, noise=Noise.times_std(3, ["w36"]))


def test_numpy_numbers_are_taken_and_can_be_saved(lm, tmp_path):
    trace = rw.trace(
        lm, tiny.PROMPT, tiny.SUBJECT, ["mlp"], noise=Noise.absolute(np.float32(1)),
        samples=np.int64(2), seed=np.int64(3), window=np.int64(1), record=np.int64(1),
    )  # fmt: skip
    assert rw.load_trace(trace.save(tmp_path / "trace")).seed == 3
