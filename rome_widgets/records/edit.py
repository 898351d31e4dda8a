"""What an edit says about itself, and predictions before and after: frozen records, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


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
    """exp(-nll per row), mean over the prefixed prompts, in [0, 1]."""
    norm: float
    """Length of the change so far; for fine-tuning the Frobenius norm of the matrix's change."""


@dataclass(frozen=True)
class EditProgress:
    """How far the computation of an edit has come."""

    phase: str
    """"statistics", "prefixes", "key", or "value"."""
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


@dataclass(frozen=True)
class EditReport:
    """How an edit was computed, and what should make one doubt it.

    Lengths are Euclidean, in the units of the model's own states.
    """

    method: str
    model: str
    prompt: str
    """With the subject in it."""
    subject: str
    target: str
    target_tokens: tuple[str, ...]
    layer: int
    why_layer: str
    """Who chose the layer, a sentence."""
    settings: Mapping[str, Any]
    settings_from: str
    """Where the settings are from, a clause."""
    seed: int
    engine: str
    """"replay", or "whole passes" and the reason."""
    steps: tuple[EditStep, ...]
    stopped: str
    """"loss" where it got small enough, "steps" where the steps ran out."""
    update_norm: float
    """Frobenius norm of the change of the weights."""
    weight_norm: float
    """Frobenius norm of the weights before."""
    rounding: float
    """How much of the change is lost when it is stored in the weights' dtype, a share of it."""
    seconds: float
    warnings: tuple[str, ...] = ()
    """Sentences that a reader should see before applying the edit."""
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
    perplexity: Perplexity | None = None
    """Of text the model wrote itself, before the edit and with it; a great rise means a disabling
    edit. None in files written before it was measured."""
    perplexity_text: str = ""
    """That text."""

    @property
    def norm_ratio(self) -> float:
        """`update_norm / weight_norm`."""
        return self.update_norm / self.weight_norm if self.weight_norm else float("inf")

    @property
    def probability(self) -> float:
        """The target's at the last pass, mean over the prefixed prompts."""
        return self.steps[-1].probability if self.steps else float("nan")


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
    """What a model predicts after one prompt, without and with an edit."""

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
