"""Where a subject stands in a text: one rule, for traces, edits, facts and the page alike.

Whole words go before parts of words ("Ann" in "Ann met Anna" is the first), and the last of them is
meant where nobody names another. Scripts that write no spaces have no whole words: there any
occurrence is one.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from rome_widgets.errors import PromptError, SubjectNotFound
from rome_widgets.errors import said as shown
from rome_widgets.records.numbers import as_whole

Span = tuple[int, int]
"""Half-open `[start, stop)`."""
Occurrence = Literal["last", "first", "all"] | int
"""Which mention of a subject: by its number as Python counts (0 is the first, -1 the last)."""

_UNSPACED = (
    "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA HALFWIDTH BOPOMOFO YI THAI LAO KHMER MYANMAR "
    "TIBETAN JAVANESE BALINESE"
)
UNSPACED = frozenset(_UNSPACED.split())
"""First words of the Unicode names of letters that words are written in without spaces."""
JOINERS = frozenset("'’‘＇-‐‑.·&@")
"""Marks that may stand inside a word, between two letters."""
SUFFIXES = frozenset("+#")
"""Marks that belong to the word before them, as in C++."""
FLAG_LETTERS = frozenset(map(chr, range(0x1F1E6, 0x1F200)))
"""Letters that make a flag by pairs."""
INVISIBLE_JOINERS = frozenset("\u00ad\u200c\u200d\u2060")
"""Format characters that stand inside a word or an emoji."""


def subject_places(text: str, subject: str, among: Iterable[Span] | None = None) -> list[Span]:
    """Every place of `subject` in `text` that counts: whole words, or else parts of words.

    White space at the ends of the subject belongs to the neighbours and is not part of a place.

    Args:
        text: The prompt.
        subject: The words to find, exactly as they stand there.
        among: Spans of characters to look in first, such as what a message says; what stands
            outside of all of them counts only where there is nothing inside.

    Returns:
        Half-open spans of characters, in order.

    Example:
        >>> subject_places("Ann met Anna", "Ann")
        [(0, 3)]
    """
    words = subject.strip()
    if not words:
        return []
    lead = len(subject) - len(subject.lstrip())
    starts = [
        at
        for at in range(len(text))
        # Half a character is no place: the e of an e with an accent after it.
        if text.startswith(subject, at)
        and not _continues(text[at + len(subject) :][:1])
        and not _halves_a_flag(text, at)
        and not _halves_a_flag(text, at + len(subject))
    ]
    places = [(at + lead, at + lead + len(words)) for at in starts]
    if among is not None:
        spans = list(among)
        inside = [(a, b) for a, b in places if any(c <= a and b <= d for c, d in spans)]
        places = inside or places
    ranks = [min(_ends(text, a), _ends(text, b)) for a, b in places]
    best = max(ranks, default=0)
    return [place for place, rank in zip(places, ranks, strict=True) if rank == best]


def find_subject(
    text: str,
    subject: str | Span | Sequence[Span],
    occurrence: Occurrence | None = None,
    among: Iterable[Span] | None = None,
) -> tuple[list[Span], list[str]]:
    """The characters that are the subject, and what to say about the choice.

    Args:
        text: The prompt.
        subject: Its words, or a half-open span of characters, or several of these.
        occurrence: Which mention, where there are several: "last" (also by default), "first", a
            number as Python counts, or "all".
        among: See `subject_places`.

    Raises:
        PromptError: An empty subject, a span outside the text, or no such occurrence.
        SubjectNotFound: The subject is not in the text; the message offers the nearest match.
    """
    if not isinstance(subject, str):
        if occurrence is not None:
            raise PromptError(
                f"The span {shown(subject)} was given with occurrence={shown(occurrence)}.",
                "One of the two was wanted: the span names its mention already.",
                "Leave out occurrence, or pass the subject as text.",
            )
        spans = subject if is_several(subject) else [subject]
        return sorted({check_span(text, span) for span in spans}), []
    check_text(subject, "subject")
    places = subject_places(text, subject, among)
    if not places:
        raise not_found(text, subject)
    chosen = _choose(places, subject, occurrence)
    if len(places) == 1:
        return chosen, []
    said = f"The subject occurs {len(places)} times in the prompt; "
    if occurrence == "all":
        return chosen, [said + "all of them are corrupted."]
    number = places.index(chosen[0]) + 1
    last = number == len(places)
    which = "the last one" if last else "the first one" if number == 1 else f"number {number}"
    return chosen, [f"{said}{which} is corrupted."]


def _choose(places: list[Span], subject: str, occurrence: Occurrence | None) -> list[Span]:
    named = {None: -1, "last": -1, "first": 0}
    if isinstance(occurrence, str) and occurrence == "all":
        return places
    is_name = occurrence is None or isinstance(occurrence, str)
    number = named.get(occurrence) if is_name else as_whole(occurrence)
    if number is None or not -len(places) <= number < len(places):
        raise PromptError(
            f"The occurrence is {shown(occurrence)}; the subject {subject!r} occurs "
            f"{len(places)} {'time' if len(places) == 1 else 'times'}.",
            f"'last', 'first', 'all', or a number from {-len(places)} to {len(places) - 1} was "
            "wanted.",
        )
    return [places[number]]


def is_several(subject: Any) -> bool:
    """Whether a subject is a list of spans, and not one of them."""
    is_list = isinstance(subject, (list, tuple)) and bool(subject)
    return is_list and all(isinstance(each, (list, tuple)) for each in subject)


def check_span(text: str, span: Any) -> Span:
    """A pair of characters around visible text.

    Raises:
        PromptError: No pair, outside the text, or around white space only.
    """
    try:
        start, stop = map(as_whole, span)
    except Exception:  # what cannot be gone through, or has more or fewer than two
        start = stop = None
    if start is None or stop is None:
        raise PromptError(
            f"{shown(span)} is not a subject.",
            "Text, or a pair (start, stop) of character positions, was wanted.",
        )
    if not 0 <= start < stop <= len(text) or not text[start:stop].strip():
        raise PromptError(
            f"The characters {shown(start)} to {shown(stop)} are not a subject.",
            f"0 ≤ start < stop ≤ {len(text)} around visible text was wanted.",
        )
    return start, stop


def check_text(text: Any, name: str) -> None:
    """Refuse text that has nothing in it or that no tokenizer can encode.

    Raises:
        PromptError: Not a string, only white space, or a lone surrogate in it.
    """
    if not isinstance(text, str):
        raise PromptError(
            f"The {name} is {type(text).__name__}, not text.", remedy=f"Pass the {name} as a str."
        )
    if not text.strip():
        raise PromptError(
            f"The {name} is empty.",
            f"At least one visible character was wanted, found {text!r}.",
            f"Type the {name}.",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The {name} has a lone surrogate (half a character) at character {error.start}.",
            "Text that can be encoded as UTF-8 was wanted.",
            "Copy the text again from its source, or delete that character.",
        ) from None


# ------------------------------------------------------------------------------- whole words


def _ends(text: str, at: int) -> int:
    """How surely a word ends between the characters before and after `at`: 2, 1 or 0.

    1 is beside a mark that may be inside a word: O'|Neil, Ann|-Marie.
    """
    before, after = text[at - 1 : at], text[at : at + 1]
    if not before or not after:
        return 2
    if _joined(before, after) or _in_number(text, at):
        return 0
    if before in JOINERS and _is_word(after) and _is_word(text[at - 2 : at - 1]):
        return _attached(_run(text, at - 1, -1), _run(text, at, 1))
    if after in JOINERS and _is_word(before) and _is_word(text[at + 1 : at + 2]):
        return _attached(_run(text, at + 1, 1), _run(text, at, -1))
    return 1 if after in SUFFIXES and _is_word(before) else 2


def _joined(before: str, after: str) -> bool:
    """Both characters are of one word, or of one character as people count them."""
    if _continues(after) or before == "\u200d" or {before, after} & INVISIBLE_JOINERS:
        return True
    return _is_word(before) and _is_word(after) and not (_unspaced(before) or _unspaced(after))


def _halves_a_flag(text: str, at: int) -> bool:
    """Between the two letters of a flag: they are counted from the first that stand together."""
    if text[at : at + 1] not in FLAG_LETTERS:
        return False
    return (at - len(text[:at].rstrip("".join(FLAG_LETTERS)))) % 2 == 1


def _continues(char: str) -> bool:
    """A mark on the character before it: an accent, a skin tone, a part of a syllable or flag."""
    return bool(char) and (
        unicodedata.category(char).startswith("M")
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or "\u1160" <= char <= "\u11ff"
        or "\U000e0020" <= char <= "\U000e007f"
    )


def _is_word(char: str) -> bool:
    return bool(char) and (unicodedata.category(char)[0] in "LNM" or char == "_")


def is_unspaced(char: str) -> bool:
    """Whether it is a letter of a script that writes no spaces between words."""
    return unicodedata.name(char, "").split(" ")[0] in UNSPACED


def _unspaced(char: str) -> bool:
    """Whether a word may end beside it without a space: Korean joins particles to names."""
    return is_unspaced(char) or unicodedata.name(char, "").startswith("HANGUL ")


def _in_number(text: str, at: int) -> bool:
    """Beside the point or comma of a number, as in 3.5 or 1,000."""
    return re.search(r"\d[.,]\d", text[max(0, at - 2) : at + 2]) is not None


def _run(text: str, at: int, step: int) -> str:
    """The letters of the word that begins at `at`, or with a `step` of -1 that ends before it."""
    found = ""
    at += min(step, 0)
    while 0 <= at < len(text) and _is_word(text[at]):
        found = found + text[at] if step > 0 else text[at] + found
        at += step
    return found


def _attached(other: str, own: str) -> int:
    """What stands across a mark is only attached to a name: Rome|'s, d'|Orsay, Rome|-based."""
    return 2 if other.islower() and not own.islower() else 1


# ------------------------------------------------------------------------------- near misses

LOOK_ALIKES = str.maketrans("’‘‚＇“”„«»‐‑‒–—−", '\'\'\'\'"""""------')


