"""Prompts that share calls get the numbers that each gets alone, to the last digits."""

import numpy as np
import pytest
import torch

from rome_widgets.errors import NonFinite
from rome_widgets.model.replay import CannotReplay
from rome_widgets.records.states import KINDS, State, cell_states
from rome_widgets.tracing import joint_runs, replayed_waves
from rome_widgets.tracing.joint_runs import CorruptedPrompt, JointRuns
from rome_widgets.tracing.metric import Measure
from rome_widgets.tracing.noise import Noise, draw_noise
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import families, tiny
from tests.helpers.counts import JOINT_FAMILIES

PROMPTS = [
    ("w3 w5", "w3"),
    ("w4 w1 w2", "w1 w2"),
    ("w3 w14 w15 w9 w26", "w14 w15"),
    ("w4 w14 w15 w9 w6", "w15 w9"),
    ("w3 w14 w15 w9 w26 w5 w8", "w14 w15"),
]
NOISE, SAMPLES, WINDOW = Noise.absolute(2.0), 2, 3


def joint_runs_of(lm, prompts=PROMPTS):
    asked = []
    for text, subject in prompts:
        encoded = lm.encode(text, subject)
        positions = [*range(*encoded.subject_span)]
        drawn = draw_noise(lm, NOISE, SAMPLES, len(positions), 1).values
        noise = torch.from_numpy(drawn).to(lm.dtype)
        asked.append(CorruptedPrompt(encoded.ids, positions, noise))
    return JointRuns(lm, lm.replay, asked)


def check_equal(lm, *, atol, kinds=KINDS, prompts=PROMPTS):
    runs = joint_runs_of(lm, prompts)
    kinds = [kind for kind in kinds if kind in lm.kinds]
    measures = {n: Measure(int(top), alone=True) for n, top in enumerate(runs.clean.argmax(1))}
    cells = [
        (number, State(pos, layer, kind))
        for number, (text, _) in enumerate(prompts)
        for kind in kinds
        for pos in range(len(text.split()))
        for layer in range(lm.n_layers)
    ]
    states = [(number, cell_states(*cell, WINDOW, lm.n_layers)) for number, cell in cells]
    found = np.full(len(cells), np.nan)
    for numbers, scores in runs.scores(states, measures):
        found[[*numbers]] = scores
    alone = [
        CausalTracer(lm, *prompt, noise=NOISE, samples=SAMPLES, window=WINDOW) for prompt in prompts
    ]
    traces = [tracer.trace(kinds, progress=False) for tracer in alone]
    for number, trace in enumerate(traces):
        ends = runs.measure(number, measures[number])
        np.testing.assert_allclose(ends, [trace.clean, trace.corrupted], atol=atol, rtol=0)
    wanted = [traces[n].scores[cell.kind][cell.pos, cell.layer] for n, cell in cells]
    off = np.abs(found - wanted).max()
    assert off <= atol, f"off by {off}"
    assert max(np.ptp(trace.scores[kinds[0]]) for trace in traces) > 100 * atol


@pytest.mark.parametrize("family", JOINT_FAMILIES)
def test_every_cell_is_that_of_the_prompt_alone(family):
    lm = tiny.shared_lm(family, scale=20 if family == "llama" else 40, dtype=torch.float64)
    # GPT-J rotates in float32 whatever the dtype is.
    atol = 1e-12 if family != "gptj" else 1e-6
    check_equal(lm, atol=atol, kinds=("hidden", "mlp"), prompts=PROMPTS[:4])


def test_a_small_call_and_a_small_head_give_the_same(monkeypatch):
    lm = tiny.shared_lm("gpt2", scale=40, dtype=torch.float64)
    monkeypatch.setattr(type(lm), "tokens_per_call", 12)
    monkeypatch.setattr(replayed_waves, "LOGITS_AT_ONCE", 3 * tiny.VOCAB)
    check_equal(lm, atol=1e-12, kinds=("mlp",), prompts=PROMPTS[1:3])


def _padding_is_seen(monkeypatch):
    from rome_widgets.model import batching

    monkeypatch.setattr(batching, "_causal", lambda like, n: like.new_ones(n, n))


def _noise_of_the_neighbor(monkeypatch):
    corrupting = JointRuns._corrupting
    monkeypatch.setattr(
        JointRuns, "_corrupting", lambda self, prompts: corrupting(self, [*prompts[::-1]])
    )


def _clean_of_the_neighbor(monkeypatch):
    joined = joint_runs._joined

    def rolled(*given):
        return {
            place: each._replace(clean=each.clean.roll(1, dims=0))
            for place, each in joined(*given).items()
        }

    monkeypatch.setattr(joint_runs, "_joined", rolled)


def _parents_of_the_first_prompt(monkeypatch):
    join = replayed_waves.join_waves

    def mixed(waves):
        return join([(0, wave) for _, wave in waves])

    monkeypatch.setattr(replayed_waves, "join_waves", mixed)


@pytest.mark.parametrize(
    "plant",
    [_padding_is_seen, _noise_of_the_neighbor, _clean_of_the_neighbor,
     _parents_of_the_first_prompt],
)  # fmt: skip
def test_a_planted_mistake_is_found_out(plant, monkeypatch):
    lm = tiny.shared_lm("gpt2", scale=40, dtype=torch.float64)
    plant(monkeypatch)
    with pytest.raises((AssertionError, CannotReplay), match=r"off by|other logits|tolerance"):
        check_equal(lm, atol=1e-12, kinds=("mlp",), prompts=PROMPTS[1:4])


def test_severed_outputs_are_those_of_the_corrupted_run():
    lm = tiny.shared_lm("gpt2", scale=40, dtype=torch.float64)
    runs = joint_runs_of(lm)
    tracer = CausalTracer(lm, *PROMPTS[3], noise=NOISE, samples=SAMPLES)
    for kind in ("mlp", "attn"):
        held = runs.severed(3, kind)
        wanted = tracer.sever(kind)._held
        assert held.keys() == wanted.keys()
        for state, values in held.items():
            torch.testing.assert_close(values, wanted[state], atol=1e-12, rtol=0)


def test_families_that_cannot_stand_side_by_side_say_so():
    """BLOOM's alibi goes by the positions of the whole batch."""
    lm = tiny.LanguageModel(families.tiny_family("bloom"), tiny.word_tokenizer(), name="bloom")
    with pytest.raises(CannotReplay, match="alibi"):
        joint_runs_of(lm)
    joint_runs_of(lm, PROMPTS[2:4])


def test_infinity_is_refused(monkeypatch):
    lm = tiny.shared_lm("gpt2", scale=40, dtype=torch.float64)
    runs = joint_runs_of(lm, PROMPTS[:2])
    logits = type(lm.replay).logits
    monkeypatch.setattr(type(lm.replay), "logits", lambda self, hidden: logits(self, hidden) / 0)
    with pytest.raises(NonFinite):
        list(runs.scores([(1, [State(1, 1, "hidden")])], {1: Measure(3, alone=True)}))
