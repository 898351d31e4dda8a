"""Encode prompts: token ids, the subject's positions, printable labels.

A prompt is text, a list of chat messages, or token ids. Its ids are those that its own tokenizer
gives, special tokens that are written in it included; only what the tokenizer adds at the end is
left off, and a start token that the text has already is not added again.

The prompt is encoded once, with character offsets; the subject is located by overlap. Tokenising
the subject alone would be wrong (its pieces depend on what stands before it), and so would
decoding token by token (a character split over tokens decodes to nothing).
"""

from __future__ import annotations

import functools
import logging
import re
import unicodedata
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from rome_widgets.errors import (
    ContextTooLong,
    PromptError,
    SubjectNotFound,
    UnsupportedModel,
    VocabMismatch,
)
from rome_widgets.errors import said as shown
from rome_widgets.records.joining import follows_at_once
from rome_widgets.records.numbers import as_whole
from rome_widgets.records.subject import Occurrence, Span, check_text, find_subject

logger = logging.getLogger(__name__)

LEFT_OFF = "The tokenizer adds {} at the end; it is left off, as the answer comes before it."


class RenderedPrompt(str):
    """Text of a prompt that was given as messages or as token ids, and the ids it stands for.

    Attributes:
        ids: The token ids.
        plain: They are what the tokenizer makes of the text, too.
        whole: They are what it makes of the text when it adds no special token.
        said: Spans of characters that the messages say; None where there are no messages.
    """

    ids: tuple[int, ...]
    plain: bool
    whole: bool
    said: tuple[Span, ...] | None

    def __new__(
        cls,
        text: str,
        ids: Iterable[int],
        *,
        plain: bool,
        whole: bool,
        said: Iterable[Span] | None = None,
    ) -> RenderedPrompt:
        """The text with its ids; see the attributes."""
        made = super().__new__(cls, text)
        made.ids, made.plain, made.whole = tuple(ids), plain, whole
        made.said = None if said is None else tuple(said)
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        how = {"plain": self.plain, "whole": self.whole, "said": self.said}
        return (str(self), self.ids), how


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the model reads it."""

    text: str
    subject: str
    ids: tuple[int, ...]
    """Token ids, special tokens included where the tokenizer adds them in front."""
    tokens: tuple[str, ...]
    """Printable label of each position; a leading space belongs to its token."""
    subject_spans: tuple[Span, ...]
    """Positions that overlap each mention of the subject that is meant, in order."""
    notes: tuple[str, ...]
    """What a reader should know about how the prompt was read and the subject found."""

    @property
    def subject_span(self) -> Span:
        """Positions of the last mention that is meant."""
        return self.subject_spans[-1]


class Reading(NamedTuple):
    """Token ids of a prompt, the characters each covers, and what a reader should know."""

    ids: list[int]
    offsets: list[Span]
    """`(0, 0)` for special tokens that the tokenizer added."""
    notes: list[str]


def encode_prompt(
    tokenizer: Any,
    text: str,
    subject: str | Span | Sequence[Span],
    occurrence: Occurrence | None = None,
    *,
    max_tokens: int | None = None,
    n_embeddings: int | None = None,
) -> EncodedPrompt:
    """Encode `text` once and find the subject in it.

    Args:
        tokenizer: A Hugging Face tokenizer; its own defaults decide about a BOS token.
        text: The prompt; special tokens written in it are special tokens.
        subject: The subject as it stands in the text, or half-open spans of characters.
        occurrence: Which mention of it; see `find_subject`.
        max_tokens: Positions the model has; None means unknown.
        n_embeddings: Rows of the input embedding; None means unknown.

    Raises:
        PromptError: Nothing to encode, or text that is not valid Unicode.
        ContextTooLong: More tokens than `max_tokens`.
        SubjectNotFound: The subject is not in the text, or no token covers it.
        VocabMismatch: A token id without an embedding row.
    """
    check_text(text, "prompt")
    reading = read_text(tokenizer, text)
    ids, offsets = reading.ids, reading.offsets
    places, notes = find_in_prompt(tokenizer, text, subject, occurrence)
    check_ids(ids, max_tokens=max_tokens, n_embeddings=n_embeddings)
    spans = dict.fromkeys(span_of_chars(offsets, chars) for chars in places)
    notes += [*reading.notes, *_notes(tokenizer, text, reading, max(b for _, b in spans))]
    tokens = tuple(token_labels(tokenizer, text, ids, offsets))
    named = text[slice(*places[-1])]
    return EncodedPrompt(str(text), named, tuple(ids), tokens, tuple(spans), tuple(notes))


_ASKED_OF_A_TOKENIZER = ("__call__", "__len__", "decode", "convert_ids_to_tokens")


def find_tokenizer(given: Any) -> Any:
    """The tokenizer itself, or that of a processor, which reads pictures or sound besides.

    Raises:
        UnsupportedModel: It cannot do what is asked of a tokenizer.
    """
    inner = getattr(given, "tokenizer", None)
    for tokenizer in (given, inner):
        if not isinstance(tokenizer, type) and all(
            callable(getattr(tokenizer, name, None)) for name in _ASKED_OF_A_TOKENIZER
        ):
            if tokenizer is inner:
                logger.warning(
                    "A %s was given for a tokenizer: its .tokenizer is used, so text alone.",
                    type(given).__name__,
                )
            return tokenizer
    raise UnsupportedModel(
        f"The tokenizer is {type(given).__name__}.",
        "The model's own tokenizer was wanted.",
        "Load it with AutoTokenizer.from_pretrained.",
    )


def find_in_prompt(
    tokenizer: Any,
    text: str,
    subject: str | Span | Sequence[Span],
    occurrence: Occurrence | None = None,
) -> tuple[list[Span], list[str]]:
    """Where the subject is, and what to say about it: see `records.subject.find_subject`.

    It is looked for in what is said first, and only then in headers and special tokens.
    """
    return find_subject(text, subject, occurrence, words_of(tokenizer, text))


def words_of(tokenizer: Any, text: str) -> list[Span] | None:
    """Where a subject is looked for first: in what is said, not in special tokens or headers."""
    if isinstance(text, RenderedPrompt) and text.said:
        return list(text.said)
    names = sorted((n for n in _special_tokens(tokenizer).values() if n in text), key=len)
    pattern = "|".join(map(re.escape, reversed(names)))
    marks = [found.span() for found in re.finditer(pattern, text) if found[0]]
    edges = [0, *(edge for mark in marks for edge in mark), len(text)]
    between = zip(edges[::2], edges[1::2], strict=True)
    return [(a + _header(text[a:b]), b) for a, b in between] if marks else None


def start_of_words(tokenizer: Any, text: str, before: int) -> int:
    """Where the turn's own words begin that the character `before` is among; 0 without turns."""
    spans = words_of(tokenizer, text)
    if not spans:
        return 0
    start = max((a for a, _ in spans if a <= before), default=0)
    return start + len(text[start:before]) - len(text[start:before].lstrip())


