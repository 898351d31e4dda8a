"""The colour ramps that figures and widgets share."""

import re

import pytest

from rome_widgets.charts.palettes import ramp
from rome_widgets.records.states import KINDS


@pytest.mark.parametrize("name", [*KINDS, "change", "cividis"])
def test_a_ramp_is_a_list_of_different_colours(name):
    colours = ramp(name)
    assert len(set(colours)) == len(colours) > 2
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ramps_of_kinds_go_from_light_to_dark(kind):
    brightness = [sum(bytes.fromhex(colour[1:])) for colour in ramp(kind)]
    assert brightness == sorted(brightness, reverse=True)
