"""The naive way: one forward pass per cell, plain hooks, and nothing of rome_widgets.

The layout is that of the published code. One pass holds a clean row and the corrupted rows, a
state is copied from the clean row of the same pass, and logits come out at every position.
`Cheaper` is what can be saved without a new idea: the clean row is run once, and only the last
position's logits are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

State = tuple[int, int, str]
"""Position, layer, and "hidden", "mlp" or "attn"."""

SITES = {
    "hidden": "transformer.h.{}",
    "mlp": "transformer.h.{}.mlp",
    "attn": "transformer.h.{}.attn",
}
"""Module names of GPT-2 and GPT-J; `{}` is the layer."""

Hook = Callable[[nn.Module, Any, Any], Any]


def cell_states(pos: int, layer: int, kind: str, window: int, n_layers: int) -> list[State]:
    """What a cell restores: itself, or a window of layers as the published code counts them."""
    if kind == "hidden":
        return [(pos, layer, kind)]
    low, high = max(0, layer - window // 2), min(n_layers, layer - (-window // 2))
    return [(pos, each, kind) for each in range(low, high)]


class Published:
    """The published layout: `samples + 1` rows, the first one clean.

    Args:
        model: Of the GPT-2 or the GPT-J layout, in eval mode.
        ids: Token ids of the prompt.
        span: Half-open span of corrupted positions.
        noise: `[samples, span, d_model]`, added to the embeddings.
    """

    clean_rows = 1
    ask: dict[str, Any] = {}  # noqa: RUF012

    def __init__(
        self, model: nn.Module, ids: Iterable[int], span: tuple[int, int], noise: Tensor
    ) -> None:
        self.model, self.span = model, span
        embedding = model.get_submodule("transformer.wte")
        weight: Any = embedding.weight
        self.noise = noise.to(weight)
        self.rows = torch.tensor([list(ids)], device=weight.device)
        self.rows = self.rows.repeat(len(noise) + self.clean_rows, 1)

    def cell(self, states: Iterable[State]) -> Tensor:
        """`[vocab]`: the mean prediction of the corrupted rows with `states` restored."""
        handles = [self._hook("transformer.wte", self._corrupt)]
        for pos, layer, kind in states:
            handles.append(self._hook(SITES[kind].format(layer), self._put_back(pos, layer, kind)))
        try:
            with torch.no_grad():
                logits = self.model(input_ids=self.rows, use_cache=False, **self.ask).logits
                return logits[self.clean_rows :, -1].float().softmax(dim=-1).mean(dim=0)
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str, hook: Hook) -> Any:
        return self.model.get_submodule(name).register_forward_hook(hook)

    def _corrupt(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        output[self.clean_rows :, slice(*self.span)] += self.noise
        return output

    def _put_back(self, pos: int, layer: int, kind: str) -> Hook:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            state = output[0] if isinstance(output, tuple) else output
            state[1:, pos] = state[0, pos]
            return output

        return hook


class Cheaper(Published):
    """Without the clean row, whose states are captured once, and with the last logits only."""

    clean_rows = 0
    ask = {"logits_to_keep": 1}  # noqa: RUF012

    def __init__(
        self, model: nn.Module, ids: Iterable[int], span: tuple[int, int], noise: Tensor
    ) -> None:
        super().__init__(model, ids, span, noise)
        self.clean = self._capture()

    def _capture(self) -> dict[tuple[int, str], Tensor]:
        """`[pos, d_model]` per layer and kind, of one pass without noise."""
        clean: dict[tuple[int, str], Tensor] = {}

        def keep(layer: int, kind: str) -> Hook:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                state = output[0] if isinstance(output, tuple) else output
                clean[layer, kind] = state[0].clone()

            return hook

        n_layers = self.model.config.num_hidden_layers
        handles = [
            self._hook(SITES[kind].format(layer), keep(layer, kind))
            for kind in SITES
            for layer in range(n_layers)
        ]
        with torch.no_grad():
            self.model(input_ids=self.rows[:1], use_cache=False, **self.ask)
        for handle in handles:
            handle.remove()
        return clean

    def _put_back(self, pos: int, layer: int, kind: str) -> Hook:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            state = output[0] if isinstance(output, tuple) else output
            state[:, pos] = self.clean[layer, kind][pos]
            return output

        return hook