def _header(turn: str) -> int:
    """How many characters at its beginning say whose turn it is."""
    named = re.match(r"\s*(user|assistant|system|model|tool|developer)\s*(\n|$)", turn)
    return named.end() if named else 0


# -------------------------------------------------------------------------------- reading


def is_messages(prompt: Any) -> bool:
    """Whether it is a list of chat messages, or one message."""
    messages = [prompt] if isinstance(prompt, Mapping) else prompt
    return (
        isinstance(messages, (list, tuple))
        and bool(messages)
        and all(
            isinstance(each, Mapping) and {"role", "content"} <= each.keys() for each in messages
        )
    )


def is_ids(prompt: Any) -> bool:
    """Whether it is meant as token ids: numbers, a tensor, or what a tokenizer returns."""
    if isinstance(prompt, str | bytes):
        return False
    if isinstance(prompt, Mapping):
        return "input_ids" in prompt
    if isinstance(prompt, (list, tuple)):
        if bool(prompt) and all(isinstance(row, (list, tuple)) for row in prompt):
            return all(map(is_ids, prompt))
        return bool(prompt) and all(as_whole(number) is not None for number in prompt)
    return hasattr(prompt, "tolist") or hasattr(prompt, "ids")


def read_prompt(tokenizer: Any, prompt: Any) -> str:
    """A prompt as text, with its ids where it was not given as text.

    Args:
        tokenizer: Gives the chat template.
        prompt: Text; chat messages, as `apply_chat_template` takes them; or the token ids of one
            prompt: numbers, an array, a tensor, or what the tokenizer returned.

    Returns:
        Text as it is; else a `RenderedPrompt`. After a message of the assistant's the model goes
        on with it; after any other it begins its answer.

    Raises:
        PromptError: Something else, or messages that the tokenizer has no template for.
    """
    if isinstance(prompt, str):
        return prompt
    if is_messages(prompt):
        return _read_messages(tokenizer, [prompt] if isinstance(prompt, Mapping) else list(prompt))
    if is_ids(prompt):
        return _read_ids(tokenizer, _as_ids(prompt))
    raise PromptError(
        f"The prompt is {type(prompt).__name__}, not text.",
        "Text, a list of chat messages, or the token ids of one prompt was wanted.",
        "Pass the prompt as a str.",
    )


