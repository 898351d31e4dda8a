"""The runs of an explorer: kept as they ended, named by a number, brought back by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rome_widgets.errors import StateError, said
from rome_widgets.records.html import plural
from rome_widgets.records.numbers import as_whole
from rome_widgets.records.trace_metric import TITLES
from rome_widgets.widgets.live.traits import encodable, text
from rome_widgets.widgets.trace.trace_run import Run

MOST_RUNS = 20
"""Runs that are kept; the oldest goes first."""
OF_THE_TRACE = ("answer", "clean", "corrupted", "complete")


class RunHistory:
    """The last `MOST_RUNS` runs. Of the same settings on the same weights, the latest."""

    def __init__(self) -> None:
        self._runs: dict[int, Run] = {}
        self._count = 0

    def add(self, run: Run) -> Run:
        """Keep a run; returns it with its number."""
        self._count += 1
        run = replace(run, id=self._count)
        kept = [each for each in self._runs.values() if each.basis != run.basis]
        self._runs = {each.id: each for each in [*kept, run][-MOST_RUNS:]}
        return run

    def update(self, run: Run) -> None:
        """Keep what changed about a run that is there."""
        if run.id in self._runs:
            self._runs[run.id] = run

    def find(self, run: int) -> Run:
        """The run of this number; a `StateError` where it is not kept."""
        number = as_whole(run)
        if number not in self._runs:
            raise StateError(
                f"There is no run {said(run)}.",
                f"Kept are {', '.join(map(str, self._runs)) or 'none yet'}.",
                "Trace it again.",
            )
        return self._runs[number]

    def describe(self) -> list[dict[str, Any]]:
        """The `history` trait, oldest first."""
        return [
            {
                "id": run.id,
                "settings": vars(run.settings),
                "words": text(_in_words(run)),
                "edits": run.edits,
                **{name: encodable(getattr(run.trace, name)) for name in OF_THE_TRACE},
            }
            for run in self._runs.values()
        ]


def _in_words(run: Run) -> str:
    """The settings besides prompt and subject, and what else sets a run apart."""
    asked, window = run.settings, run.settings.window
    said = [f"window {'auto' if window is None else window}"]
    if asked.other_subject:
        said.append(f"“{asked.other_subject}” in its place")
    else:
        said += [f"noise {asked.noise:g} × σ", f"{asked.samples} samples", f"seed {asked.seed}"]
    if asked.metric != "probability":
        said.append(TITLES[asked.metric])
    if asked.against is not None:
        said.append(f"against {asked.against}")
    if asked.answer is not None:
        said.append(f"answer {asked.answer}")
    if asked.all_mentions:
        said.append("every mention")
    if run.edits:
        said.append(plural(run.edits, "edit"))
    if not run.trace.complete:
        said.append("cancelled")
    return " · ".join(said)
