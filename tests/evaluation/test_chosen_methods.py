"""Methods with their layers and settings: what cannot be is refused, and what decides is told."""

import threading

import pytest
import torch

from rome_widgets.editing.methods import METHODS
from rome_widgets.editing.statistics.second_moment import SecondMoment
from rome_widgets.errors import ArgumentError, Cancelled, SettingsError
from rome_widgets.evaluation.chosen_methods import ChosenMethods
from tests.helpers import world


def chosen(methods=("rome", "ft"), **options):
    fields = {"layer": None, "settings": None, "second_moment": None, "seed": 0, "cancel": None}
    return ChosenMethods(world.make_lm("gpt2"), methods, **fields | options)


@pytest.mark.parametrize(
    ("error", "options", "words"),
    [
        (ArgumentError, {"methods": []}, "no method"),
        (SettingsError, {"methods": ["shft"]}, "no method 'shft'"),
        (SettingsError, {"layer": 99}, "no layer 99"),
        (SettingsError, {"layer": {"ft": 99}}, "no layer 99"),
        (SettingsError, {"layer": {"ft-l": 1}}, "layer is"),
        (SettingsError, {"settings": {"ft-l": {}}}, "settings is"),
        (SettingsError, {"settings": ["rome"]}, "settings is"),
        (SettingsError, {"settings": {"rome": {"stps": 1}}}, "no setting 'stps'"),
        (SettingsError, {"settings": {"rome": {"steps": -1}}}, "steps"),
        (SettingsError, {"seed": 0.5}, "seed"),
        (ArgumentError, {"second_moment": 5}, "second_moment"),
    ],
)
def test_what_cannot_be_is_refused(error, options, words):
    with pytest.raises(error, match=words):
        chosen(**options)


def test_what_decides_an_edit_is_told_by_method():
    plain = chosen()
    assert [*plain.about] == ["rome", "ft"]
    for change in (
        {"layer": 1},
        {"layer": {"ft": 1}},
        {"settings": {"ft": {"steps": 3}}},
    ):
        other = chosen(**change)
        assert other.about["ft"] != plain.about["ft"]
        assert (other.about["rome"] == plain.about["rome"]) == (change != {"layer": 1})


def test_statistics_are_told_by_what_they_hold(tmp_path):
    one, two = (torch.eye(3, dtype=torch.float64) * scale for scale in (1, 2))
    moments = [SecondMoment("x", matrix=matrix) for matrix in (one, one.clone(), two)]
    given = [*moments, {1: moments[0]}, {1: moments[2]}, None, "self", ["a text"], ["another"]]
    told = [repr(chosen(second_moment=each).about_statistics) for each in given]
    assert told[0] == told[1]
    assert len({*told}) == len(told) - 1

    file, copied = tmp_path / "file", tmp_path / "copied"
    for path in (file, copied):
        path.write_bytes(b"some statistics")
    both = [[file, str(copied)], [{1: file}, {1: str(copied)}]]
    before = [[repr(chosen(second_moment=each).about_statistics) for each in some] for some in both]
    file.write_bytes(b"other statistics")
    for some, (one, another) in zip(both, before, strict=True):
        assert one == another
        assert repr(chosen(second_moment=some[0]).about_statistics) not in (one, *told)
        assert repr(chosen(second_moment=some[1]).about_statistics) == one
    absent = chosen(second_moment=tmp_path / "absent").about_statistics
    assert absent == str(tmp_path / "absent")


def test_a_batch_takes_a_method_that_writes_many_facts(monkeypatch):
    for mode in ("single", "sequential"):
        chosen().check_mode(mode)
    with pytest.raises(ArgumentError, match="'batch' was wanted"):
        chosen().check_mode("all")
    with pytest.raises(SettingsError, match="None does yet"):
        chosen().check_mode("batch")
    monkeypatch.setattr(type(METHODS["ft"]), "many_facts", True)
    chosen(["ft"]).check_mode("batch")
    with pytest.raises(SettingsError, match="Choose 'ft'"):
        chosen().check_mode("batch")


def test_a_cancel_is_heard():
    stop = threading.Event()
    found = chosen(cancel=stop)
    found.check()
    stop.set()
    with pytest.raises(Cancelled):
        found.check()