def read_prompts(prompts: Any) -> list[Any]:
    """The prompts of a list, or the one that was given alone, whatever its form."""
    rows = isinstance(prompts, (list, tuple)) and isinstance((*prompts, 0)[0], (list, tuple))
    if isinstance(prompts, str) or is_messages(prompts) or (is_ids(prompts) and not rows):
        return [prompts]
    try:
        return list(prompts)
    except Exception:  # nothing to go through: who reads it says so
        return [prompts]


def _read_messages(tokenizer: Any, messages: list[Any]) -> RenderedPrompt:
    if not getattr(tokenizer, "chat_template", None):
        raise PromptError(
            "The prompt is a list of messages, and this tokenizer has no chat template.",
            "A tokenizer of a chat model, or text, was wanted.",
            "Pass the text that the model is to read, or its token ids.",
        )
    try:
        text = _written_out(tokenizer, messages)
    except Exception as error:  # of Jinja, or whatever a template raises
        raise PromptError(
            f"The tokenizer's chat template does not take these messages: {error}",
            "Messages like {'role': 'user', 'content': 'Where is Rome?'} were wanted.",
            "See the roles that the model's card names.",
        ) from None
    check_text(text, "rendered prompt")
    return rendered_text(tokenizer, text, _contents(tokenizer, text, messages))


def _written_out(tokenizer: Any, messages: list[Any]) -> str:
    """The messages by the tokenizer's template, up to where the model is to go on."""
    goes_on = messages[-1].get("role") == "assistant"
    how = {"continue_final_message": True} if goes_on else {"add_generation_prompt": True}
    return tokenizer.apply_chat_template(messages, tokenize=False, **how)


def rendered_text(tokenizer: Any, text: str, said: Iterable[Span] | None = None) -> RenderedPrompt:
    """Text with every special token written in it, as a chat template renders it."""
    ids = _encode(tokenizer, text, add=False)[0]
    plain = read_text(tokenizer, text).ids == ids
    return RenderedPrompt(text, ids, plain=plain, whole=True, said=said)


def with_ids(
    tokenizer: Any, text: str, ids: Iterable[int] | None, said: Iterable[Span] | None = None
) -> RenderedPrompt:
    """A text that was read as these ids before, or as those of a text, and what messages say."""
    own = read_text(tokenizer, text).ids if ids is None else list(ids)
    whole = _encode(tokenizer, text, add=False)[0] == own
    return RenderedPrompt(text, own, plain=ids is None, whole=whole, said=said)


def _contents(tokenizer: Any, text: str, messages: list[Any]) -> list[Span]:
    """Where each message's words stand in the rendered text, in order.

    The template writes out the same messages with marks in place of their words: what stands where
    a mark does is said by a message, however often it is in headers and default messages too.
    """
    said: list[str] = []

    def marked(content: Any) -> Any:
        if isinstance(content, (list, tuple)):
            return [marked(part) for part in content]
        if isinstance(content, Mapping):
            is_words = isinstance(content.get("text"), str)
            return {**content, "text": marked(content["text"])} if is_words else content
        if not isinstance(content, str) or not content.strip():
            return content
        said.append(content.strip())
        return f"\ue000{len(said) - 1}\ue001"

    marks = [{**message, "content": marked(message["content"])} for message in messages]
    try:
        pieces = re.split("\ue000([0-9]+)\ue001", _written_out(tokenizer, marks))
        words = [rf"\s*({re.escape(said[int(number)])})\s*" for number in pieces[1::2]]
    except Exception:  # a template that looks at the words
        return _contents_in_order(text, said)
    around = [re.escape(piece) for piece in pieces[::2]]
    found = re.fullmatch("".join(a + b for a, b in zip(around, [*words, ""], strict=True)), text)
    if found is None:
        return _contents_in_order(text, said)
    return [found.span(number + 1) for number in range(len(words))]


