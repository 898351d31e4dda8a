"""A second moment is solved with, whether it is kept as a matrix or as its keys."""

import torch

from rome_widgets.editing.statistics.second_moment import SecondMoment
from tests.helpers import world


def test_few_keys_give_the_direction_of_the_whole_matrix():
    """Woodbury against the dense solve."""
    keys = torch.randn(7, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    few = SecondMoment("few", keys=keys, ridge=1e-3)
    dense = SecondMoment("dense", matrix=few.matrix, ridge=1e-3)
    key = torch.arange(20.0, dtype=torch.float64)
    assert world.off(few.solve(key), dense.solve(key)) <= 1e-9


def test_a_moment_that_is_not_quite_positive_gets_more_ridge():
    matrix = torch.diag(torch.tensor([1.0, 1.0, -1e-9], dtype=torch.float64))
    moment = SecondMoment("nearly", matrix=matrix, ridge=0.0)
    assert torch.isfinite(moment.solve(torch.ones(3, dtype=torch.float64))).all()
