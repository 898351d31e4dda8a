"""An edit that disables the model is warned of, and an ordinary one is not (reliability S7)."""

import math

import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing import perplexity
from rome_widgets.editing.methods.rank_one.rome import read_keys
from rome_widgets.editing.prompt_rows import about_row, prefixed_rows
from rome_widgets.editing.request import read_request
from rome_widgets.editing.rewrite_passes import Passes
from rome_widgets.editing.site import find_site
from rome_widgets.editing.statistics.second_moment import SecondMoment
from tests.helpers import world
from tests.helpers.counts import turns

FACT = ("{} is in the city of", "The Space Needle", "Paris")


def by_hand(lm, text, n_tokens):
    """exp of the mean -log p, by one plain pass of the model as it is."""
    ids = torch.tensor([lm.encode_alone(text)[: n_tokens + 1]])
    with torch.no_grad():
        predicted = lm.model(input_ids=ids).logits[0].log_softmax(-1)
    wanted = -predicted[:-1].gather(1, ids[0, 1:, None]).mean()
    return float(wanted.exp())


def damages(warnings):
    return any("damages the model" in warning for warning in warnings)


@pytest.mark.parametrize(("name", "method"), turns(world.SHAPES, ["rome", "ft"]))
def test_it_is_what_the_edited_model_says_of_the_text(name, method):
    lm = world.make_lm(name)
    made = world.make_edit(lm, method)
    before, after, n_tokens = made.report.perplexity
    text = made.report.perplexity_text
    assert n_tokens <= lm.n_positions
    assert before == pytest.approx(by_hand(lm, text, n_tokens), rel=1e-6)
    with made:
        assert after == pytest.approx(by_hand(lm, text, n_tokens), rel=1e-5)
        inside = made.perplexity()
    assert inside == pytest.approx(made.report.perplexity, rel=1e-5)


def test_an_ordinary_edit_is_not_warned_of(bundled_lm):
    for method in ("rome", "r-rome", "ft", "ft-l"):
        made = rw.edit(bundled_lm, *FACT, method=method)
        before, after, n_tokens = made.report.perplexity
        assert n_tokens >= 20
        # Fine-tuning of the first layer disturbs more; what is too much is warned of.
        assert 0.85 < after / before < (1.2 if method.startswith("ft") else 1.05)
        assert made.warnings == made.report.warnings == ()


def test_a_great_strength_is_warned_of(bundled_lm):
    made = rw.edit(bundled_lm, *FACT)
    made.strength = 1.5
    assert not damages(made.warnings)
    made.strength = 200
    assert damages(made.warnings)
    found = made.perplexity()
    assert found.after > 2 * found.before
    assert found.before == pytest.approx(made.report.perplexity.before, rel=1e-5)
    made.strength = -200
    assert damages(made.warnings)


def test_a_tiny_divisor_is_warned_of_three_times(bundled_lm):
    """C such that u = C⁻¹k̄ is all but orthogonal to the bare prompt's key."""
    made = rw.edit(bundled_lm, *FACT)
    keys = bare_and_mean_key(bundled_lm, made)
    bare, mean = (key / key.norm() for key in keys)
    away = mean - (mean @ bare) * bare
    u = away / away.norm() + 1e-3 * bare
    inverse = 1e-7 * torch.eye(len(u), dtype=u.dtype) + torch.outer(u, u)
    wrong = SecondMoment("made up", matrix=torch.linalg.inv(inverse), ridge=0.0)
    disabling = rw.edit(bundled_lm, *FACT, second_moment=wrong)
    assert abs(disabling.report.key_dot_u) < 0.01 * made.report.key_dot_u
    said = " ".join(disabling.report.warnings)
    assert "k·u is" in said
    assert "times as large as the matrix" in said
    assert "damages the model" in said
    assert disabling.report.perplexity.after > 10 * disabling.report.perplexity.before


def bare_and_mean_key(lm, made):
    site = find_site(lm, made.report.layer)
    request = read_request(lm, *FACT)
    rows = prefixed_rows(lm, request, made.report.prefixes)
    keys = read_keys(Passes(site, rows, about_row(lm, request, "subject")))
    return keys.bare, keys.mean


def test_numbers_stay_numbers_whatever_the_edit_does(tmp_path):
    lm = world.new_lm("gpt2", torch.float32)
    made = world.made_up_edit(lm, 0)
    found = made.perplexity(strength=9e5)
    assert math.isfinite(found.before)
    assert math.isfinite(found.after)
    assert perplexity._exp(float("nan")) == perplexity._exp(1e9) == math.exp(100)
    assert perplexity.measure(made._side_by_side(1.0), lm, "") is None
    assert perplexity.doubt(None) == []
