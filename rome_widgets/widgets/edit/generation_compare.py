"""Generated text before and after: prompts by columns, differing words marked."""

from __future__ import annotations

import difflib
import logging
import re
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import traitlets as t

from rome_widgets.errors import Cancelled, RomeWidgetsError
from rome_widgets.widgets import fallback
from rome_widgets.widgets.edit.engine import GeneratingEngine, GenerationStep
from rome_widgets.widgets.live.base import bundle
from rome_widgets.widgets.live.live_widget import PROGRESS_EVERY, LiveWidget, Slot, describe_error
from rome_widgets.widgets.live.traits import text
from rome_widgets.widgets.live.worker import Job, Worker, worker_for

logger = logging.getLogger(__name__)

Spans = list[list[Any]]
"""Pieces of a text, each `[differs, piece]`; joined they are the text."""


class GenerationCompare(LiveWidget):
    """What a model writes, column by column; it streams in, then differing words are marked.

    Args:
        engine: The model, as `protocol.GeneratingEngine` describes it; None shows `texts` only.
        prompts: What to continue.
        columns: Names of the columns; the first is what the others are compared with.
        texts: Continuations made earlier: one mapping from column to text per prompt.
        max_new_tokens: How long each continuation may get.
        worker: Where to compute; one per engine if not given.
        auto_run: Generate at once when there are prompts, an engine, and no texts.

    Example:
        >>> GenerationCompare(texts=[{"before": "in Seattle.", "after": "in Paris."}],
        ...                   prompts=["The Space Needle is"])
    """

    _esm, _css = bundle("edit")
    _view = t.Unicode("generations").tag(sync=True)
    _answers = "cells"
    engine = t.Dict().tag(sync=True)
    """Name of the model; `{}` without one."""
    prompts = t.List(t.Unicode()).tag(sync=True)
    columns = t.List(t.Unicode()).tag(sync=True)
    cells = t.List().tag(sync=True)
    """One row per prompt: `{prompt, same, spans}` with the spans of each column."""
    max_new_tokens = t.Int(30, min=1, max=1000).tag(sync=True)

    def __init__(
        self,
        engine: GeneratingEngine | None = None,
        prompts: Iterable[str] = (),
        *,
        columns: Sequence[str] = ("before", "after"),
        texts: Sequence[Mapping[str, str]] = (),
        max_new_tokens: int = 30,
        worker: Worker | None = None,
        auto_run: bool = True,
        **kwargs: Any,
    ) -> None:
        self._engine = engine
        self._slot = Slot(self, "generate")
        self._runs = 0
        self._texts: list[dict[str, str]] = []
        self._failure: BaseException | None = None
        name = engine.model_name if engine is not None else ""
        super().__init__(
            worker=worker or (worker_for(engine, name) if engine is not None else Worker()),
            engine={"model": text(name)} if engine is not None else {},
            prompts=[text(prompt) for prompt in prompts],
            columns=[text(column) for column in columns],
            max_new_tokens=max_new_tokens,
            status="static" if engine is None else "idle",
            **kwargs,
        )
        weakref.finalize(self, self._worker.cancel, self._slot).atexit = False
        if texts:
            self._texts = _clean(texts)
            self._show(self.prompts, marked=True)
        elif auto_run and engine is not None and self.prompts:
            self.run()

    @property
    def texts(self) -> list[dict[str, str]]:
        """Continuations by column, one row per prompt."""
        return [dict(row) for row in self._texts]

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
            self._runs += 1
            self._failure = None
            self._errors.clear()
            job = _generate_job(self, self._engine, tuple(self.prompts), self._runs)
            self._worker.submit(self._slot, job)  # First: an observer may raise.
            self._write(status="queued", progress=0.0, error=None)
        if not wait:
            return None
        try:
            self.wait()
        except KeyboardInterrupt:
            self.cancel()
            raise
        if self._failure is not None:
            raise self._failure
        return self.texts

    def cancel(self) -> None:
        """Stop generating; what was written stays on screen."""
        with self._writing:
            if self._worker.cancel(self._slot):  # It never started.
                self._runs += 1
                self._failure = Cancelled("The generation was cancelled before it began.")
                self.status = "cancelled"

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the generation asked for is done.

        Returns:
            False when `timeout` seconds passed first.
        """
        self._refuse_to_wait()
        return self._worker.wait([self._slot], timeout)

    def close(self) -> None:
        """Cancel what is running and close the page's end."""
        if getattr(self, "_slot", None):  # ipywidgets closes half-built widgets, too.
            self._worker.cancel(self._slot)
        super().close()

    @t.observe("prompts", "max_new_tokens")
    def _form_changed(self, change: dict) -> None:
        self._settle("form")

    @t.observe("_request")
    def _requested(self, change: dict) -> None:
        if (change["new"] or {}).get("op") == "generate" and self._engine is not None:
            self.run()

    # What the job calls, on the worker's thread and with the writing lock held.

    def _started(self, prompts: Sequence[str]) -> None:
        self._texts = [{} for _ in prompts]
        self._write(status="running", progress=0.0)
        self._show(prompts, marked=False)

    def _streamed(
        self, prompts: Sequence[str], texts: Iterable[Mapping[str, str]], progress: float
    ) -> None:
        self._texts = _clean(texts)
        with self.hold_sync():
            self._show(prompts, marked=False)
            self.progress = progress

    def _ended(
        self,
        prompts: Sequence[str],
        status: str,
        texts: Sequence[Mapping[str, str]] | None,
        error: BaseException | None,
    ) -> None:
        if texts is not None:
            self._texts = _clean(texts)
        self._failure = error
        if status == "cancelled":
            self._failure = Cancelled("The generation was cancelled.", self.texts)
        with self.hold_sync():
            try:
                if status == "done":  # Else some columns may not have been begun.
                    self.columns = list(dict.fromkeys(name for row in self._texts for name in row))
                self._show(prompts, marked=True)
                if error is not None:
                    self._report("run", describe_error(error))
                self.progress = 1.0 if status == "done" else self.progress
            finally:  # Also where an observer of the user's raises.
                self.status = status

    def _show(self, prompts: Sequence[str], marked: bool) -> None:
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
    return [{text(column): text(each) for column, each in row.items()} for row in texts]


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


