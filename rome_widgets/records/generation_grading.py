"""A freely written text, graded by the names that are in it. No judge, no model.

What a model writes is graded where the right answer, and the wrong ones, are known by name: the
text must have the one and none of the others, must not go round in circles, and must end.
Languages that write no spaces between words are beyond it.

Source:
    Yang et al. 2025, "The Mirage of Model Editing": free generation until a natural stop, where
    holding the answer, contradicting nothing and not repeating make an answer right. There a
    language model judges; here names are matched.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

_ARTICLES = ("the", "a", "an")


class Grade(NamedTuple):
    """What there is to say of one text."""

    says: bool
    """It has one of the right names."""
    contradicts: bool
    """It has one of the wrong names."""
    repeats: bool
    """A phrase follows on itself."""
    stops: bool
    """The model ended it."""

    @property
    def correct(self) -> bool:
        """Says the right thing, and neither contradicts nor repeats it."""
        return self.says and not self.contradicts and not self.repeats


def grade(text: str, right: Iterable[str], wrong: Iterable[str], *, stops: bool) -> Grade:
    """Grade a text.

    Args:
        text: What was written, without its prompt.
        right: Names of the right answer, any of which will do.
        wrong: Names of other answers; those that are right as well are left out.
        stops: Whether the model ended the text by itself.

    Example:
        >>> grade(" Paris, the capital of France.", ["Paris"], ["Rome"], stops=True).correct
        True
        >>> grade(" Paris. It is in Rome.", ["Paris"], ["Rome"], stops=True).contradicts
        True
    """
    wanted = {name for name in map(_name, right) if name}
    others = {name for name in map(_name, wrong) if name} - wanted
    words = normalized(text)
    found = set()
    # The longest first: "new york" is no mention of "york".
    for name in sorted(wanted | others, key=lambda name: (-len(name), name)):
        inside = re.compile(rf"(?<!\S){re.escape(name)}(?!\S)")
        words, count = inside.subn("|", words)
        if count:
            found.add(name)
    return Grade(
        bool(found & wanted), bool(found & others), _repeats(normalized(text).split()), stops
    )


def normalized(text: str) -> str:
    """Words in small letters without accents, with one space between them.

    Example:
        >>> normalized("  São Paulo's  Café! ")
        'sao paulo s cafe'
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(each for each in plain if not unicodedata.combining(each))
    return " ".join(re.sub(r"[\W_]+", " ", bare).split())


def _name(name: str) -> str:
    """Without an article, which a text may leave out."""
    first, _, rest = normalized(name).partition(" ")
    return rest if first in _ARTICLES and rest else normalized(name)


def _repeats(words: list[str]) -> bool:
    n = len(words)
    return any(
        words[start : start + size] == words[start + size : start + 2 * size]
        for size in range(1, n // 2 + 1)
        for start in range(n - 2 * size + 1)
    )
