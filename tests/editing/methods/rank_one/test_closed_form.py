"""The algebra that unites the closed forms, in float64: each identity against its own formula.

Source:
    Meng et al. 2022 (ROME), Meng et al. 2023 (MEMIT), Gupta et al. 2024 (EMMET).
"""

import pytest
import torch

from rome_widgets.editing.methods.rank_one.closed_form import closed_form
from rome_widgets.editing.statistics.second_moment import SecondMoment
from rome_widgets.errors import EditRefused
from tests.helpers.world import off

D_IN, D_OUT, U = 20, 12, 5
GENERATOR = torch.Generator().manual_seed(0)


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR)


C = (lambda keys: keys.T @ keys / len(keys))(random(60, D_IN) * torch.linspace(0.2, 2, D_IN))
K, R = random(D_IN, U), random(D_OUT, U)
ONE, RESIDUAL = K[:, :1], R[:, :1]


def solve_with(matrix):
    return SecondMoment("made up", matrix=matrix, ridge=0.0).solve


def update(keys, residual, matrix=C, **options):
    """`[d_out, d_in]`: ΔW."""
    form = closed_form(solve_with(matrix), keys, **options)
    return form.write(residual).T @ form.read


def emmet_as_shipped(keys, residual, ridge, weight):
    solved = torch.linalg.solve(C, keys)
    inner = keys.T @ solved / weight + ridge * torch.eye(keys.shape[1], dtype=keys.dtype)
    return residual @ torch.linalg.inv(inner) @ solved.T / weight


def memit(keys, residual, weight):
    return residual @ keys.T @ torch.linalg.inv(weight * C + keys @ keys.T)


def test_every_key_gets_its_residual_without_a_ridge():
    """dW k = r, and EMMET without a ridge: dW K = R."""
    assert off(update(ONE, RESIDUAL) @ ONE, RESIDUAL) <= 1e-12
    assert off(update(K, R) @ K, R) <= 1e-12
    assert torch.linalg.matrix_rank(update(K, R)) == U


def test_one_key_is_the_papers_formula():
    u = torch.linalg.solve(C, ONE)
    assert off(update(ONE, RESIDUAL), RESIDUAL @ u.T / (ONE.T @ u)) <= 1e-12
    assert off(update(ONE, RESIDUAL), emmet_as_shipped(ONE, RESIDUAL, 0.0, 7.0)) <= 1e-12


def test_other_keys_may_get_the_residual_as_romes_bare_prompt_does():
    bare = ONE + 0.1 * random(D_IN, 1)
    written = update(ONE, RESIDUAL, at=bare)
    assert off(written @ bare, RESIDUAL) <= 1e-12
    u = torch.linalg.solve(C, ONE)
    assert off(written, RESIDUAL @ u.T / (u.T @ bare)) <= 1e-12


@pytest.mark.parametrize(("ridge", "weight"), [(0.1, 1.0), (0.1, 1000.0), (10.0, 0.5)])
def test_emmet_as_shipped_is_memit_of_the_product(ridge, weight):
    ours = update(K, R, ridge=ridge * weight)
    assert off(ours, memit(K, R, ridge * weight)) <= 1e-11
    assert off(ours, emmet_as_shipped(K, R, ridge, weight)) <= 1e-11


def test_memit_writes_a_share_of_one_edit_and_all_of_it_without_a_ridge():
    q = float(ONE.T @ torch.linalg.solve(C, ONE))
    for ridge in (0.01, 1.0, 100.0):
        share = q / (ridge + q)
        assert off(update(ONE, RESIDUAL, ridge=ridge), share * update(ONE, RESIDUAL)) <= 1e-12
    assert off(memit(ONE, RESIDUAL, 1e-9), update(ONE, RESIDUAL)) <= 1e-4
    assert off(update(K, R, ridge=1e-9), update(K, R)) <= 1e-6


def test_the_scale_of_c_changes_nothing_without_a_ridge_and_is_the_ridge_with_one():
    assert off(update(K, R, 7.5 * C), update(K, R)) <= 1e-12
    assert off(update(ONE, RESIDUAL, 1e-3 * C), update(ONE, RESIDUAL)) <= 1e-12
    assert off(update(K, R, 7.5 * C, ridge=2.0), update(K, R, ridge=15.0)) <= 1e-12
    assert off(update(K, R, 7.5 * C, ridge=2.0), update(K, R, ridge=2.0)) > 1e-3


def test_woodbury():
    """(λC)⁻¹K (I + Kᵀ(λC)⁻¹K)⁻¹ is what the update reads."""
    solved = torch.linalg.solve(3.0 * C, K)
    inner = torch.eye(U, dtype=torch.float64) + K.T @ solved
    assert off(update(K, R, ridge=3.0), R @ torch.linalg.inv(inner) @ solved.T) <= 1e-12


def test_few_keys_of_the_second_moment_give_the_update_of_the_whole_matrix():
    few = SecondMoment("few", keys=random(7, D_IN), ridge=1e-3)
    dense = SecondMoment("dense", matrix=few.matrix, ridge=1e-3)
    forms = [closed_form(moment.solve, K) for moment in (few, dense)]
    assert off(*(form.write(R).T @ form.read for form in forms)) <= 1e-8


def test_of_all_changes_that_write_the_residuals_it_is_the_cheapest():
    ours = update(K, R)
    plain = R @ torch.linalg.pinv(K)
    assert off(plain @ K, R) <= 1e-12
    cost = [float((change @ C @ change.T).trace()) for change in (ours, plain)]
    assert cost[0] < cost[1]


def test_a_direction_orthogonal_to_the_key_and_the_same_key_twice_are_refused():
    u = torch.linalg.solve(C, ONE)
    away = random(D_IN, 1)
    away -= (u.T @ away) / (u.T @ u) * u
    with pytest.raises(EditRefused, match="orthogonal"):
        update(ONE, RESIDUAL, at=away)
    with pytest.raises(EditRefused, match="the same twice"):
        update(torch.cat([ONE, ONE], dim=1), R[:, :2])
    assert torch.isfinite(update(torch.cat([ONE, ONE], dim=1), R[:, :2], ridge=0.1)).all()
