"""Blocks called by themselves give what the model gives, or are refused."""

from functools import wraps

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from rome_widgets.model.eval_mode import run_in_eval_mode
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.replay import cache_argument, find_replay
from rome_widgets.model.structure.geometry import find_geometry, own_logits
from tests.helpers import tiny
from tests.helpers.model_guard import attached_hooks

IDS = torch.tensor([[3, 14, 15, 9, 26, 5, 8], [2, 7, 1, 8, 28, 18, 4]])
T, L = IDS.shape[1], tiny.N_LAYERS


def common(**changes):
    return {
        "num_hidden_layers": L,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 20,
        "vocab_size": tiny.VOCAB,
        "pad_token_id": None,
    } | changes


MORE = {
    "sliding window of 3": lambda: MistralForCausalLM(MistralConfig(**common(sliding_window=3))),
    "capped logits, two kinds of mask": lambda: Gemma2ForCausalLM(
        Gemma2Config(**common(head_dim=4, sliding_window=3, final_logit_softcapping=2.0))
    ),
    "scaled logits": lambda: CohereForCausalLM(CohereConfig(**common(logit_scale=0.3))),
    "divided logits": lambda: GraniteForCausalLM(
        GraniteConfig(**common(logits_scaling=5.0, embedding_multiplier=3.0))
    ),
}
MODELS = dict.fromkeys(tiny.FAMILIES) | MORE


@pytest.fixture(params=MODELS)
def model(request):
    if request.param in tiny.FAMILIES:
        return tiny.tiny_model(request.param, scale=40, dtype=torch.float64)
    torch.manual_seed(0)
    model = MORE[request.param]().eval().double()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(40)
    return model


@pytest.fixture
def replay(model):
    return find_replay(model, find_geometry(model), IDS[:1], {})


def within_a_call(test):
    """Decorates a test of one model: its blocks are called as the package calls them."""

    @wraps(test)
    def run(model, replay):
        run_in_eval_mode(model, lambda: test(model, replay))

    return run


ROWS = torch.tensor([1, 0, 1])


@within_a_call
def test_a_block_from_any_position_puts_out_what_the_model_put_out_there(model, replay):
    capture = replay.capture(IDS)
    for layer in range(L):
        for start in range(T):
            for stop in (start + 1, T):
                entering = capture.states[layer][ROWS, start:stop]
                out = replay.block(capture, layer, entering, start, ROWS)
                expected = capture.states[layer + 1][ROWS, start:stop]
                torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)


@within_a_call
def test_the_last_position_alone_is_the_same(model, replay):
    capture = replay.capture(IDS)
    for start in range(T):
        entering = capture.states[L - 1][ROWS, start:]
        out = replay.block(capture, L - 1, entering, start, ROWS, wanted=1)
        expected = capture.states[L][ROWS, -1:]
        torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)


@within_a_call
def test_the_head_gives_the_models_logits(model, replay):
    capture = replay.capture(IDS)
    expected = own_logits(model, IDS)[:, -1]
    torch.testing.assert_close(replay.logits(capture.states[L][:, -1]), expected)
    torch.testing.assert_close(capture.logits, expected)


@within_a_call
def test_changed_states_go_through_as_in_the_model(model, replay):
    """From the middle to the end with other states, against the model fed the same states."""
    capture, other = replay.capture(IDS), replay.capture(IDS.flip(0))
    layer, start = 2, 3
    hidden = capture.states[layer].clone()
    hidden[:, start:] = other.states[layer][:, start:]
    block = model.get_submodule(find_names(model)[layer - 1])

    def put(module, args, output):
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = block.register_forward_hook(put)
    expected = own_logits(model, IDS)[:, -1]
    handle.remove()
    both = torch.arange(2)
    state = hidden[:, start:]
    for later in range(layer, L - 1):
        state = replay.block(capture, later, state, start, both)
    state = replay.block(capture, L - 1, state, start, both, wanted=1)
    torch.testing.assert_close(replay.logits(state[:, -1]), expected, rtol=1e-6, atol=1e-6)
    assert (expected - capture.logits).abs().max() > 1e-3


def find_names(model):
    return [
        f"{name}.{layer}"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList)
        for layer in range(len(module))
    ]


def test_nothing_stays_attached(model, replay):
    assert attached_hooks(model) == []


# -------------------------------------------------------------------------------- refusals


def test_a_model_without_a_plain_cache_is_traced_by_whole_passes(monkeypatch):
    model = tiny.tiny_model("gpt2", scale=40)
    forward = type(model).forward

    def without_cache(self, *args, past_key_values=None, **kwargs):
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", without_cache)
    lm = LanguageModel(model, tiny.word_tokenizer())
    assert lm.replay is None
    assert lm.engine.startswith("whole passes: ")
    assert "keep keys and values" in lm.engine


class Renamed(torch.nn.Module):
    def forward(self, input_ids=None, cache=None, **kwargs):
        pass


class Named(torch.nn.Module):
    def forward(self, input_ids=None, past_key_values=None, **kwargs):
        pass


class Silent(torch.nn.Module):
    def forward(self, **kwargs):
        pass


def test_the_cache_is_passed_under_the_name_the_model_gives_it():
    assert cache_argument(Renamed()) == "cache"
    assert cache_argument(Named()) == cache_argument(Silent()) == "past_key_values"
