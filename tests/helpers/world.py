"""Tiny models to edit, and the same edits by `tests/helpers/reference_rome.py`."""

from types import SimpleNamespace

import numpy as np
import torch

from rome_widgets.editing.edit import Edit, edit
from rome_widgets.editing.methods import find_editor
from rome_widgets.editing.site import find_site
from rome_widgets.editing.statistics.second_moment import SecondMoment
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.ledger import LowRank, ledger_of
from rome_widgets.records.edit import EditReport
from rome_widgets.records.fact import Fact
from tests.helpers import families, reference_rome, tiny
from tests.helpers.counts import EDIT_STEPS

SHAPES = ("gpt2", "gptj", "gpt_neox, parallel", "llama", "qwen3", "gemma3, text")
IN_FLOAT32 = {"gptj"}
"""Rotates in float32 whatever the model's dtype is."""
PROMPT, SUBJECT, TARGET = "w3 {} w26 w5", "w14 w15", "w8"
LAYER = 1
SETTINGS = {
    "learning_rate": 0.1,
    "steps": EDIT_STEPS,
    "stop_loss": 0.0,
    "weight_decay": 0.1,
    "prefixes": ((3, 2), (5, 2)),
    "bare": 2,
    "ridge": 0.0,
}


@tiny.kept_for_a_file
def make_lm(name, dtype=None):
    """One per family and dtype: every test must leave it as it was."""
    return new_lm(name, dtype)


def new_lm(name, dtype=None, prepare=lambda model: None):
    model = families.tiny_family(name, dtype=dtype)
    prepare(model)
    return LanguageModel(model, tiny.word_tokenizer(), name=name)


def make_moment(scale=1.0):
    """A random second moment of the right width."""
    width = families.D_MLP
    values = np.random.RandomState(3).randn(3 * width, width) * np.linspace(0.2, 2, width)
    return torch.from_numpy(scale * values.T @ values / len(values))


def make_edit(
    lm,
    method="rome",
    target=TARGET,
    moment=None,
    layer=LAYER,
    progress=None,
    cancel=None,
    **settings,
):
    matrix = make_moment() if moment is None else moment
    statistics = SecondMoment("made up", matrix=matrix, ridge=0.0)
    return edit(
        lm,
        PROMPT,
        SUBJECT,
        target,
        method=method,
        layer=layer,
        settings=settings_for(method, **settings),
        second_moment=statistics,
        progress=progress,
        cancel=cancel,
    )


def small_edit(lm, *arguments, method="rome", **options):
    """An edit of a tiny model that costs little: a fact as `rw.edit` takes it, and options."""
    known = {"second_moment": "identity", "settings": settings_for(method), "layer": LAYER}
    return edit(lm, *arguments, method=method, **{**known, **options})


def settings_for(method, **more):
    """Those of `SETTINGS` that the method has, and some more."""
    names = find_editor(method).settings.names()
    return {name: value for name, value in SETTINGS.items() if name in names} | more


def named(name, n_layers):
    """What the tables of published numbers ask of a model."""
    without_edits = SimpleNamespace(edited_matrices=(), mlp=())
    return SimpleNamespace(name=name, n_layers=n_layers, geometry=without_edits)


def words(text):
    return [int(w[1:]) if w[1:].isdigit() else 0 for w in text.split()]


def rows_of(prefixes):
    """(ids, position of the last subject token) per prefix, the bare prompt first."""
    rows = []
    for prefix in prefixes:
        before = f"{prefix}. " if prefix else ""
        head = words(before + PROMPT.partition("{}")[0])
        tail = words(PROMPT.partition("{}")[2])
        rows.append((head + words(SUBJECT) + tail, len(head) + len(words(SUBJECT)) - 1))
    return rows


def down_of(name, layer=LAYER):
    return families.site(families.FAMILIES[name].down, layer)


def by_reference(lm, made, *, consistent=False, moment=None, layer=LAYER):
    """(Λ, u, delta, log) of the same edit."""
    subject = words(SUBJECT)
    return reference_rome.rome(
        lm.model,
        down_of(lm.name, layer),
        rows_of(made.report.prefixes),
        words(made.report.target),
        ([*subject, 0, 0], len(subject) - 1),
        make_moment() if moment is None else moment,
        dict(made.report.settings),
        consistent=consistent,
    )


def off(ours, wanted):
    """Largest difference, relative to the size of what was wanted."""
    return float((ours.double() - wanted.double()).norm() / wanted.double().norm())


def made_up_edit(lm, number, layer=LAYER, rank=1):
    """An edit with random factors: for tests to which it does not matter what it says."""
    site = find_site(lm, layer)
    generator = torch.Generator().manual_seed(number)
    u = torch.randn(rank, site.d_in, generator=generator).to(site.dtype)
    v = torch.randn(rank, lm.geometry.d_model, generator=generator).to(site.dtype)
    update = LowRank(site.weight_name, u / u.norm(dim=1, keepdim=True), v, site.transposed)
    report = EditReport(
        method="rome",
        model=lm.name,
        prompt="w1 w2",
        subject="w1",
        target=f"w{number}",
        target_tokens=(f"w{number}",),
        layers=(layer,),
        why_layer="",
        settings={},
        settings_from="",
        seed=0,
        engine=lm.engine,
        steps=(),
        stopped="steps",
        update_norm=1.0,
        weight_norm=1.0,
        rounding=0.0,
        seconds=0.0,
    )
    bases = {update.name: ledger_of(lm.model).fingerprint(update.name)}
    return Edit(lm, (Fact("{} w2", "w1", f"w{number}"),), (update,), report, bases)
