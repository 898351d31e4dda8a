"""The model without its edits, though edits may come and go in other threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import nn

from rome_widgets.errors import ModelChanged
from rome_widgets.model.base_weights import digest_without_edits, without_edits
from rome_widgets.model.hooks import Visitor
from rome_widgets.model.identity_changes import what_changed
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.ledger import ledger_of

T = TypeVar("T")


class UneditedModel:
    """Runs a model as if it carried no edit.

    Args:
        lm: The model, with whatever edits it carries.
        names: Of parameters, each of whose values is to be told apart.
    """

    def __init__(self, lm: LanguageModel, names: Sequence[str] = ()) -> None:
        self._lm, self._names = lm, names
        self.digest, self.matrices = self._look()
        """What tells the weights apart, and the SHA-256 of each parameter of `names`."""

    def _look(self) -> tuple[str, dict[str, str]]:
        lm = self._lm
        self._identity, self._visitors = lm.identity, without_edits(lm)
        matrices = {name: ledger_of(lm.model).fingerprint(name) for name in self._names}
        return digest_without_edits(lm), matrices

    def run(self, call: Callable[[Sequence[tuple[nn.Module, Visitor]]], T]) -> T:
        """`call(visitors)`, which runs the model with these, again where an edit came or went.

        Raises:
            ModelChanged: It is another model than in the beginning, its edits apart.
        """
        while True:
            found = call(self._visitors)
            begun, now = self._identity, self._lm.identity
            if now == begun:
                return found
            changed = now.without_weights != begun.without_weights
            if changed or self._look() != (self.digest, self.matrices):
                raise ModelChanged(
                    "The model changed while statistics were gathered: "
                    f"{what_changed(begun, now)}.",
                    "One and the same model was wanted; edits may come and go.",
                    "Gather them again.",
                )
