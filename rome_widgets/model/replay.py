"""Replay: call a model's own blocks by themselves, on part of a prompt.

One pass over the whole prompt is captured: what enters every block, how the model called it, and
its keys and values. Afterwards any block can be called again on the positions from `start` on,
with changed states, as the model itself would call it with that much already in its cache.
Nothing is re-implemented: what runs are stand-ins of the model's own modules. Whether it gives
what whole passes give is proved per model (`find_replay`) and per capture (`Replay.check`); where
it does not, whole passes are used.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from rome_widgets.model.eval_mode import in_eval_mode
from rome_widgets.model.hooks import Seen, Visitor, first_tensor, reading, run_hooked
from rome_widgets.model.memory import is_shortage
from rome_widgets.model.stand_in import standing_in
from rome_widgets.model.structure.geometry import Geometry, all_logits
from rome_widgets.model.structure.head import Head, find_head

ROUNDINGS = 64
"""Rounding errors of float32, relative to the logits' size, by which a replay may be off."""
SHARE_OF_EFFECT = 0.02
"""Or this share of what the corruption or the patch itself changes."""

KeysValues = tuple[Tensor, Tensor]
"""`[row, head, pos, head width]` each."""


class CannotReplay(Exception):
    """Replay does not give what whole passes give; the message is the reason."""


@dataclass(frozen=True)
class Capture:
    """One pass over `[row, pos]` tokens, and all that replaying its blocks needs."""

    states: list[Tensor]
    """`[row, pos, d_model]`: what enters block `l`; the last is what leaves the last block."""
    calls: list[dict[str, Any]]
    """By block, the arguments of its call by name, without the hidden state."""
    keys_values: list[KeysValues]
    """By block, of every position."""
    cache: DynamicCache
    """The object that stands for the cache in `calls`."""
    logits: Tensor
    """`[row, vocab]` after the last position."""
    padded: bool = False
    """Whether rows have different masks, for different lengths (see `batch_captures`)."""

    @property
    def n_rows(self) -> int:
        """Rows of the pass."""
        return self.states[0].shape[0]

    @property
    def length(self) -> int:
        """Positions of the prompt."""
        return self.states[0].shape[1]


