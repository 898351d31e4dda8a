"""How well an edit did: the definitions of its metrics over plain numbers, per record and in total.

Four kinds of prompt are asked. *Efficacy* is of the edited sentence itself and *paraphrase* of
other sentences for it, where the new object is right; *neighborhood* is of other subjects that have
the true object, and *others* of what else is known of the subject, where the old answer is right.

Each is counted in two ways, which are not to be mixed:

- *success*, by probability: the right object is more probable than the other one of the fact;
- *accuracy*, by likeliest token: every token of the right object is the likeliest at its place.

`rome_widgets.evaluation.metrics` measures a model; this module only counts, and needs no torch.

Source:
    Meng et al. 2022, section 3.3 and appendix D (ES, EM, PS, PM, NS, NM, S); *accuracy* as in Meng
    et al. 2023 (MEMIT), whose published code calls it `_acc`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, harmonic_mean, pstdev
from typing import Any, Literal, NamedTuple, get_args

from rome_widgets.records.html import table

PromptKind = Literal["efficacy", "paraphrase", "neighborhood", "others"]
PROMPT_KINDS: tuple[PromptKind, ...] = get_args(PromptKind)
SCORED: tuple[PromptKind, ...] = PROMPT_KINDS[:3]
"""The kinds that S is the harmonic mean of."""
_HEAD = ("success %", "magnitude %", "accuracy %", "prompts")


class WordScore(NamedTuple):
    """How a model goes on to one word after one prompt, each token after those before it."""

    log_probability: float
    """Mean over the word's tokens of log p, nats."""
    token_accuracy: float
    """Share of the word's tokens that are the likeliest at their place: zsRE's measure, which is
    far above 0 for a model that knows nothing."""

    @property
    def probability(self) -> float:
        """P(prompt, word): the geometric mean per token, not the joint probability."""
        return math.exp(self.log_probability)

    @property
    def likeliest(self) -> bool:
        """Whether every token of the word is the likeliest at its place."""
        return self.token_accuracy == 1


class PromptScore(NamedTuple):
    """One prompt: the word that is right after it, and the other one of the fact."""

    right: WordScore
    other: WordScore | None = None

    @property
    def success(self) -> bool | None:
        """Whether the right word is the more probable one; a tie is a failure."""
        if self.other is None:
            return None
        return self.right.log_probability > self.other.log_probability

    @property
    def magnitude(self) -> float | None:
        """By how much it is more probable, in [-1, 1]."""
        return None if self.other is None else self.right.probability - self.other.probability


class KindMetrics(NamedTuple):
    """Means over a record's prompts of one kind; None where nothing was asked."""

    success: float | None
    """Share of the prompts where the right object is the more probable one."""
    magnitude: float | None
    """Mean of the right object's probability less the other one's, in [-1, 1]."""
    accuracy: float | None
    """Share of the prompts where every token of the right object is the likeliest."""
    probability: float | None
    """Mean probability of the right object."""
    n_prompts: int

    @classmethod
    def of(cls, scores: Sequence[PromptScore]) -> KindMetrics:
        """The means over some prompts, whatever their order."""
        return cls(
            _mean_of_known(score.success for score in scores),
            _mean_of_known(score.magnitude for score in scores),
            _mean_of_known(score.right.likeliest for score in scores),
            _mean_of_known(score.right.probability for score in scores),
            len(scores),
        )


@dataclass(frozen=True, repr=False)
class EditMetrics:
    """What an edit did to the prompts of one record.

    Example:
        >>> said, not_said = WordScore(-0.1, 1.0), WordScore(-3.0, 0.0)
        >>> metrics = EditMetrics.of({"efficacy": [PromptScore(said, not_said)]})
        >>> metrics.efficacy.success, metrics.efficacy.accuracy, metrics.paraphrase.success
        (1.0, 1.0, None)
    """

    efficacy: KindMetrics
    paraphrase: KindMetrics
    neighborhood: KindMetrics
    others: KindMetrics
    """What else is known of the subject; not in the paper."""

    @classmethod
    def of(cls, scores: Mapping[PromptKind, Sequence[PromptScore]]) -> EditMetrics:
        """The metrics of a record whose prompts had these scores."""
        return cls(*(KindMetrics.of(scores.get(kind, ())) for kind in PROMPT_KINDS))

    def __iter__(self) -> Iterator[tuple[PromptKind, KindMetrics]]:
        """Each kind with its metrics."""
        return ((kind, getattr(self, kind)) for kind in PROMPT_KINDS)

    def _rows(self) -> list[list[str]]:
        return [
            [kind, *map(_percent, metrics[:3]), str(metrics.n_prompts)] for kind, metrics in self
        ]

    def __repr__(self) -> str:
        return _text("one record", self._rows())

    def _repr_html_(self) -> str:
        return table(self._rows(), ("one record", *_HEAD))


