"""Next-token predictions of several runs side by side. No model is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import traitlets as t

from rome_widgets.errors import StateError, said
from rome_widgets.records.edit import Comparison
from rome_widgets.records.trace import Restoration
from rome_widgets.widgets import fallback
from rome_widgets.widgets.live.base import RomeWidget, Theme, bundle
from rome_widgets.widgets.live.traits import encodable

Metric = Literal["prob", "logprob", "rank"]
RESTORATION = ("clean", "corrupted", "restored")
MOST_TOKENS = 20
"""Likeliest tokens of each run of a restoration that can be shown."""


@dataclass(frozen=True)
class PredictionRun:
    """States what one run predicts next: its likeliest tokens, and others worth following.

    Example:
        >>> rw.PredictionRun("clean", [" Seattle", " Paris"], [0.94, 0.01])
    """

    name: str
    tokens: Sequence[str]
    probabilities: Sequence[float]
    """Of each token, in [0, 1]."""
    ranks: Sequence[int] | None = None
    """1 is the likeliest. None: the tokens are the likeliest ones, in any order."""


Runs = Comparison | Restoration | Iterable[PredictionRun | Mapping[str, Any]]


class PredictionCompare(RomeWidget):
    """Compares what runs predict next: the union of their likeliest tokens, number by number.

    Args:
        runs: A comparison of an edit, as `Edit.compare` gives for each prompt; a restoration;
            or `PredictionRun`s, or dicts with its fields.
        k: Tokens of each run to show; the table shows all that are among any run's first k.
        metric: "prob", "logprob" or "rank".
        baseline: Which run the others are compared with.
        target: A token that is always shown; None: what the runs are about, if they say so.
        target_of: The word that this token begins, where it is longer.
        sort: What to sort by: "token", a run's place such as "1", or its difference, "d1"; None:
            the last run.
        descending: Whether the largest comes first.
        theme, layout, tooltip, tabbable: See `RomeWidget`.

    Example:
        >>> PredictionCompare(*edit.compare("The Space Needle is in the city of"))
        >>> PredictionCompare(tracer.restore([(3, 5, "mlp")]))
        >>> PredictionCompare([rw.PredictionRun("clean", [" Seattle", " Paris"], [0.94, 0.01]),
        ...                    rw.PredictionRun("edited", [" Paris", " Seattle"], [0.91, 0.04])])
    """

    _esm, _css = bundle("edit")
    _view = t.Unicode("predictions").tag(sync=True)
    _outputs = ("runs", "rows", "whole", "target_of")
    runs = t.List(help="Names of the runs.").tag(sync=True)
    rows = t.List(
        help=("One per token of any run: token, and probs and ranks by run, None where unknown.")
    ).tag(sync=True)
    k = t.Int(5, min=1, help="Rows shown: the first tokens of each run.").tag(sync=True)
    metric = t.Enum(
        get_args(Metric), "prob", help="What the table compares: prob, logprob or rank."
    ).tag(sync=True)
    baseline = t.Int(0, min=0, help="The run that the others are compared with.").tag(sync=True)
    target = t.Unicode(
        None, allow_none=True, help="The token that is always shown; None: none."
    ).tag(sync=True)
    target_of = t.Unicode(
        "", help='The word that `target` is the first token of; "" where it is no longer.'
    ).tag(sync=True)
    whole = t.List(
        help="Probability of all tokens of that word by run; empty where it is not known."
    ).tag(sync=True)
    sort = t.Unicode(
        "0",
        help=(
            '"token", the place of a run, or `d` and the place for its difference to the baseline.'
        ),
    ).tag(sync=True)
    descending = t.Bool(True, help="Largest first.").tag(sync=True)

    def __init__(
        self,
        runs: Runs = (),
        *,
        k: int = 5,
        metric: Metric = "prob",
        baseline: int = 0,
        target: str | None = None,
        target_of: str = "",
        sort: str | None = None,
        descending: bool = True,
        theme: Theme = "auto",
        layout: Any = None,
        tooltip: str | None = None,
        tabbable: bool | None = None,
    ) -> None:
        traits = _traits(runs)
        if target is not None:
            traits.update(target=target, target_of=target_of, whole=[])
        if sort is not None:
            traits["sort"] = sort
        view = {"k": k, "metric": metric, "baseline": baseline, "descending": descending}
        host = {"theme": theme, "layout": layout, "tooltip": tooltip, "tabbable": tabbable}
        super().__init__(**traits, **view, **host)

    @t.validate("baseline")
    def _check_baseline(self, proposal: dict) -> int:
        if proposal["value"] >= max(1, len(self.runs)):
            raise t.TraitError(f"There is no run {said(proposal['value'])} to compare with.")
        return proposal["value"]

    @t.observe("rows")
    def _other_picture(self, change: dict) -> None:
        self._copy_still()

    def show(self, runs: Runs) -> None:
        """Other runs in place of these, sorted by the last and with a target of their own."""
        new = _traits(runs)
        self._write(**new, baseline=min(self.baseline, max(0, len(new["runs"]) - 1)))

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The rows on screen: the target, and whatever is among the first k of any run."""
        return [
            row
            for row in self.rows
            if row["token"] == self.target
            or any(rank is not None and rank <= self.k for rank in row["ranks"])
        ]

    @property
    def _rows_in_words(self) -> list[dict[str, Any]]:
        """What is on screen, and the whole word where it is known."""
        if not self.whole or not self.shown:
            return self.shown
        whole = {"token": f"all of “{self.target_of}”", "probs": self.whole}
        return [*self.shown, {**whole, "ranks": [None] * len(self.whole)}]

    def to_text(self) -> str:
        """Each shown token with its probabilities."""
        return fallback.predictions_text(type(self).__name__, self.runs, self._rows_in_words)

    def to_html_table(self) -> str:
        """The comparison as a table, all text escaped."""
        return fallback.predictions_table(self.runs, self._rows_in_words, self.baseline)