class Replay:
    """The blocks and the head of one model, callable by themselves.

    Args:
        model: The model.
        geometry: Its parts.
        head: What follows the last block.
        last_only: Keywords of `head.last_logits_only`.
    """

    def __init__(
        self, model: nn.Module, geometry: Geometry, head: Head, last_only: dict[str, Any]
    ) -> None:
        self._model = model
        self._blocks = [model.get_submodule(name) for name in geometry.blocks]
        self._last_only = last_only
        self._head = head

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def capture(self, ids: Tensor, visitors: Iterable[tuple[nn.Module, Visitor]] = ()) -> Capture:
        """Run `[row, pos]` tokens once, with visitors, and keep what replaying needs.

        Raises:
            CannotReplay: The model does not take a plain cache, or some block none of it.
        """
        cache = DynamicCache()
        states: list[Tensor] = []
        calls: list[dict[str, Any]] = []

        def keep(seen: Seen) -> None:
            entering, arguments = _named(self._blocks[len(calls)], seen)
            if not states:
                states.append(entering.clone())
            states.append(seen.output.clone())
            calls.append(arguments)

        watched = [*visitors, *((block, keep) for block in self._blocks)]
        try:
            caching = {cache_argument(self._model): cache, "use_cache": True}
            logits = run_hooked(lambda: self.last_logits(ids, **caching), watched)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise CannotReplay("it does not run with a plain cache of keys and values") from error
        if len(cache.layers) != self.n_layers or len(calls) != self.n_layers:
            raise CannotReplay(
                f"{len(cache.layers)} of its {self.n_layers} blocks keep keys and values"
            )
        keys_values = [_keys_values(layer, ids.shape[1]) for layer in cache.layers]
        return Capture(states, calls, keys_values, cache, logits)

    def last_logits(self, ids: Tensor, **options: Any) -> Tensor:
        """`[row, vocab]` after the last position, by a whole pass over `[row, pos]` tokens."""
        return all_logits(self._model, ids, **options, **self._last_only)[:, -1]

    def block(
        self,
        capture: Capture,
        layer: int,
        hidden: Tensor,
        start: int,
        rows: Tensor,
        visitors: Sequence[tuple[nn.Module, Visitor]] = (),
        wanted: int | None = None,
    ) -> Tensor:
        """One block on the positions from `start` on.

        Args:
            capture: Of the prompt; its positions before `start` are what the new ones attend to.
            layer: Which block.
            hidden: `[n, span, d_model]`: what enters it at `start`, ..., `start + span - 1`.
            start: First of these positions.
            rows: `[n]`: the row of the capture that each row goes on from.
            visitors: See `hooks.run_hooked`.
            wanted: How many of the last positions come out; those before them give their keys and
                values and nothing else. None: all.

        Returns:
            `[n, span or wanted, d_model]`.
        """
        running = standing_in(self._blocks[layer])

        def call(first: int, stop: int, cache: _Prefix) -> Tensor:
            window = _Window(capture, start + first, start + stop, rows, cache)
            given = capture.calls[layer]
            arguments = {name: window.of(name, value) for name, value in given.items()}
            if "attention_mask" in arguments and arguments["attention_mask"] is None:
                arguments["attention_mask"] = window.causal_mask(hidden.device)
            return first_tensor(running(hidden[:, first:stop], **arguments))

        before = _rows_before(capture.keys_values[layer], rows, start)
        span = hidden.shape[1]
        first = 0 if wanted is None else max(0, span - wanted)
        if first:
            try:
                run_hooked(lambda: call(0, first, _Recorder(before)), ())
            except _KeysTaken as taken:
                before = taken.keys_values
            else:
                raise CannotReplay("a block did not ask the cache for its keys")
        return run_hooked(lambda: call(first, span, _Prefix(before)), visitors)

    def logits(self, hidden: Tensor) -> Tensor:
        """`[n, vocab]` logits of `[n, d_model]` states after the last block."""
        return self._head.logits(self._model, hidden)

    def check(self, capture: Capture) -> None:
        """Replay one row from the middle of the prompt through every block.

        Raises:
            CannotReplay: It fails, or does not give the captured logits.
        """
        start = capture.length // 2
        rows = torch.tensor([capture.n_rows - 1], device=capture.states[0].device)
        try:
            hidden = capture.states[0][-1:, start:]
            again = self.logits(self.onward(capture, 0, hidden, start, rows)[:, -1])
        except CannotReplay:
            raise
        except Exception as error:
            if is_shortage(error):
                raise
            raise CannotReplay(
                f"replaying it failed with {type(error).__name__}: {error}"
            ) from error
        check_same_logits(again, capture.logits[-1:], capture.logits[:1], "its own states")

    def onward(
        self, capture: Capture, layer: int, hidden: Tensor, start: int, rows: Tensor
    ) -> Tensor:
        """`[n, 1, d_model]` at the last position, after the blocks from `layer` on; see `block`."""
        for later in range(layer, self.n_layers):
            wanted = 1 if later == self.n_layers - 1 else None
            hidden = self.block(capture, later, hidden, start, rows, wanted=wanted)
        return hidden


# ------------------------------------------------------------------- arguments of a call


def _named(block: nn.Module, seen: Seen) -> tuple[Tensor, dict[str, Any]]:
    """The hidden state of a block's call, and its other arguments by name."""
    names = list(inspect.signature(block.forward).parameters)
    arguments = dict(zip(names, seen.args, strict=False)) | seen.kwargs
    return arguments.pop(names[0]), arguments


