"""Compares what the model predicts without and with edits, without touching a weight.

Each prompt runs as two rows. In hooks, the first row gets from an edited matrix what it would get
without the edit, and the second what it would get with the strength asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rome_widgets.errors import FingerprintMismatch, ModelChanged
from rome_widgets.model.base_weights import UneditedOutput, unedited_modules
from rome_widgets.model.chosen_logits import logits_at
from rome_widgets.model.generation import IncrementalDecoder, end_tokens
from rome_widgets.model.hooks import Seen, Visitor, run_hooked
from rome_widgets.model.identity_changes import what_changed
from rome_widgets.model.language_model import (
    LanguageModel,
    check_finite,
    probabilities_of,
    to_numpy,
)
from rome_widgets.model.ledger import LowRank, Update, ledger_of
from rome_widgets.model.memory import in_pieces
from rome_widgets.model.word_scores import Predict, score_words
from rome_widgets.records.edit import Comparison, ComparisonRow

TOKENS_PER_CALL = 1024
"""Tokens that run at once, at most: each prompt has logits for the whole vocabulary."""


def compare_edit(lm: LanguageModel, edit: Any, strength: float) -> SideBySide:
    """Without and with one edit; others stay as they are."""
    return compare_strengths(lm, edit, (0.0, strength))


def compare_strengths(lm: LanguageModel, edit: Any, strengths: Sequence[float]) -> SideBySide:
    """With one edit at each of these strengths; others stay as they are."""
    with ledger_of(lm.model).standing() as entries:
        applied = next((e.strength for e in entries if e.edit.id == edit.id), 0.0)
        shares = [strength - applied for strength in strengths]
        return SideBySide(lm, _adding_to(lm, edit.updates, shares), len(shares))


def compare_updates(lm: LanguageModel, updates: Iterable[Update]) -> SideBySide:
    """As the weights are, and with changes that they do not carry."""
    return SideBySide(lm, _adding_to(lm, updates, (0.0, 1.0)))


def compare_all_edits(lm: LanguageModel) -> SideBySide:
    """Without any edit, and as the weights are now."""
    with ledger_of(lm.model).standing():
        return SideBySide(lm, [(module, _undoing(was)) for module, was in unedited_modules(lm)])


class SideBySide:
    """The model twice, without and with some changes; or `n_sides` times, with as many changes.

    The visitors tell the first half of the rows from the second, or each part from the next.
    """

    def __init__(
        self, lm: LanguageModel, visitors: Sequence[tuple[nn.Module, Visitor]], n_sides: int = 2
    ) -> None:
        self.lm, self._visitors, self.n_sides = lm, visitors, n_sides
        self._identity = lm.identity

    def probabilities(
        self,
        prompts: Sequence[Sequence[int]],
        told: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        """`[side, prompt, vocab]`: what follows each row of token ids, without and with.

        `told` is called with how many prompts have been read, of how many.

        Prompts go together, the shorter ones with something behind them, which cannot reach what
        is before it.
        """
        longest = max(map(len, prompts))
        most = min(self.lm.tokens_per_call, TOKENS_PER_CALL)
        at_once = most // (self.n_sides * longest)
        read = []
        for some, said in in_pieces(
            len(prompts), at_once, lambda s: self._next(prompts[s]), "run one prompt"
        ):
            read.append(said)
            told(some.stop, len(prompts))
        return torch.cat(read, dim=1)

    def _next(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        longest = max(map(len, prompts))
        rows = self.lm.rows([*ids, *[ids[-1]] * (longest - len(ids))] for ids in prompts)
        sides = rows.repeat(self.n_sides, 1)
        ends = [len(ids) - 1 for ids in prompts] * self.n_sides
        last = torch.tensor(ends, device=self.lm.device)
        each = self._run(lambda: logits_at(self.lm, sides, last[:, None]))[:, 0]
        return probabilities_of(check_finite(each)).unflatten(0, (self.n_sides, len(prompts)))

    def logits(
        self,
        ids: Sequence[int],
        positions: range,
        watching: Iterable[tuple[nn.Module, Visitor]] = (),
    ) -> Tensor:
        """`[side, pos, vocab]` after these positions of one row of token ids, without and with.

        `watching` are modules, and what looks at their outputs.
        """
        rows = self.lm.rows([ids] * self.n_sides)
        asked = torch.tensor([list(positions)] * self.n_sides, device=self.lm.device)
        return self._run(lambda: logits_at(self.lm, rows, asked), watching)

    def write(
        self,
        ids: Sequence[int],
        n_tokens: int,
        told: Callable[[list[int], list[int]], None] = lambda before, after: None,
    ) -> tuple[list[int], list[int]]:
        """Greedy continuations without and with, without the prompt.

        They have fewer than `n_tokens` where the text or the context ends. `told` is called after
        each token with both so far, and may raise to stop.
        """
        limit = self.lm.n_positions
        n_tokens = n_tokens if limit is None else min(n_tokens, limit - len(ids))
        rows = self.lm.rows([ids] * 2)
        writer = IncrementalDecoder(self.lm)
        ends = end_tokens(self.lm)
        texts: list[list[int]] = [[], []]
        for _ in range(n_tokens):
            logits = self._run(lambda rows=rows: writer.logits(rows))
            rows = torch.cat([rows, logits.argmax(dim=-1, keepdim=True).to(rows.device)], dim=1)
            written = rows[:, len(ids) :].tolist()
            texts = [list(takewhile(lambda token: token not in ends, row)) for row in written]
            told(*texts)
            if all(len(text) < rows.shape[1] - len(ids) for text in texts):
                break
        before, after = texts
        return before, after

    def _run(
        self, call: Callable[[], Tensor], watching: Iterable[tuple[nn.Module, Visitor]] = ()
    ) -> Tensor:
        found = self.lm.run(lambda: run_hooked(call, [*self._visitors, *watching]))
        if changed := what_changed(self._identity, self.lm.identity):
            raise ModelChanged(
                f"The model changed while predictions were compared: {changed}.",
                "One and the same model was wanted.",
                "Compare again.",
            )
        return found


class SidesAfter:
    """What follows rows of token ids on each side of a comparison; each row runs once.

    So a prompt is read for its likeliest token, and words of any length behind it for theirs.
    """

    def __init__(self, sides: SideBySide) -> None:
        self._sides = sides
        self._found: dict[tuple[int, ...], Tensor] = {}

    def probabilities(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """`[side, row, vocab]`.

        Raises:
            ContextTooLong: A row has more tokens than the model has positions.
        """
        keys = [tuple(row) for row in rows]
        if new := [row for row in dict.fromkeys(keys) if row not in self._found]:
            self._found.update(zip(new, self._sides.probabilities(new).unbind(dim=1), strict=True))
        return torch.stack([self._found[row] for row in keys], dim=1)

    def side(self, number: int) -> Predict:
        """One side, for `score_words`."""
        return lambda rows: [(range(len(rows)), self.probabilities(rows)[number])]


def _adding_to(
    lm: LanguageModel, updates: Iterable[Update], shares: Sequence[float]
) -> list[tuple[nn.Module, Visitor]]:
    """Adds so much of the updates to each part of the rows."""
    by_module: dict[str, list[Update]] = defaultdict(list)
    for update in updates:
        _check_fits(lm, update)
        by_module[update.name.rpartition(".")[0]].append(update)
    return [
        (lm.model.get_submodule(name), _adding(some, shares)) for name, some in by_module.items()
    ]


def _check_fits(lm: LanguageModel, update: Update) -> None:
    """Refuse an edit of another model, such as one from a file."""
    try:
        shape = tuple(lm.model.get_parameter(update.name).shape)
    except AttributeError:
        shape = None
    if shape != tuple(update.shape):
        found = "is not there" if shape is None else f"has the shape {list(shape)}"
        raise FingerprintMismatch(
            f"{update.name} {found} in {lm.name}.",
            f"The edit changes a matrix of the shape {list(update.shape)}.",
            "Load the model that the edit was computed on.",
        )


def _width(update: Update) -> int | None:
    """Of the inputs that an update reads; None where it reads none."""
    if isinstance(update, LowRank):
        return update.u.shape[1]
    value = update.value
    return None if value.ndim == 1 else value.shape[0 if update.transposed else 1]


def _adding(updates: Sequence[Update], shares: Sequence[float]) -> Visitor:
    widths = {_width(update) for update in updates} - {None}

    def visit(seen: Seen) -> Tensor:
        read = seen.args[0]
        if widths and not (read.is_floating_point() and widths == {read.shape[-1]}):
            raise FingerprintMismatch(
                f"{updates[0].name} reads {list(read.shape)}.",
                f"A matrix was wanted that reads states of the width {widths.pop()}.",
                "Load the model that the edit was computed on.",
            )
        wide = torch.promote_types(torch.float32, seen.output.dtype)
        keys = read.to(wide)
        change = sum(update.act(keys) for update in updates)
        assert isinstance(change, Tensor)
        # Rows in the first axis, or folded into it with their positions.
        scale = torch.tensor(shares, dtype=wide, device=change.device)[:, None, None]
        scaled = scale * change.view(len(shares), -1, change.shape[-1])
        return (seen.output.to(wide) + scaled.view(seen.output.shape)).to(seen.output.dtype)

    return visit


def _undoing(original: UneditedOutput) -> Visitor:
    """What the module put out before its edits, for the first half of the rows."""

    def visit(seen: Seen) -> Tensor:
        keys, output = seen.args[0], seen.output.clone()
        first = keys.view(2, -1, keys.shape[-1])[0]
        output.view(2, -1, output.shape[-1])[0] = original(first)
        return output

    return visit


class Said(NamedTuple):
    """What one side makes of a target."""

    probability: float
    """Of the whole target after the prompt."""
    instead: str
    """What it says up to the first token that is not the target's; "" where it says the target."""


