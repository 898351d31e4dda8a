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
from dataclasses import dataclass, field
from statistics import fmean, harmonic_mean, pstdev
from typing import Any, Generic, Literal, NamedTuple, TypeVar, get_args

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
    n_tokens: int = 1
    """How many tokens the word has."""

    @property
    def probability(self) -> float:
        """P(prompt, word): the geometric mean per token, which the paper compares words by."""
        return math.exp(self.log_probability)

    @property
    def joint_probability(self) -> float:
        """Of the whole word, the product over its tokens; of one token, `probability` itself."""
        return math.exp(self.n_tokens * self.log_probability)

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


T = TypeVar("T")


class KindMetrics(NamedTuple, Generic[T]):
    """Means over prompts of one kind: of one record numbers, of several a `Mean` of these.

    None where nothing was asked.
    """

    success: T
    """Share of the prompts where the right object is the more probable one."""
    magnitude: T
    """Mean of the right object's probability less the other one's, in [-1, 1]."""
    accuracy: T
    """Share of the prompts where every token of the right object is the likeliest."""
    probability: T
    """Mean probability of the right object."""
    n_prompts: int

    @classmethod
    def of(cls, scores: Sequence[PromptScore]) -> KindMetrics[float | None]:
        """The means over some prompts, whatever their order."""
        each = [
            (score.success, score.magnitude, score.right.likeliest, score.right.probability)
            for score in scores
        ]
        known = [_known(column) for column in zip(*each, strict=True)] or [[]] * 4
        return KindMetrics(*(fmean(some) if some else None for some in known), n_prompts=len(each))


class Mean(NamedTuple):
    """A mean over records, with its 95 % confidence interval."""

    value: float
    """NaN where no record has it."""
    interval: float
    """Half its width: 1.96 standard deviations over √n, as in the paper's tables. NaN of fewer than
    two records, which say nothing of how far others are."""
    n: int
    """Records that have it."""

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Mean:
        """The mean of what is known."""
        known = _known(values)
        n = len(known)
        half = 1.96 * pstdev(known) / math.sqrt(n) if n > 1 else math.nan
        return cls(fmean(known) if n else math.nan, half, n)

    def __str__(self) -> str:
        """In percent; the interval where there is one."""
        if math.isnan(self.interval):
            return _percent(self.value) if self.n else ""
        return f"{_percent(self.value)} ±{_percent(self.interval)}"

    def __format__(self, spec: str) -> str:
        """As it is, such as `0.550 ± 0.346` by ".3f"; a sign is for the mean alone."""
        if not spec:
            return str(self)
        interval = "" if math.isnan(self.interval) else f" ± {self.interval:{spec.lstrip('+')}}"
        return f"{self.value:{spec}}{interval}" if self.n else ""


class _ByKind:
    """A table with a row for each kind of prompt."""

    @property
    def _title(self) -> str:
        return "one record"

    def __iter__(self) -> Iterator[tuple[PromptKind, Any]]:
        """Each kind with its metrics."""
        return ((kind, getattr(self, kind)) for kind in PROMPT_KINDS)

    def _rows(self) -> list[list[str]]:
        return [[kind, *map(_percent, of[:3]), str(of.n_prompts)] for kind, of in self]

    def __repr__(self) -> str:
        lines = [[self._title, *_HEAD], *self._rows()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        return table(self._rows(), (self._title, *_HEAD))


@dataclass(frozen=True, repr=False)
class EditMetrics(_ByKind):
    """What an edit did to the prompts of one record.

    Example:
        >>> said, not_said = WordScore(-0.1, 1.0), WordScore(-3.0, 0.0)
        >>> metrics = EditMetrics.of({"efficacy": [PromptScore(said, not_said)]})
        >>> metrics.efficacy.success, metrics.efficacy.accuracy, metrics.paraphrase.success
        (1.0, 1.0, None)
    """

    efficacy: KindMetrics[float | None]
    paraphrase: KindMetrics[float | None]
    neighborhood: KindMetrics[float | None]
    others: KindMetrics[float | None]
    """What else is known of the subject; not in the paper."""

    @classmethod
    def of(cls, scores: Mapping[PromptKind, Sequence[PromptScore]]) -> EditMetrics:
        """The metrics of a record whose prompts had these scores."""
        return cls(*(KindMetrics.of(scores.get(kind, ())) for kind in PROMPT_KINDS))


@dataclass(frozen=True, repr=False)
class MetricsTotal(_ByKind):
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
    efficacy: KindMetrics[Mean] = field(init=False)
    """ES (success), EM (magnitude), and accuracy, of the edited sentences."""
    paraphrase: KindMetrics[Mean] = field(init=False)
    """PS (success), PM (magnitude), and accuracy, of other sentences for the facts."""
    neighborhood: KindMetrics[Mean] = field(init=False)
    """NS (success), NM (magnitude), and accuracy, of subjects that have the true object."""
    others: KindMetrics[Mean] = field(init=False)
    """Accuracy of what else is known of the edited subjects."""

    def __post_init__(self) -> None:
        for kind in PROMPT_KINDS:
            each: list[KindMetrics[float | None]] = [getattr(of, kind) for of in self.records]
            means = [Mean.of(metrics[number] for metrics in each) for number in range(4)]
            total = KindMetrics(*means, n_prompts=sum(metrics.n_prompts for metrics in each))
            object.__setattr__(self, kind, total)

    @property
    def score(self) -> float:
        """S: the harmonic mean of the mean successes of efficacy, paraphrase and neighborhood.

        NaN where one of them was asked of no record.
        """
        means = [total.success.value for kind, total in self if kind in SCORED]
        return math.nan if any(map(math.isnan, means)) else harmonic_mean(means)

    @property
    def _title(self) -> str:
        return f"{len(self.records)} records, S {_percent(self.score)}"


def _known(values: Iterable[float | None]) -> list[float]:
    return [float(value) for value in values if value is not None]


def _percent(share: float | Mean | None) -> str:
    if isinstance(share, Mean):
        return str(share)
    return "" if share is None else f"{100 * share:.1f}"
