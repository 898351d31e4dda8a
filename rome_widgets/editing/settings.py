"""The numbers of an edit: published ones by model, the bundled card's, else scaled ones.

Source:
    The hyper-parameter files of the published code (gpt2-*, gpt-j), of MEMIT (gpt-neox) and of
    EasyEdit (llama, mistral, qwen).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from rome_widgets.errors import SettingsError

SCALE = 0.75
"""First step of the optimisation over the length of the value, where no rate is given."""


@dataclass(frozen=True)
class EditSettings:
    """Numbers that decide how an edit is computed."""

    learning_rate: float | None = None
    """Of Adam. None: such that the first step is 0.75 of the value's length; 5e-4 for "ft"."""
    steps: int = 20
    """Most passes; there is one update less."""
    stop_loss: float = 0.05
    """Stop once the loss is below it, nats."""
    stop_on: str = "loss"
    """"loss", or "nll" for the target's part of it alone."""
    weight_decay: float = 0.5
    """Weight of ‖change‖ / ‖value before‖²."""
    clamp: float = 4.0
    """Longest change, in lengths of the value before."""
    kl: float = 0.0625
    """Weight of the KL term."""
    kl_position: str = "subject"
    """Where it is read: at the "subject", as the published code does, or at the "end"."""
    bare: int = 1
    """How often the prompt without a prefix counts in the means."""
    prefixes: tuple[tuple[int, int], ...] = ((5, 10), (10, 10))
    """(tokens, how many): sampled texts put before the prompt; the start token counts."""
    ridge: float = 1e-4
    """Added to the diagonal of the second moment, in units of its mean."""
    use_second_moment: bool = True
    """False: the identity in its place, as EasyEdit's files say."""
    max_change: float | None = None
    """ "ft-l": the most that an element of the weights may change."""

    def learning_rate_for(self, length: float, width: int) -> float:
        """Adam's rate for a value of this length and width."""
        if self.learning_rate is not None:
            return self.learning_rate
        return SCALE * (length or 1.0) / math.sqrt(width)

    def reached(self, loss: float, nll: float) -> bool:
        """Whether the optimisation may stop."""
        return (nll if self.stop_on == "nll" else loss) < self.stop_loss


_GPT2 = {"learning_rate": 0.5}
_LLAMA = {
    "learning_rate": 0.5,
    "steps": 25,
    "weight_decay": 1e-3,
    "use_second_moment": False,
}

PUBLISHED: tuple[tuple[str, int, int, dict[str, Any]], ...] = (
    (r"gpt2-medium", 24, 8, {**_GPT2, "clamp": 3.0}),
    (r"gpt2-large", 36, 12, _GPT2),
    (r"gpt2-xl", 48, 17, _GPT2),
    (r"gpt-j-6b", 28, 5, _GPT2),
    (r"gpt-neox-20b", 44, 15, _GPT2),
    (r"llama-?2-7b|llama-?3(\.1)?-8b|mistral-7b|baichuan2-7b|internlm-7b", 32, 5, _LLAMA),
    (r"llama-?3\.2-3b|qwen2(\.5)?-7b", 28, 5, _LLAMA),
)
"""Pattern of the model's name, its depth, the layer, the settings."""

FINE_TUNING = {"steps": 25, "stop_loss": 0.01, "learning_rate": 5e-4}
"""The published numbers of "ft" and "ft-l"."""
MAX_CHANGE = {"gpt2-medium": 2e-3, "gpt2-large": 1e-3, "gpt2-xl": 5e-4, "gpt-j-6b": 5e-5}
"""The published bounds of "ft-l"."""
OTHER_MAX_CHANGE = 5e-3
FINE_TUNED_LAYERS = {("gpt2-xl", "ft"): 1, ("gpt-j-6b", "ft"): 21}
"""The published layers of "ft"; "ft-l" is at layer 0."""


@dataclass(frozen=True)
class Known:
    """What is known about editing one model."""

    settings: EditSettings
    source: str
    """Where they are from, a clause."""
    layer: int | None
    """The layer that goes with them."""


