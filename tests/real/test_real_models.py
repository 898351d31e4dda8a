"""What is tried on real models: SmolLM2-135M-Instruct, and with the full counts Gemma 3 270M.

Fetched by `tools.real_models`, once for a machine. Facts are those of known_1000 (Meng et al. 2022)
with few tokens: the reference runs a whole pass for every cell.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

import rome_widgets as rw
from rome_widgets.tracing.noise import Noise
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import reference
from tests.helpers.counts import FULL
from tools import real_models

TOLERANCE = 1e-4
"""In probability."""


class Real(NamedTuple):
    """What a model is expected to have, and facts that it knows."""

    n_layers: int
    names: dict[str, str]
    sigma: float
    """Standard deviation of embeddings, times 3 of which is the noise."""
    facts: tuple[tuple[str, str, str], ...]
    """(prompt, subject, answer)"""
    edit: tuple[str, str, str]
    """(prompt, subject, target)"""


REAL = {
    "smollm2": Real(
        30,
        {
            "embedding": "model.embed_tokens",
            "hidden": "model.layers.{}",
            "mlp": "model.layers.{}.mlp",
            "attn": "model.layers.{}.self_attn",
        },
        0.116,
        (
            ("Paris belongs to the continent of", "Paris", " Europe"),
            ("The capital of Roman Republic is", "Roman Republic", " Rome"),
            ("The official language of Peru is", "Peru", " Spanish"),
            ("The official language of Ecuador is", "Ecuador", " Spanish"),
            ("Metropolitan France's capital,", "Metropolitan France", " Paris"),
        ),
        ("{} is in the city of", "The Eiffel Tower", "Rome"),
    ),
    "gemma3": Real(
        18,
        {
            "embedding": "model.embed_tokens",
            "hidden": "model.layers.{}",
            "mlp": "model.layers.{}.post_feedforward_layernorm",
            "attn": "model.layers.{}.post_attention_layernorm",
        },
        1.03,
        (
            ("iPhone is developed by", "iPhone", " Apple"),
            ("iTunes is developed by", "iTunes", " Apple"),
            ("Xbox, created by", "Xbox", " Microsoft"),
            ("Egypt's capital,", "Egypt", " Cairo"),
            ("Peru's capital,", "Peru", " Lima"),
        ),
        ("{} is developed by", "iPhone", "Google"),
    ),
}
NAMES = list(REAL) if FULL else ["smollm2"]
try:
    for name in NAMES:
        if not real_models.is_here(name):
            real_models.gguf_file(name)
except real_models.CannotFetch as why:
    pytest.skip(str(why), allow_module_level=True)

FACTS = [(name, number) for name in NAMES for number in range(5 if FULL else 1)]


class Loaded(NamedTuple):
    """A model of this session, what is expected of it, and its folder."""

    lm: rw.LanguageModel
    real: Real
    folder: Path


@pytest.fixture(scope="session")
def loaded():
    """Loads a model by its name, once."""

    @functools.cache
    def load(name):
        folder = real_models.folder(name)
        return Loaded(rw.load(folder, device="cpu"), REAL[name], folder)

    return load


def tracer_of(at, number=0, **options):
    prompt, subject, _ = at.real.facts[number]
    options = {"samples": 1, "noise": Noise.absolute(3 * at.real.sigma)} | options
    return CausalTracer(at.lm, prompt, subject, **options)


def by_reference(at, tracer):
    """The reference's arguments for the same prompt and noise."""
    start, stop = tracer.subject_span
    size = tracer.samples, stop - start, at.lm.d_embedding
    noise = reference.draws(1, *size, 3 * at.real.sigma)
    return at.lm.model, at.real.names, list(tracer.token_ids), (start, stop), noise


def probabilities(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([list(ids)])).logits[0, -1].double().softmax(-1)


@pytest.mark.parametrize("name", NAMES)
def test_it_attaches_by_replay_with_the_parts_it_has(loaded, name):
    at = loaded(name)
    assert at.lm.engine == "replay"
    assert at.lm.geometry.equation == "h = h' + a + m"
    for kind in ("hidden", "mlp", "attn"):
        wanted = tuple(at.real.names[kind].format(layer) for layer in range(at.real.n_layers))
        assert at.lm.sites(kind) == wanted
    assert all(at.lm.geometry.edited_matrices)