class _Window:
    """Arguments of a call over the whole prompt, cut to positions `start` to `stop`."""

    def __init__(
        self, capture: Capture, start: int, stop: int, rows: Tensor, cache: _Prefix
    ) -> None:
        self._capture, self._rows, self._cache = capture, rows, cache
        self._start, self._stop = start, stop

    def of(self, name: str, value: Any) -> Any:
        """The argument as the model would pass it with `start` positions in its cache."""
        if value is self._capture.cache:
            return self._cache
        if isinstance(value, (tuple, list)):
            return type(value)(self.of(name, each) for each in value)
        if isinstance(value, dict):
            return {key: self.of(name, each) for key, each in value.items()}
        return self._tensor(name, value) if isinstance(value, Tensor) else value

    def _tensor(self, name: str, value: Tensor) -> Tensor:
        n_rows, length = self._capture.n_rows, self._capture.length
        positions = slice(self._start, self._stop)
        if name == "alibi":  # the same for every row of a prompt without padding
            return self._alibi(value)
        if value.ndim == 4 and value.shape[-2:] == (length, length):  # a mask, by query and key
            rows = self._rows.to(value.device) if self._capture.padded else slice(1)
            return value[rows, ..., positions, : self._stop]
        if value.ndim == 1:
            return value[positions] if len(value) == length else value
        if value.shape[0] == 1 and value.shape[1] == length:
            return value[:, positions]
        if value.shape[:2] == (n_rows, length):
            return value[self._rows.to(value.device), positions]
        return value

    def _alibi(self, value: Tensor) -> Tensor:
        """By head and key: `[row, head, 1, key]`, or rows and heads in one axis."""
        if value.ndim == 4:
            return value[:1, ..., : self._stop]
        heads = len(value) // self._capture.n_rows
        return value[:heads, ..., : self._stop].repeat(len(self._rows), 1, 1)

    def causal_mask(self, device: torch.device) -> Tensor | None:
        """`[1, 1, query, key]`, true where a query may look; None for a single query.

        Where the model itself passes none, it relies on queries and keys being equally many.
        """
        n_queries = self._stop - self._start
        if n_queries == 1:
            return None
        mask = torch.ones(n_queries, self._stop, dtype=torch.bool, device=device)
        return mask.tril(self._start)[None, None]


def cache_argument(model: nn.Module) -> str:
    """What the model calls the keys and values it goes on from; transformers 5.24 renamed it."""
    names = inspect.signature(model.forward).parameters
    return "cache" if "cache" in names and "past_key_values" not in names else "past_key_values"


class _Prefix:
    """What a block takes for the model's cache: the keys and values before its positions."""

    def __init__(self, before: KeysValues) -> None:
        self._before = before

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> KeysValues:
        """All keys and values up to the block's last position."""
        if self._before[0].shape[2] == 0:
            return keys, values
        return (
            torch.cat([self._before[0], keys], dim=2),
            torch.cat([self._before[1], values], dim=2),
        )

    def get_seq_length(self, *_: Any) -> int:
        """How many positions are before."""
        return self._before[0].shape[2]


class _Recorder(_Prefix):
    """Ends the call once its keys and values are known."""

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> KeysValues:
        raise _KeysTaken(super().update(keys, values))


class _KeysTaken(Exception):
    def __init__(self, keys_values: KeysValues) -> None:
        super().__init__()
        self.keys_values = keys_values


def _keys_values(layer: Any, length: int) -> KeysValues:
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    for tensor in (keys, values):
        if not isinstance(tensor, Tensor) or tensor.ndim != 4 or tensor.shape[2] != length:
            raise CannotReplay("a block keeps no keys and values of every position")
    return cast(KeysValues, (keys, values))


def _rows_before(keys_values: KeysValues, rows: Tensor, start: int) -> KeysValues:
    keys, values = keys_values
    rows = rows.to(keys.device)
    return keys[:, :, :start][rows], values[:, :, :start][rows]


# --------------------------------------------------------------------------- proving


