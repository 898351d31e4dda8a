"""Whatever memory lacks: the plain result, from smaller pieces, or one error in words."""

import gc
import re

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import rome_widgets as rw
from rome_widgets.errors import OutOfMemory
from rome_widgets.tracing.replayed_waves import ReplayedWaves
from tests.device import pretend_gpu
from tests.helpers import counts, families, tiny
from tests.helpers.engine_steps import EDITED_LAYER, FORM, SETTINGS, STATES, TEXTS, bits, difference

SAMPLES = 24
GPU = pretend_gpu.LIBRARY


def edited(lm, method="rome", **settings):
    options = {"layer": EDITED_LAYER, "second_moment": "identity"}
    return rw.edit(lm, *FORM.values(), method=method, settings={"steps": 3} | settings, **options)


def stored_edit(lm):
    return lm.remember("edit of the test", None, lambda: edited(lm, **SETTINGS))


def tracer(lm):
    return lm.remember("tracer of the test", lm.identity, lambda: new_tracer(lm))


def new_tracer(lm):
    return tiny.tiny_tracer(lm, samples=SAMPLES)


def applied(lm):
    edit = stored_edit(lm)
    try:
        edit.apply()
        edit.strength = 2.0
        return lm.next_token_probabilities(torch.tensor([[3, 14]]))
    finally:
        GPU.set_capacity(0, pretend_gpu.CAPACITY)
        edit.strength = 1.0
        edit.revert()


CALLS = {
    "new tracer": lambda lm: tiny.tiny_tracer(lm, samples=SAMPLES + 1).corrupted,
    "trace": lambda lm: tracer(lm).trace().scores,
    "restore": lambda lm: tracer(lm).restore(STATES).distributions,
    "sever": lambda lm: tracer(lm).sever("mlp").trace("hidden").scores,
    "flow": lambda lm: tracer(lm).flow(STATES).corrupted,
    "lens": lambda lm: [run.probabilities for run in tracer(lm).lens(STATES).runs],
    "estimate": lambda lm: tracer(lm).estimate().scores,
    "path": lambda lm: tracer(lm).find_path(0.5, max_states=2, kinds="hidden").scores,
    "rome": lambda lm: edited(lm, ridge=0.1).report.update_norm,
    "ft": lambda lm: edited(lm, "ft").report.update_norm,
    "statistics": lambda lm: rw.second_moment(lm, TEXTS, EDITED_LAYER, ridge=0.1).matrix,
    "compare": lambda lm: stored_edit(lm).preview([tiny.PROMPT, "w3 w9", "w1 w2 w4", "w5"]),
    "generate": lambda lm: [
        row.after for row in stored_edit(lm).compare(["w3 w9"], generate=4)[0].rows
    ],
    "apply": applied,
}
CUT_SMALLER = ("trace", "restore", "sever", "flow", "lens", "estimate", "path", "new tracer")
"""Those whose work has many parts."""


@pytest.fixture(scope="module")
def lm():
    """On the device, with what the calls go on from; its weights are watched."""
    model = families.tiny_family("gpt2", dtype=torch.float32).to("cuda")
    lm = rw.LanguageModel(model, tiny.word_tokenizer(), name="tiny")
    stored_edit(lm)
    return lm


def outcome(call, lm):
    """What a call gives, or the words of its error; any other error is the test's."""
    try:
        return call(lm)
    except OutOfMemory as error:
        return str(error)


def peak_of(call, lm):
    """Bytes beside what is kept, and the result."""
    call(lm)  # what it keeps is made
    gc.collect()
    GPU.reset_peak(0)
    used = GPU.used(0)
    found = call(lm)
    return GPU.peak(0) - used, found


def test_every_call_lives_with_any_shortage_or_says_what_it_lacks(
    lm, leave_memory, monkeypatch, tmp_path
):
    monkeypatch.setenv("ROME_WIDGETS_CACHE", "/proc/nowhere")  # statistics are gathered each time
    weights, raw = bits(lm.model), []
    for name, call in CALLS.items():
        peak, plain = peak_of(call, lm)
        for share in counts.SHORTAGES:
            gc.collect()
            used = GPU.used(0)
            leave_memory(int(peak * share))
            try:
                found = outcome(call, lm)
            except Exception as error:
                found = None
                raw.append(f"{name} with {share:.2f}: {type(error).__name__}: {error}")
            pretend_gpu.as_new()
            if isinstance(found, str):
                assert re.search(r"Tried to allocate \d+ bytes.*are free", found), found
                assert "MiB free" in found
            elif found is not None:
                assert difference(plain, found) <= 1e-5, f"{name} with {share}"
            lm.forget_memory()
            del found
            gc.collect()
            assert GPU.used(0) <= used + 4096, f"{name} with {share} keeps memory"
        assert difference(plain, call(lm)) <= 1e-5, f"{name} after a shortage"
    assert bits(lm.model) == weights
    assert raw == []


@pytest.mark.parametrize("name", CUT_SMALLER)
def test_work_of_many_parts_is_done_in_half_of_the_memory(lm, leave_memory, name):
    peak, plain = peak_of(CALLS[name], lm)
    gc.collect()
    leave_memory(peak // 2)
    found = CALLS[name](lm)
    lm.forget_memory()
    assert difference(plain, found) <= 1e-5


@pytest.mark.parametrize("megabytes", [2, 4, 8, 16, 32])
def test_the_first_wave_fits_whatever_memory_is_free(leave_memory, monkeypatch, megabytes):
    """Of a model of a twenty-fifth of GPT-2 XL's width; 8 to 80 GB hold more of its states."""
    torch.manual_seed(0)
    size = {"n_layer": 4, "n_embd": 64, "n_head": 2, "vocab_size": 29, "n_positions": 16}
    model = GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0)).eval()
    lm = rw.LanguageModel(model.to("cuda"), tiny.word_tokenizer())
    tracer = tiny.tiny_tracer(lm, samples=100)
    shortages = []
    monkeypatch.setattr(ReplayedWaves, "_shrink", lambda *how: shortages.append(how))
    leave_memory(megabytes * 10**6)
    tracer.trace("hidden")
    assert shortages == []
