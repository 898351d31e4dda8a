"""Causal traces of many facts, batched, and kept in a log to go on from.

Source:
    Meng et al. 2022, section 2 and figures 1 to 3: averages over a thousand facts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rome_widgets.errors import (
    ArgumentError,
    Cancelled,
    ModelChanged,
    NoiseError,
    RunFileError,
    SaveFailed,
    StateError,
    said,
)
from rome_widgets.evaluation.asked_facts import AskedFact, digest_of, read_facts
from rome_widgets.evaluation.kept_run import about_model, kept_rows, write_result
from rome_widgets.evaluation.plan import check_memory, plan_traces
from rome_widgets.evaluation.swept_batch import (
    Follow,
    SweepSettings,
    trace_batch,
    trace_sent_batch,
)
from rome_widgets.evaluation.workers import (
    MOST_TRIES,
    an_executor,
    done_by,
    each_alone,
    shares_memory,
)
from rome_widgets.files.sweep_file import FILE_NAME, sweep_log
from rome_widgets.model.identity_changes import what_changed
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.memory import needs_memory
from rome_widgets.model.precision import precision_notes
from rome_widgets.model.progress_bar import bar_of, shows_progress
from rome_widgets.model.recipe import ModelRecipe
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.records.arguments import (
    Listener,
    a_path,
    callback,
    cancel_flag,
    optional,
    takes,
    truth,
)
from rome_widgets.records.call_progress import CallProgress
from rome_widgets.records.corruption import Subject
from rome_widgets.records.numbers import whole_number
from rome_widgets.records.states import Kind
from rome_widgets.records.sweep import Sweep
from rome_widgets.records.swept_fact import SweptFact
from rome_widgets.records.trace import CancelFlag
from rome_widgets.records.trace_metric import Metric, check_metric
from rome_widgets.tracing.noise import MOST_SAMPLES, Noise, default_samples, draw_noise
from rome_widgets.tracing.tracer import default_window
from rome_widgets.tracing.unit_costs import Grids

SEVERED: tuple[Kind, ...] = ("mlp", "attn")
"""Kinds whose outputs can be."""
MOST_FACTS = 32
"""Facts of a batch: what a cancel or a kill loses at most, and where calls are full."""
CAPTURED_ON_CPU = 2**29
"""Bytes that the captured runs of a batch may take on a CPU, of whose memory nobody is asked."""


@takes(
    path=optional(a_path(SaveFailed, "folder")),
    known_only=truth,
    severed=truth,
    executor=optional(an_executor),
    progress=callback,
    cancel=cancel_flag,
)
@shows_progress("Sweeping", "fact")
@needs_memory("sweep the facts")
@undisturbed
def sweep(
    lm: LanguageModel,
    facts: Iterable[Any],
    kinds: Iterable[Kind] | Literal["all"] = "all",
    *,
    noise: float | Noise | Subject = 3.0,
    samples: int | None = None,
    window: int | None = None,
    seed: int = 1,
    answer: Follow = "top",
    metric: Metric = "probability",
    known_only: bool = True,
    severed: bool = False,
    path: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    progress: Listener[CallProgress] = None,
    cancel: CancelFlag | None = None,
) -> Sweep:
    """Trace many facts, and average what restoring each state brings back, by the token's role.

    Every cell is that of `rome_widgets.trace` of the fact by itself, but for rounding: facts share
    the calls of the model's blocks. Facts that the model does not know are left out, as in the
    paper, and counted. A fact that cannot be traced is recorded with its reason.

    Args:
        lm: The model.
        facts: `Fact`s, records of facts as CounterFact and known facts have them, or pairs of
            prompt and subject, with a target if there is one.
        kinds: As of `rome_widgets.trace`.
        noise: A multiple of σ, a `Noise`, or a `Subject`.
        samples: As of `rome_widgets.trace`.
        window: As of `rome_widgets.trace`.
        seed: Of the draws, which are the same for all subjects of as many tokens.
        answer: "top" follows the top token of each clean run; "target" each fact's own target. Of
            several tokens the first is followed.
        metric: As of `rome_widgets.trace`; a difference of logits is that of the two objects of a
            record.
        known_only: Leave out facts where the clean run's top token is not the first of the target.
            Facts that do not say their target are traced.
        severed: Also restore the hidden states at the subject's last token with its MLP, and with
            its attention outputs severed: the bars of figure 3.
        path: A folder for the log, in which each fact is kept once it is done, and for the result,
            which is written there in the end, also as parquet where pyarrow is installed. Where the
            log of the same sweep is there, it is gone on with: the result is bit for bit the same.
        executor: Whose workers trace the batches: a pool of threads or of spawned processes, or
            `client.get_executor()` of a Dask client; None: this thread. Processes load the model
            from where it was loaded here. Batches are the same, and so are the results, to the bit
            where workers compute as this process does (device, versions, threads). Batches of a
            worker that dies are sent again, in the end fact by fact: one that workers die of is
            recorded as failed. A cancel takes back those that nobody has begun.
        progress: Called after each batch of facts; None shows a progress bar where it lasts, False
            none.
        cancel: Checked between calls of the model; stops with `Cancelled`, which carries the sweep
            of the facts that were done.

    Raises:
        ArgumentError, NoiseError, StateError: Bad input.
        ModelChanged: The model became another one meanwhile.
        OutOfMemory: No room for one row of the longest prompt; nothing was run.
        SaveFailed: The log cannot be written; what it holds is kept.
        RunChanged: The log is of other facts, settings, or another model.
        RunFileError: The log is damaged; it was left as it is.
        StaysHere: Worker processes cannot load the model: it carries edits, or was made here.
        WorkersLost: Workers died and died, or lack what it takes.
        Cancelled: `cancel` was set.

    Example:
        >>> found = rw.sweep(lm, rw.bundled.facts()[:2], samples=10, path="my sweep")
        >>> found.effects("mlp").mean.shape              # by role and layer
        (6, 8)

    Source:
        Meng et al. 2022, section 2.2; severed graphs as in figure 3.
    """
    lm = check_language_model(lm).up_to_date()
    settings = _checked(
        lm, kinds, noise, samples, window, seed, answer, metric, known_only, severed
    )
    work = _Work(lm, read_facts(lm, facts), settings, executor, cancel)
    with work.kept(None if path is None else Path(path)) as kept:
        found = work.run(kept, progress if callable(progress) else lambda step: None)
    if path is not None:
        write_result(found, Path(path), FILE_NAME)
    return found


def _checked(
    lm: LanguageModel,
    kinds: Any,
    noise: Any,
    samples: Any,
    window: Any,
    seed: Any,
    answer: Any,
    metric: Any,
    known_only: bool,
    severed: bool,
) -> SweepSettings:
    """The settings, each checked; nothing was run by then but what σ is measured with."""
    found = lm.check_kinds(kinds)
    cut: tuple[Kind, ...] = tuple(kind for kind in SEVERED if severed and kind in lm.kinds)
    if cut and "hidden" not in found:
        raise StateError(
            f"The kinds are {', '.join(map(repr, found))}.",
            "'hidden' was wanted among them: with outputs severed, hidden states are restored.",
        )
    if not isinstance(answer, str) or answer not in ("top", "target"):
        raise ArgumentError(f"answer is {said(answer)}.", "'top' or 'target' was wanted.")
    if hasattr(noise, "shape") and getattr(noise, "ndim", 0):
        raise NoiseError(
            "The noise is an array, which fits subjects of one length only.",
            "A multiple of σ, a Noise or a Subject was wanted.",
        )
    one = isinstance(noise, Subject)
    n = 1 if one else default_samples(lm) if samples is None else samples
    return SweepSettings(
        kinds=found,
        noise=noise if isinstance(noise, Noise | Subject) else Noise(noise),
        samples=whole_number(n, "samples", 1, MOST_SAMPLES, error=NoiseError),
        window=default_window(lm.n_layers)
        if window is None
        else whole_number(window, "The window", 1),
        seed=whole_number(seed, "seed", 0, 2**32 - 1, error=NoiseError),
        follow=answer,
        metric=check_metric(metric),
        known_only=known_only,
        severed=cut,
    )


class _Work:
    """The facts of one sweep, in batches."""

    def __init__(
        self,
        lm: LanguageModel,
        facts: Sequence[AskedFact | SweptFact],
        settings: SweepSettings,
        executor: Executor | None,
        cancel: CancelFlag | None,
    ) -> None:
        self._lm, self._facts, self._settings, self._cancel = lm, facts, settings, cancel
        self._executor, self._over = executor, threading.Event()
        self._before = lm.identity
        self._noise = draw_noise(lm, settings.noise, settings.samples, 1, settings.seed)

    def kept(self, folder: Path | None) -> AbstractContextManager[Any]:
        """What keeps the facts that are done: the log of this very sweep, where there is one."""
        kind = sweep_log(self._settings.kinds, self._lm.n_layers)
        return kept_rows(folder, kind, self._about, {"batch_size": self._batch_size})

    @property
    def _about(self) -> dict[str, Any]:
        """What decides the results, by name; as JSON can hold it."""
        settings = asdict(self._settings)
        settings["noise"] = repr(self._settings.noise)
        return {
            **about_model(self._lm),
            "facts": digest_of(self._facts),
            "noise": dict(self._noise.about),
            **{f"settings.{name}": value for name, value in settings.items()},
        }

    @property
    def _batch_size(self) -> int:
        """Facts that are captured together, by the longest of them and what memory there is."""
        lm = self._lm
        lengths = [len(fact.encoded.ids) for fact in self._facts if isinstance(fact, AskedFact)]
        # Of each layer a state, a key and a value; all of them twice while they are put together.
        widths = 2 * (3 * lm.n_layers + 1)
        most = CAPTURED_ON_CPU // (widths * lm.geometry.d_model * lm.dtype.itemsize)
        tokens = lm.tokens_in_memory(widths, most if lm.device.type == "cpu" else 10**9)
        rows = (1 + self._settings.samples) * max(lengths, default=1)
        return max(1, min(MOST_FACTS, tokens // rows))

    def run(self, kept: Any, progress: Callable[[CallProgress], object]) -> Sweep:
        """All facts that are not done yet. Batches are the same, whatever is: so are the results.

        Raises:
            Cancelled: With the sweep of what was done.
        """
        for fact in self._facts:
            if isinstance(fact, SweptFact) and fact.number not in kept.done:
                kept.add(fact)
        waiting = self._batches(kept)
        if self._executor is None:
            check_memory(self._lm, [fact for batch in waiting for fact in batch], "sweep the facts")
        try:
            if waiting and (bar := bar_of(progress)) is not None:
                bar.expect(self._expected(waiting), len(self._facts))
            with closing(self._traced(waiting)) as batches:
                for batch in batches:
                    self._check_model()
                    for fact in batch:
                        if fact.number not in kept.done:
                            kept.add(fact)
                    progress(CallProgress(len(kept.done), len(self._facts)))
        except Cancelled:
            done, total = len(kept.done), len(self._facts)
            partial = self._result(kept.done) if done else None
            raise Cancelled(f"Cancelled after {done} of {total} facts.", partial) from None
        return self._result(kept.done)

    def _expected(self, batches: Sequence[Sequence[AskedFact]]) -> float:
        """Seconds that these will take here, if the model knows all of the facts; 0: nobody knows.

        Raises:
            Cancelled: Nothing else: what cannot be planned may still be run.
        """
        if self._executor is not None:  # whose workers are unknown, and how many
            return 0.0
        s, facts = self._settings, [fact for batch in batches for fact in batch]
        grids = Grids(s.kinds, s.window, s.samples, s.severed)
        try:
            return plan_traces(self._lm, facts, grids, check=self._check).seconds
        except Cancelled:
            raise
        except Exception:
            return 0.0

    def _batches(self, kept: Any) -> list[Sequence[AskedFact]]:
        """Those in which something is to be done."""
        asked = [fact for fact in self._facts if isinstance(fact, AskedFact)]
        n = whole_number(kept.kept.get("batch_size"), "The batch size", 1, error=RunFileError)
        batches = [asked[first : first + n] for first in range(0, len(asked), n)]
        return [some for some in batches if any(fact.number not in kept.done for fact in some)]

    def _traced(self, batches: Sequence[Sequence[AskedFact]]) -> Generator[list[SweptFact]]:
        """What becomes of each batch, here or in the workers of the executor."""
        lm, settings = self._lm, self._settings
        if self._executor is None:
            for batch in batches:
                self._check()
                yield trace_batch(lm, batch, settings, self._check)
            return
        if shares_memory(self._executor):
            work = self._trace_in_thread
        else:
            work = partial(trace_sent_batch, ModelRecipe.of(lm), settings)
        try:
            with closing(done_by(self._executor, work, batches, self._check, each_alone)) as found:
                for sent, batch in found:
                    yield _deadly(sent) if batch is None else batch
        finally:
            self._over.set()

    def _trace_in_thread(self, sent: int, batch: Sequence[AskedFact]) -> list[SweptFact]:
        return undisturbed(trace_batch)(self._lm, batch, self._settings, self._check)

    def _check_model(self) -> None:
        """What was computed while somebody changed the model is not kept."""
        changed = what_changed(self._before, self._lm.identity)
        if changed:
            raise ModelChanged(
                f"The model has changed since the sweep began: {changed}.",
                "The model that it began with was wanted.",
                "Sweep again, from the start.",
            )

    def _check(self) -> None:
        if self._over.is_set() or (self._cancel is not None and self._cancel.is_set()):
            raise Cancelled("Cancelled.")

    def _result(self, done: dict[int, SweptFact]) -> Sweep:
        settings, noise = self._settings, self._noise
        return Sweep(
            facts=tuple(done[number] for number in sorted(done)),
            model=self._lm.name,
            kinds=settings.kinds,
            windows={k: 1 if k == "hidden" else settings.window for k in settings.kinds},
            n_layers=self._lm.n_layers,
            samples=settings.samples,
            seed=noise.seed,
            noise=noise.about,
            metric=settings.metric,
            notes=tuple(precision_notes(self._lm.device, self._lm.dtype)),
        )


def _deadly(batch: Sequence[AskedFact]) -> list[SweptFact]:
    """What becomes of facts that workers die of."""
    reason = f"Its worker died, also {MOST_TRIES} times of this fact by itself."
    return [fact.swept(status="failed", reason=reason) for fact in batch]
