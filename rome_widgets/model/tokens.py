"""Encode prompts: token ids, the subject's span, printable labels.

The prompt is encoded once, with character offsets; the subject is located by overlap. Tokenising
the subject alone would be wrong (its pieces depend on what stands before it), and so would
decoding token by token (a character split over tokens decodes to nothing).
"""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rome_widgets.errors import (
    ContextTooLong,
    PromptError,
    SubjectNotFound,
    VocabMismatch,
    said,
)
from rome_widgets.records.numbers import as_whole

Span = tuple[int, int]
"""Half-open `[start, stop)`."""


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the model reads it."""

    text: str
    subject: str
    ids: tuple[int, ...]
    """Token ids, special tokens included where the tokenizer adds them."""
    tokens: tuple[str, ...]
    """Printable label of each position; a leading space belongs to its token."""
    subject_span: Span
    """Positions that overlap the subject."""
    notes: tuple[str, ...]
    """What a reader should know about how the subject was found."""


def encode_prompt(
    tokenizer: Any,
    text: str,
    subject: str | Span,
    *,
    max_tokens: int | None = None,
    n_embeddings: int | None = None,
) -> EncodedPrompt:
    """Encode `text` once and find the subject in it.

    Args:
        tokenizer: A Hugging Face tokenizer; its own defaults decide about a BOS token.
        text: The prompt, taken literally; special-token text in it is encoded as text.
        subject: The subject as it stands in the text (its last occurrence), or a half-open span
            of characters.
        max_tokens: Positions the model has; None means unknown.
        n_embeddings: Rows of the input embedding; None means unknown.

    Raises:
        PromptError: Nothing to encode, or text that is not valid Unicode.
        ContextTooLong: More tokens than `max_tokens`.
        SubjectNotFound: The subject is not in the text, or no token covers it.
        VocabMismatch: A token id without an embedding row.
    """
    check_text(text, "prompt")
    chars, notes = find_subject(text, subject)
    ids, offsets = encode_with_offsets(tokenizer, text)
    check_ids(ids, max_tokens=max_tokens, n_embeddings=n_embeddings)
    span = span_of_chars(offsets, chars)
    notes += _notes(tokenizer, text, ids, span)
    tokens = tuple(token_labels(tokenizer, text, ids, offsets))
    return EncodedPrompt(text, text[slice(*chars)], tuple(ids), tokens, span, tuple(notes))


def check_text(text: str, name: str) -> None:
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


def find_subject(text: str, subject: str | Span) -> tuple[Span, list[str]]:
    """The characters of the subject, and what to say about the choice.

    Raises:
        PromptError: An empty subject or a span outside the text.
        SubjectNotFound: The subject is not in the text; the message offers the nearest match.
    """
    if not isinstance(subject, str):
        return _check_span(text, subject), []
    check_text(subject, "subject")
    start = text.rfind(subject)
    if start < 0:
        near = _nearest(text, subject)
        raise SubjectNotFound(
            f"The subject {subject!r} is not in the prompt {text!r}.",
            "The subject was wanted exactly as it stands in the prompt.",
            f"Did you mean {near!r}?" if near else "Copy the subject out of the prompt.",
            near,
        )
    notes = []
    if text.find(subject) != start:
        count = sum(text.startswith(subject, i) for i in range(len(text)))
        notes.append(f"The subject occurs {count} times in the prompt; the last one is corrupted.")
    # White space at its ends belongs to the neighbours, whose tokens must stay as they are.
    start += len(subject) - len(subject.lstrip())
    return (start, start + len(subject.strip())), notes


def _check_span(text: str, span: Span) -> Span:
    try:
        start, stop = (as_whole(number) for number in span)
    except Exception:  # what cannot be gone through, or has more or fewer than two
        start = stop = None
    if start is None or stop is None:
        raise PromptError(
            f"{said(span)} is not a subject.",
            "Text, or a pair (start, stop) of character positions, was wanted.",
        )
    if not 0 <= start < stop <= len(text) or not text[start:stop].strip():
        raise PromptError(
            f"The characters {said(start)} to {said(stop)} are not a subject.",
            f"0 ≤ start < stop ≤ {len(text)} around visible text was wanted.",
        )
    return start, stop


def _nearest(text: str, subject: str) -> str | None:
    """The piece of `text` most like `subject`: other case, other Unicode form, spaces, spelling."""
    folded = unicodedata.normalize("NFKC", subject).strip().casefold()
    words = [match.span() for match in re.finditer(r"\S+", text)]
    size = max(1, len(folded.split()))
    pieces = [
        text[words[i][0] : words[i + n - 1][1]].strip(".,;:!?\"'()")
        for n in {size, max(1, size - 1), size + 1}
        for i in range(len(words) - n + 1)
    ]
    by_folded = {unicodedata.normalize("NFKC", piece).casefold(): piece for piece in pieces}
    best = difflib.get_close_matches(folded, sorted(by_folded), n=1, cutoff=0.6)
    return by_folded[best[0]] if best else None


def encode_with_offsets(tokenizer: Any, text: str) -> tuple[list[int], list[Span]]:
    """Token ids of `text` and the characters each covers; `(0, 0)` for special tokens.

    Text that spells a special token is encoded as text.
    """
    if not getattr(tokenizer, "is_fast", False):
        return _encode_slowly(tokenizer, text)
    encoded = tokenizer(
        text,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        split_special_tokens=True,
        verbose=False,  # what is too long is cut or refused by who runs it
    )
    offsets = [tuple(pair) for pair in encoded["offset_mapping"]]
    return list(encoded["input_ids"]), offsets


def _encode_slowly(tokenizer: Any, text: str) -> tuple[list[int], list[Span]]:
    """Offsets for a tokenizer that gives none: how many tokens does each prefix of the text have?

    Token `i` runs from the end of the longest prefix with at most `i` tokens to that of the
    longest with at most `i + 1`. So the tokens share out the text without gaps; where a longer
    prefix merges tokens, a border can be one token wide of the mark.
    """
    pieces = tokenizer.tokenize(text)
    counts = [len(tokenizer.tokenize(text[:end])) for end in range(len(text) + 1)]
    bare = tokenizer.convert_tokens_to_ids(pieces)
    ids = tokenizer.build_inputs_with_special_tokens(bare)
    borders = [
        max(end for end, count in enumerate(counts) if count <= i) for i in range(len(bare) + 1)
    ]
    offsets = list(pairwise(borders))
    before = next((i for i in range(len(ids)) if ids[i : i + len(bare)] == bare), 0)
    after = len(ids) - before - len(bare)
    return ids, [(0, 0)] * before + offsets + [(0, 0)] * after


def encode_without_specials(tokenizer: Any, text: str) -> list[int]:
    """Token ids of `text` alone: no special tokens added, none read out of the text."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def check_ids(
    ids: list[int], *, max_tokens: int | None = None, n_embeddings: int | None = None
) -> list[int]:
    """The ids, unless the model cannot read them.

    Raises:
        ContextTooLong: More ids than `max_tokens`.
        VocabMismatch: An id that is no row of the embedding.
    """
    if max_tokens is not None and len(ids) > max_tokens:
        raise ContextTooLong(
            f"The prompt has {len(ids)} tokens.",
            f"This model reads at most {max_tokens}.",
            f"Shorten the prompt by {len(ids) - max_tokens} tokens.",
        )
    if n_embeddings is not None and ids and max(ids) >= n_embeddings:
        raise VocabMismatch(
            f"The tokenizer makes the id {max(ids)}, but the model embeds only {n_embeddings} ids.",
            "Tokenizer and model must belong together.",
            "Load both from the same folder or name.",
        )
    return ids


