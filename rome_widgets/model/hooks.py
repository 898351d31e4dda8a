"""Hooks that read or replace the outputs of modules while one call runs.

The only module that registers hooks, and on stand-ins only: the user's modules never carry one of
ours. What an interrupt leaves attached is dropped with the stand-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from rome_widgets.model.stand_in import standing_in

T = TypeVar("T")


class Seen(NamedTuple):
    """One module call as a visitor sees it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor
    """The module's output; the first element where the module returns a tuple."""

    @property
    def entering(self) -> Tensor | None:
        """What it was called with; of several tensors the first, None where there is none."""
        return _entering(self.args, self.kwargs)


Visitor = Callable[[Seen], Tensor | None]
"""Looks at a module call; returns the tensor to put in place of its output, or None to keep it."""


def run_hooked(
    call: Callable[[], T],
    visitors: Iterable[tuple[nn.Module, Visitor]],
    *,
    first: Iterable[tuple[nn.Module, Visitor]] = (),
) -> T:
    """Run `call()` while each visitor sees, and may replace, its module's output.

    Within `run_in_eval_mode`. Visitors of one module run in the order given, after the hooks that
    somebody else has put on it; those of `first` run before these.

    Args:
        call: Runs modules that `standing_in` gives.
        visitors: Modules of the user's model, and what looks at their calls.
        first: The same.
    """
    handles = []
    try:
        for some, before in ((visitors, False), (first, True)):
            for module, visitor in some:
                hook, where = _hook(visitor), standing_in(module)
                handles.append(where.register_forward_hook(hook, with_kwargs=True, prepend=before))
        return call()
    finally:
        for handle in handles:
            handle.remove()


class Enough(Exception):
    """Raised by a visitor to end a call: what it is for has been seen."""


def run_until_enough(
    call: Callable[[], Any], visitors: Iterable[tuple[nn.Module, Visitor]]
) -> None:
    """As `run_hooked`, where a visitor may end the call by `Enough`. What it gives is dropped."""
    with suppress(Enough):
        run_hooked(call, visitors)


def run_until(
    module: nn.Module, call: Callable[[], T], visitors: Iterable[tuple[nn.Module, Visitor]] = ()
) -> T | Tensor:
    """What enters a module first, where `call()` ends; what that gives, where it never gets there.

    Args:
        module: A module of the user's model.
        call: As for `run_hooked`. Whatever waits for its end does not see it.
        visitors: As for `run_hooked`.
    """
    entered: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if (tensor := _entering(args, kwargs)) is not None:
            entered.append(tensor)
            raise Enough

    handle = standing_in(module).register_forward_pre_hook(stop, with_kwargs=True)
    try:
        return run_hooked(call, visitors)
    except Enough:
        return entered[0]
    finally:
        handle.remove()


def _entering(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    given = (*args, *kwargs.values())
    return next((each for each in given if isinstance(each, Tensor)), None)


def _hook(visitor: Visitor) -> Callable[..., Any]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        tensor = first_tensor(output)
        replaced = visitor(Seen(args, kwargs, tensor))
        if replaced is None or replaced is tensor:
            return None
        if isinstance(output, Tensor):
            return replaced
        # The container stays what it was: GPT-1 adds lists that its blocks return.
        return [replaced, *output[1:]] if isinstance(output, list) else (replaced, *output[1:])

    return hook


def first_tensor(output: Any) -> Tensor:
    """The tensor a module puts out: itself, or the first element of a tuple or list."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise TypeError(
        f"a module returned {type(output).__name__}, not a tensor or a tuple of tensors"
    )


def reading(store: dict[Any, Tensor], key: Any) -> Visitor:
    """A visitor that keeps a copy of the output under `key`.

    A copy, because some blocks go on to change the tensor in place (Falcon adds attention into it).
    """

    def visit(seen: Seen) -> None:
        store[key] = seen.output.detach().clone()

    return visit
