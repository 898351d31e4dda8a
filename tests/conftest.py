"""Fixtures of every test: models stay as they were, and skips are listed.

Each model that a `LanguageModel` is made of is watched: a test that leaves a hook on it or
changes a bit of a weight fails.
"""

import gc
import os
import shutil
import sys
import tempfile

from tools import real_models

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# Real models take minutes to fetch, and are kept for the next run.
os.environ.setdefault(real_models.PLACE, str(real_models.place()))
# Never the cache of the person who runs the tests; what they start inherits it.
CACHE = os.environ["ROME_WIDGETS_CACHE"] = tempfile.mkdtemp(prefix="rome_widgets_tests_")

import pytest
import torch

from tests.helpers import tiny
from tests.helpers.model_guard import changes_by_this_test
from tests.helpers.skips import complaints

# The models are tiny: a second thread gains nothing, and on a busy machine waiting costs a lot.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def models_stay_as_they_were():
    """Fails a test that leaves a hook behind or changes a weight."""
    yield
    found = changes_by_this_test()
    assert not found, "; ".join(found)


@pytest.fixture(scope="module", autouse=True)
def shared_models_go_with_their_file():
    """A model that is kept is looked at after every test."""
    yield
    tiny.forget_shared_lms()


@pytest.fixture(scope="session")
def bundled_lm():
    """The bundled model, loaded once."""
    import rome_widgets as rw

    return rw.load(device="cpu")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session):
    """What was imported by now stays: to look through it for garbage takes half a second a time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """A skip that is not in `skips.txt` fails the run; the last words say what is missing."""
    shutil.rmtree(CACHE, ignore_errors=True)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    said = complaints((report.nodeid, str(report.longrepr)) for report in skipped)
    if said:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.add_cleanup(lambda: print("\n" + "\n".join(said), file=sys.stderr))
