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
IN_NATS = 1e-3
"""Of a log-probability and a difference of logits, which are of the size of ten."""
EVERY = 1 if FULL else 13
"""Every how manieth cell of a grid is compared. Prime to both numbers of layers: all get a turn."""
EVERY_OF_OTHERS = 7
"""The same with another subject, and of heads."""
METRICS = ("probability", "logprob", "logit_difference") if FULL else ("probability",)


class Known(NamedTuple):
    """A fact that a model knows, and another subject of as many tokens."""

    prompt: str
    subject: str
    answer: str
    other: str
    other_answer: str


class Real(NamedTuple):
    """What a model is expected to have, and facts that it knows."""

    n_layers: int
    n_heads: int
    width: int
    """Of a head."""
    names: dict[str, str]
    sigma: float
    """Standard deviation of embeddings, times 3 of which is the noise."""
    facts: tuple[Known, ...]
    edit: tuple[str, str, str]
    """(prompt, subject, target)"""


REAL = {
    "smollm2": Real(
        30,
        9,
        64,
        {
            "embedding": "model.embed_tokens",
            "hidden": "model.layers.{}",
            "mlp": "model.layers.{}.mlp",
            "attn": "model.layers.{}.self_attn",
        },
        0.116,
        (
            Known("Paris belongs to the continent of", "Paris", " Europe", "Egypt", " Africa"),
            Known(
                "The capital of Roman Republic is",
                "Roman Republic",
                " Rome",
                "United Kingdom",
                " London",
            ),
            Known("The official language of Peru is", "Peru", " Spanish", "France", " French"),
            Known("The official language of Ecuador is", "Ecuador", " Spanish", "Egypt", " Arabic"),
            Known(
                "Metropolitan France's capital,",
                "Metropolitan France",
                " Paris",
                "Nazi Germany",
                " Berlin",
            ),
        ),
        ("{} is in the city of", "The Eiffel Tower", "Rome"),
    ),
    "gemma3": Real(
        18,
        4,
        256,
        {
            "embedding": "model.embed_tokens",
            "hidden": "model.layers.{}",
            "mlp": "model.layers.{}.post_feedforward_layernorm",
            "attn": "model.layers.{}.post_attention_layernorm",
        },
        1.03,
        (
            Known("iPhone is developed by", "iPhone", " Apple", "Windows", " Microsoft"),
            Known("iTunes is developed by", "iTunes", " Apple", "Gmail", " Google"),
            Known("Xbox, created by", "Xbox", " Microsoft", "iPhone", " Apple"),
            Known("Egypt's capital,", "Egypt", " Cairo", "Japan", " Tokyo"),
            Known("Peru's capital,", "Peru", " Lima", "Kenya", " Nairobi"),
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


class LastLogits:
    """A model whose head reads the last token alone: Gemma's costs more than all of its blocks."""

    def __init__(self, model):
        self._model, self.get_submodule = model, model.get_submodule

    def __call__(self, input_ids):
        return self._model(input_ids=input_ids, logits_to_keep=1)


def tracer_of(at, number=0, **options):
    fact = at.real.facts[number]
    options = {"samples": 1, "noise": Noise.absolute(3 * at.real.sigma)} | options
    return CausalTracer(at.lm, fact.prompt, fact.subject, **options)


def by_reference(at, tracer, prompt_of_other=None):
    """The reference's arguments for the same prompt and noise, or the other subject."""
    start, stop = tracer.subject_span
    if prompt_of_other is None:
        noise = reference.draws(1, 1, stop - start, at.lm.d_embedding, 3 * at.real.sigma)
    else:
        noise = list(at.lm.prompt_ids(prompt_of_other)[start:stop])
    return LastLogits(at.lm.model), at.real.names, list(tracer.token_ids), (start, stop), noise


def cells(at, tracer, every, kinds=("hidden", "mlp", "attn")):
    """(kind, pos, layer, what is restored there) of every so manieth cell of all the grids."""
    places = list(np.ndindex(len(kinds), len(tracer.tokens), at.real.n_layers))
    for number, pos, layer in places[every // 2 :: every]:
        kind = kinds[number]
        window = reference.window(layer, tracer.window, at.real.n_layers)
        layers = [layer] if kind == "hidden" else window
        yield kind, pos, layer, [(pos, each, kind) for each in layers]


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


def compare_grids(at, number, every, prompt_of_other=None, **options):
    """Holds every so manieth cell, in each metric, against the reference; gives the traces."""
    against = {"logit_difference": at.real.facts[number].other_answer}
    tracers = [
        tracer_of(at, number, metric=metric, against=against.get(metric), **options)
        for metric in METRICS
    ]
    traces = [tracer.trace() for tracer in tracers]
    arguments = by_reference(at, tracers[0], prompt_of_other)
    places = [(None, None, None, []), *cells(at, tracers[0], every)]
    assert {layer for _, _, layer, _ in places[1:]} == set(range(at.real.n_layers))
    for kind, pos, layer, states in places:
        logits = reference.logits(*arguments, states)
        for trace in traces:
            metric = trace.metric, trace.answer_id, trace.against_id
            rows = reference.measured(logits, *metric).numpy()
            score = trace.scores[kind][pos, layer] if kind else trace.corrupted
            tolerance = TOLERANCE if trace.metric == "probability" else IN_NATS
            found, wanted = (trace.clean, score), (rows[0], rows[1:].mean())
            assert found == pytest.approx(wanted, abs=tolerance), (trace.metric, kind, pos, layer)
    return traces


@pytest.mark.parametrize(("name", "number"), FACTS)
def test_grids_of_facts_it_knows_equal_the_reference(loaded, name, number):
    at = loaded(name)
    trace, *others = compare_grids(at, number, EVERY)
    assert trace.answer == at.real.facts[number].answer
    assert trace.clean > 0.2
    assert trace.total_effect > 0.1
    assert all(other.total_effect > 0 for other in others)


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


if FULL:  # minutes each

    @pytest.mark.parametrize(("name", "number"), FACTS)
    def test_grids_with_another_subject_equal_the_reference(loaded, name, number):
        at = loaded(name)
        fact = at.real.facts[number]
        prompt = fact.prompt.replace(fact.subject, fact.other)
        traces = compare_grids(at, number, EVERY_OF_OTHERS, prompt, noise=rw.Subject(fact.other))
        assert all(trace.total_effect > 0 for trace in traces)

    def strongest_heads(at, tracer):
        """Where a head brings most back at the last token: a sample may have none that does."""
        last = len(tracer.tokens) - 1
        greatest = [tracer.heads(layer, last).scores.max() for layer in range(at.real.n_layers)]
        return last, int(np.argmax(greatest))

    @pytest.mark.parametrize(("name", "number"), FACTS)
    def test_heads_equal_the_reference(loaded, name, number):
        at = loaded(name)
        tracer = tracer_of(at, number)
        arguments, measured = by_reference(at, tracer), ("probability", tracer.answer_id)
        matrix, width = "model.layers.{}.self_attn.o_proj", at.real.width
        moved = 0.0
        sampled = [
            (pos, layer) for _, pos, layer, _ in cells(at, tracer, EVERY_OF_OTHERS, ["attn"])
        ]
        for pos, layer in [*sampled, strongest_heads(at, tracer)]:
            found = tracer.heads(layer, pos).scores[0]
            for head, score in enumerate(found):
                place = pos, layer, head, width
                wanted = reference.head(*arguments, place, measured, matrix)
                assert abs(score - wanted) <= TOLERANCE, place
                moved = max(moved, abs(wanted - tracer.corrupted))
        assert len(found) == at.real.n_heads
        assert moved > 10 * TOLERANCE

    @pytest.mark.parametrize("name", NAMES)
    def test_the_file_itself_loads_with_the_weights_of_the_folder(loaded, name):
        at = loaded(name)
        lm = rw.load(real_models.gguf_file(name), device="cpu")
        weights = at.lm.model.state_dict()
        assert all(torch.equal(weights[key], each) for key, each in lm.model.state_dict().items())
        assert "Q4" in lm.notes[0]