def not_found(text: str, subject: str) -> SubjectNotFound:
    """The error for a subject that is not in the text, with what may have been meant."""
    near, how = nearest(text, subject)
    remedy = f"Did you mean {near!r}?{how}" if near else "Copy the subject out of the prompt."
    return SubjectNotFound(
        f"The subject {subject!r} is not in the prompt {text!r}.",
        "The subject was wanted exactly as it stands in the prompt.",
        remedy,
        near,
    )


def nearest(text: str, subject: str) -> tuple[str | None, str]:
    """The piece of `text` most like `subject`, and how the two differ where they look the same."""
    found = [text[a:b] for a, b in _folded_places(text, subject)]
    same = [piece for piece in found if piece != subject]
    if same:
        return same[-1], _difference(same[-1], subject.strip())
    folded = _fold(subject).strip()
    words = [match.span() for match in re.finditer(r"\S+", text)]
    size = max(1, len(folded.split()))
    pieces = [
        text[words[i][0] : words[i + n - 1][1]].strip(".,;:!?\"'()")
        for n in {size, max(1, size - 1), size + 1}
        for i in range(len(words) - n + 1)
    ]
    by_folded = {_fold(piece): piece for piece in pieces if piece}
    best = difflib.get_close_matches(folded, sorted(by_folded), n=1, cutoff=0.6)
    return (by_folded[best[0]] if best else None), ""


