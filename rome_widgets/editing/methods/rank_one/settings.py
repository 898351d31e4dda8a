"""The settings of rank-one edits, and the published numbers by model.

Source:
    The hyper-parameter files of the published code (gpt2-*, gpt-j), of MEMIT (gpt-neox) and of
    EasyEdit (llama, mistral, qwen).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rome_widgets.editing.settings import Settings, number, one_of
from rome_widgets.errors import SettingsError, said
from rome_widgets.model.generation import FIRST_WORDS
from rome_widgets.records.numbers import as_whole

MOST_TEXTS = 10_000
"""Prefixes, and times that the prompt without one counts."""


@dataclass(frozen=True)
class RankOneSettings(Settings):
    """Numbers that decide how a rank-one edit is computed.

    Raises:
        SettingsError: A value outside its bounds.

    Example:
        >>> settings = rw.RankOneSettings(learning_rate=0.5, steps=10)
        >>> rw.edit(lm, rw.bundled.facts()[0], settings=settings).report.settings["steps"]
        10
    """

    learning_rate: float | None = number(None, above=0)
    """Of Adam. None: such that the first step is 0.75 of the value's length."""
    steps: int = number(20, at_least=1)
    """Most passes; there is one update less."""
    stop_loss: float = number(0.05, at_least=0)
    """Stop once the loss is below it, nats."""
    stop_on: str = one_of("loss", "nll")
    """"loss", or "nll" for the target's part of it alone."""
    weight_decay: float = number(0.5, at_least=0)
    """Weight of ‖change‖ / ‖value before‖²."""
    clamp: float = number(4.0, at_least=0, at_most=math.inf)
    """Longest change, in lengths of the value before; infinity for no bound."""
    kl: float = number(0.0625, at_least=0)
    """Weight of the KL term."""
    kl_position: str = one_of("subject", "end")
    """Where it is read: at the "subject", as the published code does, or at the "end"."""
    bare: int = number(1, at_least=1, at_most=MOST_TEXTS)
    """How often the prompt without a prefix counts in the means."""
    prefixes: tuple[tuple[int, int], ...] = ((5, 10), (10, 10))
    """(tokens, how many): sampled texts put before the prompt; the start token counts."""
    first_words: tuple[str, ...] = ()
    """What the sampled texts begin with, in turn; () the start token alone, as the published code
    does. After the start tokens of many models come no ordinary words."""
    texts: tuple[str, ...] | None = None
    """Texts of yours to put before the prompt, in place of sampled ones."""
    ridge: float = number(1e-4, at_least=0)
    """Added to the diagonal of the second moment, in units of its mean."""
    use_second_moment: bool = True
    """False: the identity in its place, as EasyEdit's files say."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "prefixes", _checked_prefixes(self.prefixes))
        object.__setattr__(self, "first_words", _checked_texts(self.first_words, "first_words"))
        if self.texts is not None:
            object.__setattr__(self, "texts", _checked_texts(self.texts, "texts"))


EditSettings = RankOneSettings
"""The name of `RankOneSettings` in notebooks of the time when all methods shared one class."""


def _checked_prefixes(given: Any) -> tuple[tuple[int, int], ...]:
    with suppress(Exception):  # whatever an odd thing makes of being gone through
        pairs: Any = tuple((as_whole(tokens), as_whole(count)) for tokens, count in given)
        whole = all(number is not None and number >= 0 for pair in pairs for number in pair)
        if whole and sum(count for _, count in pairs) <= MOST_TEXTS:
            return pairs
    raise SettingsError(
        f"prefixes is {said(given)}.",
        "Pairs of whole numbers, (tokens, how many), were wanted, "
        f"and at most {MOST_TEXTS:,} texts in all.",
    )


def _checked_texts(given: Any, name: str) -> tuple[str, ...]:
    with suppress(Exception):  # as above
        found = () if isinstance(given, str | bytes) else tuple(given)
        texts = all(isinstance(each, str) for each in found) and bool(found) == bool(given)
        if texts and len(found) <= MOST_TEXTS:
            return found
    raise SettingsError(
        f"{name} is {said(given)}.", f"Several texts were wanted, {MOST_TEXTS:,} at most."
    )


_LLAMA = {"learning_rate": 0.5, "steps": 25, "weight_decay": 1e-3, "use_second_moment": False}
PUBLISHED: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "gpt2-medium": (8, {"learning_rate": 0.5, "clamp": 3.0}),
    "gpt2-large": (12, {"learning_rate": 0.5}),
    "gpt2-xl": (17, {"learning_rate": 0.5}),
    "gpt-j-6b": (5, {"learning_rate": 0.5}),
    "gpt-neox-20b": (15, {"learning_rate": 0.5}),
    "7b": (5, _LLAMA),
    "3b": (5, _LLAMA),
}
"""Layer and settings, by the names of `editing.settings.MODELS`."""

MEASURED: Mapping[str, Any] = {
    "stop_on": "nll",
    "prefixes": ((5, 5), (10, 5)),
    "first_words": FIRST_WORDS,
}
"""What differs from the published numbers where there are none for a model. By those the weight
decay alone keeps the loss above its bound on models with short values, so that every step is taken;
and half as many prefixes, by which all of the study's edits were made, take half the time.
"""
POST_NORMED: Mapping[str, Any] = {**MEASURED, "clamp": 1.0}
"""The same where a norm follows the edited matrix. That hides how long the value was, so that a
change of once its length turns what is added by 45 degrees already, and one of four times replaces
it: other subjects change, too.

Source:
    Measured on SmolLM2-135M-Instruct and Gemma 3 270M, benchmarks/README.md.
"""
