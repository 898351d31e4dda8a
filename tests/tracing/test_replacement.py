"""Another subject in the corrupted run: every result is that of a prompt about it."""

import functools

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import NoiseError
from rome_widgets.records.states import KINDS
from rome_widgets.tracing.replacement import _with_words
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import families, reference, tiny
from tests.tracing.test_equality import by_reference

FAMILIES = pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
ENGINES = pytest.mark.parametrize("engine", ["replay", "whole passes"])
OTHER, OTHER_IDS = rw.Subject("w21 w2"), [21, 2]
STATES = [(1, 0, "hidden"), (2, 1, "mlp"), (3, 2, "attn")]


def setting(family, *, engine="replay", **options):
    lm = tiny.shared_lm(family, scale=40, dtype=torch.float64, engine=engine)
    *arguments, _ = by_reference(family, torch.float64)
    options = {"noise": OTHER, "window": 3} | options
    return CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, **options), (*arguments, OTHER_IDS)


@functools.cache
def expected_grid(family, kind, answer):
    """The reference's grid, once for both engines."""
    *arguments, _ = by_reference(family, torch.float64)
    return np.array(reference.grid(*arguments, OTHER_IDS, answer, kind, 3, tiny.N_LAYERS))


@FAMILIES
@ENGINES
def test_every_cell_equals_the_reference(family, engine):
    tracer, arguments = setting(family, engine=engine)
    trace = tracer.trace()
    for kind in KINDS:
        expected = expected_grid(family, kind, trace.answer_id)
        assert np.ptp(expected) > 1e-2
        np.testing.assert_allclose(trace.scores[kind], expected, atol=1e-9)
    difference, _ = setting(family, engine=engine, metric="logit_difference", against=11)
    measured = "logit_difference", trace.answer_id, 11
    for states in ([], STATES):
        expected = reference.scores(*arguments, states, *measured)[1]
        assert difference.restore(states).score == pytest.approx(expected, abs=1e-9)


@FAMILIES
def test_what_explains_it_equals_the_reference(family):
    tracer, arguments = setting(family)
    expected = reference.lens(*arguments, STATES, tiny.N_LAYERS)
    for run in tracer.lens(STATES).runs:
        answers = expected[run.name][:, tracer.answer_id]
        np.testing.assert_allclose(run.probabilities, answers, atol=1e-9)
    flow, wanted = tracer.flow(STATES), reference.flow(*arguments, STATES, tiny.N_LAYERS)
    np.testing.assert_allclose(flow.noise, wanted["noise"], atol=1e-9)
    np.testing.assert_allclose(flow.moved["mlp"], wanted["mlp"]["moved"], atol=1e-9)
    severed = reference.severed(*arguments, [(2, 1, "hidden")], "mlp", 2, tiny.N_LAYERS)
    found = tracer.sever("mlp").restore([(2, 1, "hidden")]).distributions[2]
    np.testing.assert_allclose(found, severed, atol=1e-9)


@pytest.mark.parametrize("engine", ["replay", "whole passes"])
def test_a_family_that_reads_ids_in_other_places_reads_the_other_subjects(engine):
    """Gemma 4 adds an embedding of the token in every block."""
    family = families.FAMILIES["gemma4"]
    lm = rw.LanguageModel(families.tiny_family("gemma4"), tiny.word_tokenizer())
    if engine != "replay":
        lm.replay = None
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=OTHER)
    ids = [int(word[1:]) for word in tiny.PROMPT.split()]
    arguments = lm.model, family.names, ids, (1, 3), OTHER_IDS
    corrupted = reference.restored(*arguments)
    np.testing.assert_allclose(tracer.restore([]).distributions[1], corrupted, atol=1e-5)
    restored = reference.restored(*arguments, STATES[:2])
    np.testing.assert_allclose(tracer.restore(STATES[:2]).distributions[2], restored, atol=1e-5)


def test_the_corrupted_run_is_that_of_the_prompt_about_the_other():
    tracer, _ = setting("gpt2")
    ids = [3, *OTHER_IDS, 9, 26, 5, 8]
    about = tracer.lm.next_token_probabilities(torch.tensor([ids]))[0]
    np.testing.assert_allclose(tracer.restore([]).distributions[1], about, atol=1e-12)
    trace = tracer.trace()
    assert (trace.samples, trace.seed) == (1, None)
    assert trace.noise == {"text": "“w21 w2” in its place", "subject": "w21 w2"}


