"""Search for a small set of states that restores the prediction: the light-blue path of figure 1.

Greed first: again and again the one state, of all that are left, that brings most back, until
enough is; where it stops short, again without the state that it began with. Then every state is
dropped that the others do without, and one state is taken for two where that is enough, too.
Of many states those are tried that a first-order estimate, made beside the states that are
restored by then, ranks highest: it orders what is tried, and says nothing in the result.
Which sets of states suffice is a question about all sets, and this asks few of them: no state of
the result can be left out, yet a smaller set may have been missed. `benchmarks/results/path.json`
says how often, against every set of up to three states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from rome_widgets.errors import Cancelled
from rome_widgets.records.explanations import RestoringPath
from rome_widgets.records.states import State
from rome_widgets.records.trace import CancelFlag
from rome_widgets.tracing.runs import Check

Scores = Callable[[Sequence[Sequence[State]], Check], np.ndarray]
"""The metric with each of some sets restored; calls the check now and then."""

Estimate = Callable[[Sequence[State], Sequence[State]], np.ndarray | None]
"""Beside some states, of each of others roughly the same number with it restored, too; None where
nobody can say."""

LEVEL = 1e-6
"""Scores no further apart are level, and the first goes: restoring what attention puts out is, at
the first layer, often restoring the state, and rounding should not be what decides. Of metrics
whose numbers are larger than 1, a share of the total effect."""
STARTS = 3
"""Times that greed may begin."""
TRIED = 64
"""States that are tried as the next one, where there is an estimate of which are worth it."""
PROMISING = 24
"""States that are tried over all draws beside a path that fewer draws gave."""
EXCHANGED_PAIRS = 12
"""Pairs of states for which a single one is sought, those first that the rest misses least. Each
costs as much as a step of greed."""


@dataclass
class Budget:
    """How many sets of states may be tried; one for all parts of a search."""

    most: int | None = None
    """None: as many as it takes."""
    told: Callable[[int, int | None], None] = lambda spent, most: None
    """Called with what is spent, and the most, after each part."""
    spent: int = 0

    @property
    def left(self) -> float:
        """How many more may be tried."""
        return math.inf if self.most is None else self.most - self.spent

    def spend(self, n_sets: int) -> None:
        """Note that so many were tried."""
        self.spent += n_sets
        self.told(self.spent, self.most)


class _Spent(Exception):
    """The budget does not do for the next step."""


def better(one: RestoringPath, other: RestoringPath) -> RestoringPath:
    """The one that brings enough back, else more; where both do, or are one set, the later `other`.

    What follows on a set that brings enough back is one of fewer states, or in a better order.
    """
    if one.reached != other.reached:
        return one if one.reached else other
    if other.reached or sorted(one.states) == sorted(other.states):
        return other
    return max(one, other, key=lambda path: path.score)


@dataclass
class PathSearch:
    """The search for one path."""

    measure: Scores
    candidates: Sequence[State]
    """States to choose from."""
    path: RestoringPath
    """The set that is being worked on; at first without a state: what is sought, in which runs."""
    max_states: int
    """Where greed ends."""
    progress: Callable[[RestoringPath], None] | None = None
    """Called with each set on the way."""
    cancel: CancelFlag | None = None
    """Checked between calls of the model."""
    first: Sequence[State] = ()
    """A path that a search over fewer draws found: it is tried before all candidates are."""
    roughly: Scores | None = None
    """The scores over those fewer draws."""
    estimate: Estimate | None = None
    """Which of many states to try; None tries all."""
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        path = self.path
        self._enough = path.corrupted + path.target * (path.clean - path.corrupted)
        self._best = path

    def run(self) -> RestoringPath:
        """The path; the best set, where the budget is spent before all of this is done.

        Raises:
            Cancelled: Carries the best set.
        """
        try:
            if not self._grow_from_first():
                self._grow()
            self._prune()
            while self.path.reached and not self.first and self._exchange():
                self._prune()
        except _Spent:
            self.path = self._best
        return replace(self.path, n_restored=self.budget.spent)

    def _grow_from_first(self) -> bool:
        """Take the path of fewer draws, and what it lacks over all of them; whether that does."""
        empty = self.path
        self._grow_from(self.first)
        if self.path.states and not self.path.reached:
            self._grow_from(self._promising())
            if not self.path.reached:
                self._grow_from(self.candidates)
            self._take_in_order(self.path.states)
        if not self.path.reached:
            self.path = empty
        return self.path.reached

    def _promising(self) -> list[State]:
        """The candidates that bring most back beside the path's states, over fewer draws."""
        left = [state for state in self.candidates if state not in self.path.states]
        if self.roughly is None or len(left) <= PROMISING:
            return left
        sets = [[*self.path.states, state] for state in left]
        found = self._ask(self.roughly, sets)
        return [left[at] for at in sorted(np.argsort(-found, kind="stable")[:PROMISING])]

    def _grow(self) -> None:
        """Be greedy; where that stops short, again without the states it started with.

        A strong state may stand in the way of others: a restored hidden state overwrites what its
        token brought from the layers below.
        """
        candidates, empty = list(self.candidates), self.path
        for _ in range(STARTS):
            self.path = empty
            self._grow_from(candidates)
            if self.path.reached or not self.path.states:
                break
            candidates.remove(self.path.states[0])
        self.path = self._best

    def _grow_from(self, candidates: Sequence[State]) -> None:
        """Go on from the path there is."""
        if len(self.path.states) >= self.max_states:
            return
        for states, scores in self._one_by_one(candidates, self.path):
            best = scores[-1]
            if best <= self.path.score:
                return
            self._take(states, scores, reached=best >= self._enough)
            if self.path.reached or len(states) == self.max_states:
                return

    def _prune(self) -> None:
        """Drop states, cheapest first, while the others bring enough back."""
        states = list(self.path.states)
        enough = min(self._enough, self.path.score)
        while states:
            without = [[s for s in states if s != dropped] for dropped in states]
            best, score = self._best_of(without)
            if score < enough:
                break
            states = without[best]
        if len(states) < len(self.path.states):
            self._take_in_order(states)

    def _exchange(self) -> bool:
        """Take one state for two, where that brings enough back; whether it did."""
        states = self.path.states
        others = [state for state in self.candidates if state not in states]
        kept = [
            [state for state in states if state not in pair] for pair in combinations(states, 2)
        ]
        if not others or not kept:
            return False
        left = self._measure(kept)
        for pair in np.argsort(-left, kind="stable")[:EXCHANGED_PAIRS]:
            sets = [[*kept[pair], other] for other in self._worth_trying(kept[pair], others)]
            best, score = self._best_of(sets)
            if score >= self._enough:
                self._take_in_order(sets[best])
                return True
        return False

    def _one_by_one(
        self, candidates: Sequence[State], begun: RestoringPath | None = None
    ) -> Iterator[tuple[tuple[State, ...], tuple[float, ...]]]:
        """Sets that grow by the state that brings most back, with what each step comes to."""
        states = () if begun is None else begun.states
        scores = () if begun is None else begun.scores
        while left := [state for state in candidates if state not in states]:
            left = self._worth_trying(states, left)
            best, score = self._best_of([[*states, state] for state in left])
            states, scores = (*states, left[best]), (*scores, score)
            yield states, scores

    def _worth_trying(self, beside: Sequence[State], states: list[State]) -> list[State]:
        """Those that the estimate ranks highest, in their order; all where they are few."""
        if self.estimate is None or len(states) <= TRIED:
            return states
        self._check()
        if (roughly := self.estimate(beside, states)) is None:
            return states
        ranks = np.argsort(-roughly, kind="stable")
        return [states[at] for at in sorted(ranks[:TRIED])]

    def _take_in_order(self, states: Sequence[State]) -> None:
        *_, (ordered, scores) = self._one_by_one(sorted(states))
        self._take(ordered, scores, reached=self.path.reached)

    def _take(self, states: tuple[State, ...], scores: tuple[float, ...], *, reached: bool) -> None:
        found = {"states": states, "scores": scores, "reached": reached}
        self.path = replace(self.path, **found, n_restored=self.budget.spent)
        self._best = better(self._best, self.path)
        if self.progress is not None:
            self.progress(self.path)

    def _best_of(self, sets: Sequence[Sequence[State]]) -> tuple[int, float]:
        found = self._measure(sets)
        level = LEVEL * max(1.0, self.path.clean - self.path.corrupted)
        best = int((found >= found.max() - level).argmax())
        return best, float(found[best])

    def _measure(self, sets: Sequence[Sequence[State]]) -> np.ndarray:
        return self._ask(self.measure, sets)

    def _ask(self, measure: Scores, sets: Sequence[Sequence[State]]) -> np.ndarray:
        if len(sets) > self.budget.left:
            raise _Spent
        found = measure(sets, self._check)
        self.budget.spend(len(sets))
        return found

    def _check(self) -> None:
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled(f"Cancelled after {self.budget.spent} sets of states.", self._best)
