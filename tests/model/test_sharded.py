"""Models that accelerate has spread over devices, or keeps elsewhere, trace as they would whole."""

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, dispatch_model

import rome_widgets as rw
from rome_widgets.errors import WeightsNotLoaded
from rome_widgets.tracing.noise import Noise
from tests.helpers import tiny

FAMILIES = pytest.mark.parametrize("family", tiny.FAMILIES)


def trace_of(model, **options):
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    return lm, rw.trace(
        lm, tiny.PROMPT, tiny.SUBJECT, noise=Noise.absolute(2.0), samples=4, **options
    )


def check_equal(family, model):
    _, whole = trace_of(tiny.tiny_model(family, scale=40))
    assert any(weight.is_meta for weight in model.parameters()), "nothing was offloaded"
    lm, trace = trace_of(model)
    assert lm.engine == "replay"
    for kind in whole.kinds:
        np.testing.assert_allclose(trace.scores[kind], whole.scores[kind], atol=1e-6)


@FAMILIES
def test_weights_kept_on_the_cpu_until_they_are_needed(family):
    model = tiny.tiny_model(family, scale=40)
    cpu_offload(model, execution_device=torch.device("cpu"))
    check_equal(family, model)


@FAMILIES
def test_blocks_in_memory_and_blocks_on_disk(family, tmp_path):
    model = tiny.tiny_model(family, scale=40)
    lists = (name for name, m in model.named_modules() if isinstance(m, torch.nn.ModuleList))
    blocks = next(lists)
    trunk = blocks.split(".")[0]
    where = {f"{blocks}.{i}": "cpu" if i < 3 else "disk" for i in range(tiny.N_LAYERS)}
    inner = model.get_submodule(trunk).named_children()
    where |= {f"{trunk}.{name}": "cpu" for name, _ in inner if f"{trunk}.{name}" != blocks}
    where |= {name: "cpu" for name, _ in model.named_children() if name != trunk}
    spread = dispatch_model(model, where, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    check_equal(family, spread)


def test_a_model_on_the_meta_device_without_offloading_is_refused():
    with pytest.raises(WeightsNotLoaded):
        trace_of(tiny.tiny_model("gpt2").to("meta"))
