"""Python that shows again, without a widget, what a widget shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rome_widgets.records.html import plural
from rome_widgets.records.states import State
from rome_widgets.records.subject import subject_places
from rome_widgets.widgets.trace.trace_settings import TraceSettings


def trace_code(
    load: str,
    settings: TraceSettings,
    cells: Iterable[State],
    score: float | None = None,
    edits: int = 0,
    *,
    single: bool = False,
) -> str:
    """A script: the model by the expression `load`, the trace, and the restoration of `cells`.

    Where they are `single` states, of these alone. It tells the reader the `score` to expect,
    and the number of edits that it does not make.
    """
    answer = settings.answer if settings.answer_id is None else settings.answer_id
    lines = [
        "import rome_widgets as rw",
        "",
        *([f"# The model held {plural(edits, 'edit')}: apply the same here."] if edits else []),
        f"lm = {load}  # or the model that you have loaded already",
        "tracer = rw.CausalTracer(",
        "    lm,",
        f"    {settings.prompt if settings.ids is None else list(settings.ids)!r},",
        f"    {_subject(settings)!r},",
        *_corruption(settings),
        f"    window={settings.window},",
        f"    answer={answer!r},",
        *([] if settings.metric == "probability" else [f"    metric={settings.metric!r},"]),
        *([] if settings.against is None else [f"    against={settings.against!r},"]),
        *(['    occurrence="all",'] if settings.all_mentions and not settings.said else []),
        ")",
        "trace = tracer.trace()",
        "print(trace)",
    ]
    if chosen := [tuple(cell) for cell in cells]:
        known = "" if score is None else f"  # {score:.6f}"
        lines += ["", *_restoring(chosen, single), f"print(restoration.score){known}"]
    return "\n".join(lines) + "\n"


def _corruption(settings: TraceSettings) -> list[str]:
    """Another subject, or noise and how it is drawn."""
    if settings.other_subject:
        return [f"    noise=rw.Subject({settings.other_subject!r}),"]
    names = ("noise", "samples", "seed")
    return [f"    {name}={getattr(settings, name)!r}," for name in names]


def _subject(settings: TraceSettings) -> Any:
    """The subject, or its characters: a text alone does not tell which words messages said."""
    if settings.all_mentions and settings.said:
        return subject_places(settings.prompt, settings.subject, settings.said)
    return settings.place or settings.subject


def _restoring(chosen: list[tuple[Any, ...]], single: bool) -> list[str]:
    listed = [f"    {each!r}," for each in chosen]
    if single:
        return ["states = [", *listed, "]", "restoration = tracer.restore(states)"]
    return [
        "# Each cell of the grid restores the states of its window.",
        "cells = [",
        *listed,
        "]",
        "states = {state for cell in cells for state in tracer.cell(*cell)}",
        "restoration = tracer.restore(states)",
    ]
