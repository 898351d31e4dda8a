"""The roles of tokens, and the numbers of one fact by them."""

import numpy as np
import pytest

from rome_widgets.errors import StateError
from rome_widgets.records.swept_fact import ROLES, SweptFact, positions_of_roles


@pytest.mark.parametrize(
    ("n_pos", "span", "wanted"),
    [
        (9, (1, 5), [[1], [2, 3], [4], [5], [6, 7], [8]]),
        (5, (1, 3), [[1], [], [2], [3], [], [4]]),
        (5, (1, 2), [[1], [], [1], [2], [3], [4]]),  # one token: first and last
        (4, (0, 3), [[0], [1], [2], [3], [], [3]]),  # one token after: next and last
        (3, (0, 3), [[0], [1], [2], [], [], [2]]),  # none after
        (1, (0, 1), [[0], [], [0], [], [], [0]]),
    ],
)
def test_the_positions_of_each_role(n_pos, span, wanted):
    assert [list(positions_of_roles(n_pos, span)[role]) for role in ROLES] == wanted


def fact_of(effects, span, **changes):
    """A fact that was traced, `effects` above a corrupted 0.25."""
    effects = np.array(effects, float)
    fields = {
        "tokens": tuple(f"t{n}" for n in range(len(effects))),
        "subject_span": span,
        "clean": 0.75,
        "corrupted": 0.25,
        "scores": {"mlp": effects + 0.25},
    }
    return SweptFact(0, "a b", "a", "traced", **(fields | changes))


def test_effects_by_role_are_means_over_the_tokens_of_this_fact():
    fact = fact_of([[0, 0], [1, 2], [3, 4], [5, 6], [0.5, 0.25], [-1, 7]], (1, 5))
    assert fact.total_effect == 0.5
    np.testing.assert_allclose(
        fact.by_role("mlp"),
        [[1, 2], [4, 5], [0.5, 0.25], [-1, 7], [np.nan, np.nan], [-1, 7]],
    )


@pytest.mark.parametrize(
    ("effects", "span", "wanted"),
    [
        ([[9, 9], [0, 0.5], [0.1, 0], [0, 0]], (1, 2), (1, "last subject", 1, 0.5)),
        ([[0, 0], [0.1, 0], [0, 0.75]], (0, 2), (2, "last", 1, 0.75)),
        ([[0, 0], [0.1, 0.5]], (0, 2), (1, "last subject", 1, 0.5)),
        ([[0.5, 0], [0, 0], [0, 0]], (0, 2), (0, "first subject", 0, 0.5)),
        ([[0, 0], [-0.5, -0.25]], (1, 2), (1, "last subject", 1, -0.25)),
    ],
)
def test_the_peak_has_one_role_and_is_not_before_the_subject(effects, span, wanted):
    assert fact_of(effects, span).peak("mlp") == pytest.approx(wanted)


def test_a_kind_that_was_not_traced_is_refused():
    with pytest.raises(StateError, match="no scores of kind 'attn'"):
        fact_of([[0.0, 1.0]], (0, 1)).by_role("attn")
    failed = SweptFact(3, "a b", "c", "failed", "Subject 'c' is not in it.")
    with pytest.raises(StateError, match="failed"):
        failed.peak("mlp")
    assert np.isnan(failed.total_effect)
