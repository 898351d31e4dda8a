"""Clean, corrupted and restored runs of one prompt.

A tracer runs the prompt once clean, keeping every state, and then with noise on the subject. A
restoration repeats the corrupted run with chosen states put back to their clean values. A grid is
one restoration per cell, many cells to a batch.

Source:
    Meng et al. 2022, section 2.1; window, noise and averaging as in the published code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rome_widgets.errors import Cancelled, PromptError, StateError
from rome_widgets.facts import HOLE, Fact, fill
from rome_widgets.model import tokens
from rome_widgets.model.hooks import Seen, Visitor, reading
from rome_widgets.model.language_model import LanguageModel, check_language_model, to_numpy
from rome_widgets.results import (
    KINDS,
    CausalTrace,
    Kind,
    Prediction,
    Progress,
    Restoration,
    State,
    cell_states,
    check_kinds,
    check_states,
    top_rows,
)
from rome_widgets.tracing.estimate import estimate
from rome_widgets.tracing.noise import Noise, draw

Prompt = str | Fact | Mapping[str, Any]
"""Text, a fact, or a record of a fact."""


class CancelFlag(Protocol):
    """Anything with `is_set`, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """True once the work should stop."""
        ...


def trace(
    lm: LanguageModel,
    prompt: Prompt,
    subject: str | tuple[int, int] | None = None,
    kinds: Iterable[Kind] = KINDS,
    *,
    noise: float | Noise | np.ndarray = 3.0,
    samples: int = 10,
    window: int | None = None,
    seed: int = 1,
    answer: str | None = None,
    record: int = 0,
    progress: Callable[[Progress], None] | None = None,
    cancel: CancelFlag | None = None,
) -> CausalTrace:
    """How much each state of the model brings a corrupted fact back.

    Args:
        lm: The model.
        prompt: Text that stops right before the answer, a `Fact`, or a record of one.
        subject: The entity as it stands in the text, or its span of characters; not needed with
            a fact. Where it occurs twice, the last one.
        kinds: Which grids: "hidden", "mlp", "attn".
        noise: A multiple of σ, a `Noise`, or an array `[samples, subject tokens, d_model]`.
        samples: Noise draws to average over.
        window: Layers restored together for mlp and attn; None chooses by depth
            (`default_window`).
        seed: Of the draws.
        answer: The word to follow; None follows the clean run's top token.
        record: Keep this many top predictions per cell.
        progress: Called after each batch, in this thread.
        cancel: Checked between batches; stops with `Cancelled`, which carries the partial trace.

    Raises:
        PromptError, SubjectNotFound, NoiseError, StateError: Bad input; nothing was run.
        NonFinite: The model produced NaN or infinity.
        Cancelled: `cancel` was set.

    Example:
        >>> trace(lm, "The Space Needle is in the city of", "The Space Needle").chart()
    """
    kinds = check_kinds(kinds)
    tracer = CausalTracer(
        lm, prompt, subject, noise=noise, samples=samples, window=window, seed=seed, answer=answer
    )
    return tracer.trace(kinds, record=record, progress=progress, cancel=cancel)


