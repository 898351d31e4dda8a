"""The second moment of an edit: what the user gave goes first, then what is known of the model."""

import threading

import pytest
import torch

from rome_widgets.editing.edit import edit
from rome_widgets.editing.site import find_site
from rome_widgets.editing.statistics.choose_second_moment import second_moment_of
from rome_widgets.editing.statistics.gather import second_moment as gather
from rome_widgets.editing.statistics.second_moment import SecondMoment
from rome_widgets.errors import Cancelled, EditFileError, SettingsError
from tests.editing.statistics.test_gather import TEXTS
from tests.helpers import world


def test_the_shipped_statistics_are_used(bundled_lm):
    site = find_site(bundled_lm, 3)
    moment = second_moment_of(site, None, wanted=True, ridge=1e-4)
    assert "shipped with the model" in moment.about
    assert moment.matrix.shape == (512, 512)


def test_an_edit_takes_texts_or_a_file_or_a_moment(tmp_path):
    lm, path = world.make_lm("gpt2"), tmp_path / "moment"
    moment = gather(lm, TEXTS, 1, path=path)
    options = {"layer": 1, "settings": dict(world.SETTINGS, ridge=1e-4)}
    arguments = (lm, world.PROMPT, world.SUBJECT, "w8")
    by = [world.edit(*arguments, second_moment=m, **options) for m in (moment, TEXTS, path)]
    assert len({edit.id for edit in by}) == 1
    assert all("108 tokens" in edit.report.second_moment for edit in by)
    with pytest.raises(EditFileError, match="Layer 2"):
        world.edit(*arguments, second_moment=path, **options | {"layer": 2})
    with pytest.raises(EditFileError, match=r'There is no file.*"self" or "identity"'):
        world.edit(*arguments, second_moment=tmp_path / "nowhere", **options)
    with pytest.raises(SettingsError):
        world.edit(*arguments, second_moment=[], **options)
    wrong = SecondMoment("wrong", matrix=torch.eye(7, dtype=torch.float64))
    with pytest.raises(SettingsError, match="Width 20"):
        world.edit(*arguments, second_moment=wrong, **options)


def test_a_file_that_was_not_finished_says_so(tmp_path):
    lm, path, cancel = world.make_lm("gpt2"), tmp_path / "moment", threading.Event()
    with pytest.raises(Cancelled):
        gather(lm, TEXTS, 1, path=path, progress=lambda step: cancel.set(), cancel=cancel)
    site = find_site(lm, 1)
    assert second_moment_of(site, path, wanted=True, ridge=0).about.startswith("12 of 108")


def test_what_is_no_second_moment_is_refused():
    with pytest.raises(SettingsError, match="The second moment is 3"):
        edit(world.make_lm("gpt2"), world.PROMPT, world.SUBJECT, "w8", layer=1, second_moment=3)
