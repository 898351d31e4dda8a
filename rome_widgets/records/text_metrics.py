"""Figures of texts that a model wrote: how varied they are, and how near to texts on a subject.

Pure strings and numbers; no model.

Source:
    Meng et al. 2022, section 3.3 (GE, after Zhang et al. 2018; RS).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

WEIGHTS = {2: 2 / 3, 3: 4 / 3}
"""Of the entropy of n-grams, by n; what they give is divided by how many there are."""
_WORD = re.compile(r"[^\s!-/:-@\[-`{-~]+|[!-/:-@\[-`{-~]")
"""What stands between spaces, with each mark of punctuation by itself."""
_TERM = re.compile(r"\b\w\w+\b")


def ngram_entropy(text: str) -> float | None:
    """GE of one text: the weighted mean of the entropies of its word bigrams and trigrams, bits.

    0 for a text that says one word over and over; None for one of at most two words, which has no
    trigram.

    Example:
        >>> round(ngram_entropy("a b c d e f g h i"), 5)
        2.87157
    """
    words = _WORD.findall(unicodedata.normalize("NFKD", text))
    if len(words) < max(WEIGHTS):
        return None
    return sum(weight * _entropy(words, n) for n, weight in WEIGHTS.items()) / len(WEIGHTS)


def _entropy(words: Sequence[str], n: int) -> float:
    counts = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    total = counts.total()
    return 0.0 - sum(count / total * math.log2(count / total) for count in counts.values())


class ReferenceTexts:
    """Texts about objects, to which written texts are compared.

    Terms are runs of two letters or more, without their case; a term counts as often as it occurs,
    times ln((1 + n) / (1 + df)) + 1 of the n texts and the df that have it. That is scikit-learn's
    `TfidfVectorizer` as it comes, which the published code uses, of texts in the form NFKD: written
    ones as there, references here as well.

    Args:
        texts: By object.

    Example:
        >>> about = ReferenceTexts({"Paris": ["The Seine flows by"], "Rome": ["Tiber and pope"]})
        >>> about.similarity("Paris", ["the seine"]) > about.similarity("Rome", ["the seine"])
        True
    """

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        every = [set(_terms([text])) for text in chain.from_iterable(texts.values())]
        frequency = Counter(chain.from_iterable(every))
        self._weights = {
            term: math.log((1 + len(every)) / (1 + count)) + 1 for term, count in frequency.items()
        }
        self._vectors = {name: self._vector(some) for name, some in texts.items()}

    def similarity(self, name: str, written: Sequence[str]) -> float | None:
        """RS: cosine between the written texts and those about the object; None where none are."""
        about = self._vectors.get(name)
        if not about:
            return None
        own = self._vector(written)
        return sum(value * about.get(term, 0.0) for term, value in own.items())

    def _vector(self, texts: Sequence[str]) -> dict[str, float]:
        """By term, of length 1; of terms that no reference text has nothing is known."""
        counts = Counter(term for term in _terms(texts) if term in self._weights)
        values = {term: count * self._weights[term] for term, count in counts.items()}
        length = math.hypot(*values.values())
        return {term: value / length for term, value in values.items()}


def _terms(texts: Iterable[str]) -> list[str]:
    return _TERM.findall(unicodedata.normalize("NFKD", " ".join(texts)).lower())