def default_window(n_layers: int) -> int:
    """Layers restored together by default: 10 from 24 layers up, else `2 * (L // 6) + 1`.

    The published 10 suits 48 layers; on a shallow model it would restore everything.
    """
    return 10 if n_layers >= 24 else 2 * (n_layers // 6) + 1


class CausalTracer:
    """One prompt, its clean and its corrupted run, ready to restore any states.

    Arguments and errors are those of `trace`.

    Attributes:
        tokens: Printable text of each position.
        subject_span: Half-open span of corrupted positions.
        answer: The token that is followed, as text; `answer_id` is its id.
        clean: Its probability in the clean run.
        corrupted: Its probability with the subject corrupted, mean over samples.

    Example:
        >>> tracer = CausalTracer(lm, "The Space Needle is in the city of", "The Space Needle")
        >>> tracer.restore(tracer.cell(3, 5, "mlp")).probability
    """

    def __init__(
        self,
        lm: LanguageModel,
        prompt: Prompt,
        subject: str | tuple[int, int] | None = None,
        *,
        noise: float | Noise | np.ndarray = 3.0,
        samples: int = 10,
        window: int | None = None,
        seed: int = 1,
        answer: str | None = None,
    ) -> None:
        self.lm = check_language_model(lm)
        self.window = _check_window(window, lm.n_layers)
        text, subject = as_text(prompt, subject)
        encoded = lm.encode(text, subject)
        self.prompt, self.subject = encoded.text, encoded.subject
        self.tokens, self.subject_span = encoded.tokens, encoded.subject_span
        start, stop = self.subject_span
        drawn = draw(lm, noise, samples, stop - start, seed)
        self._about_noise, self.seed = drawn.about, drawn.seed
        self.samples = len(drawn.values)
        self.token_ids = encoded.ids
        self._ids = torch.tensor([self.token_ids])
        self._noise = torch.from_numpy(drawn.values).to(lm.device, lm.dtype)
        self._states: dict[tuple[Kind, int], Tensor] = {}
        clean = self._run_clean()
        self.answer_id, notes = self._choose_answer(answer, clean)
        self.answer = lm.token_text(self.answer_id)
        corrupted = self._run_restored([()])[0]
        self._baseline = np.stack([clean, corrupted])
        self._baseline_rows = self._top_of_both_runs()
        self.clean, self.corrupted = map(float, self._baseline[:, self.answer_id])
        self.notes = (*encoded.notes, *notes, *self._effect_notes())

    def __repr__(self) -> str:
        return (
            f"CausalTracer({self.prompt!r} → {self.answer!r}, clean {self.clean:.4f}, "
            f"corrupted {self.corrupted:.4f})"
        )

    def trace(
        self,
        kinds: Iterable[Kind] = KINDS,
        *,
        record: int = 0,
        progress: Callable[[Progress], None] | None = None,
        cancel: CancelFlag | None = None,
    ) -> CausalTrace:
        """Restore every cell of each kind's grid; see `trace`."""
        kinds = check_kinds(kinds)
        record = _check_record(record)
        shape = (len(self.tokens), self.lm.n_layers)
        scores: dict[Kind, np.ndarray] = {kind: np.full(shape, np.nan) for kind in kinds}
        recorded: dict[Kind, tuple[np.ndarray, np.ndarray]] = {
            kind: _empty_record(shape, record) for kind in kinds if record
        }
        cells = self._cells_in_order(kinds)
        for first in range(0, len(cells), self._cells_per_batch):
            if cancel is not None and cancel.is_set():
                partial = self._result(scores, {})
                raise Cancelled(f"Cancelled after {first} of {len(cells)} cells.", partial)
            batch = cells[first : first + self._cells_per_batch]
            distributions = self._run_restored([self.cell(*cell) for cell in batch])
            for (pos, layer, kind), distribution in zip(batch, distributions, strict=True):
                scores[kind][pos, layer] = distribution[self.answer_id]
                if record:
                    _keep_top(recorded[kind], pos, layer, distribution, record)
            if progress is not None:
                done = first + len(batch)
                so_far: dict[Kind, np.ndarray] = {
                    kind: grid.copy() for kind, grid in scores.items()
                }
                progress(Progress(done, len(cells), self._result(so_far, {})))
        return self._result(scores, recorded)

    def estimate(self, kinds: Iterable[Kind] = KINDS) -> CausalTrace:
        """The grids to first order, from one pass and its gradient: a preview, not a measurement.

        Raises:
            NonFinite, UnsupportedModel: See `estimate.estimate`.
        """
        scores = estimate(
            self.lm,
            self._ids,
            self._noise,
            self.subject_span,
            self.answer_id,
            self._states,
            check_kinds(kinds),
            self.window,
        )
        return replace(self._result(scores, {}), estimated=True)

    def cell(self, pos: int, layer: int, kind: Kind) -> list[State]:
        """The states that a cell of the grid restores: itself, or its window of layers."""
        ((pos, layer, kind),) = check_states(
            [(pos, layer, kind)], len(self.tokens), self.lm.n_layers
        )
        return cell_states(pos, layer, kind, self.window, self.lm.n_layers)

    def restore(self, states: Iterable[Sequence[Any]]) -> Restoration:
        """The prediction with exactly these states restored in the corrupted run.

        Args:
            states: Triples (pos, layer, kind), in any order; none gives the corrupted run.

        Raises:
            StateError: A state that this prompt and model do not have.
        """
        checked = check_states(states, len(self.tokens), self.lm.n_layers)
        restored = self._run_restored([checked])[0]
        return Restoration(
            checked,
            self.answer,
            self.answer_id,
            np.concatenate([self._baseline, restored[None]]),
            self.lm.token_text,
        )

    # -------------------------------------------------------------------------------- runs

    def _run_clean(self) -> np.ndarray:
        """`[vocab]`: the clean prediction; keeps every state on the way."""
        visitors = [
            (name, reading(self._states, (kind, layer)))
            for kind in KINDS
            for layer, name in enumerate(self.lm.sites(kind))
        ]
        return to_numpy(self.lm.next_token_probabilities(self._ids, visitors)[0])

    def _run_restored(self, cells: Sequence[Iterable[State]]) -> np.ndarray:
        """`[cell, vocab]`: mean prediction over the samples, with each cell's states restored."""
        rows = self._ids.expand(len(cells) * self.samples, -1)
        visitors = [(self.lm.geometry.embedding, self._corrupt(len(cells)))]
        visitors += self._restore_visitors(cells)
        probabilities = self.lm.next_token_probabilities(rows, visitors)
        by_cell = probabilities.unflatten(0, (len(cells), self.samples))
        return to_numpy(by_cell.double().mean(dim=1))

    def _corrupt(self, n_cells: int) -> Visitor:
        """Adds the same draws to the subject's embeddings for every cell."""
        start, stop = self.subject_span
        noise = self._noise.repeat(n_cells, 1, 1)

        def visit(seen: Seen) -> Tensor:
            corrupted = seen.output.clone()
            corrupted[:, start:stop] += noise
            return corrupted

        return visit

    def _restore_visitors(self, cells: Sequence[Iterable[State]]) -> list[tuple[str, Visitor]]:
        places: dict[tuple[Kind, int], list[tuple[int, int]]] = {}
        for cell, states in enumerate(cells):
            for pos, layer, kind in states:
                places.setdefault((kind, layer), []).append((cell, pos))
        return [
            (self.lm.sites(kind)[layer], self._restore(self._states[kind, layer], where))
            for (kind, layer), where in places.items()
        ]

    def _restore(self, clean: Tensor, where: list[tuple[int, int]]) -> Visitor:
        """Puts the clean value at (cell, pos) into all of the cell's rows."""
        cells, positions = (torch.tensor(column) for column in zip(*where, strict=True))
        rows = (cells[:, None] * self.samples + torch.arange(self.samples)).flatten()
        positions = positions.repeat_interleave(self.samples)

        def visit(seen: Seen) -> Tensor:
            restored = seen.output.clone()
            restored[rows, positions] = clean[0, positions]
            return restored

        return visit

    # ----------------------------------------------------------------------------- choices

    @property
    def _cells_per_batch(self) -> int:
        """As many cells as a CPU core runs in about a tenth of a second, or a GPU fills with.

        Small enough that a cancel is noticed soon, large enough that a small model is not all
        overhead.
        """
        on_cpu = self.lm.device.type == "cpu"
        budget = min(2048, 4_000_000_000 // self.lm.n_parameters) if on_cpu else 32768
        return max(1, budget // (self.samples * len(self.tokens)))

    def _cells_in_order(self, kinds: Iterable[Kind]) -> list[tuple[int, int, Kind]]:
        """All cells, the last subject token and the last token first: where the fact shows."""
        last = len(self.tokens) - 1
        first_rows = dict.fromkeys((self.subject_span[1] - 1, last))
        rows = [*first_rows, *(pos for pos in range(last) if pos not in first_rows)]
        layers = range(self.lm.n_layers)
        return [(pos, layer, kind) for pos in rows for kind in kinds for layer in layers]

    def _choose_answer(self, answer: str | None, clean: np.ndarray) -> tuple[int, list[str]]:
        top = int(clean.argmax())
        if answer is None:
            return top, []
        ids = self.lm.answer_ids(self.prompt, answer)
        notes = []
        if len(ids) > 1:
            first = self.lm.token_text(ids[0])
            notes.append(f"{answer!r} is {len(ids)} tokens; its first, {first!r}, is followed.")
        if ids[0] != top:
            notes.append(
                f"The clean run's top token is {self.lm.token_text(top)!r} "
                f"({clean[top]:.3f}), not {self.lm.token_text(ids[0])!r} ({clean[ids[0]]:.3f})."
            )
        return ids[0], notes

    def _effect_notes(self) -> list[str]:
        if self.clean - self.corrupted > 0.01:
            return []
        return [
            f"The corruption takes almost nothing away ({self.clean:.3f} → {self.corrupted:.3f}): "
            "there is little to restore. Try more noise, or another prompt."
        ]

    def _result(
        self,
        scores: dict[Kind, np.ndarray],
        recorded: dict[Kind, tuple[np.ndarray, np.ndarray]],
    ) -> CausalTrace:
        ids = sorted({int(i) for pair in recorded.values() for i in np.unique(pair[0])})
        return CausalTrace(
            prompt=self.prompt,
            subject=self.subject,
            tokens=self.tokens,
            token_ids=self.token_ids,
            subject_span=self.subject_span,
            answer=self.answer,
            answer_id=self.answer_id,
            clean=self.clean,
            corrupted=self.corrupted,
            scores=scores,
            windows={kind: 1 if kind == "hidden" else self.window for kind in scores},
            n_layers=self.lm.n_layers,
            samples=self.samples,
            seed=self.seed,
            noise=self._about_noise,
            model=self.lm.name,
            notes=self.notes,
            recorded=recorded,
            recorded_tokens={i: self.lm.token_text(i) for i in ids},
            baseline=self._baseline_rows,
        )

    def _top_of_both_runs(self, k: int = 8) -> tuple[Prediction, ...]:
        """The top tokens of the clean run, then those of the corrupted run, each once."""
        clean, corrupted = self._baseline
        by_clean = top_rows(
            np.stack([clean, corrupted, clean]), self.answer_id, k, self.lm.token_text
        )
        by_corrupted = top_rows(
            np.stack([clean, corrupted, corrupted]), self.answer_id, k, self.lm.token_text
        )
        rows = {row.id: row._replace(restored=row.corrupted) for row in (*by_clean, *by_corrupted)}
        return tuple(rows.values())


def as_text(
    prompt: Prompt, subject: str | tuple[int, int] | None
) -> tuple[str, str | tuple[int, int]]:
    """The text to run and the subject in it, whichever way the fact was given.

    A text is taken literally. Only where the subject is not in it and it has exactly one `{}`,
    that is the subject's place.

    Raises:
        PromptError: Text without a subject, or a record that states no fact.
    """
    if isinstance(prompt, Mapping):
        prompt = Fact.from_record(prompt)
    if isinstance(prompt, Fact):
        start = prompt.subject_start
        return prompt.text, (start, start + len(prompt.subject))
    tokens.check_text(prompt, "prompt")
    if subject is None:
        raise PromptError(
            "No subject was given.",
            "The entity the prompt is about was wanted.",
            "Pass subject=..., or a Fact.",
        )
    if (
        isinstance(subject, str)
        and subject.strip()
        and subject not in prompt
        and prompt.count(HOLE) == 1
    ):
        start = prompt.index(HOLE)
        return fill(prompt, subject), (start, start + len(subject))
    return prompt, subject


def _check_window(window: int | None, n_layers: int) -> int:
    if window is None:
        return default_window(n_layers)
    if not isinstance(window, (int, np.integer)) or isinstance(window, bool) or window < 1:
        raise StateError(
            f"The window is {window!r}.", "A whole number of layers, at least 1, was wanted."
        )
    return int(window)


def _check_record(record: int) -> int:
    if not isinstance(record, (int, np.integer)) or isinstance(record, bool) or record < 0:
        raise StateError(
            f"record is {record!r}.", "How many top predictions to keep per cell was wanted."
        )
    return int(record)


def _empty_record(shape: tuple[int, int], k: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((*shape, k), np.int32), np.zeros((*shape, k), np.float32)


def _keep_top(
    record: tuple[np.ndarray, np.ndarray], pos: int, layer: int, distribution: np.ndarray, k: int
) -> None:
    ids = np.argsort(-distribution, kind="stable")[:k]
    record[0][pos, layer, : len(ids)] = ids
    record[1][pos, layer, : len(ids)] = distribution[ids]
