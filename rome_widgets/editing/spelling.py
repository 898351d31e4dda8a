"""Other ways to write a target, and which of them the model itself would write.

An edit writes its target letter by letter. Where the model knows the same word in another form
("Paris" for "paris"), the edit would teach a spelling that the model does not use.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from rome_widgets import bundled
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.word_scores import score_words

LIKELIER = 10
"""Times as probable as the word that was typed another spelling must be to be offered."""
KNOWN = 1e-12
"""Probability below which no spelling is one that the model knows."""
LOOKED_AT = 50
"""Likeliest tokens among which the same word is looked for."""
ARTICLE = re.compile(r"(?:the|an?)\s+(?=\S)", re.IGNORECASE)
STOPS = ".,;:!?"
ABBREVIATED = frozenset({
    "bros", "co", "corp", "dept", "dr", "etc", "inc", "jr", "ltd", "mr", "mrs", "ms", "mt", "no",
    "prof", "sr", "st", "vs",
})  # fmt: skip
"""Words whose period is their own."""
PLAIN = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "‐": "-", "‑": "-", "−": "-", "\u00a0": " "}
)
"""Characters of typesetters, and what a keyboard has for them."""

SIGNS = frozenset("#%&@*")
"""Marks that Unicode counts as punctuation and that make another word."""
ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]")
"""Accents of Latin, Greek and Cyrillic letters, points of Hebrew and Arabic: often left out."""
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")


class Spelling(NamedTuple):
    """The word that was typed, as the model would write it."""

    text: str
    typed: str
    probability: float
    """Of all its tokens after the prompt."""
    typed_probability: float
    """The same of the word as it was typed."""
    said: bool
    """Whether the model says it already."""

    def __str__(self) -> str:
        """A sentence for a warning."""
        typed = f"“{self.typed}” (p = {self.typed_probability:.2g})"
        if self.said:
            return (
                f"The model says “{self.text}” already (p = {self.probability:.2g}), which is "
                f"{typed} {self._how}. Choose another target."
            )
        return (
            f"The model rather writes “{self.text}” (p = {self.probability:.2g}) than {typed}, "
            f"the same word {self._how}. Use target={self.text!r}."
        )

    @property
    def _how(self) -> str:
        """What differs; two forms of Unicode look the same."""
        forms = {unicodedata.normalize("NFC", each) for each in (self.text, self.typed)}
        return "in another Unicode form" if len(forms) == 1 else "written differently"


def same_word(one: str, other: str) -> bool:
    """Whether two words differ by case, article, accents, punctuation or Unicode form alone."""
    key = _key(one)
    return key != "" and key == _key(other)


def other_spelling(lm: LanguageModel, prompt: str, target: str) -> Spelling | None:
    """How the model as it is would write a target, where not as it was typed.

    Raises:
        ContextTooLong: The prompt with the target has more tokens than the model has positions.

    Example:
        >>> other_spelling(lm, "The Space Needle is in the city of", "paris").text
        'Paris'
    """
    typed = target.strip()
    others = _others(lm, prompt, typed)
    if not others:
        return None
    own, *scores = score_words(lm, [prompt] * (1 + len(others)), [typed, *others])
    if own.likeliest:
        return None
    enough = max(KNOWN, LIKELIER * own.joint_probability)
    found = [
        Spelling(text, typed, score.joint_probability, own.joint_probability, score.likeliest)
        for text, score in zip(others, scores, strict=True)
        if score.likeliest
        or score.joint_probability >= (KNOWN if text == without_stop(typed) else enough)
    ]
    return max(found, key=lambda each: (each.said, each.probability), default=None)


def without_stop(word: str) -> str:
    """A word without the punctuation that ends a sentence; an abbreviation keeps its own."""
    core = word.rstrip(STOPS).rstrip()
    last = core.split()[-1] if core else ""
    own = word.endswith(".") and ("." in last or last.casefold() in ABBREVIATED or len(last) == 1)
    return core if core and not own else word


def _others(lm: LanguageModel, prompt: str, typed: str) -> list[str]:
    """Other spellings that the model may know: of no more tokens, or begun by what it says."""
    unknown = getattr(lm.tokenizer, "unk_token_id", None)
    room = math.inf if lm.n_positions is None else lm.n_positions - len(lm.prompt_ids(prompt)) + 1
    own, likeliest = tuple(lm.answer_ids(prompt, typed)), _likeliest(lm, prompt)
    seen, found = {own}, []
    for word in dict.fromkeys([*_forms(typed), *_known(lm, likeliest, typed)]):
        ids = tuple(lm.answer_ids(prompt, word))
        short = len(ids) <= len(own) or (ids[0] == likeliest[0] and len(ids) <= room)
        if short and ids not in seen and unknown not in ids:
            seen.add(ids)
            found.append(word)
    return found


def _likeliest(lm: LanguageModel, prompt: str) -> list[int]:
    """Ids of the likeliest next tokens."""
    probabilities = lm.next_token_probabilities(lm.rows([lm.prompt_ids(prompt)]))[0]
    return probabilities.topk(min(LOOKED_AT, len(probabilities))).indices.tolist()


def _forms(typed: str) -> Iterable[str]:
    """A word in other cases, forms of Unicode, with and without article and punctuation."""
    plain = " ".join(unicodedata.normalize("NFKC", typed).translate(PLAIN).split())
    bare = without_stop(plain.strip("\"'"))
    inner = ARTICLE.sub("", bare, count=1) if ARTICLE.match(bare) else bare
    cased = [each(inner) for each in (str, _capital, str.lower, str.upper, _title)]
    words = [bare, *cased, f"the {inner}", f"the {_title(inner)}"]
    forms = [unicodedata.normalize(form, word) for form in ("NFC", "NFD") for word in words]
    return [word for word in forms if word and word != typed and same_word(word, typed)]


def _known(lm: LanguageModel, likeliest: Iterable[int], typed: str) -> list[str]:
    """The same word among the likeliest next tokens, and among objects of the bundled facts."""
    words = [lm.token_text(token).strip() for token in likeliest]
    if bundled.is_bundled(lm):
        words += _bundled_objects()
    return [word for word in words if word != typed and same_word(word, typed)]


@cache
def _bundled_objects() -> tuple[str, ...]:
    objects = {fact["requested_rewrite"]["target_true"]["str"] for fact in bundled.facts()}
    return tuple(sorted(objects))


def _key(word: str) -> str:
    """What is left of a word without all that two spellings of it may differ by.

    What makes another word or number stays: the signs of C++ and $5, the point of 3.5, the vowel
    signs of Hindi or Thai.
    """
    plain = unicodedata.normalize("NFKD", word.translate(PLAIN)).casefold().strip()
    inner = ARTICLE.sub("", plain, count=1) if ARTICLE.match(plain) else plain
    seen = "".join(char for char in inner if unicodedata.category(char) != "Cf")
    bare = ACCENTS.sub("", THOUSANDS.sub("", seen))
    return "".join(
        char for at, char in enumerate(bare) if not _is_punctuation(char) or _counts(bare, at)
    )


def _is_punctuation(char: str) -> bool:
    return (
        char.isspace()
        or char == "`"
        or (unicodedata.category(char)[0] == "P" and char not in SIGNS)
    )


def _counts(text: str, at: int) -> bool:
    """Whether the mark at this place is part of a number."""
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    in_number = before.isdigit() or (not before.isalnum() and text[at] in "-.")
    return in_number and after.isdigit() and not text[at].isspace()


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _title(word: str) -> str:
    return " ".join(_capital(each.lower()) for each in word.split(" "))