class Mean(NamedTuple):
    """A mean over records, with its 95 % confidence interval."""

    value: float
    """NaN where no record has it."""
    interval: float
    """Half its width: 1.96 standard deviations over √n, as in the paper's tables."""
    n: int
    """Records that have it."""

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Mean:
        """The mean of what is known."""
        known = [float(value) for value in values if value is not None]
        if not known:
            return cls(math.nan, math.nan, 0)
        return cls(fmean(known), 1.96 * pstdev(known) / math.sqrt(len(known)), len(known))

    def __str__(self) -> str:
        return f"{_percent(self.value)} ±{_percent(self.interval)}" if self.n else ""


class KindTotal(NamedTuple):
    """Means over records of what `KindMetrics` has of each."""

    success: Mean
    magnitude: Mean
    accuracy: Mean
    probability: Mean
    n_prompts: int


@dataclass(frozen=True, repr=False)
class MetricsTotal:
    """What edits did to the prompts of several records.

    Every figure is a mean of the records' own, so that a record with many prompts counts once; a
    record without prompts of a kind is left out of that kind.

    Example:
        >>> said, not_said = WordScore(-0.1, 1.0), WordScore(-3.0, 0.0)
        >>> took = EditMetrics.of({"efficacy": [PromptScore(said, not_said)]})
        >>> failed = EditMetrics.of({"efficacy": [PromptScore(not_said, said)]})
        >>> MetricsTotal((took, failed)).efficacy.success.value
        0.5
    """

    records: tuple[EditMetrics, ...]

    @property
    def efficacy(self) -> KindTotal:
        """ES (success), EM (magnitude), and accuracy, of the edited sentences."""
        return self._total("efficacy")

    @property
    def paraphrase(self) -> KindTotal:
        """PS (success), PM (magnitude), and accuracy, of other sentences for the facts."""
        return self._total("paraphrase")

    @property
    def neighborhood(self) -> KindTotal:
        """NS (success), NM (magnitude), and accuracy, of subjects that have the true object."""
        return self._total("neighborhood")

    @property
    def others(self) -> KindTotal:
        """Accuracy of what else is known of the edited subjects."""
        return self._total("others")

    @property
    def score(self) -> float:
        """S: the harmonic mean of the mean successes of efficacy, paraphrase and neighborhood.

        NaN where one of them was asked of no record.
        """
        means = [self._total(kind).success.value for kind in SCORED]
        return math.nan if any(map(math.isnan, means)) else harmonic_mean(means)

    def _total(self, kind: PromptKind) -> KindTotal:
        each: list[KindMetrics] = [getattr(record, kind) for record in self.records]
        return KindTotal(
            Mean.of(metrics.success for metrics in each),
            Mean.of(metrics.magnitude for metrics in each),
            Mean.of(metrics.accuracy for metrics in each),
            Mean.of(metrics.probability for metrics in each),
            sum(metrics.n_prompts for metrics in each),
        )

    def __iter__(self) -> Iterator[tuple[PromptKind, KindTotal]]:
        """Each kind with its means."""
        return ((kind, self._total(kind)) for kind in PROMPT_KINDS)

    def _rows(self) -> list[list[str]]:
        return [[kind, *map(str, total[:3]), str(total.n_prompts)] for kind, total in self]

    @property
    def _title(self) -> str:
        return f"{len(self.records)} records, S {_percent(self.score)}"

    def __repr__(self) -> str:
        return _text(self._title, self._rows())

    def _repr_html_(self) -> str:
        return table(self._rows(), (self._title, *_HEAD))


def _mean_of_known(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known else None


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _text(title: str, rows: Iterable[Sequence[Any]]) -> str:
    """A table as lines of text."""
    lines = [[title, *_HEAD], *rows]
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [str(line[0]).ljust(widths[0]), *map(str.rjust, map(str, line[1:]), widths[1:])]
        ).rstrip()
        for line in lines
    )