def span_of_chars(offsets: list[Span], chars: Span) -> Span:
    """The positions whose characters overlap `chars`.

    Raises:
        SubjectNotFound: No token covers those characters.
    """
    start, stop = chars
    inside = [i for i, (a, b) in enumerate(offsets) if a < b and b > start and a < stop]
    if not inside:
        raise SubjectNotFound(
            "No token covers the subject: the tokenizer drops those characters.",
            "At least one token of its own was wanted.",
            "Choose a subject the tokenizer can see.",
        )
    return inside[0], inside[-1] + 1


def subject_at(tokenizer: Any, text: str, start: int, stop: int) -> tuple[str, Span]:
    """The words at the positions `[start, stop)`: the opposite of finding a subject.

    White space at their ends belongs to the neighbours, as for `find_subject`.

    Returns:
        The words, and the half-open span of characters that they are.

    Raises:
        PromptError: No such positions, or no visible text at them.
    """
    _, offsets = encode_with_offsets(tokenizer, text)
    if not 0 <= start < stop <= len(offsets):
        raise PromptError(
            f"The positions {start} to {stop} are not in the prompt.",
            f"0 ≤ start < stop ≤ {len(offsets)} was wanted.",
        )
    covered = [(a, b) for a, b in offsets[start:stop] if a < b]
    first = min((a for a, _ in covered), default=0)
    words = text[first : max((b for _, b in covered), default=0)]
    subject = words.strip()
    if not subject:
        raise PromptError(
            f"No visible text stands at the positions {start} to {stop}.",
            "A subject needs at least one visible character.",
        )
    first += len(words) - len(words.lstrip())
    return subject, (first, first + len(subject))


