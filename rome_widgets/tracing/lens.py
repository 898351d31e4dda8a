"""The logit lens: predictions read from each layer as if it were the last.

A state is read by the model's own tail: its head, where that can be called by itself, else a pass
over one token, whose last block puts that state out. So whatever a family does after its blocks is
done, and the last layer's reading is the model's prediction.

Source:
    nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from rome_widgets.model.hooks import Seen, Visitor, run_hooked
from rome_widgets.model.language_model import LanguageModel, check_finite, upcast
from rome_widgets.model.memory import in_pieces
from rome_widgets.model.progress_bar import NO_STEPS, Steps
from rome_widgets.model.structure.geometry import all_logits
from rome_widgets.records.explanations import LensRun
from rome_widgets.records.states import State
from rome_widgets.tracing.metric import Means, Measure
from rome_widgets.tracing.runs import Held, Runs, ThreeRuns, Watcher

PROBABILITIES = 32_000_000
"""Computed at once."""


def read_lens(
    runs: Runs,
    states: Sequence[State],
    held: Held,
    measure: Measure,
    k: int,
    steps: Steps = NO_STEPS,
) -> tuple[LensRun, ...]:
    """The clean, the corrupted and, with states to restore, the restored run, layer by layer.

    Args:
        runs: Of the prompt.
        states: What to restore.
        held: States kept at corrupted values meanwhile.
        measure: What to follow.
        k: Likeliest tokens to show per layer.
        steps: Are told of the blocks that ran and then, run by run, of the states that were read.
    """
    lm = runs.lm
    names = ("clean", "corrupted", "restored") if states else ("clean", "corrupted")
    seen: dict[str, list[list[Tensor]]] = {name: [[] for _ in lm.sites("hidden")] for name in names}

    def keep(layer: int) -> Watcher:
        def watch(together: ThreeRuns) -> Callable[[], None]:
            states = [getattr(together, name)[..., -1, :] for name in names]
            last = [state.to(lm.device, copy=True).view(-1, state.shape[-1]) for state in states]

            def keep() -> None:
                for name, state in zip(names, last, strict=True):
                    seen[name][layer].append(state)

            return keep

        return watch

    watching = [(name, keep(layer)) for layer, name in enumerate(lm.sites("hidden"))]
    runs.run_side_by_side(states, watching, held, steps)
    return tuple(
        _read(name, lm, torch.stack([torch.cat(some) for some in seen[name]]), measure, k, steps)
        for name in names
    )


def read_clean_lens(
    name: str,
    lm: LanguageModel,
    ids: Sequence[int],
    measure: Measure,
    k: int,
    visitors: Iterable[tuple[nn.Module, Visitor]],
) -> LensRun:
    """A clean run with something else about the model changed, such as its edits undone.

    Args:
        name: What to call the run.
        lm: The model.
        ids: Token ids of the prompt.
        measure: What to follow.
        k: Likeliest tokens to show per layer.
        visitors: Modules and what to make of their outputs; see `hooks.run_hooked`.
    """
    last: list[Tensor] = []

    def keep(seen: Seen) -> None:
        last.append(seen.output[:, -1].to(lm.device, copy=True))

    watched = [*visitors, *lm.named((block, keep) for block in lm.sites("hidden"))]
    row = lm.rows([ids])
    lm.run(lambda: run_hooked(lambda: all_logits(lm.model, row), watched))
    return _read(name, lm, torch.stack(last), measure, k)


def _read(
    name: str,
    lm: LanguageModel,
    states: Tensor,
    measure: Measure,
    k: int,
    steps: Steps = NO_STEPS,
) -> LensRun:
    """A run from its `[layer, sample, d_model]` states at the last token."""

    def told(done: int, total: int) -> None:
        steps.at(done, total, name)

    said, scores = _mean_predictions(lm, states, measure, told)
    answer = check_finite(said)[:, measure.answer_id]
    top = said.topk(min(k, said.shape[1]), dim=1)
    rows = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return LensRun(
        name,
        probabilities=tuple(answer.tolist()),
        ranks=tuple((1 + (said > answer[:, None]).sum(dim=1)).tolist()),
        top=tuple(tuple(zip(map(lm.token_text, ids), ps, strict=True)) for ids, ps in rows),
        scores=tuple(scores.tolist()),
    )


def _mean_predictions(
    lm: LanguageModel, states: Tensor, measure: Measure, told: Callable[[int, int], None]
) -> Means:
    """What follows `[layer, sample, d_model]` states, a layer for a cell."""
    n_layers, samples, _ = states.shape
    rows = states.flatten(0, 1)
    layers = torch.arange(n_layers, device=rows.device).repeat_interleave(samples)
    first = _next_token(lm, rows[:1])
    total = Means(first.new_zeros(n_layers, first.shape[1]), first.new_zeros(n_layers))
    at_once = min(lm.tokens_per_call, PROBABILITIES // first.shape[1])
    read = in_pieces(len(rows), at_once, lambda some: _next_token(lm, rows[some]), "read one state")
    for some, logits in read:
        each = measure.totals(logits[:, None])
        total.probabilities.index_add_(0, layers[some].to(logits.device), each.probabilities)
        total.scores.index_add_(0, layers[some].to(logits.device), each.scores)
        told(some.stop, len(rows))
    return Means(*(each / samples for each in total))


def _next_token(lm: LanguageModel, states: Tensor) -> Tensor:
    """`[row, vocab]` logits of what follows `[row, d_model]` states after the last block."""
    if (replay := lm.replay) is not None:
        return check_finite(upcast(lm.run(lambda: replay.logits(states))))

    def put(seen: Seen) -> Tensor:
        return states.view(seen.output.shape).to(seen.output)

    any_token = torch.zeros(len(states), 1, dtype=torch.long, device=lm.device)
    return lm.next_token_logits(any_token, [(lm.geometry.blocks[-1], put)])
