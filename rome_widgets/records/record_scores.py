"""What a model says to all that is asked about one record, and the figures of that. No torch.

Source:
    ES to NM: Meng et al. 2022, section 3.3; zsRE: Mitchell et al. 2022; ripples, and that a
    question whose conditions the model does not know is not fair: Cohen et al. 2024.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from rome_widgets.records.figures import RIPPLE, RIPPLE_P
from rome_widgets.records.metrics import EditMetrics, PromptKind, PromptScore, WordScore

_LETTERS: Mapping[str, PromptKind] = {"E": "efficacy", "P": "paraphrase", "N": "neighborhood"}
"""What the names of figures begin with."""


class ProbeScore(NamedTuple):
    """One question, and how a model answers it."""

    group: str
    answers: tuple[tuple[WordScore, ...], ...]
    """Of each thing that has to be named, its names."""

    @property
    def right(self) -> bool:
        """Each thing has a name all of whose tokens are the likeliest."""
        return all(any(name.likeliest for name in names) for names in self.answers)

    @property
    def probability(self) -> float:
        """Of the likeliest name of each thing, per token; mean over the things."""
        return fmean(max(name.probability for name in names) for names in self.answers)


class RecordScores(NamedTuple):
    """One record, as the model answers it now."""

    prompts: Mapping[PromptKind, Sequence[PromptScore]]
    locality: tuple[ProbeScore, ...] = ()
    portability: tuple[ProbeScore, ...] = ()
    """Fair questions only."""


def figures_of_scores(now: RecordScores, before: RecordScores) -> dict[str, float]:
    """The figures of one record, by name; those that there is nothing to count for are not there.

    Args:
        now: With the edit.
        before: Of the unedited model: `others_kept` is of what it knows.

    Example:
        >>> said, not_said = WordScore(-0.1, 1.0), WordScore(-3.0, 0.0)
        >>> now = RecordScores({"efficacy": [PromptScore(said, not_said)]})
        >>> figures_of_scores(now, now)["ES"]
        1.0
    """
    metrics = EditMetrics.of(now.prompts)
    found: dict[str, float | None] = {}
    for letter, kind in _LETTERS.items():
        of = getattr(metrics, kind)
        found |= {
            f"{letter}S": of.success,
            f"{letter}M": of.magnitude,
            f"{letter}A": of.accuracy,
        }
    for kind in ("efficacy", "paraphrase"):
        words = [score.right for score in now.prompts.get(kind, ())]
        found[f"zsre_{kind}"] = token_accuracy(words)
    found["zsre_specificity"] = token_accuracy([probe.answers[0][0] for probe in now.locality])
    known = [
        each.right for each, was in zip(now.locality, before.locality, strict=True) if was.right
    ]
    found["others_kept"] = fmean(known) if known else None
    groups: dict[str, list[ProbeScore]] = defaultdict(list)
    for probe in now.portability:
        groups[probe.group or "portability"].append(probe)
    for group, some in groups.items():
        found[f"{RIPPLE}:{group}"] = fmean(probe.right for probe in some)
        found[f"{RIPPLE_P}:{group}"] = fmean(probe.probability for probe in some)
    return {name: float(value) for name, value in found.items() if value is not None}


def token_accuracy(words: Sequence[WordScore]) -> float | None:
    """Share of all tokens of some words that are the likeliest at their place; None of no words.

    A word of n tokens counts n times.

    Example:
        >>> token_accuracy([WordScore(-1.0, 0.5, 2), WordScore(-1.0, 1.0, 4)])
        0.8333333333333334
    """
    if not words:
        return None
    right = sum(round(word.token_accuracy * word.n_tokens) for word in words)
    return right / sum(word.n_tokens for word in words)
