"""The clean and the corrupted run of one prompt, and predictions with chosen states restored.

Two ways give the same numbers. `Runs` repeats the whole corrupted pass with visitors that put
states back: slow, obvious, right for any model. `ReplayedRuns` runs only what can have changed.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from rome_widgets.errors import ModelChanged, NonFinite, OutOfMemory
from rome_widgets.model.hooks import Seen, Visitor
from rome_widgets.model.language_model import LanguageModel, probabilities_of, to_numpy
from rome_widgets.model.replay import CannotReplay, Capture, Replay
from rome_widgets.results import Kind, State
from rome_widgets.tracing.plan import Branch, Patch, Wave, group_cells, make_wave

T = TypeVar("T")
Check = Callable[[], None]
"""Called between two calls of the model; raises where the work should stop."""
Held = Mapping[State, Tensor]
"""`[sample, d_model]` by state: what a severed graph keeps in place."""
Predicted = tuple[Sequence[int], Tensor]
"""Numbers of cells, and their `[cell, vocab]` mean probabilities over the samples."""

UNEMBEDDED = 32_000_000
"""Logits computed at once."""
PREDICTED = 128_000_000
"""Probabilities kept at once."""
CALLS_PER_WAVE = 64
"""A wave may hold this many calls' worth of states."""


_kept: weakref.WeakKeyDictionary[LanguageModel, weakref.WeakValueDictionary[Hashable, Runs]]
_kept = weakref.WeakKeyDictionary()


def make_runs(lm: LanguageModel, ids: Sequence[int], span: tuple[int, int], noise: Tensor) -> Runs:
    """The runs of a prompt: those that somebody already keeps, if the model still gives them.

    Fast runs where replay is right for this model and prompt, else slow ones.

    Raises:
        NonFinite: NaN or infinity in the logits.
        OutOfMemory: No room for one pass over all samples.
    """
    kept = _kept.setdefault(lm, weakref.WeakValueDictionary())
    draws = hashlib.sha256(to_numpy(noise).tobytes()).digest()
    key = (lm.weights_version, lm.engine, tuple(ids), span, tuple(noise.shape), draws)
    runs = kept.get(key)
    if runs is None or not runs.still_hold():
        what = f"run {len(noise)} samples of the prompt"
        runs = kept[key] = within_memory(lambda: _make_runs(lm, ids, span, noise), what)
    return runs


def _make_runs(lm: LanguageModel, ids: Sequence[int], span: tuple[int, int], noise: Tensor) -> Runs:
    if lm.replay is None:
        return Runs(lm, ids, span, noise)
    try:
        return ReplayedRuns(lm, lm.replay, ids, span, noise)
    except CannotReplay as reason:
        runs = Runs(lm, ids, span, noise)
        runs.note = f"Whole forward passes are used for this prompt: {reason}."
        return runs


def within_memory(call: Callable[[], T], what: str) -> T:
    """`call()`, or our own error where the device has no room for it.

    Raises:
        OutOfMemory: With `what` could not be done.
    """
    try:
        return call()
    except torch.OutOfMemoryError as error:
        message = str(error)
    raise _no_memory(what, message)  # outside the handler: its traceback holds the tensors


