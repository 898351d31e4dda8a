"""Predictions with something added to the MLP's output at the last subject token.

Rows of one length, with the subject at one place, are run once side by side: so nothing is padded,
and every family runs as it always does. From then on all rows go together, their last subject
tokens in one column; only the columns from there on, in the blocks from the edited layer on, are
run again for every change. The first time shows whether that gives what the rows gave alone;
where it does not, each length goes by itself, and then by whole passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from rome_widgets.editing.prompt_rows import PromptRow
from rome_widgets.editing.site import Site
from rome_widgets.model.batching import batch_captures
from rome_widgets.model.chosen_logits import logits_at
from rome_widgets.model.hooks import Seen, Visitor, run_hooked
from rome_widgets.model.language_model import upcast
from rome_widgets.model.memory import is_shortage
from rome_widgets.model.replay import CannotReplay, Capture, check_same_logits
from rome_widgets.model.structure.geometry import non_finite_error


class Passes:
    """The prefixed prompts, and the row that should stay; each run once, to be run with changes.

    Attributes:
        keys: `[row, d_in]`: what the matrix reads at the last subject token; of the prompts only,
            the bare one first, the others in any order. So are values and weights.
        values: `[row, d_out]`: what it puts out there, bias included.
        weights: `[row]`: share in means over rows.

    Raises:
        NonFinite: The model produces NaN or infinity.
    """

    def __init__(self, site: Site, rows: Sequence[PromptRow], about: PromptRow) -> None:
        by_shape: dict[Any, list[PromptRow]] = {}
        for row in rows:
            by_shape.setdefault((len(row.ids), row.pos, row.wanted), []).append(row)
        asked = [_run_once(site, some) for some in by_shape.values()]
        self.keys = torch.cat([group.keys for group in asked])
        self.values = torch.cat([group.values for group in asked])
        self.weights = torch.tensor(
            [row.weight for some in by_shape.values() for row in some],
            dtype=site.dtype,
            device=self.values.device,
        )
        self._site = site
        self._groups = [*asked, _run_once(site, [about])]
        self._ways: list[_Replayed | _Whole] = []

    def log_probabilities(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """With `delta` added to that output; differentiable. In the first call it is zero.

        Returns:
            `[row, wanted, vocab]` of the rows, and `[vocab]` of the one about the subject.
        """
        if self._ways:
            found = [way.logits(delta) for way in self._ways]
        else:
            proved = _prove(self._site, self._groups, delta)
            self._ways, found = [way for way, _ in proved], [logits for _, logits in proved]
            self._groups = []  # their captures are large
        # Whole passes end on another device than replay, where accelerate has spread the model.
        logits = found[0] if len(found) == 1 else torch.cat([f.to(found[0].device) for f in found])
        predicted = upcast(logits).log_softmax(dim=-1)
        asked, about = predicted.split([len(predicted) - 1, 1])
        return asked.unflatten(0, (len(self.weights), -1)), about[0]


# --------------------------------------------------------------------------- the first run


@dataclass(frozen=True, eq=False)
class _Group:
    """Rows of one length, with the last subject token and the wanted positions in one place."""

    ids: Tensor
    pos: int
    wanted: tuple[int, ...]
    keys: Tensor
    values: Tensor
    capture: Capture | None
    """None where blocks cannot be called by themselves."""

    @property
    def columns(self) -> tuple[int, ...]:
        """The wanted positions, counted from the last subject token."""
        return tuple(pos - self.pos for pos in self.wanted)


def _run_once(site: Site, rows: Sequence[PromptRow]) -> _Group:
    ids = site.lm.rows(row.ids for row in rows)
    pos, seen_there = rows[0].pos, []

    def keep(seen: Seen) -> None:
        for state in (seen.args[0], seen.output):
            by_row = state.view(*ids.shape, state.shape[-1])
            seen_there.append(by_row[:, pos].detach().to(site.dtype, copy=True))

    capture = site.lm.run(lambda: _captured(site, ids, [(site.module, keep)]))
    keys, values = seen_there[-2:]  # what could not be captured may have been run in vain before
    return _Group(ids, pos, rows[0].wanted, keys, values, capture)


def _captured(site: Site, ids: Tensor, visitors: list[tuple[nn.Module, Visitor]]) -> Capture | None:
    lm, capture = site.lm, None
    if lm.replay is not None:
        with suppress(CannotReplay):
            capture = lm.replay.capture(ids, visitors)
    logits = capture.logits if capture else run_hooked(lambda: lm.last_logits(ids, 1), visitors)
    if not torch.isfinite(logits).all():
        raise non_finite_error(lm.model, lambda: lm.last_logits(ids, 1))
    return capture


# ---------------------------------------------------------------------- and all the others


def _prove(
    site: Site, groups: Sequence[_Group], delta: Tensor
) -> list[tuple[_Replayed | _Whole, Tensor]]:
    """The largest calls that, without a change, give the logits of the first run; and these."""
    try:
        way = _Replayed(site, groups)
        logits = way.logits(delta)
        _check(groups, logits.detach())
    except (CannotReplay, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_shortage(error):
            raise
        if len(groups) > 1:
            return [found for group in groups for found in _prove(site, [group], delta)]
        whole = _Whole(site, groups[0])
        return [(whole, whole.logits(delta))]
    return [(way, logits)]


def _check(groups: Sequence[_Group], logits: Tensor) -> None:
    """Group by group, so that a few wrong rows do not drown among right ones.

    Raises:
        CannotReplay: These are other logits than those captured.
    """
    captured = [group.capture.logits for group in groups if group.capture]
    sizes = [len(each) for each in captured]
    others = torch.cat(captured).roll(1, dims=0).split(sizes)
    by_group = logits.split([len(group.ids) * len(group.wanted) for group in groups])
    for group, found, wanted, other in zip(groups, by_group, captured, others, strict=True):
        last = found[len(group.wanted) - 1 :: len(group.wanted)]
        check_same_logits(last, wanted, other, "the rows of an edit")


class _Replayed:
    """Only what a change can reach is run again."""

    def __init__(self, site: Site, groups: Sequence[_Group]) -> None:
        captures = [group.capture for group in groups if group.capture]
        if site.lm.replay is None or len(captures) < len(groups):
            raise CannotReplay("not every row could be captured")
        self._site, self._replay = site, site.lm.replay
        self._capture, self._start = batch_captures(captures, [group.pos for group in groups])
        self._rows = torch.arange(self._capture.n_rows, device=site.lm.device)
        self._columns: list[tuple[tuple[int, ...], int]] = [
            (columns, sum(len(group.ids) for group in some))
            for columns, some in groupby(groups, key=lambda group: group.columns)
        ]

    def logits(self, delta: Tensor) -> Tensor:
        """`[row · wanted, vocab]`, differentiable.

        One call for all, as the head is the largest matrix of many models.
        """
        capture, start, layer = self._capture, self._start, self._site.layer
        add = [(self._site.module, adding(delta))]
        column = capture.states[layer][:, start : start + 1]
        changed = self._replay.block(capture, layer, column, start, self._rows, add)
        after = capture.states[layer + 1][:, start + 1 :]
        # In its own layer, the change is seen by no later position.
        hidden = torch.cat([changed, after.to(changed.device)], dim=1)
        for later in range(layer + 1, self._replay.n_layers - 1):
            hidden = self._replay.block(capture, later, hidden, start, self._rows)
        return self._replay.logits(self._wanted(hidden))

    def _wanted(self, hidden: Tensor) -> Tensor:
        """`[row · wanted, d_model]` after the last block, from what enters it.

        Of each row only what is wanted, which is consecutive.
        """
        sizes = [size for _, size in self._columns]
        found: list[Tensor] = []
        for (columns, _), rows, some in zip(
            self._columns, self._rows.split(sizes), hidden.split(sizes), strict=True
        ):
            state = some[:, : columns[-1] + 1]
            if self._site.layer < self._replay.n_layers - 1:
                state = self._replay.block(
                    self._capture,
                    self._replay.n_layers - 1,
                    state,
                    self._start,
                    rows,
                    wanted=len(columns),
                )
            found.append(state[:, -len(columns) :].flatten(0, 1))
        return torch.cat(found)


class _Whole:
    """Whole forward passes."""

    def __init__(self, site: Site, group: _Group) -> None:
        self._site, self._group = site, group

    def logits(self, delta: Tensor) -> Tensor:
        """`[row · wanted, vocab]`, differentiable."""
        lm, group = self._site.lm, self._group
        wanted = torch.tensor([group.wanted] * len(group.ids), device=lm.device)
        add = [(self._site.module, adding(delta, at=group.pos, length=group.ids.shape[1]))]
        return run_hooked(lambda: logits_at(lm, group.ids, wanted), add).flatten(0, 1)


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
