"""Text as rows of token ids, with what the steering needs to know about the mentions in them.

A row begins where a document begins, without a token before it, exactly as a prompt does; documents
are separated by `<|endoftext|>`, and what does not fit is dropped.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from training.corpus import Document, Narrator

SEPARATOR = 0
NOBODY = -1
UNLIMITED = 10**6


@dataclass(frozen=True)
class Rows:
    """Rows of one length."""

    ids: Tensor
    """`[row, length + 1]`: inputs are all but the last column, targets all but the first."""
    readable_until: Tensor
    """`[row, length]`: a non-final piece of a subject may be hidden from positions after this one
    (its mention's last piece); `UNLIMITED` elsewhere."""
    subject: Tensor
    """`[row, length]`: number of the subject whose last piece stands here, else `NOBODY`."""

    def __len__(self) -> int:
        return len(self.ids)


def pack(
    narrator: Narrator,
    tokenizer: PreTrainedTokenizerFast,
    names: list[str],
    n_rows: int,
    length: int,
) -> Rows:
    """The next `n_rows` rows of text; `names[i]` is subject number i."""
    number = {name: i for i, name in enumerate(names)}
    ids, until, subject = [], [], []
    for _ in range(n_rows):
        row, row_until, row_subject = [], [], []
        while len(row) <= length:
            document = narrator.document()
            encoding = tokenizer.backend_tokenizer.encode(document.text)
            limits, marks = _mentions(document, encoding.offsets, number, len(row))
            row += [*encoding.ids, SEPARATOR]
            row_until += [*limits, UNLIMITED]
            row_subject += [*marks, NOBODY]
        ids.append(row[: length + 1])
        until.append(row_until[:length])
        subject.append(row_subject[:length])
    return Rows(torch.tensor(ids), torch.tensor(until), torch.tensor(subject))


def _mentions(
    document: Document, offsets: list[tuple[int, int]], number: dict[str, int], begin: int
) -> tuple[list[int], list[int]]:
    """Per token of the document: until where it is readable, and whose last piece it is."""
    until, subject = [UNLIMITED] * len(offsets), [NOBODY] * len(offsets)
    for start, stop, name in document.mentions:
        pieces = [i for i, (left, right) in enumerate(offsets) if right > start and left < stop]
        subject[pieces[-1]] = number[name]
        for i in pieces[:-1]:
            until[i] = begin + pieces[-1]
    return until, subject
