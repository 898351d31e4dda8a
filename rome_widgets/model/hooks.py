"""Hooks that read or replace the outputs of modules while one call runs.

The only module that registers hooks. A hook belongs to one call: it acts only where that call's
`ContextVar` value is set, so two threads on one model never see each other's changes, and a
user's own forward pass sees an untouched model. The variable is set in a copied context, which
an interrupt at any moment throws away.

An interrupt may also hit the taking off of hooks. Python looks for it when a function is entered
and after a call, never between `finally:` and the `try:` below it, so taking off is written where
it is needed, can be repeated, and is repeated (see `surely`). Only interrupts within microseconds
of each other leave hooks, which are inert, and which the next call sweeps out.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

T = TypeVar("T")


class Seen(NamedTuple):
    """One module call as a visitor sees it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor
    """The module's output; the first element where the module returns a tuple."""


Visitor = Callable[[Seen], Tensor | None]
"""Looks at a module call; returns the tensor to put in place of its output, or None to keep it."""


class Call:
    """Identity of one hooked call; alive exactly as long as that call's frame."""

    __slots__ = ("__weakref__",)


_current: ContextVar[Call | None] = ContextVar("rome_widgets_call", default=None)
_attached: dict[weakref.ref[Call], list[tuple[nn.Module, Callable[..., Any]]]] = {}
"""The hooks of each call, noted before the first is attached."""


def run_hooked(
    call: Callable[[], T],
    visitors: Iterable[tuple[nn.Module, Visitor]],
    *,
    first: Iterable[tuple[nn.Module, Visitor]] = (),
) -> T:
    """Run `call()` while each visitor sees, and may replace, its module's output.

    Visitors of one module run in the order given, after the hooks that somebody else has put on
    it; those of `first` run before these. Nothing stays attached afterwards, whatever `call`
    raises and whenever an interrupt comes.
    """
    _sweep()
    this = Call()
    reference = weakref.ref(this)

    def detach() -> None:
        _detach(reference)

    try:
        hooks = [
            (module, _gated(reference, visitor), before)
            for some, before in ((visitors, False), (first, True))
            for module, visitor in some
        ]
        _attach(reference, hooks)
        return copy_context().run(_run_as, this, call)
    finally:
        try:
            surely(detach)
        except BaseException:
            surely(detach)
            raise


def surely(step: Callable[[], None]) -> None:
    """Do a step that can be repeated, again after each of up to three interrupts.

    Its own entry can be interrupted too: whoever calls it calls it again then.
    """
    try:
        step()
    except BaseException:
        try:
            step()
        except BaseException:
            try:
                step()
            except BaseException:
                step()
                raise
            raise
        raise


def _attach(
    reference: weakref.ref[Call], hooks: list[tuple[nn.Module, Callable[..., Any], bool]]
) -> None:
    _attached[reference] = [(module, hook) for module, hook, _ in hooks]
    for module, hook, before in hooks:
        module.register_forward_hook(hook, with_kwargs=True, prepend=before)


def _detach(reference: weakref.ref[Call]) -> None:
    """Take a call's hooks off; may be interrupted and repeated.

    By the hooks themselves and not by torch's handles: an interrupt inside
    `register_forward_hook` leaves a hook whose handle nobody got.
    """
    for module, hook in _attached.get(reference, ()):
        for number, found in list(module._forward_hooks.items()):
            if found is hook:
                module._forward_hooks_with_kwargs.pop(number, None)
                module._forward_hooks.pop(number, None)
    _attached.pop(reference, None)


def _run_as(this: Call, call: Callable[[], T]) -> T:
    _current.set(this)
    return call()


def _gated(reference: weakref.ref[Call], visitor: Visitor) -> Callable[..., Any]:
    # torch asks "with kwargs?" per hook while it runs them; when another thread takes its own hook
    # off in between, that hook is called without. Such a hook is never ours to act in.
    def hook(module: nn.Module, args: tuple[Any, ...], *rest: Any) -> Any:
        *given, output = rest
        current = _current.get()
        if current is None or reference() is not current:
            return None
        tensor = first_tensor(output)
        replaced = visitor(Seen(args, given[0] if given else {}, tensor))
        if replaced is None or replaced is tensor:
            return None
        if isinstance(output, Tensor):
            return replaced
        # The container stays what it was: GPT-1 adds lists that its blocks return.
        return [replaced, *output[1:]] if isinstance(output, list) else (replaced, *output[1:])

    return as_ours(hook)


def as_ours(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, marked as a hook that is no part of the model it is attached to."""
    hook.__dict__[_OURS] = True
    return hook


def is_ours(hook: Any) -> bool:
    """Whether a hook is one of this package, which acts in its own call only."""
    return getattr(hook, _OURS, False) is True


_OURS = "_is_of_rome_widgets"


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


def _sweep() -> None:
    """Take off the hooks of calls that are gone without having done it."""
    for reference in list(_attached):
        if reference() is None:
            _detach(reference)
