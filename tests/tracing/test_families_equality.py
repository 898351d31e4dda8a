"""Every family traces as the slow reference does, cell by cell, on the kinds it has."""

import numpy as np
import pytest
import torch

from rome_widgets.errors import StateError
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records import states as places
from rome_widgets.records.states import KINDS
from rome_widgets.tracing.tracer import CausalTracer, trace
from tests.helpers import families, reference, tiny
from tests.helpers.counts import FAMILY_SETTINGS
from tests.helpers.gates import write_gate

SAMPLES = 3
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}
"""Worst difference allowed, as a share of the grid's span. Not less in float64: norms, softmaxes,
routers and linear attention compute in float32 inside some models, whatever the model's dtype."""


SUBJECTS = {"start": "w3 w14", "middle": tiny.SUBJECT, "next to the end": "w26 w5"}

WORST = {}
"""Per family, the worst share of the span seen so far; and on how many grids."""


@pytest.fixture(scope="module", autouse=True)
def worst_differences_are_on_record():
    yield
    figures = {f"{name}, {engine}": f"{max(seen):.1e}" for (name, engine), seen in WORST.items()}
    grids = sum(len(seen) for seen in WORST.values())
    write_gate("families", {"families": len({n for n, _ in WORST}), "grids": grids, **figures})


def setting(name, wrong=None, where="middle", window=3, engine="replay"):
    """A tracer and the reference's arguments; `wrong` replaces parts of the oracle's names."""
    family = families.FAMILIES[name]
    lm = LanguageModel(families.tiny_family(name), tiny.word_tokenizer(), name=name)
    if engine != "replay":
        lm.replay = None
    subject = SUBJECTS[where]
    start = tiny.PROMPT.split().index(subject.split()[0])
    embedding = lm.model.get_input_embeddings().weight.detach()
    noise = reference.draws(1, SAMPLES, 2, embedding.shape[1], 3 * float(embedding.std()))
    tracer = CausalTracer(lm, tiny.PROMPT, subject, noise=noise.numpy(), window=window)
    ids = [int(word[1:]) for word in tiny.PROMPT.split()]
    names = family.names | (wrong or {})
    return tracer, (lm.model, names, ids, (start, start + 2), noise)


def check_grids(tracer, arguments, least_span=1e-2):
    """Every cell of every kind equals the reference's, within a share of the grid's span."""
    traced = tracer.trace()
    names = arguments[1]
    assert set(traced.kinds) == set(names) - {"embedding"}
    for kind in traced.kinds:
        expected = np.array(
            reference.grid(*arguments, traced.answer_id, kind, tracer.window, families.N_LAYERS)
        )
        span = np.ptp(expected)
        assert span >= least_span, f"{kind}: the grid spans only {span}"
        worst = np.abs(traced.scores[kind] - expected).max() / max(span, 1e-2)
        assert worst <= TOLERANCE[tracer.lm.dtype], f"{kind}: off by {worst} of the span"
        engine = "replay" if tracer.lm.replay else "whole passes"
        WORST.setdefault((tracer.lm.name, engine), []).append(float(worst))


def check_mixed_sets(tracer, arguments):
    random = np.random.RandomState(0)
    kinds = [kind for kind in KINDS if kind in arguments[1]]
    everything = [(p, la, k) for p in range(7) for la in range(families.N_LAYERS) for k in kinds]
    for size in (2, 5, 9):
        states = [everything[i] for i in random.choice(len(everything), size, replace=False)]
        expected = reference.restored(*arguments, states).numpy()
        worst = np.abs(tracer.restore(states).distributions[2] - expected).max()
        assert worst <= TOLERANCE[tracer.lm.dtype], f"{states}: off by {worst}"


@pytest.mark.parametrize(("where", "window", "engine"), FAMILY_SETTINGS)
@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_cell_and_some_mixed_sets_equal_the_reference(name, where, window, engine):
    tracer, arguments = setting(name, None, where, window, engine)
    # Some other places of the subject hardly matter to some of the random models.
    check_grids(tracer, arguments, least_span=1e-2 if (where, window) == ("middle", 3) else 0)
    check_mixed_sets(tracer, arguments)


def _skip_a_layer(monkeypatch):
    cell = CausalTracer.cell

    def without_layer_2(self, *where):
        return [state for state in cell(self, *where) if state.layer != 2]

    monkeypatch.setattr(CausalTracer, "cell", without_layer_2)


def _wrong_window(monkeypatch):
    monkeypatch.setattr(places, "window_layers", lambda layer, window, n_layers: [layer])


WRONG_SITES = {
    "opt": {"attn": "model.decoder.layers.{}.self_attn_layer_norm"},
    "bloom": {"mlp": "transformer.h.{}.mlp"},
    "bloom, norm on the stream": {"attn": "transformer.h.{}.self_attention"},
    "mpt": {"mlp": "transformer.blocks.{}.ffn"},
    "gemma2": {"attn": "model.layers.{}.post_feedforward_layernorm"},
    "glm4": {"mlp": "model.layers.{}.post_self_attn_layernorm"},
    "gemma4, with experts": {"mlp": "model.layers.{}.mlp"},
    "lfm2": {"attn": "model.layers.{}.operator_norm"},
    "qwen2_moe": {"attn": "model.layers.{}.input_layernorm"},
}
"""Names one could take for the site, where the oracle says otherwise.

What only a norm lies between (an MLP before its post-norm, a last matrix behind its own norm)
cannot be told apart by restoring: tests/model/test_families.py does it by the values.
"""


@pytest.mark.parametrize("name", WRONG_SITES)
def test_a_wrong_site_turns_the_equality_red(name):
    tracer, arguments = setting(name, wrong=WRONG_SITES[name])
    with pytest.raises(AssertionError, match="off by"):
        check_grids(tracer, arguments)


@pytest.mark.parametrize("plant", [_skip_a_layer, _wrong_window])
@pytest.mark.parametrize("name", ["opt", "gemma2", "lfm2", "gpt_oss"])
def test_a_planted_mutation_turns_the_equality_red(name, plant, monkeypatch):
    plant(monkeypatch)
    tracer, arguments = setting(name)
    with pytest.raises(AssertionError, match="off by"):
        check_grids(tracer, arguments)


def test_a_kind_that_the_model_does_not_have_is_refused():
    tracer, _ = setting("mamba")
    assert tracer.trace().kinds == ("hidden",)
    calls = [
        lambda: tracer.trace("mlp"),
        lambda: tracer.trace(("hidden", "attn")),
        lambda: tracer.cell(1, 1, "mlp"),
        lambda: tracer.restore([(1, 1, "attn")]),
        lambda: trace(tracer.lm, tiny.PROMPT, tiny.SUBJECT, kinds="mlp"),
    ]
    for call in calls:
        with pytest.raises(StateError, match="Its kinds are 'hidden'"):
            call()
    assert tracer.restore([]).probability == tracer.corrupted