def known_settings(name: str, n_layers: int, method: str, card: Mapping[str, Any] | None) -> Known:
    """Settings for a model: the published table's, its card's, or scaled ones.

    Args:
        name: The model's.
        n_layers: Its depth; a name alone is not believed.
        method: "rome", "r-rome", "ft" or "ft-l".
        card: What the model's own card says, if it has one; see `bundled.settings`.
    """
    if method.startswith("ft"):
        return _fine_tuning(name.casefold(), n_layers, method, card)
    for pattern, depth, layer, numbers in PUBLISHED:
        if depth == n_layers and re.search(pattern, name.casefold()):
            return Known(EditSettings(**numbers), "the published table", layer)
    if card:
        return Known(from_card(card["edit"]), "the model's card", card["edit"]["layer"])
    return Known(EditSettings(), "the defaults, scaled to the model", None)


def _fine_tuning(name: str, n_layers: int, method: str, card: Mapping[str, Any] | None) -> Known:
    settings = EditSettings(**FINE_TUNING)
    for pattern, depth, _, _ in PUBLISHED:
        if depth == n_layers and re.search(pattern, name):
            if method == "ft-l":
                bound = MAX_CHANGE.get(pattern, OTHER_MAX_CHANGE)
                return Known(replace(settings, max_change=bound), "the published table", 0)
            layer = FINE_TUNED_LAYERS.get((pattern, method))
            return Known(settings, "the published table", layer)
    if card:
        numbers = dict(card["fine_tuning"][method])
        layer = numbers.pop("layer")
        return Known(replace(settings, **numbers), "the model's card", layer)
    if method == "ft-l":
        settings = replace(settings, max_change=OTHER_MAX_CHANGE)
    return Known(settings, "the published defaults", None)


def from_card(card: Mapping[str, Any]) -> EditSettings:
    """The numbers of a rank-one edit as `settings.json` beside the bundled model has them."""
    empty = card["empty_contexts"]
    return EditSettings(
        learning_rate=card["learning_rate"],
        steps=card["steps"],
        stop_loss=card["stop_loss"],
        stop_on="nll",
        weight_decay=card["weight_decay"],
        clamp=card["clamp"],
        kl=card["kl"],
        bare=empty,
        prefixes=((10, card["contexts"] - empty),),
        ridge=card["ridge"],
    )


def changed(settings: EditSettings, given: EditSettings | Mapping[str, Any] | None) -> EditSettings:
    """`settings` with what the user said in their place.

    Raises:
        SettingsError: There is no such setting, or it has no such value.
    """
    if isinstance(given, EditSettings):
        return _checked(given)
    if not given:
        return settings
    names = {field.name for field in fields(EditSettings)}
    unknown = sorted(set(given) - names)
    if unknown:
        raise SettingsError(
            f"There is no setting {', '.join(map(repr, unknown))}.",
            f"Settings are {', '.join(sorted(names))}.",
        )
    given = dict(given)
    if "prefixes" in given:
        given["prefixes"] = tuple(tuple(pair) for pair in given["prefixes"])
    return _checked(replace(settings, **given))


def _checked(settings: EditSettings) -> EditSettings:
    at_least: dict[str, float] = {
        "steps": 1,
        "bare": 1,
        "stop_loss": 0,
        "weight_decay": 0,
        "clamp": 0,
        "kl": 0,
        "ridge": 0,
    }
    for name, least in at_least.items():
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
            raise SettingsError(f"{name} is {value!r}.", f"At least {least:g} was wanted.")
    for name in ("steps", "bare"):
        if getattr(settings, name) != int(getattr(settings, name)):
            raise SettingsError(
                f"{name} is {getattr(settings, name)!r}.", "A whole number was wanted."
            )
    for name in ("learning_rate", "max_change"):
        value = getattr(settings, name)
        if value is not None and not (isinstance(value, (int, float)) and value > 0):
            raise SettingsError(f"{name} is {value!r}.", "A number above 0, or None, was wanted.")
    choices = {"stop_on": ("loss", "nll"), "kl_position": ("subject", "end")}
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise SettingsError(
                f"{name} is {getattr(settings, name)!r}.",
                f"One of {', '.join(map(repr, allowed))} was wanted.",
            )
    return replace(settings, steps=int(settings.steps), bare=int(settings.bare))