def _contents_in_order(text: str, said: Iterable[str]) -> list[Span]:
    found, at = [], 0
    for words in said:
        start = text.find(words, at)
        if start >= 0:
            at = start + len(words)
            found.append((start, at))
    return found


def _as_ids(prompt: Any) -> list[int]:
    """The ids of one prompt; positions that a mask leaves out are padding."""
    mask = None
    if isinstance(prompt, Mapping):
        mask, prompt = prompt.get("attention_mask"), prompt["input_ids"]
    ids = _one_row(getattr(prompt, "ids", prompt))
    kept = [1] * len(ids) if mask is None else _one_row(mask)
    if not ids or len(kept) != len(ids) or any(token is None or token < 0 for token in ids):
        raise PromptError(
            f"The prompt {shown(prompt)} is not a list of token ids.",
            "Whole numbers of at least 0, for one prompt, were wanted.",
            "Pass tokenizer(text).input_ids, or the text itself.",
        )
    return [token for token, keep in zip(ids, kept, strict=True) if token is not None and keep]


def _one_row(values: Any) -> list[int | None]:
    try:
        values = values.tolist() if hasattr(values, "tolist") else list(values)
    except Exception:  # a tensor without values, or what cannot be listed
        return []
    values = values if isinstance(values, list) else [values]
    if len(values) == 1 and isinstance(values[0], (list, tuple)):
        values = list(values[0])
    elif len(values) > 1 and all(isinstance(each, (list, tuple)) for each in values):
        raise PromptError(
            f"The token ids are of {len(values)} prompts.",
            "Those of one prompt were wanted.",
            "Pass one row: ids[0].",
        )
    return [as_whole(value) for value in values]


def _read_ids(tokenizer: Any, ids: list[int]) -> RenderedPrompt:
    """Text for token ids: the plainest that the tokenizer reads as the same ids."""
    known = len(tokenizer)
    if max(ids, default=0) >= known:
        raise PromptError(
            f"The prompt has the token id {max(ids)}.",
            f"This tokenizer knows the ids 0 to {known - 1}.",
            "Make the ids with the model's own tokenizer.",
        )
    _, suffix = _added(tokenizer)
    ends = bool(suffix) and ids[-len(suffix) :] == suffix
    kept = ids[: -len(suffix)] if ends else ids
    texts = [_decode(tokenizer, kept, bare) for bare in (True, False)]
    for text in texts:
        if text.strip() and read_text(tokenizer, text).ids == kept:
            return RenderedPrompt(text, kept, plain=True, whole=False)
    whole = _encode(tokenizer, texts[1], add=False)[0] == kept
    return RenderedPrompt(texts[1], kept, plain=False, whole=whole)


def _decode(tokenizer: Any, ids: list[int], bare: bool = False) -> str:
    return tokenizer.decode(ids, skip_special_tokens=bare, clean_up_tokenization_spaces=False)


def read_text(tokenizer: Any, text: str) -> Reading:
    """Token ids of a prompt, with their characters.

    They are those of `tokenizer(text)`, but for a start token that the text has already, and for
    what the tokenizer adds at the end: nothing is to follow that. A `RenderedPrompt` has its own.
    """
    if isinstance(text, RenderedPrompt) and not text.plain:
        return _read_rendered(tokenizer, text)
    ids, offsets, n_before, n_after = _encode(tokenizer, text)
    notes = []
    if n_after:
        notes.append(LEFT_OFF.format(repr(_texts(tokenizer, ids[-n_after:]))))
        ids, offsets = ids[:-n_after], offsets[:-n_after]
    if n_before and ids[n_before : 2 * n_before] == ids[:n_before]:
        ids, offsets = ids[n_before:], offsets[n_before:]
        if not isinstance(text, RenderedPrompt):
            start = _texts(tokenizer, ids[:n_before])
            notes.append(f"The prompt begins with {start!r} itself: no second one was added.")
    return Reading(ids, offsets, notes)


def _read_rendered(tokenizer: Any, text: RenderedPrompt) -> Reading:
    if text.whole:
        ids, offsets, *_ = _encode(tokenizer, str(text), add=False)
        return Reading(ids, offsets, [])
    end = _texts(tokenizer, _added(tokenizer)[1])
    notes = [LEFT_OFF.format(repr(end))] if end else []
    return Reading(list(text.ids), _offsets_by_decoding(tokenizer, text), notes)