@pytest.mark.parametrize(("name", "number"), FACTS)
def test_grids_of_facts_it_knows_equal_the_reference(loaded, name, number):
    """Every cell with the full counts; else all of MLP, and of the others every ninth."""
    at = loaded(name)
    tracer = tracer_of(at, number)
    trace, arguments = tracer.trace(), by_reference(at, tracer)
    assert trace.answer == at.real.facts[number][2]
    assert trace.clean > 0.2
    assert trace.total_effect > 0.1
    plain = reference.run(*arguments)
    assert trace.clean == pytest.approx(float(plain[0, trace.answer_id]), abs=TOLERANCE)
    assert trace.corrupted == pytest.approx(float(plain[1:, trace.answer_id].mean()), abs=TOLERANCE)
    places = list(np.ndindex(len(tracer.token_ids), at.real.n_layers))
    for kind in ("hidden", "mlp", "attn"):
        for pos, layer in places if FULL or kind == "mlp" else places[3::9]:
            layers = [layer]
            if kind != "hidden":
                layers = reference.window(layer, tracer.window, at.real.n_layers)
            states = [(pos, each, kind) for each in layers]
            wanted = float(reference.restored(*arguments, states)[trace.answer_id])
            assert abs(trace.scores[kind][pos, layer] - wanted) <= TOLERANCE, (kind, pos, layer)


@pytest.mark.parametrize("name", NAMES)
def test_clicks_lens_and_a_path_equal_the_reference(loaded, name):
    at = loaded(name)
    tracer = tracer_of(at)
    arguments, last, middle = by_reference(at, tracer), at.real.n_layers - 1, at.real.n_layers // 2
    subject_end, end = tracer.subject_span[1] - 1, len(tracer.token_ids) - 1
    clicks = (
        [(subject_end, layer, "mlp") for layer in range(2, 6)],
        [(end, middle, "attn"), (subject_end, 1, "hidden"), (end - 1, last - 1, "mlp")],
    )
    for states in clicks:
        found = tracer.restore(states).distributions[2]
        wanted = reference.restored(*arguments, states).numpy()
        assert np.abs(found - wanted).max() <= TOLERANCE

    clean, corrupted = tracer.lens(k=1).runs
    answer = tracer.answer_id
    plain = reference.run(*arguments)[:, answer]
    assert clean.probabilities[last] == pytest.approx(float(plain[0]), abs=TOLERANCE)
    assert corrupted.probabilities[last] == pytest.approx(float(plain[1:].mean()), abs=TOLERANCE)
    model, store = at.lm.model, []
    block = model.get_submodule(at.real.names["hidden"].format(middle))
    handle = block.register_forward_hook(lambda _, __, output: store.append(output))
    probabilities(model, tracer.token_ids)
    handle.remove()
    with torch.no_grad():
        read = model.lm_head(model.model.norm(store[0][0, -1])).double().softmax(-1)
    assert clean.probabilities[middle] == pytest.approx(float(read[answer]), abs=TOLERANCE)

    among = [(subject_end, layer, "hidden") for layer in (0, middle // 2, middle, last - 1)]
    path = tracer.find_path(0.5, among=among)
    _, reached = reference.greedy_path(*arguments, answer, among, 0.5)
    assert path.scores[-1] == pytest.approx(reached, abs=TOLERANCE)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT's
@pytest.mark.parametrize("name", NAMES)
def test_an_edit_says_its_target_saves_exports_and_comes_back_out(loaded, name, tmp_path):
    at = loaded(name)
    prompt, subject, target = at.real.edit
    said = prompt.format(subject)
    ids, token = at.lm.prompt_ids(said), at.lm.encode_alone(f" {target}")[0]
    model = at.lm.model
    kept = {key: weight.clone() for key, weight in model.state_dict().items()}
    before = probabilities(model, ids)
    few = {"prefixes": [(5, 5)]}
    edit = rw.edit(at.lm, *at.real.edit, second_moment="identity", settings=few)
    edit.apply()
    try:
        after = probabilities(model, ids)
        edit.to_peft(tmp_path / "adapter")
        at.lm.save_pretrained(tmp_path / "edited")
    finally:
        edit.revert()
    assert float(after[token]) > 0.5 > 5 * float(before[token])
    assert edit.report.why_layer.endswith("by the rule for models with gated MLPs.")
    assert sum(neighbor.kept for neighbor in edit.report.neighbors) >= 6
    assert kept.keys() == model.state_dict().keys()
    assert all(torch.equal(kept[key], weight) for key, weight in model.state_dict().items())

    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "edited")
    assert torch.equal(probabilities(saved, ids), after)
    del saved
    fresh = AutoModelForCausalLM.from_pretrained(at.folder)
    adapted = peft.PeftModel.from_pretrained(fresh, str(tmp_path / "adapter"))
    assert (probabilities(adapted, ids) - after).abs().max() <= TOLERANCE


if FULL:  # it takes a minute

    @pytest.mark.parametrize("name", NAMES)
    def test_the_file_itself_loads_with_the_weights_of_the_folder(loaded, name):
        at = loaded(name)
        lm = rw.load(real_models.gguf_file(name), device="cpu")
        weights = at.lm.model.state_dict()
        assert all(torch.equal(weights[key], each) for key, each in lm.model.state_dict().items())
        assert "Q4" in lm.notes[0]