def _fold(text: str) -> str:
    """One form for what is read as the same: case, Unicode form, spaces, quotation marks."""
    seen = "".join(char for char in text if unicodedata.category(char) != "Cf")
    plain = unicodedata.normalize("NFKC", seen.translate(LOOK_ALIKES)).casefold()
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", plain))


def _folded_places(text: str, subject: str) -> list[Span]:
    """Places of `text` that are the subject but for what `_fold` takes away; the best of them."""
    wanted = _fold(subject).strip()
    if not wanted:
        return []
    starts = [at for at, char in enumerate(text) if not _continues(char)] + [len(text)]
    folded, at_char = "", []
    for start, stop in pairwise(starts):
        piece = _fold(text[start:stop])
        if piece == " " and folded.endswith(" "):
            piece = ""
        folded += piece
        at_char += [start] * len(piece)
    at_char.append(len(text))
    found = []
    at = folded.find(wanted)
    while at >= 0:
        start, stop = at_char[at], at_char[at + len(wanted)]
        words = text[start:stop]
        stop = start + len(words.rstrip())
        if _fold(text[start:stop]) == wanted:
            found.append((start, stop))
        at = folded.find(wanted, at + 1)
    ranks = [min(_ends(text, a), _ends(text, b)) for a, b in found]
    return [place for place, rank in zip(found, ranks, strict=True) if rank == max(ranks)]


