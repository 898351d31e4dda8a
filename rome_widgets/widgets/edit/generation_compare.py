"""Generated text before and after: prompts by columns, differing words marked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import traitlets as t

from rome_widgets.errors import ArgumentError, Cancelled, RomeWidgetsError, said
from rome_widgets.records.arguments import several, takes, truth
from rome_widgets.records.arguments import texts as texts_argument
from rome_widgets.widgets import fallback
from rome_widgets.widgets.edit.engine import GenerationEngine, GenerationStep
from rome_widgets.widgets.live.base import Theme, bundle
from rome_widgets.widgets.live.engine import Stop, Tell
from rome_widgets.widgets.live.job import Job
from rome_widgets.widgets.live.live_widget import LiveWidget, describe_error, is_engine
from rome_widgets.widgets.live.traits import text

Spans = list[list[Any]]
"""Pieces of a text, each `[differs, piece]`; joined they are the text."""


@dataclass(eq=False)
class Generation:
    """A run from the moment it is asked for until it has ended; whoever waits for it holds it."""

    prompts: Sequence[str]
    max_new_tokens: int
    columns: Sequence[str]
    texts: list[dict[str, str]] = field(default_factory=list)
    """What was written so far, by column."""
    error: BaseException | None = None


class GenerationCompare(LiveWidget):
    """What a model writes before and after its edits; it streams in, then differences are marked.

    Args:
        model: A `LanguageModel`: without any edit against as it is now; or an `Edit`, applied or
            not: without it and with it; or an engine as `GenerationEngine` describes it. None shows
            `texts` only.
        prompts: What to continue: texts, chat messages or token ids; one, or several.
        columns: Names of the columns; the first is what the others are compared with.
        texts: Continuations made earlier: one mapping from column to text per prompt.
        max_new_tokens: How long each continuation may get.
        auto_run: Generate at once when there are prompts, a model, and no texts.
        theme, layout, tooltip, tabbable: See `RomeWidget`.

    Example:
        >>> rw.GenerationCompare(edit, ["The Space Needle is", "In the city of Seattle there is"])
        >>> rw.GenerationCompare(texts=[{"before": "in Seattle.", "after": "in Paris."}],
        ...                      prompts=["The Space Needle is"])
    """

    _esm, _css = bundle("edit")
    _view = t.Unicode("generations").tag(sync=True)
    _answers = "cells"
    _outputs = ("engine", "columns", "cells")
    _jobs = ("generate",)
    engine = t.Dict(help="Name of the model; `{}` without one.").tag(sync=True)
    prompts = t.List(t.Unicode(), help="What is continued.").tag(sync=True)
    columns = t.List(t.Unicode(), help="What the continuations of each prompt are of.").tag(
        sync=True
    )
    cells = t.List(
        help="One row per prompt: `{prompt, same, spans}` with the spans of each column."
    ).tag(sync=True)
    max_new_tokens = t.Int(30, min=1, max=1000, help="How long each continuation may get.").tag(
        sync=True
    )

    _run: Generation | None = None
    """The run asked for last, also when it has ended."""

    @takes(columns=texts_argument, texts=several, auto_run=truth)
    def __init__(
        self,
        model: Any = None,
        prompts: Any = (),
        *,
        columns: Sequence[str] = ("before", "after"),
        texts: Sequence[Mapping[str, str]] = (),
        max_new_tokens: int = 30,
        auto_run: bool = True,
        theme: Theme = "auto",
        layout: Any = None,
        tooltip: str | None = None,
        tabbable: bool | None = None,
    ) -> None:
        if model is not None and not is_engine(model):
            from rome_widgets.session.generation_engine import GeneratingEngine

            model = GeneratingEngine(model)
        self._engine: GenerationEngine | None = model
        engine = self._engine
        self._texts: list[dict[str, str]] = []
        if engine is None:
            prompts = texts_argument(prompts, "prompts")
        else:
            prompts = engine.read_prompts([prompts] if isinstance(prompts, str) else prompts)
        self._read = {text(prompt): prompt for prompt in prompts}
        """The prompts with the ids they were given as, by their text."""
        host = {"theme": theme, "layout": layout, "tooltip": tooltip, "tabbable": tabbable}
        super().__init__(
            None if engine is None else engine.session,
            engine={} if engine is None else {"model": text(engine.model_name)},
            prompts=[text(prompt) for prompt in prompts],
            columns=[text(column) for column in columns],
            max_new_tokens=max_new_tokens,
            status="static" if engine is None else "idle",
            **host,
        )
        if texts:
            self._show(self.prompts, texts, marked=True)
        elif auto_run and engine is not None and self.prompts:
            self.run()

    @property
    def texts(self) -> list[dict[str, str]]:
        """Continuations by column, one row per prompt."""
        return [dict(row) for row in self._texts]

    @takes(wait=truth)
    def run(self, wait: bool = False) -> list[dict[str, str]] | None:
        """Generate for every prompt; a run that is under way is superseded.

        Args:
            wait: Return when it is done. Ctrl-C then cancels it, and its error is raised.

        Returns:
            The texts when waited for, else None.

        Raises:
            Cancelled: It was cancelled; its `partial` are the texts so far, as `texts` has them.
        """
        self._refuse_to_wait(wait)
        if self._engine is None:
            raise RomeWidgetsError(
                "There is no model to ask: this comparison shows recorded texts.",
                remedy="Make a GenerationCompare with a model to generate more.",
            )
        with self._writing:
            self._run = run = Generation(
                tuple(self._read.get(prompt, prompt) for prompt in self.prompts),
                self.max_new_tokens,
                tuple(self.columns),
            )
            self._errors.clear()
            job = Job(
                run,
                partial(_generate, self._engine),
                on_started=self._generation_started,
                on_progress=self._streamed,
                on_done=self._generated,
                on_cancelled=self._generation_cancelled,
                on_failed=self._generation_failed,
                is_current=self._is_current,
                latest=False,
            )
            self._submit("generate", job)  # First: an observer may raise.
            self._write(status="queued", progress=0.0, error=None)
        if not wait:
            return None
        self._wait_for(self._places(), self.cancel, run)
        return self.texts

    def cancel(self) -> None:
        """Stop generating; what was written stays on screen."""
        with self._writing:
            if self._worker.cancel(self._slots["generate"]) and self._run is not None:
                self._run.error = Cancelled("The generation was cancelled before it began.")
                self.status = "cancelled"

    @t.observe("prompts", "max_new_tokens")
    def _form_changed(self, change: dict) -> None:
        self._settle("form")

    @t.observe("_request")
    def _requested(self, change: dict) -> None:
        self._hear(lambda: self._asked(change["new"], {"generate": self.run}))

    def _is_current(self, run: Generation) -> bool:
        return run is self._run

    def _generation_started(self, run: Generation) -> None:
        run.texts = [{} for _ in run.prompts]
        self._write(status="running", progress=0.0)
        self._show(run.prompts, run.texts, marked=False)

    def _streamed(self, run: Generation, share: float) -> None:
        with self.hold_sync():
            self._show(run.prompts, run.texts, marked=False)
            self.progress = share

    def _generated(self, run: Generation, texts: Sequence[Mapping[str, str]]) -> None:
        self._texts = _clean(texts)
        with self.hold_sync():
            try:  # Else than here, some columns may not have been begun.
                self.columns = list(dict.fromkeys(name for row in self._texts for name in row))
                self._show(run.prompts, texts, marked=True)
                self.progress = 1.0
            finally:  # Also where an observer of the user's raises.
                self.status = "done"

    def _generation_cancelled(self, run: Generation, stopped: Cancelled) -> None:
        run.error = Cancelled("The generation was cancelled.", _clean(run.texts))
        self._end_early(run, "cancelled")

    def _generation_failed(self, run: Generation, error: Exception) -> None:
        run.error = error
        with self.hold_sync():
            try:
                self._report("run", describe_error(error))
            finally:
                self._end_early(run, "error")

    def _end_early(self, run: Generation, status: str) -> None:
        with self.hold_sync():
            try:  # There may be more than was shown of it.
                self._show(run.prompts, run.texts, marked=True)
            finally:
                self.status = status

    def _show(
        self, prompts: Sequence[str], texts: Sequence[Mapping[str, str]], marked: bool
    ) -> None:
        self._texts = _clean(texts)
        self.cells = [
            _row(prompt, row, self.columns, marked)
            for prompt, row in zip(prompts, self._texts, strict=False)
        ]

    def to_text(self) -> str:
        """Prompts and their continuations."""
        return fallback.generations_text(type(self).__name__, self.columns, self.cells)

    def to_html_table(self) -> str:
        """Prompts by columns as a table, all text escaped, differing words underlined."""
        return fallback.generations_table(self.columns, self.cells)


def _clean(texts: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    try:
        return [{text(column): text(each) for column, each in row.items()} for row in texts]
    except AttributeError:
        raise ArgumentError(
            f"The texts are {said(texts)}.",
            "For each prompt a mapping was wanted, from a column's name to its text.",
        ) from None


def _row(
    prompt: str, row: Mapping[str, str], columns: Sequence[str], marked: bool
) -> dict[str, Any]:
    texts = [row.get(column, "") for column in columns]
    same = marked and len(set(texts)) == 1 and all(column in row for column in columns)
    plain = [[[False, each]] for each in texts]
    spans = _marked(texts) if marked and not same and "" not in texts else plain
    return {"prompt": text(prompt), "same": same, "spans": spans}


def _marked(texts: Sequence[str]) -> list[Spans]:
    """Each text in pieces: the first against the second, every other against the first."""
    pairs = [diff(texts[0], other) for other in texts[1:]]
    return [pairs[0][0], *(pair[1] for pair in pairs)] if pairs else [[[False, texts[0]]]]


def diff(before: str, after: str) -> tuple[Spans, Spans]:
    """Both texts in pieces that say which words differ. Spaces go with the word they follow."""
    a, b = (re.findall(r"\s*\S+|\s+$", each) for each in (before, after))
    left: Spans = []
    right: Spans = []
    for op, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for spans, words in ((left, a[i:j]), (right, b[k:m])):
            piece = "".join(words)
            word = piece.lstrip()
            if op != "equal" and word != piece:  # A space is nothing to mark.
                spans.append([False, piece[: len(piece) - len(word)]])
                piece = word
            if piece:
                spans.append([op != "equal", piece])
    return left, right


def _generate(
    engine: GenerationEngine, run: Generation, progress: Tell[float], stop: Stop
) -> Sequence[Mapping[str, str]]:
    def told(step: GenerationStep) -> None:
        run.texts[step.prompt][step.column] = step.text
        begun = [len(row) for row in run.texts]
        progress((sum(begun) - 1) / (len(begun) * max(len(run.columns), *begun)))

    return engine.generate(run.prompts, run.max_new_tokens, told, stop)