def _offsets_by_decoding(tokenizer: Any, text: RenderedPrompt) -> list[Span]:
    """The characters that each id adds to the decoded text; ids of one character share it."""
    borders = [0]
    for stop in range(1, len(text.ids) + 1):
        said = _decode(tokenizer, list(text.ids[:stop]))
        alike = (at for at, pair in enumerate(zip(said, text, strict=False)) if pair[0] != pair[1])
        borders.append(max(borders[-1], next(alike, min(len(said), len(text)))))
    offsets = []
    for at, (a, b) in enumerate(pairwise(borders)):
        later = next((border for border in borders[at + 1 :] if border > a), b)
        offsets.append((a, later if a == b else b))
    return offsets


def encode_with_offsets(tokenizer: Any, text: str) -> tuple[list[int], list[Span]]:
    """Token ids of `text` and the characters each covers, as `read_text` reads them."""
    reading = read_text(tokenizer, text)
    return reading.ids, reading.offsets


def _encode(tokenizer: Any, text: str, add: bool = True) -> tuple[list[int], list[Span], int, int]:
    """Ids and offsets as the tokenizer gives them, and how many it added in front and behind."""
    if not getattr(tokenizer, "is_fast", False):
        return _encode_slowly(tokenizer, text, add)
    encoded = tokenizer(
        text,
        add_special_tokens=add,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # what is too long is cut or refused by who runs it
    )
    ids = list(encoded["input_ids"])
    added = list(encoded["special_tokens_mask"]) if add else []
    offsets = [tuple(pair) for pair in encoded["offset_mapping"]]
    before = next((at for at, mark in enumerate(added) if not mark), len(added))
    after = next((at for at, mark in enumerate(reversed(added[before:])) if not mark), 0)
    return ids, offsets, before, after


def _encode_slowly(tokenizer: Any, text: str, add: bool) -> tuple[list[int], list[Span], int, int]:
    """Offsets for a tokenizer that gives none: how many tokens does each prefix of the text have?

    Token `i` runs from the end of the longest prefix with at most `i` tokens to that of the
    longest with at most `i + 1`. So the tokens share out the text without gaps; where a longer
    prefix merges tokens, a border can be one token wide of the mark.
    """
    pieces = tokenizer.tokenize(text)
    counts = [len(tokenizer.tokenize(text[:end])) for end in range(len(text) + 1)]
    bare = tokenizer.convert_tokens_to_ids(pieces)
    ids = tokenizer.build_inputs_with_special_tokens(bare) if add else list(bare)
    borders = [
        max(end for end, count in enumerate(counts) if count <= i) for i in range(len(bare) + 1)
    ]
    offsets = list(pairwise(borders))
    before = next((i for i in range(len(ids)) if ids[i : i + len(bare)] == bare), 0)
    after = len(ids) - before - len(bare)
    return ids, [(0, 0)] * before + offsets + [(0, 0)] * after, before, after