def _difference(piece: str, subject: str) -> str:
    """What differs, where a reader cannot see it; "" where it can be seen."""
    if piece.casefold() == subject.casefold():
        return ""
    normal = [unicodedata.normalize("NFC", each) for each in (piece, subject)]
    if normal[0].casefold() == normal[1].casefold():
        forms = [_form(each) for each in (piece, subject)]
        return (
            f" It has the same letters in another Unicode form: {forms[0]} in the prompt, "
            f"{forms[1]} in the subject."
        )
    plain = [each.translate(LOOK_ALIKES) for each in normal]
    if plain[0].casefold() == plain[1].casefold():
        return " It has other quotation marks or dashes."
    seen = ["".join(c for c in each if unicodedata.category(c) != "Cf") for each in normal]
    if seen[0].casefold() == seen[1].casefold():
        return " It differs in a character that is not visible."
    spaced = [re.sub(r"\s+", " ", each) for each in normal]
    if spaced[0].casefold() == spaced[1].casefold():
        return " It has other white space."
    return " It has the same letters, some of them written with other Unicode characters."


def _form(text: str) -> str:
    forms: Sequence[Literal["NFC", "NFD"]] = ("NFC", "NFD")
    return next((form for form in forms if unicodedata.is_normalized(form, text)), "a mixed form")


# ------------------------------------------------------------------------------- a first guess


def no_subject(
    text: str, known: Iterable[str] = (), found: str = "No subject was given."
) -> PromptError:
    """The error for a prompt without a subject; it offers the `likely_subject`."""
    likely = likely_subject(text, known)
    error = PromptError(
        found,
        "The entity the prompt is about was wanted.",
        f"Did you mean {likely!r}?" if likely else "Pass subject=..., or a Fact.",
    )
    error.suggestion = likely or None
    return error


def likely_subject(text: str, known: Iterable[str] = ()) -> str:
    """The words of a prompt that are most likely its subject; "" where nothing is.

    Args:
        text: The prompt.
        known: Names of subjects; the longest that stands in the text as whole words is taken.

    Returns:
        Else the longest run of words with capitals; the first word of the text begins with one
        anyway, and is taken alone only where there is nothing else.

    Example:
        >>> likely_subject("The home town of Miles Davis is")
        'Miles Davis'
    """
    there = [name for name in known if name in text and _stands_whole(text, name)]
    if there:
        return max(there, key=lambda name: (len(name), text.rfind(name)))
    runs = [text[a:b] for a, b in _capitalised_runs(text)]
    return max(runs, key=lambda run: len(run.split()), default="")


def _stands_whole(text: str, name: str) -> bool:
    return any(min(_ends(text, a), _ends(text, b)) == 2 for a, b in subject_places(text, name))


def _capitalised_runs(text: str) -> list[Span]:
    """Words with capitals that stand together; the first word of a sentence only if alone."""
    runs: list[list[re.Match]] = []
    small: list[re.Match] = []  # words of a name that are written small, as in Lord of the Rings
    for word in re.finditer(r"[^\W_][\w’'\-]*[+#]*", text):
        gap = text[([*runs[-1], *small][-1].end() if runs else 0) : word.start()]
        if not any(map(str.isupper, word[0])) or word[0] == "I":
            joins = bool(runs) and gap == " " and word[0] in INSIDE_NAMES
            small = [*small, word] if joins else [word]
            continue
        titled = bool(runs) and not small and gap == ". " and runs[-1][-1][0] in TITLES
        named = bool(runs) and gap == " " and all(each[0] in INSIDE_NAMES for each in small)
        goes_on = titled or named
        if goes_on:
            runs[-1] += [*small, word]
        else:
            runs.append([word])
        small = []
    spans, firsts = [], []
    for run in runs:
        first = not text[: run[0].start()].rstrip(" \"“«'‘(") or re.search(
            r"[.!?:]\W*$|[\n>]\s*$", text[: run[0].start()]
        )
        if first and len(run) > 1 and run[0][0] in SENTENCE_STARTS:
            run = run[1:]
            first = None
        (firsts if first and len(run) == 1 else spans).append((run[0].start(), run[-1].end()))
    return spans or [at for at in firsts if text[slice(*at)] not in {"The", *SENTENCE_STARTS}]


TITLES = frozenset({"Dr", "Mr", "Mrs", "Ms", "Mt", "Prof", "St"})
"""What a period is written after inside a name."""
_INSIDE_NAMES = "of the de la du del von van der den di da and"
INSIDE_NAMES = frozenset(_INSIDE_NAMES.split())
_SENTENCE_STARTS = (
    "A After Also Although An And As At Because Before But By Did Do Does During For From He Her "
    "Here His How However If In Is It Its Later My Now Of On Once Or Our She Since So That Their "
    "Then There They This To Today Until Was We What When Where Which While Who Whose Why With "
    "Yesterday You Your"
)
SENTENCE_STARTS = frozenset(_SENTENCE_STARTS.split())
"""Words that begin a sentence and are no part of the name after them."""
