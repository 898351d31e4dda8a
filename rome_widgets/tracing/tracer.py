"""Causal traces of one prompt, from its clean, corrupted and restored runs.

A tracer runs the prompt clean and with noise on the subject. A restoration is the corrupted run
with chosen states put back to their clean values; a grid is one restoration per cell. How they
are computed is in `runs`.

Source:
    Meng et al. 2022, section 2.1; window, noise and averaging as in the published code.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from rome_widgets.errors import (
    Cancelled,
    StateError,
    said,
)
from rome_widgets.model.language_model import LanguageModel, check_language_model, to_numpy
from rome_widgets.model.memory import needs_memory, within_memory
from rome_widgets.model.precision import precision_notes
from rome_widgets.model.progress_bar import counting, progress_bar, shows_progress
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.records.arguments import Listener, callback, cancel_flag, several, takes
from rome_widgets.records.call_progress import CallProgress
from rome_widgets.records.corruption import Subject
from rome_widgets.records.explanations import Flow, Heads, Lens, RestoringPath
from rome_widgets.records.html import paragraph, quoted
from rome_widgets.records.numbers import as_float, as_whole, whole_number
from rome_widgets.records.states import Kind, State, cell_states, check_states
from rome_widgets.records.staying import Stays
from rome_widgets.records.subject import Occurrence, Span
from rome_widgets.records.trace import (
    CancelFlag,
    CausalTrace,
    Progress,
    Restoration,
    WholeAnswer,
    likeliest,
    prediction_table,
    predictions,
    top_ids,
)
from rome_widgets.records.trace_metric import Metric, check_metric, line_of_repr, symbol
from rome_widgets.tracing.answer import Answer, choose_answer, choose_second_answer
from rome_widgets.tracing.attribution import attribution_patching
from rome_widgets.tracing.flow import measure_flow
from rome_widgets.tracing.heads import attention_heads_of, restore_heads
from rome_widgets.tracing.lens import read_lens
from rome_widgets.tracing.metric import Measure
from rome_widgets.tracing.noise import Noise, draw_noise
from rome_widgets.tracing.path import Budget, PathSearch, better
from rome_widgets.tracing.replacement import ids_with_subject
from rome_widgets.tracing.run_cache import cached_runs
from rome_widgets.tracing.runs import Check
from rome_widgets.tracing.stated import Prompt, SubjectOfPrompt, read_stated
from rome_widgets.tracing.waves import can_matter

logger = logging.getLogger(__name__)

MOST_SETS = 10**9
"""That a search for a path may try; nobody waits for so many."""

SMALL_EFFECT: Mapping[Metric, float] = {
    "probability": 0.01,
    "logprob": 0.05,
    "logit_difference": 0.05,
}
"""A total effect up to which a tracer says that there is little to restore."""

SEARCHED_SAMPLES = 10
"""Draws over which a path is searched, before it is tried over all of them."""
KEPT_TOKENS = 100
"""Likeliest tokens of each run that a restoration can name by default."""

Recorded = Mapping[Kind, tuple[np.ndarray, np.ndarray]]
"""`CausalTrace.recorded`."""


@takes(progress=callback, cancel=cancel_flag)
@shows_progress("Tracing", "cell")
@undisturbed
def trace(
    lm: LanguageModel,
    prompt: Prompt,
    subject: SubjectOfPrompt = None,
    kinds: Iterable[Kind] | Literal["all"] = "all",
    *,
    noise: float | Noise | np.ndarray | Subject = 3.0,
    samples: int | None = None,
    window: int | None = None,
    seed: int = 1,
    answer: Answer = None,
    metric: Metric = "probability",
    against: str | int | None = None,
    occurrence: Occurrence | None = None,
    record: int = 0,
    progress: Listener[Progress] = None,
    cancel: CancelFlag | None = None,
) -> CausalTrace:
    """Measure how much each state of the model brings a corrupted fact back.

    Args:
        lm: The model.
        prompt: Text that stops right before the answer; a `Fact`, or a record of one; chat
            messages, which the tokenizer's own template writes out; or token ids. Special tokens
            in a text are special tokens.
        subject: The entity as it stands in the text, or its span of characters, or the spans of
            several mentions; not needed with a fact.
        kinds: Which grids: "hidden", "mlp", "attn"; "all" for those the model has.
        noise: A multiple of σ, a `Noise`, or an array `[samples, subject tokens, d_model]`; or a
            `Subject`: another one, of as many tokens, that the corrupted run reads instead.
        samples: Noise draws to average over; None: the published 10, and 100 on a model of at most
            5 million weights (`default_samples`). An array has its own; of another subject there is
            one run, and nothing is drawn.
        window: Layers restored together for mlp and attn; None chooses by depth
            (`default_window`).
        seed: Of the draws.
        answer: The word to follow, or the id of a token; None follows the clean run's top token.
            Of a word of several tokens the first gives the grid, and the probability of all of
            them is in `whole`. Of several words or ids the clean run's most probable one is
            followed, and a note says which.
        metric: What is measured of the prediction, in each draw, and averaged over the draws: the
            "probability" of the answer; "logprob", its natural logarithm; "logit_difference", the
            answer's logit less that of the answer `against`. Clean, corrupted, scores and recovery
            are all of it. Predictions that are shown beside it stay probabilities.
        against: The second answer, a word or the id of a token; of several tokens the first counts.
        occurrence: Which mention of the subject is corrupted: "last" (the default), "first", a
            number as Python counts, or "all" of them. Parts of words count only where the subject
            is nowhere a word of its own.
        record: Keep this many top predictions per cell.
        progress: Called after each batch, in this thread; None shows a progress bar where it
            lasts, False none.
        cancel: Checked between batches; stops with `Cancelled`, which carries the partial trace.

    Raises:
        PromptError, SubjectNotFound, NoiseError, StateError, ArgumentError: Bad input.
        NonFinite: The model produced NaN or infinity.
        Cancelled: `cancel` was set.

    Example:
        >>> rw.trace(lm, "The Space Needle is in the city of", "The Space Needle")
        CausalTrace('The Space Needle is in the city of' → ' Seattle',
            clean 0.9995, corrupted 0.1397, 12 tokens × 8 layers, hidden, mlp, attn)

    Source:
        Meng et al. 2022 (noise, probability); Zhang & Nanda 2024 (another subject's tokens, the
        difference of logits).
    """
    kinds = check_language_model(lm).check_kinds(kinds)
    tracer = CausalTracer(
        lm,
        prompt,
        subject,
        noise=noise,
        samples=samples,
        window=window,
        seed=seed,
        answer=answer,
        metric=metric,
        against=against,
        occurrence=occurrence,
    )
    return tracer.trace(kinds, record=record, progress=progress, cancel=cancel)


def default_window(n_layers: int) -> int:
    """Layers restored together by default: 10 from 24 layers up, else `2 * (L // 6) + 1`.

    The published 10 suits 48 layers; on a shallow model it would restore everything.
    """
    return 10 if n_layers >= 24 else 2 * (n_layers // 6) + 1


class CausalTracer(Stays):
    """Keeps the clean and the corrupted run of one prompt, ready to restore any states.

    Arguments and errors are those of `trace`.

    Attributes:
        tokens: Printable text of each position.
        subject_span: Half-open span of corrupted positions; of several mentions, the last.
        subject_spans: Those of every mention that is corrupted.
        answer: The token that is followed, as text; `answer_id` is its id.
        whole: The whole answer where it has several tokens, a `WholeAnswer`; else None.
        against: The second answer of a difference of logits, as text; `against_id` is its id.
        metric: What is measured.
        clean: The metric, by default the answer's probability, in the clean run.
        corrupted: The same with the subject corrupted, mean over samples.

    Example:
        >>> tracer = rw.CausalTracer(lm, "The Space Needle is in the city of", "The Space Needle")
        >>> tracer.restore(tracer.cell(6, 3, "mlp")).top(1)[0].token
        ' Seattle'
    """

    _instead = "Send what it computes: a trace, a restoration or a path goes anywhere."

    @needs_memory("run the prompt")
    def __init__(
        self,
        lm: LanguageModel,
        prompt: Prompt,
        subject: SubjectOfPrompt = None,
        *,
        noise: float | Noise | np.ndarray | Subject = 3.0,
        samples: int | None = None,
        window: int | None = None,
        seed: int = 1,
        answer: Answer = None,
        metric: Metric = "probability",
        against: str | int | None = None,
        occurrence: Occurrence | None = None,
    ) -> None:
        self.lm = check_language_model(lm).up_to_date()
        self.window = (
            default_window(lm.n_layers) if window is None else whole_number(window, "The window", 1)
        )
        text, found = read_stated(lm, prompt, subject)
        if occurrence is not None and (subject is None or isinstance(subject, str)):
            found = found if isinstance(found, str) else text[slice(*cast("Span", found))]
        encoded = lm.encode(text, found, occurrence)
        self.prompt, self.subject = encoded.text, encoded.subject
        self.tokens, self.subject_span = encoded.tokens, encoded.subject_span
        self.subject_spans = encoded.subject_spans
        self.subject_positions = sorted({p for span in self.subject_spans for p in range(*span)})
        positions = self.subject_positions
        drawn = draw_noise(lm, noise, samples, len(positions), seed)
        self._about_noise, self.seed = drawn.about, drawn.seed
        self.samples = len(drawn.values)
        self.token_ids = encoded.ids
        values = torch.from_numpy(drawn.values).to(lm.device, lm.dtype)
        other = None
        if isinstance(noise, Subject):
            places = lm.find_subject(text, found, occurrence)
            other = ids_with_subject(lm, text, places, encoded, noise)
        metric = check_metric(metric)
        self._runs = cached_runs(lm, self.token_ids, positions, values, other)
        self._held: dict[State, Tensor] = {}
        self._baseline = np.stack([to_numpy(self._runs.clean), to_numpy(self._runs.corrupted)])
        chosen = choose_answer(lm, self._runs, self.prompt, answer)
        self._answer_ids, notes = chosen.ids, [*chosen.notes]
        self.answer_id = self._answer_ids[0]
        self.answer = lm.token_text(self.answer_id)
        second = choose_second_answer(lm, self._runs, self.prompt, metric, against, self.answer_id)
        notes += second.notes
        self.measure = Measure(self.answer_id, metric, next(iter(second.ids), None))
        top = dict.fromkeys(i for run in self._baseline for i in top_ids(run, self.answer_id, 8))
        texts = {i: lm.token_text(i) for i in top}
        self._baseline_rows = tuple(predictions(self._baseline[[0, 1, 1]], top, texts))
        self.clean, self.corrupted = self._runs.measure(self.measure)
        self.whole, more = self._measure_whole(chosen.words)
        notes += more
        about_runs = [self._runs.note] if self._runs.note else []
        about_runs += precision_notes(lm.device, lm.dtype)
        self.notes = (*encoded.notes, *notes, *self._effect_notes(), *about_runs)

    @property
    def metric(self) -> Metric:
        """What is measured of a prediction."""
        return self.measure.metric

    @property
    def against_id(self) -> int | None:
        """The second answer of a difference of logits; None of other metrics."""
        return self.measure.against_id

    @property
    def against(self) -> str:
        """The same as text; empty where there is none."""
        return "" if self.against_id is None else self.lm.token_text(self.against_id)

    def __repr__(self) -> str:
        return (
            f"CausalTracer({quoted(self.prompt)} → {quoted(self.answer, 24)},\n"
            f"{line_of_repr(self.metric, self.answer, self.against)}"
            f"    clean {self.clean:.4f}, corrupted {self.corrupted:.4f}"
            f"{'' if self.whole is None else f',{chr(10)}    {self.whole}'})"
        )

    def _repr_html_(self) -> str:
        words = f"{self.prompt} → {self.answer.strip()}"
        if self.metric != "probability":
            ends = f"clean {self.clean:.4f}, corrupted {self.corrupted:.4f}"
            words += f"; {symbol(self.metric, self.answer, self.against)}: {ends}"
        whole = "" if self.whole is None else paragraph(str(self.whole))
        table = prediction_table(self._baseline_rows, ("clean", "corrupted"))
        return paragraph(words) + whole + table

    @takes(progress=callback, cancel=cancel_flag)
    @shows_progress("Tracing", "cell")
    @needs_memory("trace the prompt")
    @undisturbed
    def trace(
        self,
        kinds: Iterable[Kind] | Literal["all"] = "all",
        *,
        record: int = 0,
        resume: CausalTrace | None = None,
        first: CausalTrace | None = None,
        progress: Listener[Progress] = None,
        cancel: CancelFlag | None = None,
    ) -> CausalTrace:
        """Restore every cell of each kind's grid; see `trace`.

        `resume` is a trace of these runs that was cancelled, as `Cancelled.partial` holds it: the
        cells that it has are not computed again.

        `first` is a trace of the same prompt and kinds, such as an estimate: its strongest rows are
        computed first. Without one these are the last token of the subject and that of the prompt.

        Raises:
            StateError: `resume` is of other runs, or comes with `record`: it kept no predictions;
                or `first` is of another prompt.
        """
        kinds = self.lm.check_kinds(kinds)
        record = min(whole_number(record, "record", 0), self._baseline.shape[1])
        shape = (len(self.tokens), self.lm.n_layers)
        scores: dict[Kind, np.ndarray] = {kind: np.full(shape, np.nan) for kind in kinds}
        top = (*shape, record)
        recorded: Recorded = within_memory(
            lambda: {
                kind: (np.zeros(top, np.int32), np.zeros(top, np.float32))
                for kind in (kinds if record else ())
            },
            f"record {record} predictions per cell",
        )
        if resume is not None:
            self._check_resumed(resume, record)
            for kind in set(kinds) & set(resume.scores):
                scores[kind][:] = resume.scores[kind]
        everywhere = self._cells_in_order(kinds, first)
        cells = [cell for cell in everywhere if np.isnan(scores[cell[2]][cell[:2]])]
        total, done = len(everywhere), len(everywhere) - len(cells)

        def check() -> None:
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"Cancelled after {done} of {total} cells.", self._result(scores))

        check()
        states = [self.cell(*cell) for cell in cells]
        measure = replace(self.measure, alone=not record)
        for numbers, means in self._runs.predict(states, measure, self._held, check):
            some = [cells[number] for number in numbers]
            for (pos, layer, kind), score in zip(some, to_numpy(means.scores), strict=True):
                scores[kind][pos, layer] = score
            for (pos, layer, kind), distribution in zip(
                some, to_numpy(means.probabilities) if record else (), strict=bool(record)
            ):
                ids = likeliest(distribution, record)
                recorded[kind][0][pos, layer, : len(ids)] = ids
                recorded[kind][1][pos, layer, : len(ids)] = distribution[ids]
            done += len(numbers)
            if callable(progress):
                progress(Progress(done, total, self._result(copy.deepcopy(scores))))
        return self._result(scores, recorded)

    @takes(progress=callback)
    @needs_memory("estimate the grids")
    @undisturbed
    def estimate(
        self,
        kinds: Iterable[Kind] | Literal["all"] = "all",
        *,
        progress: Listener[CallProgress] = None,
    ) -> CausalTrace:
        """Estimate the grids to first order, from one pass and its gradient: a preview.

        Args:
            kinds: Which grids.
            progress: Called after each pass; None shows a progress bar where it lasts, False none.

        Raises:
            NonFinite, UnsupportedModel: See `attribution_patching`.
            OutOfMemory: A gradient keeps every activation; the exact trace does not.
        """
        kinds = self.lm.check_kinds(kinds)
        with counting(progress, "Estimating", "step") as steps:
            asked = self._runs, self.measure, kinds, self.window
            scores = attribution_patching(*asked, steps=steps)
        return replace(self._result(scores), estimated=True)

    def cell(self, pos: int, layer: int, kind: Kind) -> list[State]:
        """The states that a cell of the grid restores: itself, or its window of layers."""
        ((pos, layer, kind),) = check_states(
            [(pos, layer, kind)], len(self.tokens), self.lm.n_layers
        )
        self.lm.check_kinds(kind)
        return cell_states(pos, layer, kind, self.window, self.lm.n_layers)

    @needs_memory("restore the states")
    @undisturbed
    def restore(self, states: Iterable[Sequence[Any]], *, top: int = KEPT_TOKENS) -> Restoration:
        """Predict with exactly these states restored in the corrupted run.

        Args:
            states: Triples (pos, layer, kind), in any order; none gives the corrupted run.
            top: How many of each run's likeliest tokens the result can name.

        Raises:
            StateError: A state that this prompt and model do not have.

        Example:
            >>> tracer.restore(tracer.cell(6, 3, "mlp"))
            Restoration('The Space Needle is in the city of',
                3 states: p('Seattle') 0.8047, recovery 77%)
        """
        checked = self._checked(states)
        top = whole_number(top, "top", 1)
        ((_, means),) = self._runs.predict([checked], self.measure, self._held)
        distributions = np.concatenate([self._baseline, to_numpy(means.probabilities)])
        measured = self.clean, self.corrupted, float(means.scores)
        ids = {self.answer_id, *(i for run in distributions for i in likeliest(run, top).tolist())}
        return Restoration(
            self.prompt,
            self.tokens,
            checked,
            self.answer,
            self.answer_id,
            distributions,
            {i: self.lm.token_text(i) for i in ids},
            self._whole_with(checked),
            self.metric,
            self.against,
            None if self.metric == "probability" else measured,
        )

    @takes(progress=callback, cancel=cancel_flag)
    @needs_memory("find a path")
    @undisturbed
    def find_path(
        self,
        recovery: float = 0.9,
        *,
        kinds: Iterable[Kind] | Literal["all"] = "all",
        among: Iterable[Sequence[Any]] | None = None,
        max_states: int = 20,
        budget: int | None = None,
        progress: Listener[RestoringPath] = None,
        cancel: CancelFlag | None = None,
    ) -> RestoringPath:
        """Search for a small set of states whose restoration brings the prediction back.

        Single states, without windows. Found greedily, each time among those that a first-order
        estimate ranks highest; then every state that is not needed is dropped, and one state is
        taken for two where that does. What is said of the result is measured. No state of it can
        be left out; that there is no smaller set is likely and not certain (see `path`).

        Args:
            recovery: The share of the total effect to bring back, in (0, 1]: of whatever the metric
                is, `(score - corrupted) / (clean - corrupted)`.
            kinds: Of which kinds.
            among: States to choose from; None takes all of the model at every token but the last.
                The last token's sum up what came before, its last hidden state being the
                prediction.
            max_states: Where greed ends.
            budget: Most sets of states to try. Where it is spent, the best set is the result: it
                may not reach the share, or hold more states than are needed. None: as many as it
                takes. Of many draws a few are searched first; what a set that was found over these
                does over all is not counted, one run for each of its states.
            progress: Called with each set on the way; None shows a progress bar where it lasts,
                False none.
            cancel: Checked between calls of the model.

        Raises:
            StateError: The corruption takes nothing away; or a share, a state or a number of
                states that cannot be.
            Cancelled: `cancel` was set; carries the best set so far.

        Example:
            >>> path = tracer.find_path(0.9)
            >>> tracer.restore(path.states).recovery

        Source:
            Meng et al. 2022, figure 1d; no published search.
        """
        share = as_float(recovery)
        if not 0 < share <= 1:
            raise StateError(
                f"The recovery to reach is {said(recovery)}.",
                "A share above 0, at most 1, was wanted.",
            )
        runs = self.clean, self.corrupted
        about = self.tokens, self.metric, self.against
        empty = RestoringPath((), (), self.answer, *runs, share, False, 0, *about)
        if math.isnan(empty.recovery):
            raise StateError(
                f"The corruption takes nothing away: {self.clean:.3g} → {self.corrupted:.3g}.",
                "A prediction to bring back was wanted.",
                "Use more noise, another prompt, or follow another answer.",
            )
        most = whole_number(max_states, "max_states", 1)
        sets = None if budget is None else whole_number(budget, "budget", 1, MOST_SETS)
        with progress_bar(progress, "Searching", "set") as bar:
            told = progress if callable(progress) else None
            return self._search(empty, kinds, among, most, Budget(sets, bar.at), told, cancel)

    def _search(
        self,
        empty: RestoringPath,
        kinds: Iterable[Kind] | Literal["all"],
        among: Iterable[Sequence[Any]] | None,
        most: int,
        budget: Budget,
        progress: Callable[[RestoringPath], None] | None,
        cancel: CancelFlag | None,
    ) -> RestoringPath:
        """The path: searched over the first draws, where there are many, and held over all."""
        candidates = self._candidates(self.lm.check_kinds(kinds), among)
        begun: dict[str, Any] = {"progress": progress, "cancel": cancel, "budget": budget}
        begun["estimate"] = self._estimate_beside
        found = empty
        if (fewer := self._of_fewer_draws(empty)) is not None:

            def told(path: RestoringPath) -> None:
                if progress is not None:
                    progress(self._over_all_draws(path))

            start = replace(empty, corrupted=fewer.corrupted)
            roughly = fewer._scores
            rough = begun | {"progress": told, "estimate": fewer._estimate_beside}
            try:
                found = PathSearch(roughly, candidates, start, most, **rough).run()
            except Cancelled as stopped:
                stopped.partial = self._over_all_draws(stopped.partial)
                raise
            if not budget.left:
                return self._over_all_draws(found)
            begun |= {"first": found.states, "roughly": roughly}
        try:
            path = PathSearch(self._scores, candidates, empty, most, **begun).run()
        except Cancelled as stopped:
            stopped.partial = self._or_rough(stopped.partial, found)
            raise
        return replace(self._or_rough(path, found), n_restored=budget.spent)

    def _or_rough(self, path: RestoringPath, found: RestoringPath) -> RestoringPath:
        """The path; or the one found over fewer draws, where it brings back more over all."""
        if path.reached or path.states == found.states:
            return path
        return better(path, self._over_all_draws(found))

    def _estimate_beside(
        self, beside: Sequence[State], states: Sequence[State]
    ) -> np.ndarray | None:
        """`[state]`: roughly the metric with each restored beside the others.

        None where there is no gradient, or no memory for one. Whatever keeps it from coming must
        not keep the search, which is right without it.
        """
        kinds: tuple[Kind, ...] = tuple({state.kind for state in states})
        asked = self._runs, self.measure, kinds, 1, beside, self._held
        try:
            grids = attribution_patching(*asked)
        except Exception:
            logger.info("There is no estimate of %r", self, exc_info=True)
            return None
        return np.array([grids[state.kind][state.pos, state.layer] for state in states])

    def _over_all_draws(self, path: RestoringPath) -> RestoringPath:
        """A set that a search over fewer draws found, with what it brings back over all."""
        sets = [path.states[:n] for n in range(1, len(path.states) + 1)]
        found = self._scores(sets, lambda: None) if sets else np.empty(0)
        whole = replace(path, scores=tuple(map(float, found)), corrupted=self.corrupted)
        return replace(whole, reached=bool(whole.recovery >= whole.target))

    def _of_fewer_draws(self, empty: RestoringPath) -> CausalTracer | None:
        """A tracer of the first draws alone, to search with; None where there are no more.

        Hundreds of sets are tried to find a path, and a handful to see whether it holds over all.
        """
        if self.samples <= SEARCHED_SAMPLES:
            return None
        fewer = copy.copy(self)
        noise = self._runs.noise[:SEARCHED_SAMPLES]
        fewer._runs = cached_runs(self.lm, self.token_ids, self._runs.positions.tolist(), noise)
        fewer._held = {state: held[:SEARCHED_SAMPLES] for state, held in self._held.items()}
        fewer.samples, fewer.corrupted = len(noise), fewer._runs.measure(self.measure)[1]
        nothing_lost = math.isnan(replace(empty, corrupted=fewer.corrupted).recovery)
        return None if nothing_lost else fewer

    @takes(progress=callback)
    @needs_memory("measure the flow")
    def flow(
        self, states: Iterable[Sequence[Any]] = (), *, progress: Listener[CallProgress] = None
    ) -> Flow:
        """Measure how far apart the clean, the corrupted and a restored run are, at every state.

        Args:
            states: Triples (pos, layer, kind) to restore; none leaves the corrupted run.
            progress: Called after each pass; None shows a progress bar where it lasts, False none.

        Raises:
            StateError: A state that this prompt and model do not have.
            ModelChanged: The model is no longer that of the tracer's runs.
            OutOfMemory: No room for one pass over all three runs with one draw.

        Example:
            >>> flow = tracer.flow([(3, 5, "hidden")])
            >>> flow.moved["hidden"][-1]                  # what reaches the last token, by layer
        """
        checked = self._checked(states)
        with counting(progress, "Measuring", "step") as steps:
            return measure_flow(self._runs, checked, self._held, self.tokens, steps)

    @takes(progress=callback)
    @needs_memory("read the layers")
    @undisturbed
    def lens(
        self,
        states: Iterable[Sequence[Any]] = (),
        k: int = 5,
        *,
        progress: Listener[CallProgress] = None,
    ) -> Lens:
        """Read what each layer would say next, were it the last, in the clean and corrupted runs.

        It shows probabilities; a tracer's other metric is in `LensRun.scores` and in `to_frame()`.

        Args:
            states: Triples (pos, layer, kind); where there are any, also of the run with these
                restored.
            k: Likeliest tokens to name per layer.
            progress: Called after each pass; None shows a progress bar where it lasts, False none.

        Raises:
            StateError: A state that this prompt and model do not have, or a `k` below 1.
            ModelChanged: The model is no longer that of the tracer's runs.
            OutOfMemory: No room for one pass over all three runs with one draw.

        Example:
            >>> clean, corrupted = tracer.lens().runs
            >>> clean.ranks                               # of the answer, layer by layer
        """
        checked = self._checked(states)
        k = whole_number(k, "k", 1)
        with counting(progress, "Reading", "step") as steps:
            read = read_lens(self._runs, checked, self._held, self.measure, k, steps)
        return Lens(self.answer, self.answer_id, checked, read, self.metric)

    @takes(progress=callback, cancel=cancel_flag)
    @needs_memory("restore heads")
    @undisturbed
    def heads(
        self,
        layer: int,
        pos: int | Sequence[int] | None = None,
        *,
        progress: Listener[Heads] = None,
        cancel: CancelFlag | None = None,
    ) -> Heads:
        """Restore, one by one, what each attention head of a layer writes at each token.

        A cell of the attention grid taken apart: the other heads stay as the corruption left them,
        also where that output is severed. Whole passes, so many as there are tokens times heads.

        Args:
            layer: Whose heads.
            pos: A token, or several; None: all from the subject on. Before it nothing changes.
            progress: Called after each batch with the grid so far, NaN where not computed yet, in
                this thread; None shows a progress bar where it lasts, False none.
            cancel: Checked between batches.

        Raises:
            StateError: No such layer or token, or none at all.
            Cancelled: `cancel` was set; carries the grid so far.
            UnsupportedModel: The attention of this model cannot be taken apart into heads.
            ModelChanged: The model is no longer that of the tracer's runs.

        Example:
            >>> tracer.heads(5).strongest()              # position, head, score

        Source:
            Wang et al. 2022, "Interpretability in the wild"; no window of layers.
        """
        n_pos, n_layers = len(self.tokens), self.lm.n_layers
        if pos is None:
            pos = range(self.subject_positions[0], n_pos)
        asked = [pos] if as_whole(pos) is not None else several(pos, "pos")
        if any(as_whole(each) is None for each in asked):
            raise StateError(f"pos is {said(pos)}.", "A position, or several, were wanted.")
        places = check_states([(each, layer, "attn") for each in asked], n_pos, n_layers)
        if not places:
            raise StateError("No token was named.", "One or several were wanted.")
        at, positions = places[0].layer, tuple(state.pos for state in places)
        found = attention_heads_of(self.lm)
        scores = np.full((len(positions), found.n_heads), np.nan)
        done = 0

        def so_far() -> Heads:
            runs = self.answer, self.clean, self.corrupted, self.tokens
            return Heads(at, positions, scores.copy(), *runs, self.metric, self.against)

        def check() -> None:
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"Cancelled after {done} of {scores.size} heads.", so_far())

        asked = self._runs, found, at, positions, self.measure, self._held
        with progress_bar(progress, "Restoring", "head") as bar:
            for numbers, some in restore_heads(*asked, check):
                scores.flat[numbers] = some
                done = numbers.stop
                bar.at(done, scores.size)
                if callable(progress):
                    progress(so_far())
        return so_far()

    @needs_memory("sever the graph")
    @undisturbed
    def sever(self, kind: Kind, pos: int | None = None) -> CausalTracer:
        """Sever some outputs: in the paper's modified graph they cannot change.

        Every MLP (or attention) output at one token is held at its value in the corrupted run.
        What a restored hidden state still brings back, it brings back without them. A state that
        is restored by name is restored all the same.

        Args:
            kind: "mlp" or "attn".
            pos: The token; the subject's last by default.

        Returns:
            A tracer with this graph cut, on top of what was cut before. `clean` and `corrupted`
            stay: with nothing restored, a severed run is the corrupted run.

        Raises:
            StateError: Another kind, or a token the prompt does not have.

        Example:
            >>> tracer.sever("mlp").trace("hidden").indirect_effect("hidden")

        Source:
            Meng et al. 2022, section 2.2 and figure 3.
        """
        if not isinstance(kind, str) or kind not in ("mlp", "attn"):
            raise StateError(
                f"{said(kind)} cannot be severed.", "'mlp' or 'attn' outputs at one token can be."
            )
        pos = self.subject_span[1] - 1 if pos is None else pos
        places = [(pos, layer, kind) for layer in range(self.lm.n_layers)]
        states = check_states(places, len(self.tokens), self.lm.n_layers)
        severed = copy.copy(self)
        severed._held = self._held | self._runs.corrupted_states(states)
        where = f"{self.tokens[states[0].pos].strip()!r} (token {states[0].pos})"
        severed.notes = (*self.notes, f"The {kind} outputs at {where} are severed.")
        return severed

    # ----------------------------------------------------------------------------- choices

    def _checked(self, states: Iterable[Sequence[Any]]) -> tuple[State, ...]:
        checked = check_states(states, len(self.tokens), self.lm.n_layers)
        self.lm.check_kinds({"hidden", *(state.kind for state in checked)})
        return checked

    def _candidates(
        self, kinds: Iterable[Kind], among: Iterable[Sequence[Any]] | None
    ) -> list[State]:
        """The states that a path may take: what can matter of those asked for."""
        kinds, last = tuple(kinds), len(self.tokens) - 1
        blocks = range(self.lm.n_layers)
        if among is None:
            pool = [State(p, b, kind) for p in range(last) for b in blocks for kind in kinds]
        else:
            pool = [state for state in self._checked(among) if state.kind in kinds]
        return [state for state in pool if can_matter(state, self._runs.extent)]

    def _scores(self, sets: Sequence[Sequence[State]], check: Check) -> np.ndarray:
        """`[set]`: the metric with each set of states restored."""
        found, measure = np.empty(len(sets)), replace(self.measure, alone=True)
        for numbers, means in self._runs.predict(sets, measure, self._held, check):
            found[list(numbers)] = to_numpy(means.scores)
        return found

    def _check_resumed(self, resume: CausalTrace, record: int) -> None:
        if record:
            raise StateError(
                "A trace that records predictions was to go on from one that was cancelled.",
                "One of the two was wanted: a cancelled trace keeps scores only.",
                "Leave out resume, or record.",
            )
        if not isinstance(resume, CausalTrace):
            raise StateError(
                f"The trace to go on from is {said(resume)}.",
                "What Cancelled.partial holds was wanted.",
            )
        empty = np.full((len(self.tokens), self.lm.n_layers), np.nan)
        mine = self._result(dict.fromkeys(resume.kinds, empty))
        names = ("token_ids", "subject_spans", "answer_id", "windows", "samples", "seed", "noise")
        names += ("metric", "against_id")
        other = [name for name in names if getattr(resume, name) != getattr(mine, name)]
        runs = (self.clean, self.corrupted)
        if resume.estimated or other or not np.allclose((resume.clean, resume.corrupted), runs):
            of_other = f"of other {' and '.join(other) or 'weights'}"
            raise StateError(
                f"The trace to go on from is {'an estimate' if resume.estimated else of_other}.",
                "One of the same runs that was cancelled was wanted.",
                "Trace from the start, with resume=None.",
            )

    def _cells_in_order(
        self, kinds: Iterable[Kind], first: CausalTrace | None
    ) -> list[tuple[int, int, Kind]]:
        """All cells, the rows of most interest first: those that `first` says, or usually are."""
        last = len(self.tokens) - 1
        first_rows = dict.fromkeys((self.subject_span[1] - 1, last))
        if first is not None:
            if not isinstance(first, CausalTrace) or first.token_ids != self.token_ids:
                raise StateError(
                    f"The trace whose strongest rows come first is {said(first)}.",
                    "One of the same prompt was wanted, such as an estimate.",
                )
            effects = np.nan_to_num([first.indirect_effect(kind) for kind in first.kinds])
            first_rows = dict.fromkeys(
                np.argsort(-effects.max(axis=(0, 2)), kind="stable").tolist()
            )
        rows = [*first_rows, *(pos for pos in range(last) if pos not in first_rows)]
        layers = range(self.lm.n_layers)
        return [(pos, layer, kind) for pos in rows for kind in kinds for layer in layers]

    def _measure_whole(self, text: str) -> tuple[WholeAnswer | None, list[str]]:
        """The whole of an answer of several tokens, and what is to be said of it."""
        ids = self._answer_ids
        if len(ids) == 1:
            return None, []
        tokens = tuple(map(self.lm.token_text, ids))
        beginning = f"{text!r} is {len(ids)} tokens; its first, {tokens[0]!r}, is followed."
        limit = self.lm.n_positions
        if limit is not None and len(self.token_ids) + len(ids) - 1 > limit:
            return None, [f"{beginning} With all of them the prompt is too long for the model."]
        whole = WholeAnswer(text, tokens, self._runs.clean_joint(ids), self._runs.joint(ids))
        return whole, [
            f"{beginning} All of them together: clean {whole.clean:.3g}, corrupted "
            f"{whole.corrupted:.3g}."
        ]

    def _whole_with(self, states: Sequence[State]) -> WholeAnswer | None:
        """The whole answer with these states restored."""
        if self.whole is None:
            return None
        restored = self._runs.joint(self._answer_ids, states, self._held)
        return self.whole._replace(restored=restored)

    def _effect_notes(self) -> list[str]:
        if self.clean - self.corrupted > SMALL_EFFECT[self.metric]:
            return []
        clean = float(self._baseline[0, self.answer_id])
        if clean <= SMALL_EFFECT["probability"]:
            return [
                f"The model gives {self.answer!r} almost no probability ({clean:.3g}): there "
                "is nothing for the corruption to take away."
            ]
        stronger = "another subject" if "subject" in self._about_noise else "more noise"
        return [
            f"The corruption takes almost nothing away ({self.clean:.3f} → {self.corrupted:.3f}): "
            f"there is little to restore. Try {stronger}, or another prompt."
        ]

    def _result(
        self, scores: Mapping[Kind, np.ndarray], recorded: Recorded | None = None
    ) -> CausalTrace:
        recorded = recorded or {}
        ids = sorted({int(i) for pair in recorded.values() for i in np.unique(pair[0])})
        return CausalTrace(
            prompt=self.prompt,
            subject=self.subject,
            tokens=self.tokens,
            token_ids=self.token_ids,
            subject_span=self.subject_span,
            subject_spans=self.subject_spans,
            answer=self.answer,
            answer_id=self.answer_id,
            clean=self.clean,
            corrupted=self.corrupted,
            scores=scores,
            windows={kind: 1 if kind == "hidden" else self.window for kind in scores},
            n_layers=self.lm.n_layers,
            samples=self.samples,
            seed=self.seed,
            noise=self._about_noise,
            model=self.lm.name,
            notes=self.notes,
            recorded=recorded,
            recorded_tokens={i: self.lm.token_text(i) for i in ids},
            baseline=self._baseline_rows,
            whole=self.whole,
            metric=self.metric,
            against=self.against,
            against_id=self.against_id,
        )
