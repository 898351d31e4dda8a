"""Watches every model that a `LanguageModel` is made of: weights, modes and hooks.

`conftest.py` asks after each test what changed.
"""

import hashlib
import weakref
from collections import Counter

import torch

from rome_widgets.model import language_model
from rome_widgets.model.hooks import attached_hooks


def fingerprint(model):
    """SHA-256 over every weight's bytes, training flag and hook."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().contiguous().view(-1).view(torch.uint8).cpu().numpy())
    digest.update(repr([m.training for m in model.modules()]).encode())
    digest.update(repr([p.requires_grad for p in model.parameters()]).encode())
    return digest.hexdigest()


_watched = weakref.WeakKeyDictionary()
_held = []  # models of the present test: one made inside it must live until it was looked at
_unwrap = language_model.unwrap


def _unwrap_and_watch(model):
    inner = _unwrap(model)
    if isinstance(inner, torch.nn.Module) and inner not in _watched:
        meta = any(weight.device.type == "meta" for weight in inner.parameters())
        _held.append(inner)
        _watched[inner] = (None if meta else fingerprint(inner), attached_hooks(inner))
    return inner


language_model.unwrap = _unwrap_and_watch


def changes():
    """What happened to the watched models since they were first seen, as sentences."""
    found = []
    for model, (before, hooks) in list(_watched.items()):
        name = type(model).__name__
        left = list((Counter(attached_hooks(model)) - Counter(hooks)).elements())
        if left:
            found.append(f"{name}: hooks left behind: {left}")
        if before is not None and fingerprint(model) != before:
            found.append(f"{name}: a weight, a training flag or requires_grad changed")
    return found


def settle():
    """Take the present state as the one to keep, so that a change is reported once."""
    _held.clear()
    for model in list(_watched):
        before = fingerprint(model) if _watched[model][0] else None
        _watched[model] = (before, attached_hooks(model))
