"""Predictions with something added to the MLP's output at the last subject token.

Rows of one length, with the subject at one place, go together: so nothing is padded, and every
family runs as it always does. Each group is run once; then only the columns from the subject's
last token on, in the blocks from the edited layer on, are run again for every change. Where the
blocks of a model cannot be called by themselves, whole passes give the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rome_widgets.editing.request import Row
from rome_widgets.editing.site import Site
from rome_widgets.model.geometry import non_finite, run
from rome_widgets.model.hooks import Seen, Visitor, run_hooked
from rome_widgets.model.language_model import widened
from rome_widgets.model.replay import CannotReplay, Capture, Replay, compare


class Group:
    """Rows of one length, with the last subject token and the wanted positions in one place."""

    def __init__(self, site: Site, rows: Sequence[Row]) -> None:
        self.ids = torch.tensor([row.ids for row in rows], device=site.lm.device)
        self.pos = rows[0].pos
        self.wanted = rows[0].wanted
        self.about = rows[0].about
        self.weights = torch.tensor(
            [row.weight for row in rows], dtype=site.dtype, device=site.weight.device
        )

    @property
    def length(self) -> int:
        """Positions of each row."""
        return self.ids.shape[1]


class Passes:
    """Groups of rows, each run once, to be run again with changes.

    Args:
        site: The matrix.
        rows: Every row; the first one is the first of the first group.

    Attributes:
        groups: Rows that go together.
        keys: Per group `[row, d_in]`: what the matrix reads at the last subject token.
        values: Per group `[row, d_out]`: what it puts out there, bias included.

    Raises:
        NonFinite: The model produces NaN or infinity.
    """

    def __init__(self, site: Site, rows: Sequence[Row]) -> None:
        by_shape: dict[Any, list[Row]] = {}
        for row in rows:
            shape = (len(row.ids), row.pos, row.wanted, row.about)
            by_shape.setdefault(shape, []).append(row)
        self._site = site
        self.groups = [Group(site, some) for some in by_shape.values()]
        self._parts = [_run_group(site, group) for group in self.groups]
        self._proved = False

    @property
    def keys(self) -> list[Tensor]:
        """See `Passes`."""
        return [part.keys for part in self._parts]

    @property
    def values(self) -> list[Tensor]:
        """See `Passes`."""
        return [part.values for part in self._parts]

    def log_probabilities(self, delta: Tensor) -> list[Tensor]:
        """Per group `[row, wanted, vocab]` with `delta` added to that output; differentiable.

        The first call, with a delta of zero, proves that replaying gives what was captured.
        """
        found = self._logits(delta)
        if not self._proved:
            if self._fall_back(found):
                found = self._logits(delta)
            self._proved = True
        return [widened(logits).log_softmax(dim=-1) for logits in found]

    def _logits(self, delta: Tensor) -> list[Tensor]:
        states: dict[int, Tensor] = {}
        logits: dict[int, Tensor] = {}
        for number, part in enumerate(self._parts):
            if isinstance(part, _Replayed):
                states[number] = part.states(delta)
            else:
                logits[number] = part.logits(delta)
        if states and self._site.lm.replay is not None:
            # One call for all: the head is the largest matrix, and reading it is what costs.
            every = self._site.lm.replay.logits(
                torch.cat([state.flatten(0, 1) for state in states.values()])
            )
            sizes = [state.shape[0] * state.shape[1] for state in states.values()]
            for (number, state), some in zip(states.items(), every.split(sizes), strict=True):
                logits[number] = some.unflatten(0, state.shape[:2])
        return [logits[number] for number in range(len(self._parts))]

    def _fall_back(self, found: list[Tensor]) -> bool:
        """Put whole passes in place of replays that do not give the captured logits."""
        wrong = False
        for number, (part, logits) in enumerate(zip(self._parts, found, strict=True)):
            if isinstance(part, _Replayed) and not part.agrees(logits.detach()):
                self._parts[number] = _Whole(self._site, self.groups[number])
                wrong = True
        return wrong


def _run_group(site: Site, group: Group) -> _Replayed | _Whole:
    replay = site.lm.replay
    if replay is not None:
        try:
            return _Replayed(site, group, replay)
        except CannotReplay:
            pass
    return _Whole(site, group)


class _Keeping:
    """A visitor that keeps key and value at one position."""

    def __init__(self, site: Site, group: Group) -> None:
        self._site, self._group = site, group

    def visit(self, seen: Seen) -> None:
        self.keys = self._at(seen.args[0])
        self.values = self._at(seen.output)

    def _at(self, state: Tensor) -> Tensor:
        rows = state.view(len(self._group.ids), self._group.length, state.shape[-1])
        return rows[:, self._group.pos].detach().to(self._site.dtype, copy=True)

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """Keys and values."""
        return self.keys, self.values


class _Replayed:
    """Only what a change can reach is run again."""

    def __init__(self, site: Site, group: Group, replay: Replay) -> None:
        self.site, self.group, self._replay = site, group, replay
        keeping = _Keeping(site, group)
        self._capture = site.lm.run(lambda: self._checked_capture([(site.module, keeping.visit)]))
        self.keys, self.values = keeping.pair
        self._rows = torch.arange(len(group.ids), device=group.ids.device)

    def _checked_capture(self, visitors: list[tuple[Any, Visitor]]) -> Capture:
        capture = self._replay.capture(self.group.ids, visitors)
        if not torch.isfinite(capture.logits).all():
            raise non_finite(self.site.lm.model, lambda: run(self.site.lm.model, self.group.ids))
        return capture

    def agrees(self, logits: Tensor) -> bool:
        """Whether `[row, wanted, vocab]` logits without a change are the captured ones."""
        if self.group.wanted[-1] != self.group.length - 1:
            return False
        try:
            wanted = self._capture.logits
            compare(logits[:, -1], wanted, wanted.roll(1, dims=0), "the rows of an edit")
        except CannotReplay:
            return False
        return True

    def states(self, delta: Tensor) -> Tensor:
        """`[row, wanted, d_model]` after the last block, with `delta` added."""
        capture, start, layer = self._capture, self.group.pos, self.site.layer
        add = [(self.site.module, adding(delta))]
        column = capture.states[layer][:, start : start + 1]
        changed = self._replay.block(capture, layer, column, start, self._rows, add)
        after = capture.states[layer + 1][:, start + 1 :]
        # In its own layer, the change is seen by no later position.
        hidden = torch.cat([changed, after.to(changed.device)], dim=1)
        n_layers = self._replay.n_layers
        only_last = self.group.wanted == (self.group.length - 1,)
        for later in range(layer + 1, n_layers):
            last = only_last and later == n_layers - 1
            one = self._replay.last_position if last else self._replay.block
            hidden = one(capture, later, hidden, start, self._rows)
        behind = self.group.length - hidden.shape[1]
        return hidden[:, [pos - behind for pos in self.group.wanted]]


class _Whole:
    """Whole forward passes."""

    def __init__(self, site: Site, group: Group) -> None:
        self.site, self.group = site, group
        keeping = _Keeping(site, group)
        logits = site.lm.run(
            lambda: run_hooked(
                lambda: run(site.lm.model, group.ids), [(site.module, keeping.visit)]
            )
        )
        if not torch.isfinite(logits).all():
            raise site.lm.run(
                lambda: non_finite(site.lm.model, lambda: run(site.lm.model, group.ids))
            )
        self.keys, self.values = keeping.pair

    def logits(self, delta: Tensor) -> Tensor:
        """`[row, wanted, vocab]` with `delta` added."""
        add = [(self.site.module, adding(delta, at=self.group.pos, length=self.group.length))]
        logits = run_hooked(lambda: run(self.site.lm.model, self.group.ids), add)
        return logits[:, list(self.group.wanted)]


def adding(delta: Tensor, *, at: int | None = None, length: int = 1) -> Visitor:
    """A visitor that adds `[d_model]` to an output: everywhere, or at one of `length` positions."""

    def visit(seen: Seen) -> Tensor:
        change = delta.to(seen.output)
        if at is None:
            return seen.output + change
        rows = seen.output.view(-1, length, seen.output.shape[-1])
        here = torch.zeros(length, 1, dtype=change.dtype, device=change.device)
        here[at] = 1
        return (rows + here * change).view(seen.output.shape)

    return visit