def _traits(runs: Runs) -> dict[str, Any]:
    read, target, word, whole = _read(runs), None, "", ()
    if isinstance(runs, Comparison):
        target, word, whole = runs.target.token, runs.word, runs.whole or ()
    elif isinstance(runs, Restoration):
        target = runs.answer
        if runs.whole is not None:
            word, whole = runs.whole.text, runs.whole[2:]
    known, rows = [_by_token(run) for run in read], []
    for token in dict.fromkeys(token for each in known for token in each):
        found = [each.get(token, (None, None)) for each in known]
        probabilities, ranks = zip(*found, strict=True)
        rows.append({"token": token, "probs": probabilities, "ranks": ranks})
    return encodable(
        {
            "runs": [run.name for run in read],
            "rows": rows,
            "sort": str(max(0, len(read) - 1)),
            "target": target,
            "whole": list(whole),
            "target_of": "" if target is None or word.strip() == target.strip() else word,
        }
    )


def _read(runs: Runs) -> list[PredictionRun]:
    if isinstance(runs, Comparison):
        tokens, _, before, after, before_ranks, after_ranks = zip(*runs.rows, strict=True)
        return [
            PredictionRun("before", tokens, before, before_ranks),
            PredictionRun("after", tokens, after, after_ranks),
        ]
    if isinstance(runs, Restoration):
        return [_of_restoration(runs, *named) for named in enumerate(RESTORATION)]
    if not isinstance(runs, Iterable) or isinstance(runs, (str, Mapping)):
        raise _no_runs(runs)
    try:
        listed = list(runs)
    except Exception:
        raise _no_runs(runs) from None
    return [_read_run(run) for run in listed]


def _read_run(run: Any) -> PredictionRun:
    if isinstance(run, PredictionRun):
        return run
    try:
        return PredictionRun(**run)
    except TypeError:
        raise _no_runs(run) from None


def _no_runs(found: Any) -> StateError:
    return StateError(
        f"{said(found)} is nothing to compare.",
        "A list of runs was wanted, each with its name, tokens and probabilities.",
        "Pass what edit.compare or tracer.restore returns, or a list of PredictionRun.",
    )


def _of_restoration(found: Restoration, run: int, name: str) -> PredictionRun:
    """One of its runs, with every token that is likely in any of them."""
    order = np.argsort(-found.distributions, axis=1, kind="stable")
    likely = [found.answer_id, *order[:, :MOST_TOKENS].flatten().tolist()]
    ids = [token for token in dict.fromkeys(likely) if token in found.token_texts]
    places = np.argsort(order[run])
    return PredictionRun(
        name,
        [found.token_texts[token] for token in ids],
        found.distributions[run, ids].tolist(),
        (places[ids] + 1).tolist(),
    )


def _by_token(run: PredictionRun) -> dict[str, tuple[float, int]]:
    sizes = {len(run.tokens), len(run.probabilities), len(run.ranks or run.tokens)}
    if len(sizes) != 1:
        raise StateError(
            f"The run {run.name!r} has {len(run.tokens)} tokens and {len(run.probabilities)} "
            "probabilities.",
            "One probability, and one rank if any, per token was wanted.",
        )
    order = np.argsort([-p for p in run.probabilities], kind="stable")
    ranks = run.ranks or (1 + np.argsort(order)).tolist()
    return {
        token: (float(p), int(rank))
        for token, p, rank in zip(run.tokens, run.probabilities, ranks, strict=True)
    }
