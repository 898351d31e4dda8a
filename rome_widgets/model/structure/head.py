"""Find how logits are made of the last block's output: by following one pass, proved against it.

Most models put a norm and a matrix there; some project in between, scale the logits or cap them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rome_widgets.model.eval_mode import in_eval_mode
from rome_widgets.model.hooks import Seen, Visitor, first_tensor, reading, run_hooked
from rome_widgets.model.stand_in import standing_in
from rome_widgets.model.structure.geometry import Geometry, all_logits, probe_ids, run_to_head

Finish = Callable[[Tensor], Tensor]

ROUNDINGS = 4
"""Units in the last place of the largest logit by which the right head may be off: both sides
are computed from the same tensor of the same pass."""


@dataclass(frozen=True)
class Head:
    """Names the modules to apply after the last block, and what is done to their logits."""

    modules: tuple[str, ...]
    finish: Finish = field(repr=False)

    def logits(self, model: nn.Module, hidden: Tensor) -> Tensor:
        """`[rows, vocab]` logits of `[rows, d_model]` states after the last block."""
        state = hidden[:, None]
        for name in self.modules:
            state = first_tensor(standing_in(model.get_submodule(name))(state))
        return self.finish(state)[:, 0]


@in_eval_mode
def find_head(model: Any, geometry: Geometry, ids: Tensor) -> Head | None:
    """The head, or None where what the model does there could not be followed."""
    inside = tuple(f"{block}." for block in geometry.blocks)
    calls: list[tuple[str, Tensor, Tensor]] = []

    def watch(name: str) -> Visitor:
        def visit(seen: Seen) -> None:
            if seen.args and isinstance(seen.args[0], Tensor) and seen.args[0].ndim == 3:
                calls.append((name, seen.args[0].clone(), seen.output.clone()))

        return visit

    visitors = [
        (module, watch(name))
        for name, module in model.named_modules()
        if name and not name.startswith(inside) and _is_plain(module)
    ]
    visitors.append((model.get_submodule(geometry.blocks[-1]), watch("")))
    logits = run_hooked(lambda: all_logits(model, ids), visitors)
    names, raw = _follow(calls)
    if raw is None or raw.shape != logits.shape:
        return None
    logits = logits.to(raw.device)  # accelerate brings them to where the ids are
    # The nearest, not the first near enough: a soft cap hardly moves small logits.
    finish = min(_finishes(model.config), key=lambda finish: _size(finish(raw) - logits))
    exact = _size(finish(raw) - logits) <= ROUNDINGS * torch.finfo(logits.dtype).eps * _size(logits)
    return Head(names, finish) if exact else None


def _is_plain(module: nn.Module) -> bool:
    """Norms, matrices and the like; not what contains the blocks."""
    return not any(isinstance(inner, nn.ModuleList) for inner in module.modules())


def _follow(calls: list[tuple[str, Tensor, Tensor]]) -> tuple[tuple[str, ...], Tensor | None]:
    """From the last block on, each module that took what the one before put out."""
    last = max((i for i, (name, *_) in enumerate(calls) if name == ""), default=None)
    if last is None:
        return (), None
    names: list[str] = []
    state = calls[last][2]
    for name, taken, put_out in calls[last + 1 :]:
        if taken.shape == state.shape and torch.equal(taken.to(state.device), state):
            names.append(name)
            state = put_out
    return tuple(names), state if names else None


def _finishes(config: Any) -> list[Finish]:
    """What models do to logits, as their configurations name it; each is tried, none believed."""
    text = config.get_text_config()
    found: list[Finish] = [lambda logits: logits]
    if cap := getattr(text, "final_logit_softcapping", None):
        found.append(lambda logits: cap * torch.tanh(logits / cap))
    if isinstance(scale := getattr(text, "logit_scale", None), (int, float)):
        found.append(lambda logits: logits * scale)
    if divisor := getattr(text, "logits_scaling", None):
        found.append(lambda logits: logits / divisor)
    return found


def _size(tensor: Tensor) -> float:
    return float(tensor.abs().max().double())


@in_eval_mode
def last_logits_only(model: nn.Module, geometry: Geometry) -> dict[str, Any]:
    """Keywords with which the model computes the logits of the last position only, if it can.

    Empty for a model that then runs some blocks at the last position only, as Gemma 4 does where
    layers share keys and values: there would be no states to read at the other positions.
    """
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return {}
    keywords = {"logits_to_keep": 1}
    ids = probe_ids(model)
    store: dict[Any, Tensor] = {}
    visitors = [(model.get_submodule(name), reading(store, name)) for name in geometry.blocks]
    run_to_head(model, ids, visitors, **keywords)
    whole = all(state.shape[1] == ids.shape[1] for state in store.values())
    return keywords if whole else {}
