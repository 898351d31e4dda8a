"""Watches every model that a `LanguageModel` is made of: weights, modes and hooks.

`conftest.py` looks after each test at what changed. That is often, so weights are compared with a
copy, bit by bit, which takes a fraction of the time of a digest, and found in one walk.
"""

import hashlib
import weakref
from collections import Counter

import torch

from rome_widgets.model import language_model

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def attached_hooks(model):
    """Every hook on `model`, ours or not, as (module name, table)."""
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        (name, table)
        for name, module in model.named_modules()
        for table in tables
        for _ in getattr(module, table, {})
    ]


def fingerprint(model):
    """SHA-256 over every weight's bytes, training flag and requires_grad."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().contiguous().view(-1).view(torch.uint8).cpu().numpy())
    digest.update(repr(_flags(model)).encode())
    return digest.hexdigest()


def _flags(model):
    return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]


def _seen(model):
    """Flags of modules and weights, and what a `state_dict` holds, which takes much longer."""
    flags, weights = [], {}
    for at, module in model.named_modules():
        flags.append(module.training)
        for name, weight in module._parameters.items():
            if weight is not None:
                flags.append(weight.requires_grad)
                weights[at, name] = weight
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                weights[at, name] = buffer
    return flags, weights


class _Kept:
    """A copy of a model's weights and flags."""

    def __init__(self, model):
        self._flags, weights = _seen(model)
        self._weights = {at: weight.detach().clone() for at, weight in weights.items()}

    def equals(self, model):
        flags, now = _seen(model)
        return (
            flags == self._flags
            and now.keys() == self._weights.keys()
            and all(_same_bits(now[at], kept) for at, kept in self._weights.items())
        )


def _same_bits(one, other):
    if one.dtype != other.dtype or one.shape != other.shape or one.device != other.device:
        return False
    integers = _INTEGERS[one.element_size()]  # NaN equals itself, 0 is not -0
    return torch.equal(one.detach().view(integers), other.view(integers))


_watched = weakref.WeakKeyDictionary()
_held = []  # models of the present test: one made inside it must live until it was looked at
_unwrap = language_model.unwrap


def _unwrap_and_watch(model):
    inner = _unwrap(model)
    if isinstance(inner, torch.nn.Module) and inner not in _watched:
        meta = any(weight.device.type == "meta" for weight in inner.parameters())
        _held.append(inner)
        _watched[inner] = (None if meta else _Kept(inner), attached_hooks(inner))
    return inner


language_model.unwrap = _unwrap_and_watch


def changes():
    """What happened to the watched models since they were first seen, as sentences."""
    found = []
    for model, (kept, hooks) in list(_watched.items()):
        name = type(model).__name__
        left = list((Counter(attached_hooks(model)) - Counter(hooks)).elements())
        if left:
            found.append(f"{name}: hooks left behind: {left}")
        if kept is not None and not kept.equals(model):
            found.append(f"{name}: a weight, a training flag or requires_grad changed")
    return found


def settle():
    """Take the present state as the one to keep, so that a change is reported once."""
    _held.clear()
    for model, (kept, _) in list(_watched.items()):
        if kept is not None and not kept.equals(model):
            kept = _Kept(model)
        _watched[model] = (kept, attached_hooks(model))


def changes_by_this_test():
    """`changes()` since this was last asked, so that each is told once, of the test that did it."""
    found = changes()
    if found:
        settle()
    _held.clear()
    for model, (kept, hooks) in list(_watched.items()):
        if hooks:  # Of those that were there some may have gone.
            _watched[model] = (kept, attached_hooks(model))
    return found
