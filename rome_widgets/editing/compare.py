"""What the model predicts without and with edits, side by side, without touching a weight.

Each prompt runs as two rows. What an edit adds to its matrix's output is added in a hook: to the
first row as if it were not applied, to the second as if it were with the strength asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from rome_widgets.edit_results import Comparison, ComparisonRow
from rome_widgets.errors import ModelChanged
from rome_widgets.model.geometry import run
from rome_widgets.model.hooks import Seen, Visitor, run_hooked
from rome_widgets.model.language_model import LanguageModel, probabilities_of, to_numpy
from rome_widgets.model.ledger import Update, ledger_of
from rome_widgets.model.tokens import check_text

Share = tuple[Update, float, float]
"""A change, and how much of it is added to the weights as they are: without, and with the edit."""


def with_one(lm: LanguageModel, edit: Any, strength: float) -> SideBySide:
    """Without and with one edit; others stay as they are."""
    applied = ledger_of(lm.model).strength_of(edit) or 0.0
    return SideBySide(lm, [(update, -applied, strength - applied) for update in edit.updates])


def with_updates(lm: LanguageModel, updates: Iterable[Update]) -> SideBySide:
    """As the weights are, and with changes that they do not carry."""
    return SideBySide(lm, [(update, 0.0, 1.0) for update in updates])


def with_all(lm: LanguageModel) -> SideBySide:
    """Without any edit, and as the weights are now."""
    entries = ledger_of(lm.model).entries
    return SideBySide(
        lm, [(update, -strength, 0.0) for edit, strength in entries for update in edit.updates]
    )


class SideBySide:
    """The model twice: without and with some changes.

    Args:
        lm: The model, with its weights as they are.
        shares: What is added to them in each of the two.
    """

    def __init__(self, lm: LanguageModel, shares: Iterable[Share]) -> None:
        self._lm = lm
        self._version = lm.weights_version
        by_module: dict[str, list[Share]] = {}
        for share in shares:
            by_module.setdefault(share[0].name.rpartition(".")[0], []).append(share)
        self._visitors: list[tuple[Any, Visitor]] = [
            (lm.model.get_submodule(name), _adding(some)) for name, some in by_module.items()
        ]

    def probabilities(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """`[2, prompt, vocab]`: what follows each row of token ids, without and with.

        All prompts go together, the shorter ones with something behind them, which cannot reach
        what is before it.
        """
        longest = max(map(len, prompts))
        rows = torch.tensor([[*ids, *[ids[-1]] * (longest - len(ids))] for ids in prompts])
        both = torch.cat([rows, rows]).to(self._lm.device)
        last = torch.tensor([len(ids) - 1 for ids in prompts] * 2, device=self._lm.device)
        logits = self._run(lambda: run(self._lm.model, both))
        each = logits[torch.arange(len(last), device=last.device), last]
        return probabilities_of(each).unflatten(0, (2, len(prompts)))

    def every_logits(self, ids: Sequence[int]) -> Tensor:
        """`[2, pos, vocab]` after each position of one row of token ids, without and with."""
        rows = torch.tensor([list(ids)] * 2, device=self._lm.device)
        return self._run(lambda: run(self._lm.model, rows))

    def write(
        self,
        ids: Sequence[int],
        n_tokens: int,
        told: Callable[[list[int], list[int]], None] = lambda before, after: None,
    ) -> tuple[list[int], list[int]]:
        """Greedy continuations without and with, without the prompt.

        Args:
            ids: The prompt.
            n_tokens: How many to write; fewer where the text or the context ends.
            told: Called after each token with both continuations so far; may raise to stop.
        """
        limit = self._lm.n_positions
        n_tokens = n_tokens if limit is None else min(n_tokens, limit - len(ids))
        if n_tokens < 1:
            return [], []
        model: Any = self._lm.model
        rows = torch.tensor([list(ids)] * 2, device=self._lm.device)

        def listen(so_far: Tensor, scores: Any, **kwargs: Any) -> Tensor:
            before, after = (_up_to_end(model, row) for row in so_far[:, len(ids) :].tolist())
            told(before, after)
            return torch.zeros(2, dtype=torch.bool, device=so_far.device)

        written = self._run(
            lambda: model.generate(
                rows,
                attention_mask=torch.ones_like(rows),
                generation_config=_greedy(model, n_tokens),
                stopping_criteria=[listen],
            )
        )
        before, after = (_up_to_end(model, row) for row in written[:, len(ids) :].tolist())
        return before, after

    def _run(self, call: Callable[[], Tensor]) -> Tensor:
        found = self._lm.run(lambda: run_hooked(call, self._visitors))
        if self._lm.weights_version != self._version:
            raise ModelChanged(
                "The model's weights changed while predictions were compared.",
                "One set of weights was wanted.",
                "Compare again.",
            )
        return found


def _adding(shares: Sequence[Share]) -> Visitor:
    def visit(seen: Seen) -> Tensor:
        wide = torch.promote_types(torch.float32, seen.output.dtype)
        keys = seen.args[0].to(wide)
        output = seen.output.to(wide)
        for update, without, with_it in shares:
            change = update.act(keys)
            # The first half of the rows without, the second with; other axes may be folded in.
            scale = torch.tensor([without, with_it]).to(change)[:, None, None]
            output = output + (scale * change.view(2, -1, change.shape[-1])).view(output.shape)
        return output.to(seen.output.dtype)

    return visit


def _greedy(model: Any, n_tokens: int) -> GenerationConfig:
    """The likeliest token each time, whatever the model's own settings say of sampling."""
    return GenerationConfig(
        max_new_tokens=n_tokens,
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        pad_token_id=next(iter(_ends(model)), 0),
    )


def _ends(model: Any) -> list[int]:
    """The tokens that end a text."""
    ends = model.generation_config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def _up_to_end(model: Any, written: list[int]) -> list[int]:
    """Of the two rows the one that ends first is filled up; this is without that."""
    ends = _ends(model)
    stop = next((at for at, token in enumerate(written) if token in ends), len(written))
    return written[:stop]


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
    probabilities = to_numpy(both.probabilities([ids])[:, 0])
    wanted = lm.answer_ids(prompt, target)[0]
    top = {int(i) for side in probabilities for i in (-side).argsort(kind="stable")[:k]}
    rows = {i: _row(lm, i, probabilities[:, i], probabilities) for i in {*top, wanted}}
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


def _row(lm: LanguageModel, token: int, own: np.ndarray, every: np.ndarray) -> ComparisonRow:
    """A token with its probabilities and its places among `every` token's."""
    before_rank, after_rank = (1 + (every > own[:, None]).sum(axis=1)).tolist()
    before, after = own.tolist()
    return ComparisonRow(lm.token_text(token), token, before, after, before_rank, after_rank)
