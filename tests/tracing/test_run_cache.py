"""Tracers of one prompt share their runs, as long as the model gives them."""

import gc
import weakref

import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import ModelChanged
from rome_widgets.model import replay
from rome_widgets.tracing import runs
from tests.helpers import tiny


def counting_captures(lm, monkeypatch):
    captures = []
    capture = type(lm.replay).capture

    def counted(self, *args, **kwargs):
        captures.append(self)
        return capture(self, *args, **kwargs)

    monkeypatch.setattr(type(lm.replay), "capture", counted)
    return captures


def test_tracers_of_one_prompt_and_noise_share_their_runs(monkeypatch):
    lm = tiny.tiny_lm("gpt2", scale=40)
    captures = counting_captures(lm, monkeypatch)
    first = tiny.tiny_tracer(lm)
    second = tiny.tiny_tracer(lm, window=3, answer="w7")
    assert len(captures) == 1
    assert second.restore([]).clean != first.restore([]).clean
    others = [
        tiny.tiny_tracer(lm, seed=2),
        tiny.tiny_tracer(lm, samples=3),
        tiny.tiny_tracer(lm, noise=2.0),
    ]
    others += [
        rw.CausalTracer(lm, tiny.PROMPT, "w14", noise=rw.Noise.absolute(2.0), samples=tiny.SAMPLES)
    ]
    assert len(captures) == 1 + len(others)


def test_runs_go_when_no_tracer_keeps_them(monkeypatch):
    lm = tiny.tiny_lm("gpt2", scale=40)
    captures = counting_captures(lm, monkeypatch)
    tracer = tiny.tiny_tracer(lm)
    kept = weakref.ref(tracer._runs)
    del tracer
    gc.collect()
    assert kept() is None
    tiny.tiny_tracer(lm)
    assert len(captures) == 2


@pytest.mark.parametrize("engine", ["replay", "whole passes"])
def test_runs_of_other_weights_are_refused_and_new_ones_are_made(engine):
    lm = tiny.tiny_lm("gpt2", scale=40)
    if engine != "replay":
        lm.replay = None
    tracer = tiny.tiny_tracer(lm)
    weight = lm.model.transformer.h[2].mlp.c_proj.weight
    saved = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(2)
    for use in (tracer.trace, lambda: tracer.restore([]), lambda: tracer.sever("mlp")):
        with pytest.raises(ModelChanged, match="Make a new CausalTracer"):
            use()
    assert tiny.tiny_tracer(lm).clean != tracer.clean
    with torch.no_grad():
        weight.copy_(saved)


@pytest.mark.parametrize("engine", ["replay", "whole passes"])
def test_what_leaves_no_mark_on_the_weights_is_noticed_by_what_the_model_says(engine):
    """A user's own hook, and a weight written through `.data`: new tracers see them, old refuse."""
    lm = tiny.tiny_lm("gpt2", scale=40)
    if engine != "replay":
        lm.replay = None
    tracer = tiny.tiny_tracer(lm)
    block = lm.model.transformer.h[2].mlp
    handle = block.register_forward_hook(lambda module, args, output: output * 0)
    ablated = tiny.tiny_tracer(lm)
    assert ablated.clean != tracer.clean
    with pytest.raises(ModelChanged):
        tracer.trace()
    handle.remove()
    assert tracer.trace().complete
    with pytest.raises(ModelChanged):
        ablated.trace()
    saved = block.c_proj.weight.data.clone()
    block.c_proj.weight.data.mul_(2)
    assert tiny.tiny_tracer(lm).clean != tracer.clean
    with pytest.raises(ModelChanged):
        tracer.trace()
    block.c_proj.weight.data.copy_(saved)
    assert tiny.tiny_tracer(lm).clean == tracer.clean


def test_a_replay_that_is_wrong_for_one_prompt_is_found_out_there(monkeypatch):
    lm = tiny.tiny_lm("llama", scale=40)
    before = replay._rows_before
    with monkeypatch.context() as patch:
        patch.setattr(replay, "_rows_before", lambda kv, rows, start: before(kv, 0 * rows, start))
        tracer = tiny.tiny_tracer(lm, noise=1.0)
    assert type(tracer._runs) is runs.Runs
    assert any("for this prompt" in note for note in tracer.notes)
