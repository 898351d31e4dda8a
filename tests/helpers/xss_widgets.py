"""Every widget with harmful texts in every place that holds text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from rome_widgets.errors import RomeWidgetsError
from rome_widgets.records.trace import CausalTrace, Prediction
from rome_widgets.widgets import (
    EditPanel,
    EditRequest,
    GenerationCompare,
    PredictionCompare,
    SweepChart,
    TraceExplorer,
    TraceGrid,
)
from rome_widgets.widgets.edit.engine import Outcome, PromptChange, TestPrompt
from tests.helpers.fake_editor import METHODS, FakeEditor
from tests.helpers.fake_engine import FakeEngine, fake_trace
from tests.helpers.records import sweep_of, swept_fact_of
from tests.helpers.xss_strings import HARMFUL


def harmful_trace(bad: str, tokens: Sequence[str] = HARMFUL) -> CausalTrace:
    """A trace whose tokens, notes and predictions are harmful, and everything else is `bad`."""
    return fake_trace(
        bad,
        bad,
        tokens=tokens,
        span=(0, 3),
        answer=bad,
        model=bad,
        n_layers=4,
        notes=HARMFUL,
        noise={"text": bad},
        baseline=tuple(
            Prediction(token, at, 0.5, 0.1 + at / 1000, 0.1) for at, token in enumerate(HARMFUL)
        ),
    )


def grid(bad: str = HARMFUL[0]) -> TraceGrid:
    return TraceGrid(harmful_trace(bad), before=harmful_trace(bad), selection=[(0, 3, "mlp")])


class HarmfulEngine(FakeEngine):
    """Its name and examples are harmful, and it fails with what it was asked."""

    model_name = HARMFUL[0]
    examples = tuple((bad, bad) for bad in HARMFUL[:3])

    def trace(self, settings, progress, cancelled):
        if settings.subject != "s":
            raise RomeWidgetsError(*[settings.subject] * 3)
        return harmful_trace(settings.prompt)


def explorer(bad: str = HARMFUL[0]) -> TraceExplorer:
    """With a trace, an answer and an error."""
    widget = TraceExplorer(HarmfulEngine(4), prompt=bad, subject="s", selection=[(0, 3, "mlp")])
    assert widget.wait(20)
    widget.subject = widget.answer = bad
    widget.run()
    assert widget.wait(20)
    return widget


class HarmfulEditor(FakeEditor):
    """Everything it says is harmful."""

    model_name = HARMFUL[0]
    examples = tuple(EditRequest(f"{bad}{{}}", bad, bad, bad) for bad in HARMFUL[:3])
    methods = MappingProxyType(
        {
            **METHODS,
            HARMFUL[0]: {"title": HARMFUL[2], "settings": {HARMFUL[1]: 1.0}},
            "__proto__": {"title": "__proto__", "settings": {"constructor": None}},
        }
    )

    def tests(self, request):
        return [TestPrompt(bad, "paraphrase") for bad in HARMFUL]

    def compare(self, request, prompts):
        def outcome(bad):
            return Outcome(bad, 0.5, 0.1, 0.2)

        return [PromptChange(each, outcome(each.text), outcome(each.text)) for each in prompts]


def panel(bad: str = HARMFUL[0]) -> EditPanel:
    """With one edit, of a fact that is harmful all over."""
    request = EditRequest(f"{bad}{{}}{bad}", bad, bad, bad)
    engine = HarmfulEditor(steps=2)
    engine.edit(request, lambda step: None, lambda: False)
    widget = EditPanel(engine, request.template, bad, bad, true_object=bad)
    assert widget.wait(20)
    return widget


def runs(bad: str) -> list[dict]:
    probabilities = [0.5 - at / 1000 for at in range(len(HARMFUL))]
    return [
        {"name": name, "tokens": (bad, *HARMFUL), "probabilities": [0.6, *probabilities]}
        for name in (bad, "__proto__")
    ]


def predictions(bad: str = HARMFUL[0]) -> PredictionCompare:
    return PredictionCompare(runs(bad), k=len(HARMFUL) + 1, target=bad)


def generations(bad: str = HARMFUL[0]) -> GenerationCompare:
    """With harmful prompts, columns and continuations."""
    return GenerationCompare(
        prompts=HARMFUL,
        columns=[bad, "b"],
        texts=[{bad: each, "b": f"{each} x {each}"} for each in HARMFUL],
    )


def sweep(bad: str = HARMFUL[0]) -> SweepChart:
    """With a harmful fact for each text, one of them selected."""
    facts = [swept_fact_of(text, number) for number, text in enumerate((bad, *HARMFUL))]
    return SweepChart(replace(sweep_of(bad), facts=tuple(facts)), example=0)


EVERY = {
    "grid": grid,
    "explorer": explorer,
    "panel": panel,
    "predictions": predictions,
    "generations": generations,
    "sweep": sweep,
}
"""Makers by the widget's name; each takes one more harmful text."""