def _added(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text."""
    ids, _, before, after = _encode(tokenizer, "a")
    return ids[:before], ids[len(ids) - after :]


def _texts(tokenizer: Any, ids: Iterable[int]) -> str:
    return "".join(token_text(tokenizer, token) for token in ids)


_SPECIAL: weakref.WeakKeyDictionary[Any, tuple[int, dict[int, str]]] = weakref.WeakKeyDictionary()


def _special_tokens(tokenizer: Any) -> dict[int, str]:
    """Special tokens by id, those of a chat template included; some tokenizers have thousands."""
    known = _SPECIAL.get(tokenizer)
    if known is not None and known[0] == len(tokenizer):
        return known[1]
    added = getattr(tokenizer, "added_tokens_decoder", {})
    ids = {token for token, about in added.items() if getattr(about, "special", False)}
    ids |= set(getattr(tokenizer, "all_special_ids", ()))
    found = {token: str(tokenizer.convert_ids_to_tokens(token)) for token in ids}
    _SPECIAL[tokenizer] = len(tokenizer), found
    return found


def encode_without_specials(tokenizer: Any, text: str) -> list[int]:
    """Token ids of `text` alone: no special tokens added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def replaced(tokenizer: Any, prompt: str, place: Span, words: str) -> str:
    """The prompt with `words` in place of some of its characters, read in the same way."""
    text = prompt[: place[0]] + words + prompt[place[1] :]
    if not isinstance(prompt, RenderedPrompt) or (prompt.plain and prompt.said is None):
        return text
    grown = len(words) - (place[1] - place[0])
    said = prompt.said and [
        (a + grown * (a >= place[1]), b + grown * (b >= place[1])) for a, b in prompt.said
    ]
    if prompt.whole:
        return rendered_text(tokenizer, text, said)
    offsets = read_text(tokenizer, prompt).offsets
    start = next((i for i, (a, b) in enumerate(offsets) if b > place[0]), len(offsets))
    stop = next((i for i, (a, b) in enumerate(offsets) if a >= place[1]), len(offsets))
    between = encode_without_specials(tokenizer, words)
    ids = [*prompt.ids[:start], *between, *prompt.ids[max(start, stop) :]]
    return RenderedPrompt(text, ids, plain=False, whole=False, said=said)


def check_ids(
    ids: list[int],
    *,
    max_tokens: int | None = None,
    n_embeddings: int | None = None,
    n_predicted: int | None = None,
) -> list[int]:
    """The ids, unless the model cannot read them, or cannot predict them.

    Raises:
        ContextTooLong: More ids than `max_tokens`.
        VocabMismatch: An id that is no row of the embedding, or of the head.
    """
    if max_tokens is not None and len(ids) > max_tokens:
        raise ContextTooLong(
            f"The prompt has {len(ids)} tokens.",
            f"This model reads at most {max_tokens}.",
            f"Shorten the prompt by {len(ids) - max_tokens} tokens.",
        )
    for does, known in (("embeds", n_embeddings), ("predicts", n_predicted)):
        wrong = [each for each in ids if known is not None and not 0 <= each < known]
        if wrong:
            raise VocabMismatch(
                f"The tokenizer makes the id {wrong[0]}, but the model {does} only {known} ids.",
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


def _notes(tokenizer: Any, text: str, reading: Reading, stop: int) -> list[str]:
    notes = []
    if stop == len(reading.ids):
        notes.append(
            "The subject reaches the last token, where the prediction is read: "
            "restoring there gives the clean run back."
        )
    special = _special_tokens(tokenizer)
    pairs = zip(reading.ids, reading.offsets, strict=True)
    read = dict.fromkeys(text[a:b].strip() for i, (a, b) in pairs if a < b and i in special)
    if isinstance(text, RenderedPrompt) and text.said is not None:
        notes.append("The messages were written out with the tokenizer's own chat template.")
    elif read:
        names = " and ".join(map(repr, read))
        were = "was read as a special token" if len(read) == 1 else "were read as special tokens"
        notes.append(f"{names} in the prompt {were}.")
    elif text[-1].isspace():
        notes.append(
            "The prompt ends in white space; most models expect the space with the next word."
        )
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

    Between them stands one space, where the text needs one (`records.joining`); none stands beside
    a special token.

    Raises:
        PromptError: Nothing to encode.
    """
    check_text(word, "answer")
    word = word.strip()
    joins = follows_at_once(text, word) or _beside_special(tokenizer, text, word)
    spaced = word if joins else " " + word
    before = read_text(tokenizer, text).ids
    whole = read_text(tokenizer, replaced(tokenizer, text, (len(text), len(text)), spaced)).ids
    if whole[: len(before)] == before and len(whole) > len(before):
        return whole[len(before) :]
    # The last token of the prompt merges with the word: read the word by itself instead.
    return _inside_text(tokenizer, spaced)


def _beside_special(tokenizer: Any, text: str, word: str) -> bool:
    """Whether a special token stands at the end of the text or at the beginning of the word."""
    unknown = getattr(tokenizer, "unk_token", None)  # in place of a word
    names = tuple(n for n in _special_tokens(tokenizer).values() if n and n != unknown)
    return text.endswith(names) or word.startswith(names)


ANCHORS = "\n:(="
"""What a word may stand after for a tokenizer that puts a space before every text."""


def _inside_text(tokenizer: Any, word: str) -> list[int]:
    """Token ids of a word that stands in the middle of a text, with no space but its own."""
    ids = encode_without_specials(tokenizer, word)
    if _spaces_before(tokenizer, ids) <= word.startswith(" "):
        return ids
    for anchor in ANCHORS:
        before = encode_without_specials(tokenizer, anchor)
        whole = encode_without_specials(tokenizer, anchor + word)
        rest = whole[len(before) :]
        same = whole[: len(before)] == before
        if same and rest and _spaces_before(tokenizer, rest) == word.startswith(" "):
            return rest
    return ids


def _spaces_before(tokenizer: Any, ids: list[int]) -> int:
    said = _texts(tokenizer, ids)
    return len(said) - len(said.lstrip(" "))