def _notes(tokenizer: Any, text: str, ids: list[int], span: Span) -> list[str]:
    notes = []
    if span[1] == len(ids):
        notes.append(
            "The subject reaches the last token, where the prediction is read: "
            "restoring there gives the clean run back."
        )
    if text[-1].isspace():
        notes.append(
            "The prompt ends in white space; most models expect the space with the next word."
        )
    spelt = [name for name in getattr(tokenizer, "all_special_tokens", ()) if name in text]
    if spelt:
        notes.append(f"{spelt[0]!r} in the prompt was read as plain text, not as a special token.")
    return notes


# ---------------------------------------------------------------------------------------- labels


def token_labels(tokenizer: Any, text: str, ids: list[int], offsets: list[Span]) -> list[str]:
    """A printable label per token.

    The characters a token covers; where several tokens share one character, or a token covers
    none, what the token itself says, with bytes that are no whole character as `⟨F0⟩`.
    """
    shown, covered = [], 0
    for i, (token_id, (a, b)) in enumerate(zip(ids, offsets, strict=True)):
        neighbours = offsets[max(0, i - 1) : i] + offsets[i + 1 : i + 2]
        shared = any(a < d and c < b for c, d in neighbours)
        # Some tokenizers trim the one space a token begins with off its offsets.
        trimmed = covered < a and text[a - 1 : a] == " "
        whole = printable(text[a - trimmed : b])
        shown.append(token_text(tokenizer, token_id) if shared or a == b else whole)
        covered = max(covered, b)
    return shown


def token_text(tokenizer: Any, token_id: int) -> str:
    """What one token id says, as printable text; never fatal.

    Ids beyond the vocabulary (models pad their embedding) read `⟨id 50260⟩`.
    """
    piece = tokenizer.convert_ids_to_tokens(int(token_id)) if token_id < len(tokenizer) else None
    if piece is None:
        return f"⟨id {token_id}⟩"
    if token_id in tokenizer.all_special_ids:
        return printable(piece)
    if _is_byte_level(tokenizer):
        alphabet = _byte_alphabet()
        if all(char in alphabet for char in piece):
            return printable(_decode_bytes(bytes(alphabet[char] for char in piece)))
        return printable(piece)
    byte = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", piece)
    if byte:
        return printable(_decode_bytes(bytes([int(byte[1], 16)])))
    return printable(piece.replace("▁", " "))


def printable(text: str) -> str:
    """`text` with every control and format character made visible."""
    return "".join(_picture(char) for char in text)


def _picture(char: str) -> str:
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return {"\n": "⏎", "\x7f": "␡"}.get(char) or chr(0x2400 + code)
    # Cf holds bidi overrides and zero-width characters: drawn as they are, they would hide or
    # reorder their neighbours.
    if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp"):
        return f"⟨U+{code:04X}⟩"
    return char


def _decode_bytes(raw: bytes) -> str:
    """UTF-8 text; a byte that is not part of a whole character as `⟨F0⟩`."""
    return re.sub(
        r"[\udc80-\udcff]",
        lambda match: f"⟨{ord(match[0]) - 0xDC00:02X}⟩",
        raw.decode("utf-8", errors="surrogateescape"),
    )


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return "ByteLevel" in repr(backend.decoder)
    return hasattr(tokenizer, "byte_decoder")


@functools.cache
def _byte_alphabet() -> dict[str, int]:
    """The printable stand-in of every byte in byte-level BPE vocabularies (GPT-2's table)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    table = {chr(byte): byte for byte in visible}
    return table | {chr(256 + i): byte for i, byte in enumerate(hidden)}


# --------------------------------------------------------------------------------- answers


def answer_ids(tokenizer: Any, text: str, word: str) -> list[int]:
    """The tokens with which `text` goes on to `word`.

    Between them stands one space: not two where the text ends with one, and none before closing
    punctuation or a script that writes none.

    Raises:
        PromptError: Nothing to encode.
    """
    check_text(word, "answer")
    word = word.lstrip()
    spaced = word if text[-1:].isspace() or _joins(word[0]) else " " + word
    before, _ = encode_with_offsets(tokenizer, text)
    whole, _ = encode_with_offsets(tokenizer, text + spaced)
    if whole[: len(before)] == before and len(whole) > len(before):
        return whole[len(before) :]
    # The last token of the prompt merges with the word: read the word by itself instead.
    return encode_without_specials(tokenizer, spaced)


def _joins(first: str) -> bool:
    """Whether a word that begins with this character follows without a space."""
    wide = unicodedata.east_asian_width(first) in "WF"
    return wide or (unicodedata.category(first) in ("Pe", "Pf", "Po") and first not in "\"'¿¡")
