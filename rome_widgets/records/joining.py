"""Whether a word follows a text with a space between them, or without one."""

from __future__ import annotations

import re
import unicodedata

from rome_widgets.records.subject import is_unspaced

NOT_CLOSING = frozenset("\"'¿¡#&@*\\§¶†‡•")
"""Marks that Unicode counts as other punctuation, and that stand before a word or by themselves."""
SUFFIX = re.compile(r"['’](?:s|t|m|d|re|ve|ll)\b", re.IGNORECASE)
"""What is written onto the word before it, as in "it's"."""
OPENING = re.compile(r"""(?:^|(?<=[\s(\[{]))["'`“”„‘‚«»*_#@]+$""")
"""Quotation marks and the like, opening where nothing or white space stands before them."""
ELISION = re.compile(r"\b[^\W\d_]['’]$")
"""A letter and an apostrophe that the rest of the word is written onto, as in O' and l'."""
HYPHENS = "-‐‑–—/_"
"""Marks that join the words on both sides where no space stands before them."""


def follows_at_once(text: str, word: str) -> bool:
    """Whether nothing stands between a text and the word that it goes on with; else one space.

    So it is after white space, an opening quotation mark or bracket, a hyphen or a sign of
    currency; before closing punctuation; and in scripts that write no spaces between words.

    Args:
        text: What stands before.
        word: A word without white space at its ends.

    Example:
        >>> follows_at_once("The capital of France is", "Paris")
        False
        >>> follows_at_once("The price is $", "5")
        True
    """
    return (
        not text
        or text[-1].isspace()
        or _is_open(text, word)
        or _closes(word)
        or _without_spaces(text, word[0])
    )


def _is_open(text: str, word: str) -> bool:
    """Whether the text ends with a mark that belongs to what comes."""
    last, before = text[-1], text[-2:-1]
    kind = unicodedata.category(last)
    if last in HYPHENS and before.isalnum():
        return True
    if kind == "Sc":
        return word[0].isdigit()
    return kind == "Ps" or bool(OPENING.search(text) or ELISION.search(text))


def _closes(word: str) -> bool:
    """Whether the word begins with a mark that belongs to what stands before."""
    kind = unicodedata.category(word[0])
    closing = kind in ("Pe", "Pf", "Po") and word[0] not in NOT_CLOSING
    return closing or SUFFIX.match(word) is not None


def _without_spaces(text: str, first: str) -> bool:
    """Whether the word is of a script without spaces, as some of the text is; or the text is wide.

    A Latin name stands in Chinese or Japanese without spaces, in Thai with them.
    """
    if is_unspaced(first):
        return any(map(is_unspaced, text))
    last = text[-1]
    is_wide = unicodedata.east_asian_width(last) in "WF" and unicodedata.category(last)[0] in "LP"
    is_korean = unicodedata.name(last, "").startswith("HANGUL ")
    return is_wide and not is_korean and " " not in text
