"""Records of edits: how one was computed, how far it has come, predictions before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rome_widgets.records.html import plural, table


class EditStep(NamedTuple):
    """One pass of an edit's optimisation; everything is before the step it led to."""

    loss: float
    """Sum of the next three, nats."""
    nll: float
    """-log p(target) per target token, mean over the prefixed prompts, nats."""
    kl: float
    """How far the prediction about the subject itself moved, times its weight, nats."""
    weight_decay: float
    """Size of the change, times its weight."""
    probability: float
    """exp(-nll per row), mean over the prefixed prompts, in [0, 1]: of several target tokens the
    geometric mean, not the probability of all of them."""
    norm: float
    """Length of the change so far; for fine-tuning the Frobenius norm of the matrix's change."""


@dataclass(frozen=True)
class EditProgress:
    """How far the computation of an edit has come."""

    phase: str
    """"layer", "own text", "statistics", "prefixes", "key", or "value"; "tuning" edits."""
    done: int
    total: int
    """The most steps there can be; an optimisation may stop earlier."""
    step: EditStep | None = None
    """The pass that just ended, in the phase "value"."""


class Perplexity(NamedTuple):
    """exp of the mean -log p per token of a text, without and with an edit."""

    before: float
    after: float
    n_tokens: int
    """How many were predicted."""


class Neighbor(NamedTuple):
    """A prompt about something else than the edited subject, before the edit and with it."""

    prompt: str
    answer: str
    """The model's likeliest token before."""
    before: float
    """Its probability."""
    after: float
    target_before: float
    """Probability of the target's first token."""
    target_after: float

    @property
    def kept(self) -> bool:
        """Whether the answer is still likelier than the target, as the paper's NS counts."""
        return self.after > self.target_after


@dataclass(frozen=True)
class RankOneReport:
    """The part of a report that rank-one methods have: keys, value, and what was divided by.

    Lengths are Euclidean, in the units of the model's own states.

    Example:
        >>> rw.RankOneReport(key_dot_u=2.0, mean_key_dot_u=1.0, rho=2.0).rho
        2.0
    """

    prefixes: tuple[str, ...] = ()
    """Texts put before the prompt; "" for none."""
    second_moment: str = ""
    """What the statistics of the keys were computed over."""
    key_dot_u: float | None = None
    """k·u, the divisor of the bare prompt's edit; tiny means a disabling edit."""
    mean_key_dot_u: float | None = None
    """k̄·u for the mean key over the prefixes; positive."""
    rho: float | None = None
    """k·u / k̄·u: "rome" writes the change on the bare prompt and 1/ρ of it on the mean key,
    "r-rome" ρ of it on the bare prompt and all of it on the mean key."""
    key_cosine: float | None = None
    """cos(k, k̄)."""
    key_norm: float | None = None
    """‖k‖."""
    value_norm: float | None = None
    """‖v₀‖: the MLP's output at the last subject token before the edit."""
    delta_norm: float | None = None
    """‖v* - v₀‖: the change of it."""
    clamped: bool | None = None
    """Whether the change hit its longest allowed length."""


