"""Batch the captures of prompts of different lengths, so that one call of a block serves them all.

A call reads its matrices once, however few rows it has, so few large calls cost less than many
small ones. Rows are moved until one chosen position of each stands in the same column. The room
this leaves on both sides holds zeros that no position of a prompt looks at; numbers and rotations
of positions stay those of the row's own pass. So every row gets what it gets alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rome_widgets.model.replay import CannotReplay, Capture


def batch_captures(captures: Sequence[Capture], positions: Sequence[int]) -> tuple[Capture, int]:
    """One capture with the rows of all, in order, and the column where `positions` stand.

    Args:
        captures: Of one model.
        positions: For each capture, the position that all its rows have in that column.

    Raises:
        CannotReplay: The blocks were called with something that cannot be put side by side.
    """
    if len(captures) == 1:
        return captures[0], positions[0]
    column = max(positions)
    return _CaptureBatch(captures, [column - pos for pos in positions]).capture(), column


class _CaptureBatch:
    """Captures, and by how many columns each is moved."""

    def __init__(self, captures: Sequence[Capture], shifts: Sequence[int]) -> None:
        self._captures, self._shifts = captures, shifts
        self._length = max(
            shift + capture.length for capture, shift in zip(captures, shifts, strict=True)
        )

    def capture(self) -> Capture:
        """All as one."""
        by_layer = zip(*(capture.keys_values for capture in self._captures), strict=True)
        return Capture(
            states=[self._placed(some, 1) for some in self._each("states")],
            calls=[
                {name: self._argument(name, [call[name] for call in calls]) for name in calls[0]}
                for calls in self._each("calls")
            ],
            keys_values=[
                (self._placed([keys for keys, _ in some], 2), self._placed([v for _, v in some], 2))
                for some in by_layer
            ],
            cache=self._captures[0].cache,
            logits=torch.cat([capture.logits for capture in self._captures]),
            padded=True,
        )

    def _each(self, name: str) -> Iterator[Any]:
        return zip(*(getattr(capture, name) for capture in self._captures), strict=True)

    def _places(self, tensors: Sequence[Any]) -> Iterator[tuple[Any, int, Capture]]:
        return zip(tensors, self._shifts, self._captures, strict=True)

    def _placed(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """`[row, ...]` with every row in its place along `axis`, zeros around it."""
        placed = []
        for tensor, shift, capture in self._places(tensors):
            shape = [capture.n_rows, *tensor.shape[1:]]
            shape[axis] = self._length
            placed.append(tensor.new_zeros(shape))
            placed[-1].narrow(axis, shift, capture.length).copy_(tensor)
        return torch.cat(placed)

    def _argument(self, name: str, values: Sequence[Any]) -> Any:
        first = values[0]
        if first is self._captures[0].cache:
            return first
        if isinstance(first, (tuple, list)):
            return type(first)(self._argument(name, some) for some in zip(*values, strict=True))
        if isinstance(first, dict):
            return {key: self._argument(key, [value[key] for value in values]) for key in first}
        if self._all(_is_mask, values) and (name == "attention_mask" or first is not None):
            return self._mask(values)
        if name != "alibi" and self._all(_is_by_position, values):
            return self._placed(values, 1)
        if not all(_same(first, value) for value in values):
            raise CannotReplay(f"rows of different lengths cannot share {name}")
        return first

    def _all(self, is_it: Any, values: Sequence[Any]) -> bool:
        return all(is_it(value, capture) for value, _, capture in self._places(values))

    def _mask(self, masks: Sequence[Tensor | None]) -> Tensor:
        """A prompt's positions look where they did; the rest anywhere, lest a softmax be empty."""
        known = [mask for mask in masks if mask is not None]
        like = known[0] if known else self._captures[0].states[0].new_ones((), dtype=torch.bool)
        seen, hidden = _seen_and_hidden(like.dtype)
        placed = []
        for mask, shift, capture in self._places(masks):
            own = slice(shift, shift + capture.length)
            heads = 1 if mask is None else mask.shape[1]
            wide = like.new_full((capture.n_rows, heads, self._length, self._length), seen)
            wide[..., own, :] = hidden
            wide[..., own, own] = _causal(like, capture.length) if mask is None else mask
            placed.append(wide)
        return torch.cat(placed)


def _is_mask(value: Any, capture: Capture) -> bool:
    """By query and key; None is a causal one."""
    square = (capture.length, capture.length)
    return value is None or (
        isinstance(value, Tensor) and value.ndim == 4 and value.shape[-2:] == square
    )


def _is_by_position(value: Any, capture: Capture) -> bool:
    return (
        isinstance(value, Tensor)
        and value.ndim >= 2
        and value.shape[0] in (1, capture.n_rows)
        and value.shape[1] == capture.length
    )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


def _causal(like: Tensor, length: int) -> Tensor:
    seen, hidden = _seen_and_hidden(like.dtype)
    earlier = torch.ones(length, length, dtype=torch.bool, device=like.device).tril()
    return like.new_full((length, length), hidden).masked_fill(earlier, seen)


def _seen_and_hidden(dtype: torch.dtype) -> tuple[float, float]:
    """What a mask holds where a position is looked at, and where it is not."""
    return (True, False) if dtype == torch.bool else (0.0, torch.finfo(dtype).min)
