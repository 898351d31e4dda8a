"""SmolLM2 gives on the device what it gives on the CPU. With the full counts: it takes minutes."""

import numpy as np
import pytest
import torch

import rome_widgets as rw
from tests.helpers.counts import FULL
from tests.helpers.engine_steps import bits
from tools import real_models

PROMPT, SUBJECT, TARGET = "The Eiffel Tower is in the city of", "The Eiffel Tower", "Rome"
TOLERANCE = 1e-5
"""In probability."""

if FULL:
    try:
        real_models.gguf_file("smollm2")
    except real_models.CannotFetch as why:
        pytest.skip(str(why), allow_module_level=True)

    @pytest.fixture(scope="module")
    def pair():
        """The model on the CPU and on the device."""
        folder = real_models.folder("smollm2")
        lms = [rw.load(folder, device=device) for device in ("cpu", "cuda")]
        assert [(lm.engine, lm.device.type) for lm in lms] == [
            ("replay", "cpu"),
            ("replay", "cuda"),
        ]
        return lms

    def test_a_trace_and_a_click_are_those_of_the_cpu(pair):
        tracers = [rw.CausalTracer(lm, PROMPT, SUBJECT, samples=1) for lm in pair]
        on_cpu, on_device = (tracer.trace() for tracer in tracers)
        assert on_cpu.total_effect > 0.1
        for kind in on_cpu.kinds:
            difference = np.abs(on_cpu.scores[kind] - on_device.scores[kind])
            assert difference.max() <= TOLERANCE
        cell = tracers[0].cell(on_cpu.subject_span[1] - 1, 4, "mlp")
        on_cpu, on_device = (tracer.restore(cell).distributions for tracer in tracers)
        assert np.abs(on_cpu - on_device).max() <= TOLERANCE

    def test_an_edit_is_that_of_the_cpu_and_comes_back_out(pair):
        found = []
        for lm in pair:
            kept = bits(lm.model)
            options = {"second_moment": "identity", "settings": {"steps": 3}, "neighbors": ()}
            edit = rw.edit(lm, PROMPT, SUBJECT, TARGET, **options)
            with edit:
                assert bits(lm.model) != kept
                ids = lm.rows([lm.prompt_ids(PROMPT)])
                found.append(lm.next_token_probabilities(ids).cpu())
            assert bits(lm.model) == kept
            found[-1] = edit.report.update_norm, found[-1]
        (norm, on_cpu), (norm_on_device, on_device) = found
        assert norm_on_device == pytest.approx(norm, rel=1e-3)
        assert torch.abs(on_cpu - on_device).max() <= 10 * TOLERANCE