@dataclass(frozen=True)
class EditReport:
    """How an edit was computed, and what should make one doubt it.

    What only some methods have is in `details`, and can be read from the report itself: of a
    rank-one edit `report.rho` is `report.details.rho`; of others it is None.

    Example:
        >>> report = rw.edit(lm, "{} is in the city of", "The Space Needle", "Paris").report
        >>> report.layers, report.rho == report.details.rho
        ((4,), True)
    """

    method: str
    model: str
    prompt: str
    """With the subject in it; of several facts, the first."""
    subject: str
    target: str
    target_tokens: tuple[str, ...]
    layers: tuple[int, ...]
    """Whose matrices are changed."""
    why_layer: str
    """Who chose them, a sentence."""
    settings: Mapping[str, Any]
    settings_from: str
    """Where the settings are from, a clause."""
    seed: int
    engine: str
    """"replay", or "whole passes" and the reason."""
    steps: tuple[EditStep, ...]
    stopped: str
    """"loss" where it got small enough, "steps" where the steps ran out, "" without steps."""
    update_norm: float
    """Frobenius norm of the change of the matrices."""
    weight_norm: float
    """Frobenius norm of these matrices before."""
    rounding: float
    """How much of the change is lost when it is stored in the weights' dtype, a share of it."""
    seconds: float
    warnings: tuple[str, ...] = ()
    """Sentences that a reader should see before applying the edit."""
    details: Any = None
    """The method's own part: a `RankOneReport`, a mapping, or None."""
    perplexity: Perplexity | None = None
    """Of text the model wrote itself, before the edit and with it; a great rise means a disabling
    edit. None in files written before it was measured."""
    perplexity_text: str = ""
    """That text."""
    prompt_ids: tuple[int, ...] = ()
    """The ids of the prompt, where it was given as messages or ids and its text has others."""
    said: tuple[float, float] | None = None
    """Probability of all tokens of the target after the prompt, each after those before it: before
    the edit and with it; of several facts, the first's. None in files from before it was kept."""
    neighbors: tuple[Neighbor, ...] = ()
    """Prompts about other subjects, which should stay; () where there are none, or in files from
    before they were measured."""

    def __getattr__(self, name: str) -> Any:
        """What is no field of every report: of `details`, else as a method without it has it."""
        for values in (_values(self.__dict__.get("details")), vars(RankOneReport())):
            if name in values:
                return values[name]
        raise AttributeError(
            f"The report of a {self.__dict__.get('method')!r} edit has no {name!r}."
        )

    @property
    def layer(self) -> int:
        """The layer, or the first of several."""
        return self.layers[0]

    @property
    def layers_text(self) -> str:
        """The layers in words, such as "3, 4"."""
        return ", ".join(map(str, self.layers))

    @property
    def norm_ratio(self) -> float:
        """`update_norm / weight_norm`."""
        return self.update_norm / self.weight_norm if self.weight_norm else float("inf")

    @property
    def probability(self) -> float:
        """The target's at the last pass, mean over the prefixed prompts."""
        return self.steps[-1].probability if self.steps else float("nan")

    def __repr__(self) -> str:
        lines = [f"{name}: {_cut(text)}" for name, text in self._lines()]
        return "\n    ".join([f"EditReport({self._title()})", *lines])

    def _repr_html_(self) -> str:
        numbers = {n: v for n, v in _values(self.details).items() if isinstance(v, (int, float))}
        own = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        warnings = [("warning", each) for each in self.warnings]
        details = [(self.method, own)] if own else []
        return table([*self._lines()[:4], *details, *warnings], caption=self._title())

    def _title(self) -> str:
        return f"{_cut(repr(self.prompt), 60)} → {_cut(repr(self.target), 30)}, {self.method}"

    def _lines(self) -> list[tuple[str, str]]:
        """Names and texts, at most five."""
        change = f"{self.norm_ratio:.2%} of the matrix (Frobenius)"
        others = "perplexity not measured"
        if self.steps:
            each = "" if len(self.target_tokens) == 1 else " per token"
            found = f"p(target){each} {self.steps[0].probability:.2g} → {self.probability:.2g}"
            change += f"; {len(self.steps)} steps: {found}"
        if self.said is not None and len(self.target_tokens) > 1:
            change += "; all {} tokens: {:.2g} → {:.2g}".format(len(self.target_tokens), *self.said)
        if self.perplexity is not None:
            before, after, n_tokens = self.perplexity
            others = f"perplexity {before:.4g} → {after:.4g} ({n_tokens} tokens)"
        if self.neighbors:
            kept = sum(neighbor.kept for neighbor in self.neighbors)
            others += f"; {kept} of {len(self.neighbors)} neighbors prefer what they said before"
        return [
            ("layer", f"{self.layers_text}. {self.why_layer}"),
            ("settings", f"{self.settings_from}; seed {self.seed}; {self.seconds:.2g} s"),
            ("change", change),
            ("others", others),
            *(("warning", _cut(each, 80)) for each in self.warnings[:1]),
        ]


