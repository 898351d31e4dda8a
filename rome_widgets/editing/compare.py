"""What the model predicts without and with an edit, side by side, without touching a weight.

Each prompt runs as a batch of two rows. What the edit adds to the matrix's output is added in a
hook: for the first row as if it were not applied, for the second as if it were with the strength
asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rome_widgets.edit_results import Comparison, ComparisonRow
from rome_widgets.model.geometry import run
from rome_widgets.model.hooks import Seen, Visitor, run_hooked
from rome_widgets.model.language_model import LanguageModel, probabilities_of, to_numpy
from rome_widgets.model.ledger import Update
from rome_widgets.model.tokens import check_text


class SideBySide:
    """The model twice: without and with some updates.

    Args:
        lm: The model.
        updates: What the edit changes.
        applied: The strength with which its weights carry them now; 0 where they do not.
        strength: The one to show.
    """

    def __init__(
        self, lm: LanguageModel, updates: Sequence[Update], applied: float, strength: float
    ) -> None:
        self._lm = lm
        self._shares = torch.tensor([-applied, strength - applied], dtype=torch.float64)
        by_module: dict[str, list[Update]] = {}
        for update in updates:
            by_module.setdefault(update.name.rpartition(".")[0], []).append(update)
        self._visitors: list[tuple[Any, Visitor]] = [
            (lm.model.get_submodule(name), self._adding(some)) for name, some in by_module.items()
        ]

    def _adding(self, updates: Sequence[Update]) -> Visitor:
        def visit(seen: Seen) -> Tensor:
            wide = torch.promote_types(torch.float32, seen.output.dtype)
            keys = seen.args[0].to(wide)
            change = sum(update.act(keys) for update in updates)
            assert isinstance(change, Tensor)
            shares = self._shares.to(change)
            # Two rows, in the first axis or folded into it with their positions.
            both = change.view(2, -1, change.shape[-1]) * shares[:, None, None]
            return (seen.output.to(wide) + both.view(seen.output.shape)).to(seen.output.dtype)

        return visit

    def logits(self, ids: Sequence[int]) -> Tensor:
        """`[2, vocab]` after the last position, without and with."""
        return self.every_logits(ids)[:, -1]

    def every_logits(self, ids: Sequence[int]) -> Tensor:
        """`[2, pos, vocab]` after each position, without and with."""
        rows = torch.tensor([list(ids)] * 2, device=self._lm.device)
        return self._lm.run(lambda: run_hooked(lambda: run(self._lm.model, rows), self._visitors))

    def probabilities(self, ids: Sequence[int]) -> Tensor:
        """`[2, vocab]`."""
        return probabilities_of(self.logits(ids))

    def write(self, ids: Sequence[int], n_tokens: int) -> tuple[list[int], list[int]]:
        """Greedy continuations without and with, without the prompt."""
        rows = torch.tensor([list(ids)] * 2, device=self._lm.device)
        limit = self._lm.n_positions
        for _ in range(n_tokens):
            if limit is not None and rows.shape[1] >= limit:
                break
            logits = self._lm.run(
                lambda rows=rows: run_hooked(
                    lambda: run(self._lm.model, rows)[:, -1], self._visitors
                )
            )
            rows = torch.cat([rows, logits.argmax(dim=-1, keepdim=True).to(rows.device)], dim=1)
        before, after = rows[:, len(ids) :].tolist()
        return before, after


def compare(
    both: SideBySide,
    lm: LanguageModel,
    prompt: str,
    target: str,
    *,
    k: int,
    generate: int,
) -> Comparison:
    """One prompt, side by side.

    Args:
        both: The model twice.
        lm: The model.
        prompt: Any text.
        target: The edit's; its first token is among the rows.
        k: Likeliest tokens of each side to show.
        generate: Tokens to write greedily; 0 for none.
    """
    check_text(prompt, "prompt")
    ids = lm.encode(prompt, (len(prompt) - len(prompt.lstrip()), len(prompt.rstrip()))).ids
    probabilities = to_numpy(both.probabilities(ids))
    wanted = lm.answer_ids(prompt, target)[0]
    top = {int(i) for side in probabilities for i in (-side).argsort(kind="stable")[:k]}
    rows = {
        i: ComparisonRow(
            lm.token_text(i), i, float(probabilities[0, i]), float(probabilities[1, i])
        )
        for i in {*top, wanted}
    }
    texts = ("", "")
    if generate:
        decode: Any = lm.tokenizer.decode
        before, after = both.write(ids, generate)
        texts = (
            decode(before, skip_special_tokens=True),
            decode(after, skip_special_tokens=True),
        )
    ordered = sorted(rows.values(), key=lambda row: (-row.after, row.id))
    return Comparison(prompt, tuple(ordered), rows[wanted], *texts)
