"""Memory of a device: work is cut smaller until it fits, and what cannot fit is one error.

A shortage is met in one of three ways. `attempt` tells it from a result, for who knows a smaller
way; `in_pieces` halves what runs at once until it fits; and `within_memory`, around every public
name that computes, says what was wanted, what there was, and what to do.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import torch

from rome_widgets.errors import OutOfMemory, RomeWidgetsError

P = ParamSpec("P")
T = TypeVar("T")

_WORDS = ("out of memory", "alloc_failed", "can't allocate memory", "not enough memory")
"""How torch, CUDA's libraries and the CPU's allocator say so, in errors of no type of their own."""


_OF_LINUX = Path("/proc/meminfo")


class Lacking(NamedTuple):
    """In place of a result for which the memory did not do."""

    message: str
    """The first line of what torch says."""


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory does not do; not one of our own."""
    if isinstance(error, RomeWidgetsError) or not isinstance(error, (RuntimeError, MemoryError)):
        return False
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(word in str(error).lower() for word in _WORDS)


def attempt(call: Callable[[], T]) -> T | Lacking:
    """`call()`, or that the memory did not do. What had been made by then is let go."""
    try:
        return call()
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        found = Lacking((str(error) or type(error).__name__).splitlines()[0])
    # Outside the handler, whose traceback holds the tensors.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return found


def in_pieces(
    count: int, at_once: int, run: Callable[[slice], T], what: str
) -> Iterator[tuple[slice, T]]:
    """What `run` makes of `count` things, slice after slice, fewer at once where memory wants it.

    Args:
        count: How many there are.
        at_once: How many to try first.
        run: Makes something of some; where it fails, it leaves nothing behind.
        what: What could not be done, where it cannot even with one: "run one draw".

    Raises:
        OutOfMemory: Memory does not do for one.
    """
    first, at_once = 0, max(1, at_once)
    while first < count:
        some = slice(first, min(first + at_once, count))
        found = attempt(lambda some=some: run(some))
        if not isinstance(found, Lacking):
            yield some, found
            first = some.stop
        elif some.stop - first == 1:
            raise out_of_memory(what, found)
        else:
            at_once = (some.stop - first) // 2


def within_memory(call: Callable[[], T], what: str) -> T:
    """`call()`, or our own error where the device has no room for it.

    Raises:
        OutOfMemory: With `what` could not be done.
    """
    found = attempt(call)
    if isinstance(found, Lacking):
        raise out_of_memory(what, found)
    return found


def needs_memory(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Makes a shortage inside a function our own error, that `what` could not be done.

    Example:
        >>> @needs_memory("compute the edit")
        ... def edit(lm): ...
    """

    def typed(work: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(work)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            return within_memory(lambda: work(*args, **kwargs), what)

        return run

    return typed


def out_of_memory(what: str, found: Lacking) -> OutOfMemory:
    """The error for what could not be done."""
    return OutOfMemory(
        f"There is not memory enough to {what}: {found.message.rstrip('.')}.",
        f"Room for the smallest piece of the work was wanted{_free()}; nothing was changed.",
        "Free memory, use fewer samples or prefixes, a shorter prompt, or a smaller dtype.",
    )


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a GPU; what torch has set aside there counts."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def memory_left(device: torch.device) -> int | None:
    """Bytes that can be had on a device; None where nobody can say."""
    if device.type == "cuda":
        return free_memory(device)
    if device.type == "cpu" and _OF_LINUX.exists():
        (line,) = re.findall(r"MemAvailable:\s+(\d+) kB", _OF_LINUX.read_text()) or [None]
        return None if line is None else int(line) * 1024
    return None


def _free() -> str:
    """What each GPU has left, a clause; nothing where there is none."""
    if not torch.cuda.is_available():
        return ""
    found = [torch.cuda.mem_get_info(number) for number in range(torch.cuda.device_count())]
    each = [
        f"GPU {n}: {free / 2**20:,.0f} of {all_ / 2**20:,.0f} MiB free"
        for n, (free, all_) in enumerate(found)
    ]
    return f" ({'; '.join(each)})"
