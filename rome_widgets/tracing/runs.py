"""The clean and the corrupted run of one prompt, and predictions with chosen states restored.

Here by whole forward passes with visitors that put states back: slow, obvious, right for any
model. `replayed_runs` gives the same numbers and runs only what can have changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from rome_widgets.errors import (
    ContextTooLong,
    ModelChanged,
    RomeWidgetsError,
    UnsupportedModel,
)
from rome_widgets.model.hooks import Seen, Visitor
from rome_widgets.model.identity_changes import what_changed
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.memory import Lacking, attempt, in_pieces, is_shortage, within_memory
from rome_widgets.model.progress_bar import NO_STEPS, Steps
from rome_widgets.records.html import and_more
from rome_widgets.records.states import Kind, State
from rome_widgets.tracing.metric import Means, Measure, added
from rome_widgets.tracing.waves import Extent, Patch

T = TypeVar("T")
Check = Callable[[], None]
"""Called between two calls of the model; raises where the work should stop."""
Held = Mapping[State, Tensor]
"""`[sample, d_model]` by state: what a severed graph keeps in place."""
Predicted = tuple[Sequence[int], Means]
"""Numbers of cells, and what is predicted of these."""


class ThreeRuns(NamedTuple):
    """What one module puts out in the three runs, in one pass over some of the draws."""

    clean: Tensor
    """`[pos, width]`"""
    corrupted: Tensor
    """`[sample, pos, width]`"""
    restored: Tensor
    """`[sample, pos, width]`"""


Watcher = Callable[[ThreeRuns], Callable[[], None]]
"""Takes from the runs what it wants, and returns what keeps it: a pass may fail for memory yet."""
LOGITS_AT_ONCE = 32_000_000
"""Logits computed at once, at most."""


class Runs:
    """One prompt's runs, by whole forward passes.

    Args:
        lm: The model.
        ids: Token ids of the prompt.
        positions: Those of the corrupted tokens, in order.
        noise: `[sample, corrupted token, d_model]`, in the embedding's dtype and on its device.
        other_ids: What the corrupted runs read, where that is another subject's tokens; the noise
            is then one draw of zeros.

    Attributes:
        clean: `[vocab]` probabilities after the prompt.
        corrupted: The same of the corrupted run, mean over the samples.
        states: `[pos, d_model]` by kind and layer: the clean run's.
        note: What a reader should know about how the runs are made.

    Raises:
        NonFinite: NaN or infinity in the logits.
    """

    note = ""

    def __init__(
        self,
        lm: LanguageModel,
        ids: Sequence[int],
        positions: Sequence[int],
        noise: Tensor,
        other_ids: Sequence[int] | None = None,
    ) -> None:
        self.lm = lm
        self.positions = torch.tensor(positions, device=lm.device)
        self.noise = noise
        self.samples = len(noise)
        self.length = len(ids)
        self.extent = Extent(lm.n_layers, len(ids), min(positions))
        self.ids = lm.rows([ids])
        self.corrupted_ids = self.ids if other_ids is None else lm.rows([other_ids])
        self.states: dict[tuple[Kind, int], Tensor] = {}
        self._identity = lm.identity
        self._foreign = self._identity.foreign
        self._witness = self._alone()
        if self._foreign:
            self._prove_rows_alike()
        if lm.replay is None:
            self.note = f"Whole forward passes are used for this model: {lm.no_replay}."
        self._run_both()

    def _run_both(self) -> None:
        visitors = [
            (name, self._keep_first_row(kind, layer))
            for kind in self.lm.kinds
            for layer, name in enumerate(self.lm.sites(kind))
        ]
        self._clean_logits = self.lm.next_token_logits(self.ids, visitors)
        self.clean = self._clean_logits[0].softmax(dim=-1)
        likeliest = Measure(int(self.clean.argmax()))
        self.corrupted = self._corrupted(likeliest).probabilities[0]

    def measure(self, measure: Measure) -> tuple[float, float]:
        """The metric of the clean run, and of the corrupted one, mean over the samples."""
        if measure.metric == "probability":
            return float(self.clean[measure.answer_id]), float(self.corrupted[measure.answer_id])
        clean = float(measure.of(self._clean_logits)[0])
        return clean, float(
            within_memory(lambda: self._corrupted(measure), "run the prompt").scores
        )

    def _corrupted(self, measure: Measure) -> Means:
        """What is predicted with nothing restored, of one cell."""
        ((_, corrupted),) = self._passes([()], measure, {}, lambda: None)
        return corrupted

    def _keep_first_row(self, kind: Kind, layer: int) -> Visitor:
        def visit(seen: Seen) -> None:
            self.states[kind, layer] = self._by_row(seen.output)[0].clone()

        return visit

    @property
    def tokens_per_call(self) -> int:
        """Tokens in one call of what predictions are made with: here the whole model."""
        return self.tokens_per_pass

    @property
    def tokens_per_pass(self) -> int:
        """Tokens in one pass of the whole model.

        As many as a CPU core runs in a fraction of a second, or a GPU fills with. Small enough
        that a cancel is noticed soon, large enough that a small model is not all overhead.
        """
        if self.lm.device.type == "cpu":
            return min(self.lm.tokens_per_call, 4_000_000_000 // self.lm.n_parameters)
        return self.lm.tokens_per_call

    def predict(
        self,
        cells: Sequence[Sequence[State]],
        measure: Measure,
        held: Held | None = None,
        check: Check = lambda: None,
    ) -> Iterator[Predicted]:
        """The prediction with each cell's states restored, some cells at a time.

        Args:
            cells: The states to restore, per cell.
            measure: What the scores are.
            held: States kept at corrupted values meanwhile; restoring a state goes first.
            check: See `Check`.

        Raises:
            ModelChanged: The model is no longer that of the runs.
            OutOfMemory: No room for even a single row.
        """
        self._check_model(thoroughly=len(cells) > 1)
        for predicted in self._predict(cells, measure, held or {}, check):
            self._check_model(thoroughly=False)  # Others may write the model meanwhile.
            yield predicted

    def _predict(
        self, cells: Sequence[Sequence[State]], measure: Measure, held: Held, check: Check
    ) -> Iterator[Predicted]:
        yield from self._passes(cells, measure, held, check)

    def _passes(
        self, cells: Sequence[Sequence[State]], measure: Measure, held: Held, check: Check
    ) -> Iterator[Predicted]:
        """By whole passes; as many cells, then as many draws at once as memory holds."""
        first = 0
        while first < len(cells):
            check()
            n_cells = max(1, self.tokens_per_call // (self.samples * self.length))
            numbers = range(first, min(first + n_cells, len(cells)))
            some = [cells[number] for number in numbers]
            totals = attempt(lambda some=some: self._pass(some, measure, held))
            if isinstance(totals, Lacking) and len(numbers) > 1:
                self.lm.use_less_memory(len(numbers) * self.samples * self.length)
                continue
            if isinstance(totals, Lacking):
                totals = self._pass_by_draws(some, measure, held)
            yield numbers, Means(*(total / self.samples for total in totals))
            first = numbers.stop

    def _pass_by_draws(
        self, cells: Sequence[Sequence[State]], measure: Measure, held: Held
    ) -> Means:
        """As `_pass`, from a pass over some draws after the other.

        Raises:
            OutOfMemory: There is no room for one of them.
        """

        def totals_of(draws: slice) -> Means:
            return self.of_draws(draws)._pass(cells, measure, held_in(held, draws))

        pieces = in_pieces(self.samples, self.samples // 2, totals_of, "run the prompt once")
        return added([totals for _, totals in pieces])

    def of_draws(self, draws: slice) -> Runs:
        """The same runs, of some of the draws."""
        some = copy.copy(self)
        some.noise = self.noise[draws]
        some.samples = len(some.noise)
        return some

    def still_hold(self) -> bool:
        """Whether the model gives the clean prediction of these runs again.

        One row of one pass: it also shows what leaves no mark on the identity, such as what a hook
        of the user's holds, or a single weight written through `.data`.
        """
        again = self._alone()
        return torch.allclose(again, self._witness.to(again), rtol=1e-5, atol=1e-9)

    def _alone(self) -> Tensor:
        """`[vocab]`: the clean prediction of a pass over one row, as the user's own call makes."""
        return within_memory(lambda: self._pass_over(self.ids), "run the prompt once")

    def _pass_over(self, ids: Tensor) -> Tensor:
        """`[vocab]`: the prediction after one row.

        Raises:
            ContextTooLong: It fails where half as many positions do not.
        """
        try:
            return self.lm.next_token_probabilities(ids)[0]
        except RomeWidgetsError:
            raise
        except (RuntimeError, IndexError, ValueError) as error:
            if is_shortage(error):
                raise
            half = ids.shape[1] // 2
            if not half:
                raise
            self.lm.next_token_probabilities(ids[:, :half])  # else it is not the length
            raise ContextTooLong(
                f"A pass over the prompt fails over its {ids.shape[1]} tokens and not over the "
                f"first {half} ({type(error).__name__}: {error}).",
                "No more tokens than the model has positions were wanted.",
                "Shorten the prompt.",
            ) from error

    def _prove_rows_alike(self) -> None:
        """Foreign code does to each row of a batch what it does to one alone."""
        rows = self.lm.next_token_probabilities(self.ids.expand(2, -1))
        if not torch.allclose(rows, self._witness.expand_as(rows), rtol=1e-3, atol=1e-6):
            raise UnsupportedModel(
                f"With {and_more(self._foreign)} the rows of a batch come out otherwise than one "
                "row alone.",
                "Code that does the same to every row was wanted.",
                "Take it off, or let it act on each row of the batch.",
            )

    def _check_model(self, *, thoroughly: bool) -> None:
        """For a click, not thoroughly: only what costs next to nothing to know.

        What a foreign hook does can change and leave no mark, and so can weights that cannot be
        read, such as offloaded ones: the model is always asked then.
        """
        now = self.lm.identity
        changed = what_changed(self._identity, now)
        if not changed:
            self.lm.up_to_date(now)  # It may have been built otherwise for a while.
        unseen = thoroughly or self._foreign or now.unread
        if not changed and unseen and not self.still_hold():
            changed = "it gives another prediction for the prompt"
        if changed:
            raise ModelChanged(
                f"The model has changed since its clean and corrupted runs were made: {changed}.",
                "The model that those runs were made with was wanted.",
                "Make a new CausalTracer.",
            )

    def corrupted_states(self, states: Sequence[State]) -> dict[State, Tensor]:
        """`[sample, d_model]` by state: its value in the corrupted run."""
        self._check_model(thoroughly=False)

        def some_draws(draws: slice) -> dict[State, Tensor]:
            return self.of_draws(draws)._states_in_corrupted_pass(states)

        pieces = in_pieces(self.samples, self.samples, some_draws, "run the prompt once")
        parts = [part for _, part in pieces]
        return {state: torch.cat([part[state] for part in parts]) for state in states}

    def _states_in_corrupted_pass(self, states: Sequence[State]) -> dict[State, Tensor]:
        found: dict[State, Tensor] = {}

        def keep(state: State) -> Visitor:
            def visit(seen: Seen) -> None:
                found[state] = self._by_row(seen.output)[:, state.pos].clone()

            return visit

        visitors = [(self.lm.sites(state.kind)[state.layer], keep(state)) for state in states]
        self.lm.next_token_probabilities(
            self.corrupted_ids.expand(self.samples, -1), [self.corrupting(self.noise), *visitors]
        )
        return found

    def run_side_by_side(
        self,
        states: Sequence[State],
        watching: Iterable[tuple[str, Watcher]],
        held: Held | None = None,
        steps: Steps = NO_STEPS,
    ) -> None:
        """Show modules' outputs in the clean, the corrupted and the restored run.

        The three are rows of one pass, so that rounding makes as little difference as can be.

        Args:
            states: The states to restore.
            watching: Names of modules, and what looks at their outputs: once for some draws, then
                for the next, in their order.
            held: See `predict`.
            steps: Are told how many blocks of how many draws have run.

        Raises:
            ModelChanged: The model is no longer that of the runs.
            OutOfMemory: No room for the three runs with one draw.
        """
        self._check_model(thoroughly=True)
        watching, n_layers = list(watching), self.lm.n_layers
        at_once = (self.tokens_per_call // self.length - 1) // 2
        total = n_layers * self.samples

        def some_draws(draws: slice) -> list[Callable[[], None]]:
            count = draws.stop - draws.start
            shown = steps.watching(
                self.lm.sites("hidden"), n_layers * draws.start, count, total, "runs"
            )
            return self._pass_side_by_side(states, watching, held or {}, draws, shown)

        passes = in_pieces(self.samples, at_once, some_draws, "run one draw three times")
        for draws, seen in passes:
            for keep in seen:
                keep()
            steps.at(n_layers * draws.stop, total, "runs")

    def _pass_side_by_side(
        self,
        states: Sequence[State],
        watching: Iterable[tuple[str, Watcher]],
        held: Held,
        draws: slice,
        shown: Iterable[tuple[str, Visitor]],
    ) -> list[Callable[[], None]]:
        """Of each watcher what keeps it, to be called once the pass is over."""
        noise = self.noise[draws]
        restored = 1 + len(noise)
        kept: list[Callable[[], None]] = []

        def put(patch: Patch) -> Visitor:
            def visit(seen: Seen) -> Tensor:
                changed = seen.output.clone()
                rows = self._by_row(changed)
                clean = rows[0, patch.pos]
                rows[restored:, patch.pos] = (
                    clean if patch.clean else held[State(*patch[:3])][draws].to(clean)
                )
                return changed

            return visit

        def show(watch: Watcher) -> Visitor:
            def visit(seen: Seen) -> None:
                rows = self._by_row(seen.output)
                kept.append(watch(ThreeRuns(rows[0], rows[1:restored], rows[restored:])))

            return visit

        self.lm.next_token_probabilities(
            self.clean_and_corrupted(2 * len(noise)),
            [
                self.corrupting(noise.repeat(2, 1, 1), after=1),
                *(
                    (self.lm.sites(patch.kind)[patch.layer], put(patch))
                    for patch in _with_holds(states, held)
                ),
                *((name, show(watch)) for name, watch in watching),
                *shown,
            ],
        )
        return kept

    def clean_and_corrupted(self, n_corrupted: int) -> Tensor:
        """`[1 + n_corrupted, pos]` ids: of a clean run, and of so many corrupted ones."""
        return torch.cat([self.ids, self.corrupted_ids.expand(n_corrupted, -1)])

    def _by_row(self, output: Tensor) -> Tensor:
        """`[row, pos, width]`; some families put out `[row * pos, width]` in their MLP."""
        return output.view(-1, self.length, output.shape[-1])

    def _pass(self, cells: Sequence[Sequence[State]], measure: Measure, held: Held) -> Means:
        """Totals over the samples: one whole forward pass, every cell's samples in a batch."""
        rows = self.corrupted_ids.expand(len(cells) * self.samples, -1)
        logits = self.lm.next_token_logits(rows, self.restoring(cells, held))
        return measure.totals(logits.unflatten(0, (len(cells), self.samples)))

    def restoring(self, cells: Sequence[Sequence[State]], held: Held) -> list[tuple[str, Visitor]]:
        """What corrupts every cell's samples and puts its states back."""
        by_site: dict[tuple[Kind, int], list[tuple[int, Patch]]] = {}
        for cell, states in enumerate(cells):
            for patch in _with_holds(states, held):
                by_site.setdefault((patch.kind, patch.layer), []).append((cell, patch))
        visitors = [self.corrupting(self.noise.repeat(len(cells), 1, 1))]
        for (kind, layer), where in by_site.items():
            placed = self._place(where, held, start=0)
            visitors.append((self.lm.sites(kind)[layer], placed.visitor(self.length)))
        return visitors

    def corrupting_cells(self, n_cells: int, held: Held) -> list[tuple[str, Visitor]]:
        """What corrupts the samples of so many cells, of a model that is still that of the runs.

        Raises:
            ModelChanged: It is no longer.
        """
        self._check_model(thoroughly=False)
        return self.restoring([()] * n_cells, held)

    # ------------------------------------------------------------------ several tokens on

    def clean_joint(self, answer: Sequence[int]) -> float:
        """Probability of all tokens of an answer in the clean run, each after those before it."""
        longer = self._longer(answer, slice(0, 1))
        return float(longer._joint(longer.ids, answer, []))

    def joint(
        self, answer: Sequence[int], states: Sequence[State] = (), held: Held | None = None
    ) -> float:
        """Probability of all tokens of an answer with these states restored in the corrupted run.

        The product over the tokens, each after the right ones before it, in each draw; then the
        mean over the draws. The answer stands behind the prompt, where it cannot reach what is
        before it: noise, states and what is held are those of the prompt alone.

        Raises:
            ModelChanged: The model is no longer that of the runs.
            OutOfMemory: No room for a row.
        """
        self._check_model(thoroughly=False)
        length, vocab = self.length + len(answer) - 1, self.clean.shape[-1]
        at_once = min(self.tokens_per_call // length, LOGITS_AT_ONCE // (len(answer) * vocab))

        def total_of(draws: slice) -> float:
            longer = self._longer(answer, draws)
            visitors = longer.restoring([states], held_in(held or {}, draws))
            return float(longer._joint(longer.corrupted_ids, answer, visitors).sum())

        what = f"run the prompt with {len(answer)} tokens of its answer"
        pieces = in_pieces(self.samples, at_once, total_of, what)
        return sum(total for _, total in pieces) / self.samples

    def _longer(self, answer: Sequence[int], draws: slice) -> Runs:
        """The same runs over the prompt with all but the last token of an answer, of some draws.

        Raises:
            ContextTooLong: They are more tokens than the model has positions.
        """
        longer = self.of_draws(draws)
        longer.ids, longer.corrupted_ids = (
            self.lm.rows([[*ids[0].tolist(), *answer[:-1]]])
            for ids in (self.ids, self.corrupted_ids)
        )
        longer.length = longer.ids.shape[1]
        return longer

    def _joint(
        self, ids: Tensor, answer: Sequence[int], visitors: Sequence[tuple[str, Visitor]]
    ) -> Tensor:
        """`[sample]`: the product over an answer's tokens, of which all but the last are in."""
        rows = ids.expand(self.samples, -1)
        found = self.lm.probabilities_at_end(rows, len(answer), visitors)
        wanted = torch.tensor(list(answer), device=found.device).expand(self.samples, -1)
        return found.double().gather(2, wanted[:, :, None])[:, :, 0].prod(dim=1)

    def corrupting(self, noise: Tensor, *, after: int = 0) -> tuple[str, Visitor]:
        """Adds `[row, corrupted token, d_model]` to the embeddings, from row `after` on."""

        def visit(seen: Seen) -> Tensor:
            corrupted = seen.output.detach().clone()
            corrupted[after:, self.positions.to(corrupted.device)] += noise
            return corrupted

        return self.lm.geometry.embedding, visit

    def _place(self, where: Sequence[tuple[int, Patch]], held: Held, *, start: int) -> Placed:
        """Patches of one kind and layer, by number of the cell, as rows and values."""
        kind, layer = where[0][1].kind, where[0][1].layer
        positions = torch.tensor([patch.pos for _, patch in where], device="cpu")
        kept = [None if patch.clean else held[State(*patch[:3])] for _, patch in where]
        return placed(where, self.states[kind, layer][positions], kept, self.samples, start)


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


def placed(
    where: Sequence[tuple[int, Patch]],
    clean: Tensor,
    kept: Sequence[Tensor | None],
    samples: int,
    start: int,
) -> Placed:
    """Patches as values for the rows of a batch, in which each branch or cell has its samples.

    Args:
        where: The patches, with the numbers of their branches or cells.
        clean: `[patch, d_model]` clean values.
        kept: Of a patch that holds a corrupted value, `[sample, d_model]`; None of the others.
        samples: Rows of a branch.
        start: Position that the rows begin with.
    """
    branches = torch.tensor([number for number, _ in where], device="cpu")
    positions = torch.tensor([patch.pos for _, patch in where], device="cpu")
    values = clean[:, None].repeat(1, samples, 1)
    for i, held in enumerate(kept):
        if held is not None:
            values[i] = held
    return Placed(
        (branches[:, None] * samples + torch.arange(samples, device="cpu")).flatten(),
        (positions - start).repeat_interleave(samples),
        values.flatten(0, 1),
    )


def held_in(held: Held, draws: slice) -> Held:
    """Of some of the draws."""
    return {state: values[draws] for state, values in held.items()}


def _with_holds(cell: Sequence[State], held: Held) -> list[Patch]:
    restored = {State(*state) for state in cell}
    return [
        *(Patch(*state, clean=True) for state in restored),
        *(Patch(*state, clean=False) for state in held if state not in restored),
    ]