@in_eval_mode
def find_replay(
    model: nn.Module, geometry: Geometry, ids: Tensor, last_only: dict[str, Any]
) -> Replay:
    """A `Replay` that was proved on this model.

    Args:
        model: The model.
        geometry: Its parts.
        ids: `[1, pos]` token ids to try it on.
        last_only: Keywords of `head.last_logits_only`.

    Raises:
        CannotReplay: With what went wrong.
    """
    try:
        head = find_head(model, geometry, ids)
        if head is None:
            raise CannotReplay("what it does between the last block and the logits is not known")
        replay = Replay(model, geometry, head, last_only)
        _prove(model, geometry, replay, ids)
    except CannotReplay:
        raise
    except Exception as error:
        if is_shortage(error):
            raise
        raise CannotReplay(
            f"calling its blocks failed with {type(error).__name__}: {error}"
        ) from error
    return replay


def _prove(model: nn.Module, geometry: Geometry, replay: Replay, ids: Tensor) -> None:
    """In every kind, a patch in the middle gives the logits of a whole pass with that patch."""
    both = torch.cat([ids, ids.roll(1, dims=1)])
    layer, pos = geometry.n_layers // 2, ids.shape[1] // 2
    sites = {kind: model.get_submodule(geometry.names(kind)[layer]) for kind in geometry.kinds}
    seen: dict[str, Tensor] = {}
    capture = replay.capture(both, [(site, reading(seen, kind)) for kind, site in sites.items()])
    clean = {kind: output.view(2, ids.shape[1], -1)[0, pos] for kind, output in seen.items()}
    replay.check(capture)
    # A row for each kind, in one whole pass and in one replay.
    n_kinds = len(sites)
    putting = [
        (site, _putting(clean[kind], row, pos, n_kinds))
        for row, (kind, site) in enumerate(sites.items())
    ]
    whole = run_hooked(lambda: replay.last_logits(both[1:].expand(n_kinds, -1)), putting)
    before = capture.states[layer][1:]
    rows = torch.tensor([1], device=ids.device)
    patched = capture.states[layer + 1][1:].repeat(n_kinds, 1, 1)
    for row, (kind, site) in enumerate(sites.items()):
        if kind == "hidden":
            patched[row, pos] = clean[kind].to(patched.device)
        else:  # its own position is all that an output of attention or MLP changes at once
            inside = [(site, _putting(clean[kind], 0, 0, 1))]
            patched[row, pos] = replay.block(
                capture, layer, before[:, pos : pos + 1], pos, rows, inside
            )[0, 0]
    last = replay.onward(capture, layer + 1, patched[:, pos:], pos, rows.expand(n_kinds))[:, -1]
    replayed = replay.logits(last)
    for row, kind in enumerate(sites):
        one = slice(row, row + 1)
        what = f"a restored {kind} state"
        check_same_logits(replayed[one], whole[one], capture.logits[1:], what)


def _putting(value: Tensor, row: int, pos: int, n_rows: int) -> Visitor:
    def visit(seen: Seen) -> Tensor:
        changed = seen.output.clone()
        changed.view(n_rows, -1, changed.shape[-1])[row, pos] = value
        return changed

    return visit


def check_same_logits(replayed: Tensor, wanted: Tensor, other: Tensor, what: str) -> None:
    """Replayed logits are those of a whole pass: by rounding, or little beside what matters.

    Args:
        replayed: `[row, vocab]`.
        wanted: `[row, vocab]`, by a whole pass.
        other: `[row, vocab]`, of a run that differs from `wanted` in what replay has to get right.
        what: What was replayed, in words.

    Raises:
        CannotReplay: They differ by more.
    """
    replayed, wanted, other = (
        logits.to("cpu", torch.float64) for logits in (replayed, wanted, other)
    )
    off, size, effect = (_rms(each) for each in (replayed - wanted, wanted, other - wanted))
    # In half precision another shape of a batch can round otherwise, and by much more than this.
    # Float64 is held to float32: several families compute norms or attention in float32 always.
    limit = max(ROUNDINGS * torch.finfo(torch.float32).eps * size, SHARE_OF_EFFECT * effect)
    if not off <= limit:
        raise CannotReplay(
            f"replaying {what} gives other logits, off by {off / size:.1g} of their size"
        )


def _rms(tensor: Tensor) -> float:
    return float(tensor.square().mean().sqrt())
