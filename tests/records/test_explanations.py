"""Paths, flows and lenses as records."""

import numpy as np
import pytest

from rome_widgets.records.explanations import RestoringPath
from tests.helpers.records import N_LAYERS, N_POS, flow_of, path_of


def test_the_recovery_of_a_path_is_that_of_all_its_states():
    assert path_of("x").recovery == pytest.approx((0.8 - 0.1) / (0.9 - 0.1))
    empty = RestoringPath((), (), "x", 0.9, 0.1, 0.9, False, 0)
    assert empty.recovery == 0
    assert "0 states" in repr(empty)
    assert "<table" not in empty._repr_html_()


def test_a_flow_cannot_be_written_and_is_drawn_cell_by_cell():
    flow = flow_of("x")
    with pytest.raises(ValueError, match="read-only"):
        flow.moved["mlp"][0, 0] = 1
    assert flow._repr_html_().count("title=") == 3 * N_POS * N_LAYERS
    assert np.isfinite(flow.noise).all()
