"""The engine of a `TraceExplorer`: a language model, asked with the explorer's settings."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from rome_widgets import bundled
from rome_widgets.errors import PromptError
from rome_widgets.evaluation.plan import seconds_of_trace
from rome_widgets.model.base_weights import without_edits
from rome_widgets.model.identity import Identity
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.load import load_expression
from rome_widgets.model.tokens import RenderedPrompt
from rome_widgets.records.corruption import Subject
from rome_widgets.records.explanations import Flow, Heads, Lens, RestoringPath
from rome_widgets.records.states import State
from rome_widgets.records.subject import Occurrence, Span, is_several, likely_subject
from rome_widgets.records.trace import CausalTrace, Progress, Restoration
from rome_widgets.session.session import Flag, session_of
from rome_widgets.tracing.lens import read_clean_lens
from rome_widgets.tracing.noise import FEW_PARAMETERS, default_samples
from rome_widgets.tracing.stated import Prompt, read_stated
from rome_widgets.tracing.tracer import CausalTracer
from rome_widgets.widgets.live.engine import Stop, Tell
from rome_widgets.widgets.trace.trace_settings import TraceSettings

logger = logging.getLogger(__name__)

KEPT_TRACERS = 4
"""Tracers kept per widget, so that going back to a prompt answers clicks at once."""
LENS_TOKENS = 5
"""Likeliest tokens named per layer."""


class TracingEngine:
    """Answers a widget's requests with a `LanguageModel`."""

    examples = (("The Space Needle is in the city of", "The Space Needle"),)
    """Prompts to offer when there is none yet."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = check_language_model(lm)
        self.session, self.model_name = session_of(lm), lm.name
        self.default_samples = default_samples(lm)
        self._tracers: OrderedDict[tuple, CausalTracer] = OrderedDict()

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.lm.n_layers

    @property
    def n_subjects(self) -> int:
        """How many subjects σ, which the noise is a multiple of, is measured on."""
        return len(bundled.subjects())

    def token_text(self, token_id: int) -> str:
        """Printable text of a token, even of an id that there is none of; quick."""
        return self.lm.token_text(token_id)

    @property
    def load_code(self) -> str:
        """Python that loads this model from where it was loaded, in the same precision."""
        return load_expression(self.lm)

    @property
    def identity(self) -> Identity:
        """Another one whenever what decides the model's output has changed."""
        return self.lm.identity

    def read_prompt(
        self, prompt: Prompt, subject: str, occurrence: Occurrence | None = None
    ) -> TraceSettings:
        """Settings with prompt, ids, subject and place of whatever states a fact."""
        if is_several(subject):
            raise PromptError(
                f"The subject is {len(subject)} spans of characters.",
                "Words, or one span of characters, was wanted.",
                'Pass the words, and occurrence="all" for every mention.',
            )
        text, found = read_stated(self.lm, prompt, subject)
        place = None if isinstance(found, str) else cast("Span", found)
        words = found if isinstance(found, str) else text[slice(*cast("Span", found))]
        ids = text.ids if isinstance(text, RenderedPrompt) and not text.plain else None
        rendered = isinstance(text, RenderedPrompt) and self.lm.subject_places(text, words)
        if occurrence is not None or (place is None and rendered):
            place = self.lm.find_subject(text, words, occurrence)[-1]
        every = isinstance(occurrence, str) and occurrence == "all"
        place = None if every else place
        said = text.said if isinstance(text, RenderedPrompt) else None
        return TraceSettings(
            str(text), str(words), place=place, ids=ids, said=said, all_mentions=every
        )

    def subject_places(
        self, prompt: str, subject: str, said: Iterable[Span] | None = None
    ) -> list[Span]:
        """The characters of every mention of a subject that may be meant."""
        return self.lm.subject_places(self.lm.with_ids(prompt, None, said), subject)

    def likely_subject(self, prompt: str) -> str:
        """A subject of the bundled list that stands in the prompt, else its longest name."""
        return likely_subject(prompt, bundled.subjects())

    def trace(
        self,
        settings: TraceSettings,
        progress: Tell[Progress],
        cancelled: Stop,
        resume: CausalTrace | None = None,
    ) -> CausalTrace:
        """All three grids of one prompt, from runs made now."""
        began = time.perf_counter()
        key = (settings, self.lm.identity)  # Before the runs: an edit may come meanwhile.
        tracer = self._keep(key, self._make(settings))
        shown = None
        if resume is None and not cancelled() and (shown := _estimated(tracer)):
            progress(shown)
            if self._is_slow and not cancelled() and (grids := _planned(tracer)):
                progress(replace(shown, seconds=time.perf_counter() - began + grids))
        first = shown.trace if shown and self._is_slow else None
        stop = Flag(cancelled)
        return tracer.trace(resume=resume, first=first, progress=progress, cancel=stop)

    @property
    def _is_slow(self) -> bool:
        """Whether a grid takes long; else it is whole in no time, and fills as it is read."""
        return self.lm.n_parameters > FEW_PARAMETERS

    def restore(
        self, settings: TraceSettings, selection: Iterable[State], single: bool = False
    ) -> Restoration:
        """The prediction with everything restored that the selected cells restore."""
        tracer = self._tracer(settings)
        return tracer.restore(_states(tracer, selection, single))

    def find_path(
        self,
        settings: TraceSettings,
        recovery: float,
        progress: Tell[RestoringPath],
        cancelled: Stop,
    ) -> RestoringPath:
        """A small set of states that brings this share back."""
        return self._tracer(settings).find_path(recovery, progress=progress, cancel=Flag(cancelled))

    def heads(
        self,
        settings: TraceSettings,
        layer: int,
        positions: Sequence[int],
        progress: Tell[Heads],
        cancelled: Stop,
    ) -> Heads:
        """What each head of a layer brings back alone at these tokens."""
        stop = Flag(cancelled)
        return self._tracer(settings).heads(layer, positions, progress=progress, cancel=stop)

    def flow(
        self, settings: TraceSettings, selection: Iterable[State], single: bool = False
    ) -> Flow:
        """How far apart the runs are, with everything restored that the selected cells restore."""
        tracer = self._tracer(settings)
        return tracer.flow(_states(tracer, selection, single))

    def lens(
        self, settings: TraceSettings, selection: Iterable[State], single: bool = False
    ) -> Lens:
        """What each layer of each run would say; of an edited model also without its edits."""
        tracer = self._tracer(settings)
        lens = tracer.lens(_states(tracer, selection, single), LENS_TOKENS)
        if not self.lm.edits:
            return lens
        asked = tracer.token_ids, tracer.measure, LENS_TOKENS
        unedited = read_clean_lens("unedited", self.lm, *asked, without_edits(self.lm))
        return replace(lens, runs=(*lens.runs, unedited))

    def _tracer(self, settings: TraceSettings) -> CausalTracer:
        """The kept one, or a new one."""
        key = (settings, self.lm.identity)
        return self._keep(key, self._tracers.get(key) or self._make(settings))

    def subject_at(
        self, settings: TraceSettings, start: int, stop: int
    ) -> tuple[str, tuple[int, int]]:
        """The words at these positions, and which characters of the prompt they are."""
        return self.lm.subject_at(self._prompt(settings), start, stop)

    def _prompt(self, settings: TraceSettings) -> str:
        return self.lm.with_ids(settings.prompt, settings.ids, settings.said)

    def _make(self, settings: TraceSettings) -> CausalTracer:
        return CausalTracer(
            self.lm,
            self._prompt(settings),
            settings.place or settings.subject,
            noise=Subject(settings.other_subject) if settings.other_subject else settings.noise,
            samples=settings.samples,
            window=settings.window,
            seed=settings.seed,
            answer=settings.answer if settings.answer_id is None else settings.answer_id,
            metric=settings.metric,
            against=settings.against,
            occurrence="all" if settings.all_mentions else None,
        )

    def _keep(self, key: tuple, tracer: CausalTracer) -> CausalTracer:
        """Keep a tracer under its settings and the weights it ran on, with the few used last."""
        self._tracers.pop(key, None)
        self._tracers[key] = tracer
        while len(self._tracers) > KEPT_TRACERS:
            self._tracers.popitem(last=False)
        return tracer


def _states(tracer: CausalTracer, selection: Iterable[State], single: bool) -> set[State]:
    """What the selected cells restore, each state once; where they are `single`, themselves."""
    if single:
        return set(selection)
    return {state for cell in selection for state in tracer.cell(*cell)}


def _estimated(tracer: CausalTracer) -> Progress | None:
    """An estimate to be shown first; what keeps it from coming must not keep the exact grid."""
    try:
        trace = tracer.estimate()
    except Exception:
        logger.info("There is no estimate of %r", tracer, exc_info=True)
        return None
    return Progress(0, sum(grid.size for grid in trace.scores.values()), trace)


def _planned(tracer: CausalTracer) -> float:
    """Seconds that the exact grid will take; 0 where nobody knows, which keeps nothing either."""
    try:
        return seconds_of_trace(tracer)
    except Exception:
        logger.info("There is no plan of %r", tracer, exc_info=True)
        return 0.0
