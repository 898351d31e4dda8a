"""States, the places in a model that a trace restores, and windows of layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, get_args

from rome_widgets.errors import StateError, said
from rome_widgets.records.numbers import as_whole

Kind = Literal["hidden", "mlp", "attn"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Residual state after a block, MLP contribution, attention contribution."""
TITLES: dict[Kind, str] = {"hidden": "Hidden state", "mlp": "MLP", "attn": "Attention"}
"""The kinds in words, over figures."""

_ALSO = {"attention": "attn", "attn": "attn", "mlp": "mlp", "mlps": "mlp", "hidden": "hidden"}
"""Other words for a kind, for the suggestion in an error."""


class State(NamedTuple):
    """Names one place in a model: token position, layer and kind, all 0-based.

    Example:
        >>> trace.cell(3, 5, "mlp")
        [State(pos=3, layer=4, kind='mlp'), State(pos=3, layer=5, kind='mlp'), ...]
    """

    pos: int
    layer: int
    kind: Kind


def window_layers(layer: int, window: int, n_layers: int) -> range:
    """The layers that a window centred at `layer` restores, clipped to the model.

    `[layer - window // 2, layer + ceil(window / 2))`: for 10 that is five below and four above,
    as the published code does (the paper's text is one layer higher).

    Source:
        Meng et al. 2022, appendix B.2, and the window of the published code.
    """
    return range(max(0, layer - window // 2), min(n_layers, layer + (window + 1) // 2))


def cell_states(pos: int, layer: int, kind: Kind, window: int, n_layers: int) -> list[State]:
    """The states that one cell of a grid restores: one hidden state, or a window of outputs."""
    layers = (layer,) if kind == "hidden" else window_layers(layer, window, n_layers)
    return [State(pos, each, kind) for each in layers]


def check_states(states: Iterable[Iterable], n_pos: int, n_layers: int) -> tuple[State, ...]:
    """`states` as sorted, unique, non-negative `State`s.

    Negative positions and layers count from the end, as in Python.

    Raises:
        StateError: A triple that is not (pos, layer, kind) or lies outside the grid.
    """
    try:
        listed = list(states)
    except Exception:
        raise StateError(
            f"The states are {said(states)}.",
            "A list of triples (pos, layer, kind) was wanted, such as [(3, 5, 'mlp')].",
        ) from None
    return tuple(sorted({_check_state(each, n_pos, n_layers) for each in listed}))


def _check_state(state: Iterable, n_pos: int, n_layers: int) -> State:
    try:
        pos, layer, kind = state
    except Exception:
        pos = layer = kind = None
    pos, layer = as_whole(pos), as_whole(layer)
    if pos is None or layer is None:
        raise StateError(
            f"{said(state)} is not a state.",
            "A state is a triple (pos, layer, kind), such as (3, 5, 'mlp').",
        )
    (kind,) = check_kinds(kind)
    for name, number, size in (("position", pos, n_pos), ("layer", layer, n_layers)):
        if not -size <= number < size:
            raise StateError(
                f"There is no {name} {said(number)}.",
                f"{name.capitalize()}s run from 0 to {size - 1}.",
            )
    return State(pos % n_pos, layer % n_layers, kind)


def check_kinds(kinds: Any) -> tuple[Kind, ...]:
    """One kind or several, without repeats, in the order of `KINDS`.

    Raises:
        StateError: A kind that is not "hidden", "mlp" or "attn", or none at all.
    """
    try:
        wanted = {kinds} if isinstance(kinds, str) else set(kinds)
    except Exception:
        wanted = {said(kinds)}
    unknown = sorted(map(said, wanted.difference(KINDS)))
    if unknown or not wanted:
        near = {_ALSO.get(kind.casefold()) for kind in wanted if isinstance(kind, str)} - {None}
        raise StateError(
            f"There is no kind {', '.join(unknown)}." if unknown else "No kind was named.",
            f"Kinds are {', '.join(map(repr, KINDS))}.",
            f"Did you mean {near.pop()!r}?" if len(near) == 1 else "",
        )
    return tuple(kind for kind in KINDS if kind in wanted)
