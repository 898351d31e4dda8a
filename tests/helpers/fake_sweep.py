"""A sweep of made-up traces, as `fake_trace` has them: some are weaker, some have later sites."""

from __future__ import annotations

import numpy as np

from rome_widgets.records.states import KINDS
from rome_widgets.records.sweep import Sweep
from rome_widgets.records.swept_fact import SweptFact
from tests.helpers.fake_engine import PROMPT, SUBJECT, fake_trace

SUBJECTS = (SUBJECT, "The Tokyo Tower", "The Old Golden Gate Bridge", "Mount Fuji")
"""Of three tokens, of five, and of two, which have no middle."""


def fake_fact(number: int, n_layers: int = 8) -> SweptFact:
    """The traces differ in strength and in the layers of their sites."""
    subject = SUBJECTS[number % len(SUBJECTS)]
    trace = fake_trace(PROMPT.replace(SUBJECT, subject), subject, n_layers=n_layers)
    strength = (1 + number * 5 % 7) / 8
    later = np.maximum(0, np.arange(n_layers) - number % 3)
    scores = {
        kind: trace.corrupted + strength * (grid[:, later] - trace.corrupted)
        for kind, grid in trace.scores.items()
    }
    return SweptFact(
        number, trace.prompt, subject, "traced",
        target="Seattle", answer=trace.answer, answer_id=trace.answer_id, tokens=trace.tokens,
        subject_span=trace.subject_span, clean=trace.clean, corrupted=trace.corrupted,
        scores=scores,
        severed=dict.fromkeys(("mlp", "attn"), scores["hidden"][trace.subject_span[1] - 1] / 2),
    )  # fmt: skip


def fake_sweep(n_facts: int = 12, n_layers: int = 8, **changes) -> Sweep:
    """Its last fact is one that the model did not know."""
    facts = [fake_fact(number, n_layers) for number in range(n_facts)]
    facts.append(
        SweptFact(n_facts, "Nobody is in the city of", "Nobody", "unknown", "It says ' a'.")
    )
    fields = {
        "model": "numpy",
        "kinds": KINDS,
        "windows": {"hidden": 1, "mlp": 3, "attn": 3},
        "n_layers": n_layers,
        "samples": 10,
        "seed": 1,
        "noise": {"text": "3 × σ (σ = 0.05)", "multiple": 3.0, "sigma": 0.05},
    }
    return Sweep(tuple(facts), **(fields | changes))