def test_the_other_subjects_answer_goes_before_a_whole_answer_as_it_does_alone():
    lm = tiny.shared_lm("gpt2", scale=40, dtype=torch.float64)
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=OTHER, answer="w7 w9")
    first = lm.next_token_probabilities(torch.tensor([[3, *OTHER_IDS, 9, 26, 5, 8]]))[0, 7]
    then = lm.next_token_probabilities(torch.tensor([[3, *OTHER_IDS, 9, 26, 5, 8, 7]]))[0, 9]
    assert tracer.whole.corrupted == pytest.approx(float(first * then), rel=1e-9)


def test_every_mention_is_another_subject_where_all_are_meant():
    lm = tiny.shared_lm("gpt2", scale=40, dtype=torch.float64)
    prompt = "w3 w14 w15 w9 w14 w15 w8"
    options = {"noise": OTHER, "occurrence": "all"}
    tracer = CausalTracer(lm, prompt, "w14 w15", **options)
    about = lm.next_token_probabilities(torch.tensor([[3, *OTHER_IDS, 9, *OTHER_IDS, 8]]))[0]
    np.testing.assert_allclose(tracer.restore([]).distributions[1], about, atol=1e-12)
    last = CausalTracer(lm, prompt, "w14 w15", noise=OTHER).restore([]).distributions[1]
    about = lm.next_token_probabilities(torch.tensor([[3, 14, 15, 9, *OTHER_IDS, 8]]))[0]
    np.testing.assert_allclose(last, about, atol=1e-12)


def test_mentions_of_different_lengths_are_each_in_their_place(bundled_lm):
    """The second mention has fewer characters than the other name, the others have as many more."""
    prompt = "The Space Needle is grand. The Needle, The Space Needle"
    places = [(0, 16), (27, 37), (39, 55)]
    assert [prompt[slice(*place)] for place in places][1] == "The Needle"
    found = _with_words(bundled_lm, prompt, places, "The Gate")
    text = "The Gate is grand. The Gate, The Gate"
    assert found == bundled_lm.encode(text, [(0, 8), (19, 27), (29, 37)])


def test_two_subjects_do_not_share_their_runs():
    one, _ = setting("gpt2")
    other, _ = setting("gpt2", noise=rw.Subject("w2 w21"))
    assert one._runs is not other._runs
    assert one._runs is setting("gpt2")[0]._runs


@pytest.mark.parametrize("words", ["w21", "w21 w2 w4"])
def test_another_number_of_tokens_is_refused(words):
    with pytest.raises(NoiseError, match=r"has \d tokens? in the place of 'w14 w15'. 2 tokens"):
        setting("gpt2", noise=rw.Subject(words))


def test_subjects_with_as_many_tokens_are_offered(bundled_lm):
    prompt, subject = "The Space Needle is in the city of", "The Space Needle"
    with pytest.raises(NoiseError) as refused:
        CausalTracer(bundled_lm, prompt, subject, noise=rw.Subject("Rome, of all the cities"))
    offers = [part.split("'")[1] for part in refused.value.remedy.split("rw.Subject(")[1:]]
    assert len(offers) == 3
    assert subject not in offers
    for offer in offers:
        tracer = CausalTracer(bundled_lm, prompt, subject, noise=rw.Subject(offer))
        about = bundled_lm.prompt_ids(prompt.replace(subject, offer))
        assert len(about) == len(tracer.tokens)
        predicted = bundled_lm.next_token_probabilities(torch.tensor([about]))[0]
        assert tracer.corrupted == pytest.approx(float(predicted[tracer.answer_id]), abs=1e-6)


def test_a_prompt_of_ids_keeps_those_around_the_subject(bundled_lm):
    prompt = "The Space Needle is in the city of"
    ids = list(bundled_lm.prompt_ids(prompt))
    with pytest.raises(NoiseError) as refused:
        CausalTracer(bundled_lm, prompt, "The Space Needle", noise=rw.Subject("Rome"))
    other = rw.Subject(refused.value.remedy.split("'")[1])
    one = CausalTracer(bundled_lm, prompt, "The Space Needle", noise=other)
    two = CausalTracer(bundled_lm, ids, "The Space Needle", noise=other)
    assert two.corrupted == one.corrupted
