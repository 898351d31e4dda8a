"""The shipped model as a folder, and commands that are run in this process."""

import sys

import pytest

from rome_widgets import bundled
from training.evaluate import Folder
from training.gates import kept_figures


@pytest.fixture(scope="session")
def shipped():
    return Folder.read(bundled.folder().parent)


@pytest.fixture(scope="session")
def figures():
    return kept_figures(bundled.folder().parent)


@pytest.fixture
def ended(monkeypatch):
    """What the command of a module exits with."""

    def run(module, *arguments):
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            module.main()
        return end.value.code

    return run