class Runs:
    """One prompt's runs, by whole forward passes.

    Args:
        lm: The model.
        ids: Token ids of the prompt.
        span: Half-open span of corrupted positions.
        noise: `[sample, span, d_model]`, in the embedding's dtype and on its device.

    Attributes:
        clean: `[vocab]` probabilities after the prompt.
        corrupted: The same with noise on the span, mean over the samples.
        states: `[pos, d_model]` by kind and layer: the clean run's.
        note: What a reader should know about how the runs are made.

    Raises:
        NonFinite: NaN or infinity in the logits.
    """

    note = ""

    def __init__(
        self, lm: LanguageModel, ids: Sequence[int], span: tuple[int, int], noise: Tensor
    ) -> None:
        self.lm = lm
        self.span = span
        self.noise = noise
        self.samples = len(noise)
        self.length = len(ids)
        self.ids = torch.tensor([list(ids)], device=lm.device)
        self.states: dict[tuple[Kind, int], Tensor] = {}
        self._weights_version = lm.weights_version
        self._witness = lm.next_token_probabilities(self.ids)[0]
        if lm.replay is None:
            self.note = f"Whole forward passes are used for this model: {lm.no_replay}."
        self._run_both()

    def _run_both(self) -> None:
        visitors = [
            (name, self._keep_first_row(kind, layer))
            for kind in self.lm.kinds
            for layer, name in enumerate(self.lm.sites(kind))
        ]
        self.clean = self.lm.next_token_probabilities(self.ids, visitors)[0]
        self.corrupted = self._pass([()], {})[0]

    def _keep_first_row(self, kind: Kind, layer: int) -> Visitor:
        def visit(seen: Seen) -> None:
            rows = seen.output.view(-1, self.length, seen.output.shape[-1])
            self.states[kind, layer] = rows[0].clone()

        return visit

    @property
    def tokens_per_call(self) -> int:
        """Tokens in one call of the model.

        As many as a CPU core runs in a fraction of a second, or a GPU fills with. Small enough
        that a cancel is noticed soon, large enough that a small model is not all overhead.
        """
        if self.lm.device.type == "cpu":
            return min(self.lm.tokens_per_call, 4_000_000_000 // self.lm.n_parameters)
        return self.lm.tokens_per_call

    def predict(
        self,
        cells: Sequence[Sequence[State]],
        held: Held | None = None,
        check: Check = lambda: None,
    ) -> Iterator[Predicted]:
        """The prediction with each cell's states restored, some cells at a time.

        Args:
            cells: The states to restore, per cell.
            held: States kept at corrupted values meanwhile; restoring a state goes first.
            check: See `Check`.

        Raises:
            ModelChanged: The model is no longer that of the runs.
            OutOfMemory: No room for even a single row.
        """
        self._check_model(len(cells))
        first, message = 0, ""
        while first < len(cells):
            check()
            n_cells = max(1, self.tokens_per_call // (self.samples * self.length))
            numbers = range(first, min(first + n_cells, len(cells)))
            try:
                predicted = self._pass([cells[number] for number in numbers], held or {})
            except torch.OutOfMemoryError as error:
                predicted, message = None, str(error)
            if predicted is not None:
                yield numbers, predicted
                first = numbers.stop
            elif len(numbers) > 1:
                self.lm.use_less_memory(len(numbers) * self.samples * self.length)
            else:
                raise _no_memory(f"run {self.samples} samples of the prompt", message)

    def still_hold(self) -> bool:
        """Whether the model gives the clean prediction of these runs again.

        One row of one pass: it also shows what leaves no mark on the weights' versions, such as a
        hook of the user's, an adapter switched off, or a weight written through `.data`.
        """
        again = within_memory(
            lambda: self.lm.next_token_probabilities(self.ids)[0], "run the prompt once"
        )
        return torch.allclose(again, self._witness.to(again), rtol=1e-5, atol=1e-9)

    def _check_model(self, n_cells: int) -> None:
        """For a single cell, a click, only what costs next to nothing to know."""
        same = self.lm.weights_version == self._weights_version
        if not same or (n_cells > 1 and not self.still_hold()):
            raise ModelChanged(
                "The model has changed since its clean and corrupted runs were made.",
                "The weights and hooks those runs were made with were wanted.",
                "Make a new CausalTracer, or undo the change.",
            )

    def corrupted_states(self, states: Sequence[State]) -> dict[State, Tensor]:
        """`[sample, d_model]` by state: its value in the corrupted run."""
        self._check_model(1)
        found: dict[State, Tensor] = {}

        def keep(state: State) -> Visitor:
            def visit(seen: Seen) -> None:
                rows = seen.output.view(-1, self.length, seen.output.shape[-1])
                found[state] = rows[:, state.pos].clone()

            return visit

        visitors = [(self.lm.sites(state.kind)[state.layer], keep(state)) for state in states]
        self.lm.next_token_probabilities(
            self.ids.expand(self.samples, -1), [self._corrupting(1), *visitors]
        )
        return found

    def _pass(self, cells: Sequence[Sequence[State]], held: Held) -> Tensor:
        """`[cell, vocab]`: one whole forward pass, every cell's samples in a batch."""
        patches = [_with_holds(cell, held) for cell in cells]
        by_site: dict[tuple[Kind, int], list[tuple[int, Patch]]] = {}
        for cell, some in enumerate(patches):
            for patch in some:
                by_site.setdefault((patch.kind, patch.layer), []).append((cell, patch))
        visitors = [self._corrupting(len(cells))]
        for (kind, layer), where in by_site.items():
            placed = self._place(where, held, start=0)
            visitors.append((self.lm.sites(kind)[layer], placed.visitor(self.length)))
        rows = self.ids.expand(len(cells) * self.samples, -1)
        probabilities = self.lm.next_token_probabilities(rows, visitors)
        return probabilities.unflatten(0, (len(cells), self.samples)).mean(dim=1)

    def _corrupting(self, repeats: int, *, after: int = 0) -> tuple[str, Visitor]:
        """Adds the draws to the subject's embeddings, `repeats` times, after `after` rows."""
        start, stop = self.span
        noise = self.noise.repeat(repeats, 1, 1)

        def visit(seen: Seen) -> Tensor:
            corrupted = seen.output.clone()
            corrupted[after:, start:stop] += noise
            return corrupted

        return self.lm.geometry.embedding, visit

    def _place(self, where: Sequence[tuple[int, Patch]], held: Held, *, start: int) -> Placed:
        """Patches of one kind and layer, by number of the branch or cell, as rows and values."""
        kind, layer = where[0][1].kind, where[0][1].layer
        branches, positions = (
            torch.tensor(column)
            for column in ([n for n, _ in where], [patch.pos for _, patch in where])
        )
        values = self.states[kind, layer][positions][:, None].repeat(1, self.samples, 1)
        for i, (_, patch) in enumerate(where):
            if not patch.clean:
                values[i] = held[State(*patch[:3])]
        return Placed(
            (branches[:, None] * self.samples + torch.arange(self.samples)).flatten(),
            (positions - start).repeat_interleave(self.samples),
            values.flatten(0, 1),
        )


class Placed(NamedTuple):
    """Values to put into a batch: `[n]` rows, `[n]` positions, `[n, d_model]` values.

    Rows and positions stay on the CPU: to ask a GPU which of them lie where would wait for it.
    """

    rows: Tensor
    positions: Tensor
    values: Tensor

    def visitor(self, length: int) -> Visitor:
        """Puts them into a module's output over rows of `length` positions."""

        def visit(seen: Seen) -> Tensor:
            changed = seen.output.clone()
            self.put(changed.view(-1, length, changed.shape[-1]))
            return changed

        return visit

    def put(self, target: Tensor) -> None:
        """Overwrite `[row, pos, d_model]` in place."""
        rows, positions = self.rows.to(target.device), self.positions.to(target.device)
        target[rows, positions] = self.values.to(target)

    def between(self, first: int, stop: int) -> Placed:
        """Only those of rows `first` to `stop`, counted from `first`."""
        (inside,) = ((self.rows >= first) & (self.rows < stop)).nonzero(as_tuple=True)
        if len(inside) == len(self.rows):
            return self._replace(rows=self.rows - first)
        values = self.values[inside.to(self.values.device)]
        return Placed(self.rows[inside] - first, self.positions[inside], values)


def _with_holds(cell: Sequence[State], held: Held) -> list[Patch]:
    restored = {State(*state) for state in cell}
    return [
        *(Patch(*state, clean=True) for state in restored),
        *(Patch(*state, clean=False) for state in held if state not in restored),
    ]


class ReplayedRuns(Runs):
    """The same runs and predictions, replaying only the blocks and positions that can change.

    Both runs are one captured pass. A wave of cells then goes up the layers as `plan` says, from
    its first patched layer and position; what is before comes from the capture.

    Raises:
        CannotReplay: Replay gives other numbers for this prompt.

    Source:
        No published one: the published code runs whole passes. Equality is tested cell by cell.
    """

    def __init__(
        self,
        lm: LanguageModel,
        replay: Replay,
        ids: Sequence[int],
        span: tuple[int, int],
        noise: Tensor,
    ) -> None:
        self._replay = replay
        self._asked = 0
        super().__init__(lm, ids, span, noise)

    def _run_both(self) -> None:
        contributions = [
            (name, self._keep_first_row(kind, layer))
            for kind in self.lm.kinds
            if kind != "hidden"
            for layer, name in enumerate(self.lm.sites(kind))
        ]
        rows = self.ids.expand(1 + self.samples, -1)
        visitors = self.lm.named([self._corrupting(1, after=1), *contributions])
        self._capture = self.lm.run(lambda: self._checked_capture(rows, visitors))
        probabilities = probabilities_of(self._capture.logits)
        self.clean, self.corrupted = probabilities[0], probabilities[1:].mean(dim=0)
        for layer in range(self.lm.n_layers):
            self.states["hidden", layer] = self._capture.states[layer + 1][0]

    def _checked_capture(
        self, rows: Tensor, visitors: list[tuple[torch.nn.Module, Visitor]]
    ) -> Capture:
        capture = self._replay.capture(rows, visitors)
        if not torch.isfinite(capture.logits).all():
            raise CannotReplay("its captured pass has NaN or infinity")
        self._replay.check(capture)
        return capture

    @property
    def tokens_per_call(self) -> int:
        """Tokens in one call of a block."""
        return self.lm.tokens_per_call

    def predict(
        self,
        cells: Sequence[Sequence[State]],
        held: Held | None = None,
        check: Check = lambda: None,
    ) -> Iterator[Predicted]:
        """See `Runs.predict`. Cells come out by the order of their first patched positions."""
        self._check_model(len(cells))
        unchanged, groups = group_cells(cells, **self._shape, most_cells=self._most_cells)
        if unchanged:
            yield unchanged, self.corrupted.expand(len(unchanged), -1)
        waiting = deque(groups)
        while waiting:
            numbers = waiting.popleft()
            predicted = self._within_memory([cells[n] for n in numbers], held or {}, check)
            if predicted is None:  # too much at once: what is done stays, this is halved
                half = (len(numbers) + 1) // 2
                waiting.extendleft(filter(None, (numbers[half:], numbers[:half])))
                continue
            for some, probabilities in predicted:
                yield [numbers[number] for number in some], probabilities

    @property
    def _shape(self) -> dict[str, int]:
        return {
            "n_layers": self.lm.n_layers,
            "n_pos": self.length,
            "subject_start": self.span[0],
        }

    @property
    def _most_cells(self) -> int:
        tokens = CALLS_PER_WAVE * self.tokens_per_call // (self.samples * self.length)
        return max(1, min(tokens, PREDICTED // self._capture.logits.shape[-1]))

    def _within_memory(
        self, cells: Sequence[Sequence[State]], held: Held, check: Check
    ) -> list[Predicted] | None:
        """The predictions of a few cells, or None where memory did not do for as many.

        Raises:
            OutOfMemory: It does not do for a single row.
        """
        try:
            wave = make_wave(cells, **self._shape, held=held)
            predicted = self.lm.run(lambda: list(self._run(wave, held, check)))
        except torch.OutOfMemoryError as error:
            message = str(error)
        else:
            return self._finite(predicted, cells, held)
        self._shrink(len(cells), message)  # outside the handler: its traceback holds the tensors
        return None

    def _shrink(self, n_cells: int, message: str) -> None:
        """Smaller calls from now on, if it was a call that did not fit; else only fewer cells."""
        asked, self._asked = self._asked, 0
        if n_cells == 1 and (not asked or self.tokens_per_call <= 1):
            self.lm.forget_memory()  # what did not fit now may fit another time
            raise _no_memory("replay one row", message)
        if asked:
            self.lm.use_less_memory(asked)
        if self.lm.device.type == "cuda":
            torch.cuda.empty_cache()

    def _finite(
        self, predicted: list[Predicted], cells: Sequence[Sequence[State]], held: Held
    ) -> list[Predicted]:
        for numbers, probabilities in predicted:
            finite = torch.isfinite(probabilities).all(dim=1)
            if not finite.all():
                self._pass([cells[numbers[int(finite.long().argmin())]]], held)  # names the module
                raise NonFinite(
                    "Replaying a restored state gives NaN or infinity.",
                    "Finite activations were wanted, as a whole pass has.",
                    "Load the model in float32.",
                )
        return predicted

    # ------------------------------------------------------------------------- one wave

    def _run(self, wave: Wave, held: Held, check: Check) -> Iterator[Predicted]:
        branches = torch.empty(0)
        for layer, step in enumerate(wave.steps, start=wave.first):
            branches = self._after_block(layer, step, branches, wave.start, held, check)
        yield from self._unembed(branches[:, :, -1], wave.leaves, check)

    def _after_block(
        self,
        layer: int,
        step: Sequence[Branch],
        before: Tensor,
        start: int,
        held: Held,
        check: Check,
    ) -> Tensor:
        """`[branch, sample, pos, d_model]` after a block, from the branches before it.

        After the last block, only the last position.
        """
        first = start if layer < self.lm.n_layers - 1 else self.length - 1
        corrupted = self._capture.states[layer + 1][1:, first:]
        after = corrupted.expand(len(step), -1, -1, -1).clone()
        running = [number for number, branch in enumerate(step) if branch.parent is not None]
        leaving = [
            number
            for number, branch in enumerate(step)
            if branch.parent is None and any(patch.kind != "hidden" for patch in branch.patches)
        ]
        if running:
            parents = torch.tensor([step[number].parent for number in running])
            entering = before if _is_all(parents, len(before)) else before[parents]
            patches = [step[number].patches for number in running]
            after[running] = self._through(layer, entering, start, patches, held, check)
        for (low, high), numbers in _by_extent(step, leaving).items():
            # Of what enters the block nothing changed yet, so only patched positions come out new.
            unchanged = self._capture.states[layer][1:, low:high]
            entering = unchanged.expand(len(numbers), -1, -1, -1)
            patches = [step[number].patches for number in numbers]
            new = self._through(layer, entering, low, patches, held, check)
            after[numbers, :, low - first : high - first] = new
        hidden = [
            (number, patch)
            for number, branch in enumerate(step)
            for patch in branch.patches
            if patch.kind == "hidden"
        ]
        if hidden:
            self._place(hidden, held, start=first).put(after.flatten(0, 1))
        return after

    def _through(
        self,
        layer: int,
        entering: Tensor,
        start: int,
        patches: Sequence[Sequence[Patch]],
        held: Held,
        check: Check,
    ) -> Tensor:
        """`[branch, sample, pos, d_model]`: `entering` through a block, attention and MLP patched.

        In pieces of `tokens_per_call`; the last block gives its last position only.
        """
        rows = entering.flatten(0, 1)
        stop = start + rows.shape[1]
        last = layer == self.lm.n_layers - 1 and stop == self.length
        call = self._replay.last_position if last else self._replay.block
        out_start = stop - 1 if last else start
        placed = [
            (site, self._place(where, held, start=out_start))
            for site, where in self._contributions(layer, patches)
        ]
        n_rows = max(1, self.tokens_per_call // rows.shape[1])
        pieces = []
        for first in range(0, len(rows), n_rows):
            check()
            some = rows[first : first + n_rows]
            numbers = torch.arange(first, first + len(some), device=rows.device)
            visitors = [
                (site, inside.visitor(stop - out_start))
                for site, each in placed
                if len((inside := each.between(first, first + len(some))).rows)
            ]
            origin = 1 + numbers % self.samples  # the capture's first row is clean
            self._asked = some.shape[0] * some.shape[1]
            pieces.append(call(self._capture, layer, some, start, origin, visitors))
            self._asked = 0
        out = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return out.unflatten(0, (len(patches), self.samples))

    def _contributions(
        self, layer: int, patches: Sequence[Sequence[Patch]]
    ) -> list[tuple[torch.nn.Module, list[tuple[int, Patch]]]]:
        """The attention's and the MLP's patches of a block, with the module that they act on."""
        found = []
        for kind in ("attn", "mlp"):
            where = [
                (number, patch)
                for number, some in enumerate(patches)
                for patch in some
                if patch.kind == kind
            ]
            if where:
                found.append((self.lm.model.get_submodule(self.lm.sites(kind)[layer]), where))
        return found

    def _unembed(
        self, hidden: Tensor, leaves: Sequence[Sequence[int]], check: Check
    ) -> Iterator[Predicted]:
        """Mean probabilities of `[branch, sample, d_model]` states, a piece at a time."""
        n_rows = max(1, UNEMBEDDED // self._capture.logits.shape[-1])
        n_branches = max(1, n_rows // self.samples)
        for first in range(0, len(hidden), n_branches):
            some = hidden[first : first + n_branches]
            total = None
            for samples in some.split(max(1, n_rows // len(some)), dim=1):
                check()
                logits = self._replay.logits(samples.flatten(0, 1))
                probabilities = probabilities_of(logits).unflatten(0, samples.shape[:2])
                part = probabilities.sum(dim=1)
                total = part if total is None else total + part
            cells = leaves[first : first + n_branches]
            branch_of = [branch for branch, some in enumerate(cells) for _ in some]
            assert total is not None, "there is at least one sample"
            yield [cell for some in cells for cell in some], (total / self.samples)[branch_of]


def _no_memory(what: str, message: str) -> OutOfMemory:
    return OutOfMemory(
        f"The device has no memory left to {what}: {message.splitlines()[0]}",
        "Room for the smallest piece of the work was wanted.",
        "Free memory on it, use fewer samples, a shorter prompt, or a smaller dtype.",
    )


def _is_all(parents: Tensor, n: int) -> bool:
    return len(parents) == n and bool((parents == torch.arange(n)).all())


def _by_extent(step: Sequence[Branch], numbers: Sequence[int]) -> dict[tuple[int, int], list[int]]:
    """Branches by the half-open extent of the positions that their outputs are patched at."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number in numbers:
        positions = [patch.pos for patch in step[number].patches if patch.kind != "hidden"]
        groups.setdefault((min(positions), max(positions) + 1), []).append(number)
    return groups
