"""Protocols of a model that can be edited, so that the widgets of edits never import one.

`rome_widgets.session` implements it over a language model; the tests over a few lines of numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from rome_widgets.records.edit import EditProgress
from rome_widgets.records.fact import Fact
from rome_widgets.widgets.live.engine import Engine, Stop, Tell

Group = Literal["rewrite", "paraphrase", "neighborhood", "other", "free"]
"""What a test prompt is to the edit: its own words, other words for it, like subjects that should
stay as they are, unrelated facts, or the user's own text."""
GROUPS: tuple[Group, ...] = ("rewrite", "paraphrase", "neighborhood", "other", "free")


@dataclass(frozen=True)
class EditRequest:
    """A fact to be written into a model."""

    template: str
    """Text with one literal `{}` where the subject stands."""
    subject: str
    target: str
    """The new object."""
    true_object: str | None = None
    """The object that the model is believed to hold now."""
    method: str = ""
    """"" for the first of the engine's."""
    layer: int | None = None
    """None lets the engine choose, and say why."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """Numbers that differ from the method's defaults."""
    layer_reason: str = field(default="", compare=False)
    """Why this layer, where something else than a person chose it."""

    @property
    def prompt(self) -> str:
        """The template with its subject."""
        return self.template.replace("{}", self.subject, 1)


@dataclass(frozen=True)
class EditRecord:
    """One edit of the history, as it is now."""

    id: str
    request: EditRequest
    layer: int
    layer_reason: str
    norm_ratio: float
    """‖Δ‖/‖W‖ at strength 1."""
    warnings: Sequence[str] = ()
    scores: Mapping[str, float | None] = field(default_factory=dict)
    """Accuracy in "efficacy", "paraphrase", "neighborhood" and "others" at strength 1, in [0, 1],
    where they were measured; see `rome_widgets.records.metrics`."""
    applied: bool = True
    strength: float = 1.0
    curve: Sequence[float] = ()
    """The loss at each step."""


@dataclass(frozen=True)
class ModelState:
    """Whether the weights are what the history says, and whether they are the original ones."""

    n_active: int
    """Edits that are applied."""
    fingerprint_ok: bool | None
    """The weights equal base plus applied edits, bit for bit; None where it was not checked."""
    original: bool | None = None
    """They equal the base, bit for bit; None where it was not checked."""


@dataclass(frozen=True)
class TargetInfo:
    """What a target is for a model, before anything is written."""

    target: str = ""
    """As it was asked about; "" for none."""
    tokens: Sequence[str] = ()
    """What the model reads it as after the prompt."""
    spelling: str = ""
    """How the model writes the same word, where otherwise."""
    reason: str = ""
    """Why that is offered, in a sentence."""
    offers: Sequence[str] = ()
    """Other targets that the model knows, the best first."""


@dataclass(frozen=True)
class TestPrompt:
    """A prompt whose prediction is compared before and after."""

    __test__ = False  # Not a test: pytest collects by name.

    text: str
    group: Group = "free"
    target: str | None = None
    """The word an edit should bring, or should not bring to this prompt; None: the edit's."""
    true_object: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a model says next to a prompt."""

    token: str
    probability: float
    """Of `token`, the likeliest."""
    target: float | None = None
    """Probability of the test's target: of all its tokens, each after those before it."""
    true: float | None = None
    """The same of its true object; of a free prompt without one, of what the model said before."""
    target_first: float | None = None
    """Probability of the target's first token, where it has several."""
    true_first: float | None = None
    """The same of the true object."""
    says_target: bool | None = None
    """Whether every token of the target is the likeliest at its place; None: by `token` alone."""
    says_true: bool | None = None
    """The same of the true object."""


@dataclass(frozen=True)
class PromptChange:
    """One test prompt with the unedited weights and with the weights as they are."""

    prompt: TestPrompt
    before: Outcome
    after: Outcome
    target_token: str | None = None
    """The first token of the target; None: the word is one token."""
    true_token: str | None = None
    """The same for `true`."""


@dataclass(frozen=True)
class GenerationStep:
    """Text generated so far in one cell of the comparison."""

    prompt: int
    """Which of the prompts."""
    column: str
    text: str
    """All that follows the prompt, as far as it is there."""


class GenerationEngine(Engine, Protocol):
    """A model, or several states of one, that can be asked for text.

    What takes `cancelled` raises `Cancelled` once that turned true.
    """

    def read_prompts(self, prompts: Any) -> list[str]:
        """Prompts of any form (texts, messages, ids; one or several) as texts to generate from."""
        ...

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        progress: Tell[GenerationStep],
        cancelled: Stop,
    ) -> Sequence[Mapping[str, str]]:
        """Continuations of each prompt by column, such as `{"before": ..., "after": ...}`."""
        ...


class EditEngine(GenerationEngine, Protocol):
    """A model that can be edited. What computes is called from one worker thread at a time.

    After every change of the edits it calls `edits_changed` of its session.

    The history is the engine's: an edit made elsewhere on the same model is in `records()`, too.
    """

    def read_fact(self, prompt: Any, subject: str) -> str | Fact | Mapping[str, Any]:
        """The fact that chat messages or token ids state; text, facts and records as they are.

        Raises:
            RomeWidgetsError: They state none, or none that a template can.
        """
        ...

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        ...

    @property
    def methods(self) -> Mapping[str, Mapping[str, Any]]:
        """The methods that this model takes, the one to begin with first.

        Each is `{"title": str, "settings": {setting: default}}`; None stands for a number that the
        engine works out for each edit.
        """
        ...

    @property
    def examples(self) -> Sequence[EditRequest]:
        """Requests that work well with this model."""
        ...

    def suggest_layer(self, request: EditRequest, cancelled: Stop) -> tuple[int, str]:
        """The layer to edit, from a trace of this request, and why."""
        ...

    def about_target(self, request: EditRequest) -> TargetInfo:
        """What the target of a fact is for the model; it may be missing."""
        ...

    def layer_at_peak(self, effects: Mapping[int, float], total: float) -> tuple[int, str]:
        """The layer that a trace points to, and why.

        `effects` are the indirect ones of the MLP at the last subject token, by layer.
        """
        ...

    def find(self, edit: str) -> Any:
        """The edit itself of this id of the history; a `StateError` if there is none."""
        ...

    def edit(
        self, request: EditRequest, progress: Tell[EditProgress], cancelled: Stop
    ) -> EditRecord:
        """Compute an edit and apply it; where it is cancelled, nothing was changed."""
        ...

    def set_applied(self, edit: str, applied: bool) -> None:
        """Apply or revert an edit of the history; in any order."""

    def set_strength(self, edit: str, strength: float) -> None:
        """Scale an edit: 0 is without it, 1 is as computed."""

    def revert_all(self) -> None:
        """Back to the weights as they were loaded; the history stays."""

    def records(self) -> Sequence[EditRecord]:
        """The history, oldest first."""
        ...

    def state(self) -> ModelState:
        """How many edits are active, and whether the weights agree."""
        ...

    def tests(self, request: EditRequest) -> Sequence[TestPrompt]:
        """Prompts known for this request besides its own words; may be none."""
        ...

    def compare(
        self, request: EditRequest, prompts: Sequence[TestPrompt]
    ) -> Sequence[PromptChange]:
        """What each prompt leads to unedited and now. `request` names target and true object."""
        ...

    def at_strengths(self, edit: str, strengths: Sequence[float]) -> Sequence[Outcome]:
        """What an edit's own prompt would lead to at each strength; changes nothing."""
        ...
