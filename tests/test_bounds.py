"""Bounds: no index reaches an embedding unchecked, and nothing that is no finite number gets in.

On a GPU an index that is out of range ends the process, and NaN spreads without a word.
"""

import math
from contextlib import suppress

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import ArgumentError, VocabMismatch
from rome_widgets.model.word_scores import likeliest_tokens, score_words
from tests.helpers import tiny

QUICK = {"steps": 2, "prefixes": [(3, 1)]}
LONG = " ".join(["w1"] * (tiny.N_POSITIONS + 1))
FULL = " ".join(["w1"] * tiny.N_POSITIONS)


def edit_of(lm, **options):
    settings = QUICK if options.get("method", "rome") in ("rome", "r-rome") else {"steps": 2}
    options = {"second_moment": "identity", "settings": settings} | options
    return rw.edit(lm, "w3 {} w9", "w14 w15", "w5", **options)


@pytest.fixture(scope="module")
def lm():
    return tiny.tiny_lm(scale=20)


@pytest.fixture(scope="module")
def tracer(lm):
    return tiny.tiny_tracer(lm)


@pytest.fixture(scope="module")
def change(lm):
    return edit_of(lm)


class OutOfRange(BaseException):
    """What a GPU would end the process for."""


@pytest.fixture
def a_gpus_embedding(monkeypatch):
    """Embeddings that are as strict as a GPU's, and say it in a way that nobody catches."""
    forward = torch.nn.Embedding.forward

    def strict(self, ids):
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.num_embeddings):
            raise OutOfRange(ids.tolist())
        return forward(self, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", strict)


def ids_past_the_rows(lm):
    return [[1, tiny.VOCAB], [1, -1], [1, 10**30], [*range(tiny.N_POSITIONS + 1)]]


PATHS = {
    "prompts of a trace": lambda lm, change: [
        lambda ids=ids: rw.trace(lm, ids, "w1") for ids in ids_past_the_rows(lm)
    ],
    "prompts of a comparison": lambda lm, change: [
        lambda ids=ids: change.compare([ids]) for ids in ids_past_the_rows(lm)
    ],
    "rows": lambda lm, change: [lambda ids=ids: lm.rows([ids]) for ids in ids_past_the_rows(lm)],
    "embeddings": lambda lm, change: [lambda: lm.embed([tiny.VOCAB]), lambda: lm.embed([-1])],
    "prefixes": lambda lm, change: [
        lambda size=size: edit_of(lm, settings={"steps": 2, "prefixes": [(size, 1)]})
        for size in (tiny.N_POSITIONS + 1, 1000, 10**9, 10**30)
    ],
    "many prefixes": lambda lm, change: [
        lambda: edit_of(lm, settings={"prefixes": [(3, 10**9)]}),
        lambda: edit_of(lm, settings={"bare": 10**12}),
    ],
    "long texts": lambda lm, change: [
        lambda: rw.trace(lm, LONG, "w1"),
        lambda: change.compare(LONG),
        lambda: change.preview(LONG),
        lambda: rw.edit(lm, f"{{}} {LONG}", "w2", "w3", second_moment="identity"),
        lambda: score_words(lm, [LONG], ["w2"]),
        lambda: likeliest_tokens(lm, [LONG]),
    ],
    "long answers": lambda lm, change: [
        lambda: score_words(lm, [FULL], ["w2 w3"]),
        lambda: rw.edit(lm, "w1 {}", "w2", FULL, second_moment="identity", settings=QUICK),
    ],
    "answers": lambda lm, change: [
        lambda answer=answer: tiny.tiny_tracer(lm, answer=answer)
        for answer in (tiny.VOCAB, -1, True, 10**30, 1.5, [True], object(), b"w1", {}, math.nan)
    ],
}


@pytest.mark.parametrize("path", PATHS)
def test_an_index_that_is_out_of_range_is_refused_before_a_pass(lm, change, a_gpus_embedding, path):
    for call in PATHS[path](lm, change):
        with pytest.raises(rw.RomeWidgetsError):
            call()


def test_what_goes_on_to_the_end_of_the_context_stops_there(lm, change, a_gpus_embedding):
    (found,) = change.compare(" ".join(["w1"] * (tiny.N_POSITIONS - 2)), generate=10**9)
    assert len(found.after.split()) <= 2
    assert change.compare(FULL, generate=3)[0].after == ""
    tokens = rw.second_moment(lm, [" ".join(["w1"] * 50)], 1).n_tokens
    assert tokens == 50
    edit_of(lm, settings={"steps": 2, "prefixes": [(tiny.N_POSITIONS - 4, 1)]})


def test_a_token_that_the_head_does_not_predict_is_no_answer(a_gpus_embedding):
    """Rows were added to the embedding alone: a gather from the logits would be out of range."""
    model = tiny.tiny_model("llama")
    model.lm_head = torch.nn.Linear(tiny.D_MODEL, tiny.VOCAB - 3, bias=False)
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    for call in (
        lambda: tiny.tiny_tracer(lm, answer="w28"),
        lambda: rw.edit(lm, "w3 {} w9", "w14", "w28", second_moment="identity", settings=QUICK),
        lambda: score_words(lm, ["w1"], ["w28"]),
    ):
        with pytest.raises(rw.errors.VocabMismatch, match="predicts only 26"):
            call()


def test_a_token_that_the_model_cannot_read_back_ends_a_text_in_words(a_gpus_embedding):
    """A head with more rows than the embedding writes ids that nothing can be looked up for."""
    model = tiny.tiny_model("llama")
    model.lm_head = torch.nn.Linear(tiny.D_MODEL, tiny.VOCAB + 3)
    with torch.no_grad():
        model.lm_head.bias.zero_()[-1] = 50
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    with pytest.raises(rw.errors.VocabMismatch, match=f"id {tiny.VOCAB + 2}.*embeds only"):
        edit_of(lm)


# ---------------------------------------------------------------------------- finite numbers

NOT_FINITE = [math.nan, math.inf, -math.inf, 10**400, "nan", np.float64("nan"), np.float32("inf")]
NUMBERS = {
    "noise": lambda lm, tracer, change, x: tiny.tiny_tracer(lm, noise=x),
    "noise by hand": lambda lm, tracer, change, x: rw.Noise.absolute(x),
    "strength": lambda lm, tracer, change, x: setattr(change, "strength", x),
    "strength of a comparison": lambda lm, tracer, change, x: change.compare("w1", strength=x),
    "recovery": lambda lm, tracer, change, x: tracer.find_path(x),
    "ridge": lambda lm, tracer, change, x: rw.second_moment(lm, ["w1"], 1, ridge=x),
    "ridge of a moment": lambda lm, tracer, change, x: rw.SecondMoment("x", ridge=x),
    **{
        f"setting {name}": lambda lm, tracer, change, x, name=name: edit_of(lm, settings={name: x})
        for name in rw.RankOneSettings.numeric()
    },
    "setting max_change": lambda lm, tracer, change, x: edit_of(
        lm, method="ft-l", settings={"max_change": x}
    ),
}


@pytest.mark.parametrize(
    "value", NOT_FINITE, ids=lambda value: f"{type(value).__name__}-{value!s:.4}"
)
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_finite_number_is_refused_wherever_a_number_is_taken(
    lm, tracer, change, name, value
):
    if name == "setting clamp" and value == math.inf:  # no bound
        assert rw.RankOneSettings(clamp=value).clamp == math.inf
        return
    with pytest.raises(rw.RomeWidgetsError):
        NUMBERS[name](lm, tracer, change, value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_arrays_and_moments_hold_finite_numbers(lm, value):
    noise = np.zeros((1, 2, tiny.D_MODEL))
    noise[0, 1, 3] = value
    matrix = torch.eye(tiny.D_MLP)
    matrix[2, 3] = value
    for call in (
        lambda: tiny.tiny_tracer(lm, noise=noise),
        lambda: rw.SecondMoment("x", matrix=matrix),
        lambda: rw.SecondMoment("x", keys=matrix),
        lambda: rw.SecondMoment("x", matrix=matrix.numpy()),
    ):
        with pytest.raises(rw.RomeWidgetsError, match=r"(?i)finite"):
            call()


MOMENTS = {
    "zeros": {"matrix": torch.zeros(tiny.D_MLP, tiny.D_MLP)},
    "keys of no length": {"keys": torch.zeros(3, tiny.D_MLP)},
    "as large as numbers get": {"matrix": torch.eye(tiny.D_MLP).double() * 1e308},
    "not positive": {"matrix": -torch.eye(tiny.D_MLP)},
    "not square": {"matrix": torch.ones(tiny.D_MLP, tiny.D_MLP - 1)},
    "another width": {"matrix": torch.eye(tiny.D_MLP - 1)},
    "keys of another width": {"keys": torch.ones(3, tiny.D_MLP - 1)},
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_that_cannot_be_solved_with_is_refused(lm, moment):
    with pytest.raises(rw.RomeWidgetsError):
        edit_of(lm, second_moment=rw.SecondMoment("x", **MOMENTS[moment]))


def test_a_moment_in_float32_is_solved_with_as_well(lm):
    keys = torch.randn(3, tiny.D_MLP)
    assert edit_of(lm, second_moment=rw.SecondMoment("x", keys=keys)).report.update_norm > 0


AFTER_ATTACHING = {
    "a trace": lambda lm, tracer, change: tracer.trace(),
    "a tracer": lambda lm, tracer, change: tiny.tiny_tracer(lm),
    "a restoration": lambda lm, tracer, change: tracer.restore([(1, 1, "mlp")]),
    "a lens": lambda lm, tracer, change: tracer.lens(),
    "a flow": lambda lm, tracer, change: tracer.flow(),
    "rome": lambda lm, tracer, change: edit_of(lm),
    "r-rome": lambda lm, tracer, change: edit_of(lm, method="r-rome"),
    "ft": lambda lm, tracer, change: edit_of(lm, method="ft"),
    "texts": lambda lm, tracer, change: edit_of(lm, layer=3, second_moment=["w1 w2 w4"]),
    "a comparison": lambda lm, tracer, change: change.compare("w1 w2"),
    "a continuation": lambda lm, tracer, change: change.compare("w1 w2", generate=2),
    "a preview": lambda lm, tracer, change: change.preview("w1 w2"),
    "a perplexity": lambda lm, tracer, change: change.perplexity(),
    "a strength": lambda lm, tracer, change: (setattr(change, "strength", 2), change.warnings),
    "an edit put in": lambda lm, tracer, change: change.apply(),
    "statistics": lambda lm, tracer, change: rw.second_moment(lm, ["w1 w2 w3"], 3),
    "a word": lambda lm, tracer, change: score_words(lm, ["w1"], ["w2"]),
    "attaching": lambda lm, tracer, change: rw.LanguageModel(lm.model, lm.tokenizer),
}


def test_weights_that_became_nan_are_said_in_words_by_whatever_asks_the_model():
    lm = tiny.tiny_lm(scale=20)
    tracer, change = tiny.tiny_tracer(lm), edit_of(lm)
    weight = lm.model.get_parameter("transformer.h.1.mlp.c_proj.weight")
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[1] = math.nan
        for ask in AFTER_ATTACHING.values():
            with pytest.raises(rw.RomeWidgetsError) as refused:
                ask(lm, tracer, change)
            assert refused.value.wanted
    finally:
        with torch.no_grad():
            weight.copy_(before)


# ------------------------------------------------------------------- another kind of thing

ODD = [None, True, 5, -1, 1.5, math.nan, 10**400, "x", "", b"x", [], [5], [None], {}, {1: 2}, ...]
ARGUMENTS = {
    "restore": lambda lm, tracer, change, x: tracer.restore(x),
    "answer": lambda lm, tracer, change, x: tiny.tiny_tracer(lm, answer=x),
    "record": lambda lm, tracer, change, x: tracer.trace("mlp", record=x),
    "noise": lambda lm, tracer, change, x: tiny.tiny_tracer(lm, noise=x),
    "samples": lambda lm, tracer, change, x: tiny.tiny_tracer(lm, samples=x),
    "settings": lambda lm, tracer, change, x: rw.RankOneSettings().changed(x),
    "prefixes": lambda lm, tracer, change, x: rw.RankOneSettings(prefixes=x),
    "second_moment": lambda lm, tracer, change, x: edit_of(lm, second_moment=x),
    "second_moment of texts": lambda lm, tracer, change, x: rw.second_moment(lm, x, 1),
    "layers": lambda lm, tracer, change, x: rw.second_moment(lm, ["w1 w2"], x),
    "layer": lambda lm, tracer, change, x: edit_of(lm, layer=x),
    "seed": lambda lm, tracer, change, x: edit_of(lm, seed=x),
    "prompts": lambda lm, tracer, change, x: change.compare(x),
    "ids": lambda lm, tracer, change, x: lm.embed(x),
}
PATHS_TAKEN = {
    "a trace": lambda lm, tracer, change, x: tracer.trace("mlp").save(x),
    "an edit": lambda lm, tracer, change, x: change.save(x),
    "an adapter": lambda lm, tracer, change, x: change.to_peft(x),
    "a model": lambda lm, tracer, change, x: lm.save_pretrained(x),
    "statistics": lambda lm, tracer, change, x: rw.second_moment(lm, ["w1"], 1, path=x or ""),
    "load": lambda lm, tracer, change, x: rw.load(x if x is not None else ""),
    "load_trace": lambda lm, tracer, change, x: rw.load_trace(x),
    "load_restoration": lambda lm, tracer, change, x: rw.load_restoration(x),
    "load_edit": lambda lm, tracer, change, x: rw.load_edit(lm, x),
    "second_moment": lambda lm, tracer, change, x: edit_of(lm, second_moment=x or ""),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_whatever_an_argument_is_it_does_or_is_refused_in_words(lm, tracer, change, name):
    for value in ODD:
        with suppress(rw.RomeWidgetsError):
            ARGUMENTS[name](lm, tracer, change, value)


@pytest.mark.parametrize("name", PATHS_TAKEN)
def test_what_cannot_be_a_path_is_refused_in_words(lm, tracer, change, name):
    for value in ("", "a\0b", "\0", None, "half \ud800/\0", "x" * 5000):
        with pytest.raises(rw.RomeWidgetsError):
            PATHS_TAKEN[name](lm, tracer, change, value)


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        ([[1, 2]], ArgumentError),
        (torch.tensor([1, 2]), ArgumentError),
        (torch.tensor([[1.0, 2.0]]), ArgumentError),
        (torch.empty(1, 0, dtype=torch.long), ArgumentError),
        (torch.tensor([[1, 10**6]]), VocabMismatch),
        (torch.tensor([[1, -1]]), VocabMismatch),
    ],
)
@pytest.mark.parametrize("name", ["next_token_probabilities", "next_token_logits"])
def test_ids_that_are_no_rows_of_ids_are_refused_before_a_pass(name, ids, error):
    with pytest.raises(error):
        getattr(tiny.tiny_lm("gpt2"), name)(ids)
