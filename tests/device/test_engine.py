"""Every path of the engine gives on the device what it gives on the CPU."""

import pytest
import torch

from tests.helpers import counts
from tests.helpers.engine_steps import Steps, difference, lm_of

FAMILIES = counts.DEVICE_FAMILIES
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory):
    """The same steps on the CPU and on the device."""
    family = request.param
    return [
        Steps(lm_of(family, device), tmp_path_factory.mktemp(f"on_{device}"))
        for device in ("cpu", "cuda")
    ]


NAMES = [name for name in vars(Steps) if not name.startswith("_")]


@pytest.mark.parametrize("name", NAMES)
def test_every_step_gives_what_it_gives_on_the_cpu(pair, name):
    on_cpu, on_device = (getattr(steps, name)() for steps in pair)
    assert difference(on_cpu, on_device) <= TOLERANCE
    assert pair[1].lm.device == torch.device("cuda:0")
