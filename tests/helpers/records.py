"""One of every record, with any text in all its texts."""

import numpy as np

from rome_widgets.records.evaluation import EvaluatedEdit, Evaluation
from rome_widgets.records.explanations import Flow, Heads, Lens, LensRun, RestoringPath
from rome_widgets.records.metrics import EditMetrics, MetricsTotal
from rome_widgets.records.plan import Plan, PlannedPart
from rome_widgets.records.states import KINDS, State
from rome_widgets.records.sweep import Sweep
from rome_widgets.records.swept_fact import SweptFact
from rome_widgets.records.trace import CausalTrace, Prediction, Progress, Restoration
from rome_widgets.records.tuning import Tried, Tuning

N_POS, N_LAYERS = 4, 3
TOTAL = MetricsTotal((EditMetrics.of({}),))
STATES = (State(1, 0, "mlp"), State(1, 2, "hidden"))


def make_trace(**changes):
    random = np.random.RandomState(0)
    fields = {
        "prompt": "a <b> 'c\" is",
        "subject": "<b>",
        "tokens": ("a", " <b>", " 'c\"", " is"),
        "token_ids": (5, 6, 7, 8),
        "subject_span": (1, 2),
        "answer": " d",
        "answer_id": 9,
        "clean": 0.9,
        "corrupted": 0.1,
        "scores": {kind: random.rand(N_POS, N_LAYERS) for kind in KINDS},
        "windows": {"hidden": 1, "mlp": 2, "attn": 2},
        "n_layers": N_LAYERS,
        "samples": 10,
        "seed": 1,
        "noise": {"text": "3 × σ", "std": 0.3},
        "model": "tiny",
        "notes": ("one note",),
        "recorded": {"mlp": (np.zeros((4, 3, 2), np.int32), np.zeros((4, 3, 2), np.float32))},
        "recorded_tokens": {0: "⟨F0⟩"},
        "baseline": (Prediction(" d", 9, 0.9, 0.1, 0.1),),
    }
    return CausalTrace(**(fields | changes))


def trace_of(text):
    """A trace all of whose texts are this one."""
    return make_trace(
        prompt=text,
        subject=text,
        tokens=(text,) * N_POS,
        answer=text,
        noise={"text": text},
        model=text,
        notes=(text,),
        recorded_tokens={0: text},
        baseline=(Prediction(text, 9, 0.9, 0.1, 0.1),),
    )


def restoration_of(text, vocab=7):
    distributions = np.random.RandomState(0).dirichlet(np.ones(vocab), size=3)
    texts = dict.fromkeys(range(vocab), text)
    return Restoration(text, (text,) * N_POS, STATES, text, 2, distributions, texts)


def path_of(text):
    return RestoringPath(STATES, (0.5, 0.8), text, 0.9, 0.1, 0.7, True, 20, (text,) * N_POS)


def flow_of(text):
    grids = {kind: np.random.RandomState(0).rand(N_POS, N_LAYERS) for kind in KINDS}
    return Flow(STATES, KINDS, grids, grids, grids, grids, np.ones(N_POS), (text,) * N_POS)


def heads_of(text):
    scores = np.random.RandomState(0).rand(2, 3)
    return Heads(1, (1, 3), scores, text, 0.9, 0.1, (text,) * N_POS)


def lens_run_of(text):
    top = (((text, 0.5), (text, 0.25)),) * N_LAYERS
    return LensRun("clean", (0.1, 0.2, 0.3), (3, 2, 1), top)


def tuning_of(text):
    tried = [Tried(n, {"steps": 20, "clamp": n, "of": text}, TOTAL, n * text) for n in range(5)]
    return Tuning("rome", text, tuple(tried), None)


def swept_fact_of(text, number=0):
    random = np.random.RandomState(number)
    return SweptFact(
        number,
        text,
        text,
        "traced",
        target=text,
        answer=text,
        answer_id=9,
        tokens=(text,) * N_POS,
        subject_span=(1, 3),
        clean=0.9,
        corrupted=0.1,
        scores={kind: random.rand(N_POS, N_LAYERS) for kind in KINDS},
        severed={kind: random.rand(N_LAYERS) for kind in ("mlp", "attn")},
    )


def sweep_of(text):
    facts = (
        swept_fact_of(text),
        SweptFact(1, text, text, "failed", text, text),
        SweptFact(2, text, text, "unknown", text, text, text, 3),
        swept_fact_of(text, 3),
    )
    windows = {"hidden": 1, "mlp": 2, "attn": 2}
    noise = {"text": text, "std": 0.3}
    return Sweep(facts, text, KINDS, windows, N_LAYERS, 10, 1, noise, notes=(text,))


def evaluated_edit_of(text, number=0, method="none", **changes):
    about = (text, text, text, text, text, text)
    fields = {
        "figures": {"ES": 1.0, f"ripple:{text}": 0.5},
        "warnings": (text,),
        "text": text,
        "layers": (1,),
        "norm_ratio": 0.1,
    }
    return EvaluatedEdit(number, method, *about, **fields | changes)


def evaluation_of(text):
    failed = evaluated_edit_of(text, 1, text, reason="no " + text, figures={})
    rows = (
        evaluated_edit_of(text),
        evaluated_edit_of(text, method=text),
        evaluated_edit_of(text, 1),
        failed,
    )
    return Evaluation(rows, text, ("none", text), settings={text: {"steps": 3}}, notes=(text,))


RECORDS = {
    CausalTrace: trace_of,
    Restoration: restoration_of,
    Progress: lambda text: Progress(3, 36, trace_of(text)),
    RestoringPath: path_of,
    Flow: flow_of,
    Heads: heads_of,
    LensRun: lens_run_of,
    Tuning: tuning_of,
    SweptFact: swept_fact_of,
    Plan: lambda text: Plan(text, text, (PlannedPart(text, 1, 2.0, text),), 1, 1, None, (text,)),
    Sweep: sweep_of,
    EvaluatedEdit: evaluated_edit_of,
    Evaluation: evaluation_of,
    Lens: lambda text: Lens(text, 2, STATES, (lens_run_of(text),) * 2),
}
"""By class, what makes one of it with this text."""
