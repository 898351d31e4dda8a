"""A copy of a tokenizer for our own calls, which shares with it what no call writes.

A call of a tokenizer sets truncation and padding in it. The rest of a large one, its vocabulary
and its merges, `copy.deepcopy` would write out as JSON, read again, and copy once more in Python:
5.5 CPU seconds for the 262,144 tokens of Gemma 3.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

from tokenizers import Tokenizer

_LARGE = 1000
"""Entries from which a container is looked at whether it can be shared."""


def copy_tokenizer(tokenizer: Any) -> Any:
    """As `copy.deepcopy`: what is set in the copy does not reach the original.

    What the user changes in the original's vocabulary later may reach the copy; `tokenizer_state`
    shows it.
    """
    held = list(getattr(tokenizer, "__dict__", {}).values())
    known: dict[int, Any] = {}
    for value in held:
        if type(value) is Tokenizer:
            if (backend := _copy_of_backend(value)) is not None:
                known[id(value)] = backend
        elif isinstance(value, (dict, list)) and len(value) > _LARGE and _is_flat(value):
            known[id(value)] = copy.copy(value)
    return copy.deepcopy(tokenizer, known)


def _copy_of_backend(backend: Tokenizer) -> Tokenizer | None:
    """One with the same parts and tokens; None where it did not come out as it should."""
    again = Tokenizer(backend.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if (value := getattr(backend, part)) is not None:
            setattr(again, part, value)
    added = backend.get_added_tokens_decoder()
    again.add_tokens([added[number] for number in sorted(added)])
    again.encode_special_tokens = backend.encode_special_tokens
    if backend.truncation is not None:
        again.enable_truncation(**backend.truncation)
    if backend.padding is not None:
        again.enable_padding(**backend.padding)
    return again if _looks(again) == _looks(backend) else None


def _looks(backend: Tokenizer) -> tuple[Any, ...]:
    """Everything but the model, which is shared."""
    added = backend.get_added_tokens_decoder()
    return (
        {number: (repr(token), token.special) for number, token in added.items()},
        *(backend.truncation, backend.padding, backend.encode_special_tokens),
        backend.get_vocab_size(),
    )


def _is_flat(value: dict[Any, Any] | list[Any]) -> bool:
    """Whether it holds only what cannot be changed in place, or tuples of such."""
    parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    kinds = {*map(type, parts)}
    if tuple in kinds:
        tuples = (part for part in parts if type(part) is tuple)
        kinds = kinds - {tuple} | {*map(type, chain.from_iterable(tuples))}
    return kinds <= {str, int, float, bool, bytes}
