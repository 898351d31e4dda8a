"""Settings say their bounds, are checked when they are made, and take changes by name."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.settings import Settings, number, one_of, published_model
from rome_widgets.errors import SettingsError


@dataclass(frozen=True)
class Some(Settings):
    steps: int = number(20, at_least=1)
    rate: float | None = number(None, above=0)
    share: float = 0.5
    where: str = one_of("subject", "end")
    aside: bool = True


@dataclass(frozen=True)
class Others(Settings):
    steps: int = number(3, at_least=1)
    clamp: float = number(4.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": 2.5},
        {"steps": True},
        {"steps": "2"},
        {"steps": None},
        {"steps": float("inf")},
        {"rate": 0},
        {"rate": float("nan")},
        {"share": [0.5]},
        {"share": None},
        {"where": "middle"},
    ],
)
def test_a_value_outside_its_bounds_is_refused_when_it_is_made(wrong):
    (name,) = wrong
    with pytest.raises(SettingsError, match=f"{name} is"):
        Some(**wrong)
    with pytest.raises(SettingsError, match="was wanted"):
        Some().changed(wrong)


def test_a_number_is_a_number():
    found = Some(steps=np.int64(3), rate=torch.tensor(0.5), share=np.float32(0.25))
    assert found == Some(3, 0.5, 0.25)
    assert {type(value) for value in (found.steps, found.rate, found.share)} == {int, float}
    assert Some(steps=4.0).steps == 4


def test_what_is_given_goes_before_what_is_known():
    known = Some(steps=7, where="end")
    assert known.changed(None) is known
    assert known.changed({"steps": 3}) == Some(steps=3, where="end")
    assert known.changed(Some()) == Some()
    with pytest.raises(SettingsError, match=r"no setting 'clamp'. Its settings are aside, rate"):
        known.changed({"clamp": 3})
    with pytest.raises(SettingsError, match="mapping"):
        known.changed(3)


def test_of_another_familys_object_what_differs_from_its_defaults_counts():
    assert Some(share=0.1).changed(Others(steps=5)) == Some(steps=5, share=0.1)
    with pytest.raises(SettingsError, match="no setting 'clamp'"):
        Some().changed(Others(clamp=3.0))


def test_models_are_known_by_name_and_depth():
    assert published_model("openai-community/gpt2-xl", 48) == "gpt2-xl"
    assert published_model("meta-llama/Llama-2-7b-hf", 32) == "7b"
    assert published_model("my-gpt2-xl", 12) is None


def test_what_is_numeric_is_told():
    assert Some.numeric() == ["steps", "rate", "share"]


def test_the_former_name_of_the_settings_is_that_of_rank_one_edits():
    assert rw.EditSettings is rw.RankOneSettings
    assert rw.EditSettings(learning_rate=0.5, steps=3).prefixes == ((5, 10), (10, 10))