def _generate_job(
    widget: GenerationCompare, engine: GeneratingEngine, prompts: Sequence[str], run: int
) -> Job:
    """A generation as the worker runs it. Holds the widget only while it writes to it."""
    ref, tokens, columns = weakref.ref(widget), widget.max_new_tokens, list(widget.columns)

    def tell(method: str, *args: Any) -> None:
        if (there := ref()) is not None:
            with there._writing:
                if there._runs == run:
                    getattr(there, method)(*args)

    def job(cancelled: Callable[[], bool]) -> None:
        texts: list[dict[str, str]] = [{} for _ in prompts]
        last = float("-inf")

        def progressed(step: GenerationStep) -> None:
            nonlocal last
            texts[step.prompt][step.column] = step.text
            if (now := time.monotonic()) - last >= PROGRESS_EVERY:
                last = now
                begun = sum(len(row) for row in texts) - 1
                tell("_streamed", prompts, texts, begun / _cells(texts, columns))

        try:
            tell("_started", prompts)
            done = engine.generate(
                prompts, tokens, progressed, lambda: cancelled() or ref() is None
            )
        except Cancelled:
            end = ("cancelled", texts, None)
        except Exception as error:
            if not isinstance(error, RomeWidgetsError):
                logger.exception("Generating failed")
            end = ("error", None, error)
        else:
            end = ("done", done, None)
        try:
            tell("_ended", prompts, *end)
        except Exception as error:  # An observer of the user's; the run must still end.
            logger.exception("Showing what was generated failed")
            tell("_show_failed", error)

    return job


def _cells(texts: Sequence[Mapping[str, str]], columns: Sequence[str]) -> int:
    return max(1, len(texts) * max([len(columns), *(len(row) for row in texts)]))
