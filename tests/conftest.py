"""Fixtures of every test: models stay as they were, and skips are listed.

Each model that a `LanguageModel` is made of is watched: a test that leaves a hook on it or
changes a bit of a weight fails.
"""

import hashlib
import os
import weakref
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import pytest
import torch

from rome_widgets.model import language_model
from rome_widgets.model.hooks import attached_hooks

ROOT = Path(__file__).parent.parent
LISTED_SKIPS = (Path(__file__).parent / "skips.txt").read_text(encoding="utf-8")

# The models are tiny: a second thread gains nothing, and on a busy machine waiting costs a lot.
torch.set_num_threads(1)


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
_unwrap = language_model.unwrap


def _unwrap_and_watch(model):
    inner = _unwrap(model)
    if isinstance(inner, torch.nn.Module) and inner not in _watched:
        meta = any(weight.device.type == "meta" for weight in inner.parameters())
        _watched[inner] = (None if meta else fingerprint(inner), attached_hooks(inner))
    return inner


language_model.unwrap = _unwrap_and_watch


def changes():
    """What happened to the watched models since they were first seen, as sentences."""
    found = []
    for model, (before, hooks) in list(_watched.items()):
        name = type(model).__name__
        left = [entry for entry in attached_hooks(model) if entry not in hooks]
        if left:
            found.append(f"{name}: hooks left behind: {left}")
        if before is not None and fingerprint(model) != before:
            found.append(f"{name}: a weight, a training flag or requires_grad changed")
    return found


@pytest.fixture(autouse=True)
def models_stay_as_they_were():
    """Fails a test that leaves a hook behind or changes a weight."""
    yield
    found = changes()
    for model in list(_watched):  # report once, to the test that did it
        _watched[model] = (
            fingerprint(model) if _watched[model][0] else None,
            attached_hooks(model),
        )
    assert not found, "; ".join(found)


@pytest.fixture(scope="session")
def bundled_lm():
    """The bundled model, loaded once."""
    import rome_widgets as rw

    return rw.load(device="cpu")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """A skip that is not in `skips.txt` fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    unlisted = sorted({report.nodeid for report in skipped if report.nodeid not in LISTED_SKIPS})
    if unlisted:
        reporter.write_line(f"\nskipped, but not listed in tests/skips.txt: {unlisted}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