def target_said(
    both: SideBySide, lm: LanguageModel, prompt: str, target_ids: Sequence[int]
) -> tuple[Said, Said]:
    """Whether each side goes on from the prompt with every token of the target."""
    ids = [*lm.prompt_ids(prompt), *target_ids[:-1]]
    asked = range(len(ids) - len(target_ids), len(ids))
    sides = probabilities_of(check_finite(both.logits(ids, asked)))
    before, after = (_said(lm, target_ids, side) for side in sides)
    return before, after


def _said(lm: LanguageModel, target_ids: Sequence[int], probabilities: Tensor) -> Said:
    """`probabilities` is `[target token, vocab]`, each after those before it."""
    wanted = torch.tensor(target_ids, device=probabilities.device)
    probability = float(probabilities.gather(1, wanted[:, None]).double().prod())
    likeliest = probabilities.argmax(dim=1).tolist()
    right = [said == token for said, token in zip(likeliest, target_ids, strict=True)]
    said = [] if all(right) else likeliest[: right.index(False) + 1]
    return Said(probability, "".join(map(lm.token_text, said)).strip())


def compare_prompt(
    both: SideBySide,
    lm: LanguageModel,
    prompt: Any,
    target: str,
    *,
    k: int,
    generate: int,
    told: Callable[[int], None] = lambda written: None,
) -> Comparison:
    """One prompt side by side: `k` likeliest tokens of each, and the first one of the target.

    Where `generate` is not 0, so many tokens are written greedily; `told` hears how many are.
    """
    prompt = lm.read_prompt(prompt)
    ids = lm.prompt_ids(prompt)
    after_rows = SidesAfter(both)
    probabilities = to_numpy(after_rows.probabilities([ids])[:, 0])
    wanted, *others = lm.answer_ids(prompt, target)
    top = {int(i) for side in probabilities for i in (-side).argsort(kind="stable")[:k]}
    rows = {i: _row(lm, i, probabilities[:, i], probabilities) for i in {*top, wanted}}
    decode: Any = lm.tokenizer.decode
    written: tuple[list[int], list[int]] = ([], [])
    if generate:
        written = both.write(ids, generate, lambda *sides: told(max(map(len, sides))))
    before, after = (decode(each, skip_special_tokens=True) if each else "" for each in written)
    ordered = sorted(rows.values(), key=lambda row: (-row.after, row.id))
    fits = lm.n_positions is None or len(ids) + len(others) <= lm.n_positions
    whole = _joint(lm, after_rows, prompt, target) if others and fits else None
    return Comparison(str(prompt), tuple(ordered), rows[wanted], before, after, target, whole)


def _joint(lm: LanguageModel, sides: SidesAfter, prompt: str, word: str) -> tuple[float, float]:
    """Probability of a whole word, without and with."""
    before, after = (
        score_words(lm, [prompt], [word], sides.side(n))[0].joint_probability for n in (0, 1)
    )
    return before, after


def _row(lm: LanguageModel, token: int, own: np.ndarray, every: np.ndarray) -> ComparisonRow:
    """A token with its probabilities and its places among `every` token's."""
    before_rank, after_rank = (1 + (every > own[:, None]).sum(axis=1)).tolist()
    before, after = own.tolist()
    return ComparisonRow(lm.token_text(token), token, before, after, before_rank, after_rank)
