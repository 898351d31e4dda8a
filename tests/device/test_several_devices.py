"""A model that accelerate has spread over devices does all that it does on a CPU, by replay."""

import pytest

from rome_widgets.errors import UnsupportedModel
from tests.device.test_engine import TOLERANCE
from tests.helpers import counts
from tests.helpers.engine_steps import Steps, difference, lm_of, spread_lm

PLACES = {
    "halves": [0, 0, 0, 1, 1, 1],
    "the end with the start": [0, 0, 1, 1, 0, 0],
    "the second first": [1, 1, 0, 1, 0, 0],
    "a CPU between": [0, 0, 0, "cpu", 1, 1],
}


@pytest.fixture(
    scope="module",
    params=[(family, name) for family in counts.SPREAD_FAMILIES for name in counts.SPREADS],
    ids=", ".join,
)
def pair(request, tmp_path_factory):
    """The same steps on the CPU and spread."""
    family, name = request.param
    lms = lm_of(family), spread_lm(family, PLACES[name])
    return [Steps(lm, tmp_path_factory.mktemp("files")) for lm in lms]


NAMES = [name for name in vars(Steps) if not name.startswith("_")]


@pytest.mark.filterwarnings("ignore:Attempting to save a model with offloaded:UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_every_step_gives_what_it_gives_on_the_cpu(pair, name):
    offloaded = any(weight.is_meta for weight in pair[1].lm.model.parameters())
    if name == "estimate" and offloaded:  # its gradient would call all weights back at once
        with pytest.raises(UnsupportedModel, match="offloaded"):
            pair[1].estimate()
        return
    on_cpu, spread = (getattr(steps, name)() for steps in pair)
    assert difference(on_cpu, spread) <= TOLERANCE
