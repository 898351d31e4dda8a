"""Traces of a few facts at once: the work of a sweep, one batch of it.

What goes in, but for the model, and what comes out can be sent to another process, which has a
model of its own. The numbers are those of `rome_widgets.trace`, one fact after the other, which is
what is done where facts cannot share calls of the model.

Source:
    Meng et al. 2022, section 2; facts that the model does not know are left out as in the
    published code, which compares the top token of the clean run with the attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rome_widgets.errors import (
    ArgumentError,
    NoiseError,
    NonFinite,
    OutOfMemory,
    PromptError,
    SubjectNotFound,
    VocabMismatch,
)
from rome_widgets.evaluation.asked_facts import AskedFact
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.memory import Lacking, attempt
from rome_widgets.model.recipe import ModelRecipe
from rome_widgets.model.replay import CannotReplay
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.records.corruption import Subject
from rome_widgets.records.states import Kind, State, cell_states
from rome_widgets.records.swept_fact import SweptFact
from rome_widgets.records.trace_metric import Metric
from rome_widgets.tracing.joint_runs import CorruptedPrompt, JointRuns
from rome_widgets.tracing.metric import Measure
from rome_widgets.tracing.noise import Noise, draw_noise
from rome_widgets.tracing.replacement import ids_with_subject
from rome_widgets.tracing.runs import Check
from rome_widgets.tracing.tracer import CausalTracer

Follow = Literal["top", "target"]

OF_ONE_FACT = (
    *(ArgumentError, NoiseError, NonFinite, OutOfMemory),
    *(PromptError, SubjectNotFound, VocabMismatch),
)
"""Errors of a fact, which leave the others alone; of the model there are others."""


@dataclass(frozen=True)
class SweepSettings:
    """How every fact of a sweep is traced. It can be sent to another process."""

    kinds: tuple[Kind, ...]
    noise: Noise | Subject
    samples: int
    window: int
    seed: int
    follow: Follow
    metric: Metric
    known_only: bool
    severed: tuple[Kind, ...]


def trace_batch(
    lm: LanguageModel, facts: Sequence[AskedFact], settings: SweepSettings, check: Check
) -> list[SweptFact]:
    """What becomes of some facts, in their order.

    Args:
        lm: The model.
        facts: What is asked.
        settings: How.
        check: Called between two calls of the model; raises where the work should stop.

    Raises:
        ModelChanged: The model became another one meanwhile.
    """
    batch = _Batch(lm, settings, check)
    found = {fact.number: fact for fact in batch.trace(sorted(facts, key=_length))}
    return [found[fact.number] for fact in facts]


def trace_sent_batch(
    recipe: ModelRecipe, settings: SweepSettings, sent: int, facts: Sequence[AskedFact]
) -> list[SweptFact]:
    """The same in another process; see `workers.done_by`."""
    return undisturbed(trace_batch)(recipe.model(), facts, settings, lambda: None)


def _length(fact: AskedFact) -> int:
    return len(fact.encoded.ids)


class _Batch:
    """Traces facts together as far as they can be, and the others one by one."""

    def __init__(self, lm: LanguageModel, settings: SweepSettings, check: Check) -> None:
        self._lm, self._settings, self._check = lm, settings, check
        self._drawn: Callable[[int], Tensor] = cache(self._draw)

    def trace(self, facts: Sequence[AskedFact]) -> list[SweptFact]:
        """In any order; the shorter facts come first."""
        replay = self._lm.replay
        if len(facts) < 2 or replay is None:
            return [self._alone(fact) for fact in facts]
        prompts, failed = self._corrupted(facts)
        asked = [fact for fact in facts if fact.number in prompts]
        try:
            runs = attempt(lambda: JointRuns(self._lm, replay, [*prompts.values()]))
        except CannotReplay:
            parts = [[*some] for _, some in groupby(asked, key=_length)]
            if len(parts) == 1:
                return failed + [self._alone(fact) for fact in asked]
        else:
            if not isinstance(runs, Lacking):
                return failed + self._together(runs, asked)
            half = len(asked) // 2
            parts = [asked[:half], asked[half:]]
        return failed + [each for part in parts for each in self.trace(part)]

    # --------------------------------------------------------------------------- together

    def _corrupted(
        self, facts: Sequence[AskedFact]
    ) -> tuple[dict[int, CorruptedPrompt], list[SweptFact]]:
        """By number how each is corrupted, and those that cannot be."""
        prompts: dict[int, CorruptedPrompt] = {}
        failed = []
        for fact in facts:
            try:
                noise = self._drawn(len(fact.positions))
                prompts[fact.number] = CorruptedPrompt(
                    fact.encoded.ids, fact.positions, noise, self._other_ids(fact)
                )
            except OF_ONE_FACT as error:
                failed.append(fact.swept(status="failed", reason=str(error)))
        return prompts, failed

    def _draw(self, n_tokens: int) -> Tensor:
        s = self._settings
        drawn = draw_noise(self._lm, s.noise, s.samples, n_tokens, s.seed)
        return torch.from_numpy(drawn.values).to(self._lm.device, self._lm.dtype)

    def _other_ids(self, fact: AskedFact) -> Sequence[int] | None:
        if not isinstance(self._settings.noise, Subject):
            return None
        text = fact.encoded.text
        places = self._lm.find_subject(text, fact.place)
        return ids_with_subject(self._lm, text, places, fact.encoded, self._settings.noise)

    def _together(self, runs: JointRuns, facts: Sequence[AskedFact]) -> list[SweptFact]:
        measures: dict[int, Measure] = {}
        found: dict[int, SweptFact] = {}
        for row, (fact, top) in enumerate(zip(facts, runs.clean.argmax(dim=1), strict=True)):
            try:
                measures[row] = self._measure(fact, int(top))
            except _NotTraced as why:
                found[row] = why.fact
        try:
            scores = self._grids(runs, facts, measures)
            severed: dict[Kind, dict[int, np.ndarray]] = {
                kind: self._severed(runs, facts, measures, kind) for kind in self._settings.severed
            }
        except (NonFinite, OutOfMemory):  # of one of them; each says its own
            return [*found.values(), *(self._alone(facts[row]) for row in measures)]
        for row, measure in measures.items():
            cut: dict[Kind, np.ndarray] = {kind: some[row] for kind, some in severed.items()}
            found[row] = self._traced(
                facts[row], measure.answer_id, runs.measure(row, measure), scores[row], cut
            )
        return [*found.values()]

    def _measure(self, fact: AskedFact, top: int) -> Measure:
        """What is followed in a fact whose clean run says `top`."""
        answer_id = self._answer_id(fact, top)
        against = fact.against_id if self._settings.metric == "logit_difference" else None
        if self._settings.metric == "logit_difference" and against in (None, answer_id):
            other = "no second object" if against is None else "two objects that begin alike"
            reason = f"The fact has {other}. A difference of logits needs two."
            raise _NotTraced(fact.swept(status="failed", reason=reason))
        return Measure(answer_id, self._settings.metric, against, alone=True)

    def _answer_id(self, fact: AskedFact, top: int) -> int:
        """The token to follow.

        Raises:
            _NotTraced: The model does not know the fact, or there is no target.
        """
        text = self._lm.token_text
        if self._settings.known_only and fact.target_id not in (None, top):
            reason = f"The model says {text(top)!r}, not {text(fact.target_id)!r}."
            answer = {"answer": text(top), "answer_id": top}
            raise _NotTraced(fact.swept(status="unknown", reason=reason, **answer))
        if self._settings.follow == "top":
            return top
        if fact.target_id is None:
            reason = "The fact does not say its target, which was to be followed."
            raise _NotTraced(fact.swept(status="failed", reason=reason))
        return fact.target_id

    def _grids(
        self, runs: JointRuns, facts: Sequence[AskedFact], measures: Mapping[int, Measure]
    ) -> dict[int, dict[Kind, np.ndarray]]:
        """By row, `[pos, layer]` scores of each kind."""
        n_layers, window = self._lm.n_layers, self._settings.window
        cells = [
            (row, State(pos, layer, kind))
            for row in measures
            for kind in self._settings.kinds
            for pos in range(_length(facts[row]))
            for layer in range(n_layers)
        ]
        grids: dict[int, dict[Kind, np.ndarray]] = {
            row: {
                kind: np.full((_length(facts[row]), n_layers), np.nan)
                for kind in self._settings.kinds
            }
            for row in measures
        }
        restored = [(row, cell_states(*cell, window, n_layers)) for row, cell in cells]
        for numbers, some in runs.scores(restored, measures, check=self._check):
            for number, score in zip(numbers, some, strict=True):
                row, (pos, layer, kind) = cells[number]
                grids[row][kind][pos, layer] = score
        return grids

    def _severed(
        self,
        runs: JointRuns,
        facts: Sequence[AskedFact],
        measures: Mapping[int, Measure],
        kind: Kind,
    ) -> dict[int, np.ndarray]:
        """By row, `[layer]`: the hidden state at the subject's last token restored, severed."""
        layers = range(self._lm.n_layers)
        at = {row: facts[row].positions[-1] for row in measures}
        cells = [(row, [State(at[row], layer, "hidden")]) for row in measures for layer in layers]
        held = {row: runs.severed(row, kind) for row in measures}
        found = np.empty(len(cells))
        for numbers, some in runs.scores(cells, measures, held, self._check):
            found[[*numbers]] = some
        return dict(zip(measures, found.reshape(len(measures), len(layers)), strict=True))

    # ------------------------------------------------------------------------------ alone

    def _alone(self, fact: AskedFact) -> SweptFact:
        """What becomes of one fact by itself."""
        self._check()
        try:
            return self._trace_alone(fact)
        except _NotTraced as why:
            return why.fact
        except OF_ONE_FACT as error:
            return fact.swept(status="failed", reason=str(error))

    def _trace_alone(self, fact: AskedFact) -> SweptFact:
        tracer = self._tracer(fact, None)
        measure = self._measure(fact, tracer.answer_id)
        if measure.metric != "probability" or measure.answer_id != tracer.answer_id:
            tracer = self._tracer(fact, measure)
        trace = tracer.trace(self._settings.kinds, progress=False, cancel=_Stop(self._check))
        last = tracer.subject_span[1] - 1
        states = [State(last, layer, "hidden") for layer in range(self._lm.n_layers)]
        severed: dict[Kind, np.ndarray] = {
            kind: np.array([tracer.sever(kind).restore([state]).score for state in states])
            for kind in self._settings.severed
        }
        ends = trace.clean, trace.corrupted
        return self._traced(fact, tracer.answer_id, ends, trace.scores, severed)

    def _tracer(self, fact: AskedFact, measure: Measure | None) -> CausalTracer:
        s = self._settings
        followed: dict[str, Any] = {}
        if measure is not None:
            followed = {"answer": measure.answer_id, "metric": s.metric}
            followed["against"] = measure.against_id
        return CausalTracer(
            self._lm,
            fact.encoded.text,
            fact.place,
            noise=s.noise,
            samples=s.samples,
            window=s.window,
            seed=s.seed,
            **followed,
        )

    def _traced(
        self,
        fact: AskedFact,
        answer_id: int,
        ends: tuple[float, float],
        scores: Mapping[Kind, np.ndarray],
        severed: Mapping[Kind, np.ndarray],
    ) -> SweptFact:
        return fact.swept(
            status="traced",
            answer=self._lm.token_text(answer_id),
            answer_id=answer_id,
            clean=ends[0],
            corrupted=ends[1],
            scores=scores,
            severed=severed,
        )


class _NotTraced(Exception):
    """Carries the record of a fact that is not traced."""

    def __init__(self, fact: SweptFact) -> None:
        super().__init__()
        self.fact = fact


class _Stop:
    """A check as a flag to cancel by: asked, it raises."""

    def __init__(self, check: Check) -> None:
        self._check = check

    def is_set(self) -> bool:
        """False, or an error where the work should stop."""
        self._check()
        return False
