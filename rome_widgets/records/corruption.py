"""Another subject, whose tokens stand in for those of a prompt's own in the corrupted run."""

from __future__ import annotations

from dataclasses import dataclass

from rome_widgets.errors import NoiseError, said
from rome_widgets.records.html import quoted


@dataclass(frozen=True, repr=False)
class Subject:
    """Names another subject; the corrupted run reads its tokens in place of the prompt's subject.

    Nothing is drawn at random, so the corrupted run is one that the model knows from its training:
    that of a prompt about somebody else. The other subject must have as many tokens there.

    Example:
        >>> rw.trace(lm, "The Space Needle is in the city of", "The Space Needle",
        ...          noise=rw.Subject("The Brandenburg Gate"))

    Source:
        Zhang & Nanda 2024, "Towards best practices of activation patching in language models":
        symmetric token replacement.
    """

    words: str
    """As they are to stand in the prompt."""

    def __post_init__(self) -> None:
        if not isinstance(self.words, str) or not self.words.strip():
            raise NoiseError(
                f"The other subject is {said(self.words)}.",
                "Words that stand for the subject of the prompt were wanted.",
                'Name one: rw.Subject("The Brandenburg Gate").',
            )
        object.__setattr__(self, "words", self.words.strip())

    def __repr__(self) -> str:
        return f"Subject({quoted(self.words)})"

    @property
    def text(self) -> str:
        """The corruption in words."""
        return f"“{self.words}” in its place"
