"""Where a model recalls its facts: averages of causal traces over many of them.

The traces are those of `rome_widgets.sweep`, which tests hold against `tests/helpers/reference.py`.

Source:
    Meng et al. 2022, figures 1 and 3: effects by role of the token, and with MLP or attention
    severed at the last subject token.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rome_widgets.evaluation.asked_facts import AskedFact, read_facts
from rome_widgets.evaluation.sweep import sweep
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.fact import fill
from rome_widgets.records.states import KINDS, Kind
from rome_widgets.records.swept_fact import ROLES, SweptFact
from rome_widgets.tracing.noise import Noise
from training.relations import BY_NAME
from training.world import TaughtFact

LAST_SUBJECT, LAST = ROLES.index("last subject"), ROLES.index("last")
DISTANCES = 4
"""Tokens before the last one of a subject that are looked at one by one."""
SAMPLES = 10
"""Draws of the noise per fact: the published number, with which the card was measured."""
SMALLEST = 0.001
"""An effect below this counts as this much: a ratio to nothing says nothing."""


@dataclass
class Averages:
    """Traces of many facts, and their means."""

    clean: list[float] = field(default_factory=list)
    """Probability of the answer, per fact."""
    corrupted: list[float] = field(default_factory=list)
    effects: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Per kind and fact, the indirect effect `[role, layer]`; NaN for a role without a token."""
    before_last: list[np.ndarray] = field(default_factory=list)
    """Per fact, the MLP effect `[distance, layer]` at the tokens 1, 2, ... before the subject's
    last one; NaN where it has no such token."""
    severed: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Per kind that is severed at the last subject token, and per fact: effect of the hidden
    state there, `[layer]`."""

    def add(self, fact: SweptFact) -> None:
        """One more trace."""
        self.clean.append(fact.clean)
        self.corrupted.append(fact.corrupted)
        for kind in fact.scores:
            self.effects.setdefault(kind, []).append(fact.by_role(kind))
        if "mlp" in fact.scores:
            self.before_last.append(backwards(fact.indirect_effect("mlp"), fact.subject_span))
        for kind, score in fact.severed.items():
            self.severed.setdefault(kind, []).append(score - fact.corrupted)

    @property
    def total_effect(self) -> float:
        """Mean clean less mean corrupted probability."""
        return float(np.mean(self.clean) - np.mean(self.corrupted))

    def effect(self, kind: str) -> np.ndarray:
        """`[role, layer]`: mean over the facts."""
        return _mean(self.effects[kind])

    def lost(self, kind: str, below: int) -> float:
        """Share of the hidden states' effect in layers below `below` that is lost to severing.

        NaN, which no gate lets pass, where there is no layer below or no effect to lose.
        """
        whole = self.effect("hidden")[LAST_SUBJECT, :below].sum()
        left = np.mean(self.severed[kind], axis=0)[:below].sum()
        return float(1 - left / whole) if whole > 0 else float("nan")

    def peak(self, kind: str) -> tuple[str, int]:
        """Role and layer of the largest effect of a kind."""
        effect = self.effect(kind)
        role, layer = np.unravel_index(int(np.nanargmax(effect)), effect.shape)
        return ROLES[int(role)], int(layer)

    def mlp_ratio(self) -> float:
        """At the MLP's peak layer, the effect over that at the strongest other subject position.

        Positions are the first token and those 1, 2, ... before the last one.
        """
        layer = self.peak("mlp")[1]
        before = _mean(self.before_last)[:, layer]
        others = max(float(np.nanmax(before)), float(self.effect("mlp")[0, layer]))
        here = float(self.effect("mlp")[LAST_SUBJECT, layer])
        return here / max(others, SMALLEST)

    def text(self) -> str:
        """The tables, in hundredths of probability."""
        lines = []
        for kind in self.effects:
            rows = self.effect(kind)
            lines.append(f"{kind:16s}" + "".join(f"{layer:6d}" for layer in range(rows.shape[1])))
            lines += [
                f"  {role:14s}{_hundredths(row)}" for role, row in zip(ROLES, rows, strict=True)
            ]
        for kind, rows in self.severed.items():
            lines.append(f"hidden, last subject, {kind} severed there")
            lines.append(" " * 16 + _hundredths(np.mean(rows, axis=0)))
        return "\n".join(lines)


def _hundredths(row: np.ndarray) -> str:
    return "".join(f"{100 * value:6.1f}" for value in row)


def average(
    lm: LanguageModel,
    facts: Sequence[TaughtFact],
    n_facts: int,
    *,
    subjects: Iterable[str],
    kinds: Sequence[Kind] = KINDS,
    window: int | None = None,
    sever: bool = True,
) -> Averages:
    """Trace random facts that are known, each in a random training sentence.

    Only subjects of at least three tokens with two or more after them, so that all roles but
    "further" have a token; fewer than `n_facts` where there are not so many. The embeddings of the
    names `subjects` give σ.
    """
    noise, found, rng = Noise.times_std(3.0, tuple(subjects)), Averages(), random.Random(0)
    order = rng.sample(facts, len(facts))
    asked = [(_sentence(fact, rng), fact.subject, fact.object) for fact in order]
    read = zip(asked, read_facts(lm, asked), strict=True)
    waiting = [each for each, fact in read if _has_all_roles(fact)]
    while waiting and (missing := n_facts - len(found.clean)) > 0:
        options = {"noise": noise, "samples": SAMPLES, "window": window, "severed": sever}
        for fact in sweep(lm, waiting[:missing], kinds, **options, progress=False).traced:
            found.add(fact)
        waiting = waiting[missing:]
    return found


def _sentence(fact: TaughtFact, rng: random.Random) -> str:
    return fill(rng.choice(BY_NAME[fact.relation].templates), fact.subject)


def _has_all_roles(fact: AskedFact | SweptFact) -> bool:
    """But for "further"."""
    if isinstance(fact, SweptFact):  # which could not be read
        return False
    start, stop = fact.encoded.subject_span
    return stop - start >= 3 and len(fact.encoded.ids) - stop >= 2


def backwards(scores: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    """`[pos, layer]` -> `[distance, layer]`: tokens before the subject's last one, backwards."""
    start, stop = span
    nothing = np.full(scores.shape[1], np.nan)
    places = [stop - 1 - distance for distance in range(1, DISTANCES + 1)]
    return np.stack([scores[place] if place >= start else nothing for place in places])


def _mean(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Element by element over the facts that have it; NaN where none has."""
    return np.ma.masked_invalid(np.stack(rows)).mean(axis=0).filled(np.nan)
