"""What makes two identities of a model differ, in words: for the error that refuses a mixture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from rome_widgets.model.identity import GLOBAL_HOOK, SWITCHES, Identity, ModuleState, OpaqueObject
from rome_widgets.records.html import and_more

MOST_SAID = 3
"""Changes that are told; more are counted."""


def what_changed(before: Identity, now: Identity) -> str:
    """What makes two identities differ, as clauses; "" where nothing does."""
    if before == now:
        return ""
    changes = [*_changed_code(before, now), *_changed_weights(before, now, by_value=False)]
    return _listed(changes) or "its code is another"


def what_else_changed(before: Identity, now: Identity, besides: Iterable[str]) -> str:
    """As `what_changed`, but of weights only which hold other values, and not of some.

    Args:
        before: The identity that something was made under.
        now: The present one.
        besides: Parameters that are left out, such as edited matrices.
    """
    return _listed(
        [
            *_changed_code(before, now),
            *_changed_weights(before, now, by_value=True, besides=frozenset(besides)),
        ]
    )


def _listed(changes: list[str]) -> str:
    more = len(changes) - MOST_SAID
    return "; ".join([*changes[:MOST_SAID], *([f"and {more} more"] if more > 0 else [])])


def _changed_code(before: Identity, now: Identity) -> Iterator[str]:
    """All but the weights."""
    old = {state.name: state for state in before.modules}
    new = {state.name: state for state in now.modules}
    same = [(old[n], new[n]) for n in new if n in old and old[n].number == new[n].number]
    yield from _changed_hooks(same)
    yield from _changed_classes(same)
    yield from _changed_tokenizer(before, now)
    yield from _changed_config(before, now)
    yield from _changed_values(same)
    yield from _changed_modules(old, new)
    owners = {_owner_of(key) for key, _ in before.code} & {_owner_of(key) for key, _ in now.code}
    for key, was, is_now in _differences(before.code, now.code):
        if key.startswith(GLOBAL_HOOK):
            yield f"{was or is_now} was {'removed' if was else 'added'}"
        elif was is not None and is_now is not None:
            yield f"{key} was replaced"
        elif _owner_of(key) in owners:  # of others, their modules came or went
            yield f"{key} was {'added' if was is None else 'removed'}"


def _owner_of(key: str) -> str:
    return key.rpartition(".")[0]


def _changed_classes(pairs: Iterable[tuple[ModuleState, ModuleState]]) -> Iterator[str]:
    for old, new in pairs:
        if old.type != new.type:
            yield f"the class of {new.name or 'the model itself'} is {new.type} (was {old.type})"


def _changed_modules(
    old: Mapping[str, ModuleState], new: Mapping[str, ModuleState]
) -> Iterator[str]:
    """Outermost ones only."""
    changed: dict[str, list[str]] = {}
    outer: list[str] = []
    for name, state in {**old, **new}.items():
        was, is_now = old.get(name), new.get(name)
        if (was and is_now and was.number == state.number) or _is_inside(name, outer):
            continue
        outer.append(name)
        words = f"was replaced ({was.type} → {is_now.type})" if was and is_now else ""
        words = words or ("was added" if is_now else "was removed")
        changed.setdefault(words, []).append(name or "itself")
    for words, names in changed.items():
        yield f"the module {and_more(names)} {words}"


def _is_inside(name: str, outer: Iterable[str]) -> bool:
    return any(name.startswith(f"{each}.") or not each for each in outer)


def _changed_hooks(pairs: Iterable[tuple[ModuleState, ModuleState]]) -> Iterator[str]:
    changed: dict[str, list[str]] = {}
    for old, new in pairs:
        for some, others, verb in ((new, old, "added to"), (old, new, "removed from")):
            known = {which for which, _ in others.hooks}
            for which, what in some.hooks:
                if which not in known:
                    name = new.name or "the model itself"
                    changed.setdefault(f"{what} was {verb}", []).append(name)
    for what, names in changed.items():
        yield f"{what} {and_more(names)}"


def _changed_values(pairs: Iterable[tuple[ModuleState, ModuleState]]) -> Iterator[str]:
    by_change: dict[tuple[str, Any, Any], list[str]] = {}
    for old, new in pairs:
        for key, was, is_now in _differences(old.values, new.values):
            by_change.setdefault((key, was, is_now), []).append(new.name or "the model itself")
    told_first = sorted(by_change, key=lambda change: change[0] not in SWITCHES)
    for key, was, is_now in told_first:
        names = by_change[key, was, is_now]
        yield _in_words(key, was, is_now, and_more(names))


def _in_words(key: str, was: Any, is_now: Any, where: str) -> str:
    if key == "forward":
        return f"the forward of {where} was {'replaced' if is_now is not None else 'put back'}"
    if key == "_hf_hook":
        return f"the hook of accelerate of {where} was changed"
    if key == "_compiled_call_impl":
        return f"{where} was compiled"
    if key in ("_disable_adapters", "_adapters_disabled"):
        return f"the adapters of {where} were switched {'off' if is_now else 'on'}"
    if key == "merged_adapters":
        names = ", ".join(map(str, is_now or was or ()))
        return f"the adapter {names} of {where} was {'merged' if is_now else 'unmerged'}"
    if key == "_active_adapter":
        return f"the active adapter of {where} is {_plain(is_now)} (was {_plain(was)})"
    if _is_plain(was) and _is_plain(is_now):
        return f"{key} of {where} is {_plain(is_now)} (was {_plain(was)})"
    return f"{key} of {where} was changed"


def _changed_weights(
    before: Identity, now: Identity, *, by_value: bool, besides: frozenset[str] = frozenset()
) -> Iterator[str]:
    old = {state.name: state for state in before.weights}
    written: list[str] = []
    moved: list[str] = []
    converted: dict[Any, list[str]] = {}
    modules = {state.name for state in before.modules} & {state.name for state in now.modules}
    yield from _of_other_names(set(old), {state.name for state in now.weights}, modules)
    for state in now.weights:
        was = old.get(state.name)
        if was is None or state.name in besides or was == state:
            continue
        if was.tensor and state.tensor and was.tensor[-3] != state.tensor[-3]:
            converted.setdefault(state.tensor[-3], []).append(state.name)
        elif state.values is not None and was.values == state.values:
            if by_value:
                continue
            same = was.tensor[:2] == state.tensor[:2]  # the object, and where it is
            (written if same else moved).append(state.name)
        else:
            written.append(state.name)
    if written:
        yield f"the weights of {and_more(written)} were written"
    for dtype, names in converted.items():
        yield f"the weights of {and_more(names)} were converted to {_plain(dtype)}"
    if moved:
        yield f"the weights of {and_more(moved)} were replaced or moved"


def _of_other_names(old: set[str], new: set[str], modules: set[str]) -> Iterator[str]:
    """Weights that came or went, though their modules did not."""
    for names, verb in ((new - old, "added"), (old - new, "taken away")):
        some = sorted(name for name in names if name.rpartition(".")[0] in modules)
        if some:
            yield f"the weights of {and_more(some)} were {verb}"


def _changed_config(before: Identity, now: Identity) -> Iterator[str]:
    for key, was, is_now in _differences(before.config, now.config):
        if " of " in key and not (key in dict(before.config) and key in dict(now.config)):
            continue  # The whole configuration of a module was put there or taken away.
        if "_attn_implementation" in key:
            yield f"the implementation of attention is {_plain(is_now)} (was {_plain(was)})"
        elif _is_plain(was) and _is_plain(is_now):
            yield f"config.{key} is {_plain(is_now)} (was {_plain(was)})"
        else:
            yield f"config.{key} was changed"


def _changed_tokenizer(before: Identity, now: Identity) -> Iterator[str]:
    for key, was, is_now in _differences(before.tokenizer, now.tokenizer):
        if key == "tokens":
            yield f"the tokenizer has {is_now} tokens (had {was})"
        elif _is_plain(was) and _is_plain(is_now) and len(f"{was}{is_now}") < 80:
            yield f"{key} of the tokenizer is {_plain(is_now)} (was {_plain(was)})"
        else:
            yield f"{key} of the tokenizer was changed"


def _differences(
    before: tuple[tuple[str, Any], ...], now: tuple[tuple[str, Any], ...]
) -> Iterator[tuple[str, Any, Any]]:
    old, new = dict(before), dict(now)
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)


def _is_plain(value: Any) -> bool:
    if isinstance(value, OpaqueObject):
        return False
    if isinstance(value, tuple):
        return all(isinstance(each, (str, int, float)) for each in value) and len(value) < 5
    return value is None or isinstance(value, (bool, int, float, str))


def _plain(value: Any) -> str:
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return repr(value)