def _values(details: Any) -> Mapping[str, Any]:
    return details if isinstance(details, Mapping) else getattr(details, "__dict__", {})


def _cut(text: str, most: int = 110) -> str:
    """In one line, and not too long for it."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclass(frozen=True)
class WeightsState:
    """Says what a model's weights are: the original ones, edited as the ledger says, or neither.

    Made by `LanguageModel.weights_state`. Of the matrices that an edit ever changed: nobody looks
    at others.

    Example:
        >>> lm.weights_state()
        WeightsState(original: bit for bit as before the first edit)
    """

    n_edits: int
    """Edits that are applied."""
    matches: bool | None
    """The weights are the original ones plus the applied edits, bit for bit; None: not checked."""
    original: bool | None
    """The weights are those from before the first edit, bit for bit; None: not checked."""

    @property
    def words(self) -> str:
        """What the weights are, in one of four ways."""
        edits = plural(self.n_edits, "edit")
        if self.matches is False:
            return f"neither original nor edited: somebody else wrote them, beside {edits}"
        if self.original:
            none = f", {edits} applied at strength 0" if self.n_edits else ""
            return f"original: bit for bit as before the first edit{none}"
        checked = "" if self.matches is None else ", matches the ledger bit for bit"
        return f"edited: {edits} applied{checked}"

    def __repr__(self) -> str:
        return f"WeightsState({self.words})"


class ComparisonRow(NamedTuple):
    """One candidate next token, before and after."""

    token: str
    id: int
    before: float
    """Probability."""
    after: float
    before_rank: int
    """1 is the likeliest."""
    after_rank: int


@dataclass(frozen=True)
class Comparison:
    """What a model predicts after one prompt, without and with an edit.

    Example:
        >>> change = rw.edit(lm, "{} is in the city of", "The Space Needle", "Paris")
        >>> (found,) = change.compare("The Space Needle is in the city of")
        >>> found.rows[0].token
        ' Paris'
    """

    prompt: str
    rows: tuple[ComparisonRow, ...]
    """The likeliest next tokens of both, and the target's first token; by `after`, descending."""
    target: ComparisonRow
    """The row of the target's first token."""
    before: str = ""
    """Greedy continuation without the edit, where asked for."""
    after: str = ""
    """Greedy continuation with the edit."""
    word: str = ""
    """The target, of which `target` is the first token."""
    whole: tuple[float, float] | None = None
    """Probability of all of the target's tokens, each after those before it, without and with the
    edit; None where it has one, or of a comparison made before this was measured."""

    def __repr__(self) -> str:
        shown = sorted({self.target, *self.rows[:3]}, key=lambda row: -row.after)
        lines = [f"{row.token!r}: {row.before:.3g} → {row.after:.3g}" for row in shown]
        if self.whole is not None:
            lines.append("{}: {:.3g} → {:.3g}".format(self._whole_name, *self.whole))
        if self.before or self.after:
            lines.append(f"writes {_cut(repr(self.before), 50)} → {_cut(repr(self.after), 50)}")
        return "\n    ".join([f"Comparison({_cut(repr(self.prompt))})", *lines])

    def _repr_html_(self) -> str:
        rows = [
            (row.token, *(f"{_bar(p)} {p:.3g}" for p in (row.before, row.after)))
            for row in self.rows
        ]
        if self.whole is not None:
            rows.append((self._whole_name, *(f"{_bar(p)} {p:.3g}" for p in self.whole)))
        texts = [("writes", self.before, self.after)] if self.before or self.after else []
        return table([*rows, *texts], ("next", "before", "after"), self.prompt)

    @property
    def _whole_name(self) -> str:
        return f"all of {_cut(repr(self.word), 30)}"


def _bar(probability: float) -> str:
    """A bar of text: eight eighths of a block for each tenth."""
    whole, eighths = divmod(round(80 * probability), 8)
    return "█" * whole + ("", *"▏▎▍▌▋▊▉")[eighths]
