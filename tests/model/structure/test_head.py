"""From the last block to the logits: followed, proved, and refused where it cannot be followed."""

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.model.eval_mode import run_in_eval_mode
from rome_widgets.model.replay import CannotReplay, find_replay
from rome_widgets.model.structure.geometry import find_geometry, own_logits
from rome_widgets.model.structure.head import find_head
from tests.helpers import families, tiny

IDS = torch.tensor([[3, 14, 15, 9, 26, 5, 8]])

HEADS = {
    "gpt2": ["transformer.ln_f", "lm_head"],
    "opt, norm on the stream": ["model.decoder.project_out", "lm_head"],
    "gemma2": ["model.norm", "lm_head"],
    "cohere": ["model.norm", "lm_head"],
    "granite": ["model.norm", "lm_head"],
    "mpt": ["transformer.norm_f", "lm_head"],
    "openai_gpt": ["lm_head"],
}
"""What lies between the last block and the logits, from reading each family's modelling code."""


def last_states(model, geometry):
    """`[pos, d_model]`: what leaves the last block, by a plain hook, and the logits there."""
    kept = []

    def keep(module, args, output):
        kept.append(output[0] if isinstance(output, (tuple, list)) else output)

    handle = model.get_submodule(geometry.blocks[-1]).register_forward_hook(keep)
    logits = own_logits(model, IDS)
    handle.remove()
    return kept[0][0], logits[0]


@torch.no_grad()
@pytest.mark.parametrize("name", HEADS)
def test_states_after_the_last_block_become_the_models_logits(name):
    """Caps, scales and divisions of the logits among them; at every position, in any order."""
    model = families.tiny_family(name)
    geometry = find_geometry(model)
    head = find_head(model, geometry, IDS)
    assert head is not None
    assert list(head.modules) == HEADS[name]
    states, logits = last_states(model, geometry)
    order = torch.tensor([4, 0, 6, 2])
    found = run_in_eval_mode(model, lambda: head.logits(model, states[order]))
    torch.testing.assert_close(found, logits[order], rtol=1e-9, atol=1e-9)
    raw = model.get_submodule(head.modules[-1])
    assert found.shape == (4, raw.weight.shape[0])


@torch.no_grad()
def test_a_configuration_is_tried_and_not_believed():
    """Cohere keeps the scale it was built with, whatever its configuration says afterwards."""
    model = families.tiny_family("cohere")
    geometry = find_geometry(model)
    logits = own_logits(model, IDS)
    assert find_head(model, geometry, IDS) is not None
    model.config.logit_scale *= 2.5
    assert torch.equal(own_logits(model, IDS), logits)
    assert find_head(model, geometry, IDS) is None


class Squared(torch.nn.Module):
    """Does to the logits what no configuration names."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, **inputs):
        out = self.inner(**inputs)
        out.logits = out.logits**2
        return out


def test_an_unknown_end_of_the_model_is_refused_and_whole_passes_trace_it():
    lm = tiny.tiny_lm("gpt2", scale=40)
    squared = Squared(lm.model)
    squared.config = lm.model.config
    named = {"blocks": tuple(f"inner.{name}" for name in lm.geometry.blocks)}
    geometry = type(lm.geometry)(**{**vars(lm.geometry), **named})
    with torch.no_grad():
        assert find_head(lm.model, lm.geometry, IDS[:1]) is not None
        assert find_head(squared, geometry, IDS[:1]) is None
        with pytest.raises(CannotReplay, match="between the last block and the logits"):
            find_replay(squared, geometry, IDS[:1], {})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("scale", [1, 20])
def test_a_soft_cap_that_hardly_bends_is_not_left_out(scale, dtype):
    model = families.tiny_family("gemma2").to(dtype)
    model.config.final_logit_softcapping = 30.0
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(scale)
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    assert lm.engine == "replay"
    fast = tiny.tiny_tracer(lm, noise=1.0).trace()
    lm.replay = None
    slow = tiny.tiny_tracer(lm, noise=1.0).trace()
    for kind in fast.kinds:
        np.testing.assert_allclose(fast.scores[kind], slow.scores[kind], atol=2e-3)
