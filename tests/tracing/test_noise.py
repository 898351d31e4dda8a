"""What is added to the subject: its unit, its draws, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets import bundled
from rome_widgets.errors import NoiseError, NonFinite
from rome_widgets.tracing.noise import Noise, default_samples, draw_noise, subject_embedding_spread
from tests.helpers import reference, tiny


def test_sigma_equals_the_reference():
    lm = tiny.tiny_lm("gpt2")
    spread = subject_embedding_spread(lm, ["w3 w14", "w3", "w9 w26 w5"])
    expected = reference.sigma(lm.model, tiny.NAMES["gpt2"], [[3, 14], [3], [9, 26, 5]])
    assert spread.sigma == pytest.approx(expected, rel=1e-12)
    assert (spread.n_vectors, spread.n_subjects) == (6, 3)


@pytest.mark.parametrize(
    ("n_parameters", "samples"), [(1, 100), (5_000_000, 100), (5_000_001, 10), (10**9, 10)]
)
def test_a_model_takes_the_published_samples_unless_it_is_small(n_parameters, samples):
    weight = torch.empty(n_parameters, device="meta")
    lm = SimpleNamespace(model=SimpleNamespace(parameters=lambda: [weight]))
    assert default_samples(lm) == samples


def test_the_first_figure_is_a_typical_one(bundled_lm):
    """Not the luck of its draws: the 0.97 that 10 of them show is the highest of 20 seeds."""
    tracer = rw.CausalTracer(bundled_lm, "The Space Needle is in the city of", "The Space Needle")
    assert tracer.samples == 100
    last = tracer.subject_span[1] - 1
    strongest = tracer.restore(tracer.cell(last, 3, "mlp")).probability - tracer.corrupted
    assert strongest == pytest.approx(0.63, abs=0.07)
    assert tracer.clean - tracer.corrupted == pytest.approx(0.83, abs=0.06)


def test_the_published_setting_is_what_it_was(bundled_lm):
    fact = "The Space Needle is in the city of", "The Space Needle"
    tracer = rw.CausalTracer(bundled_lm, *fact, samples=10)
    assert tracer.corrupted == pytest.approx(0.0184, abs=1e-4)


def test_draws_are_those_of_the_published_code():
    lm = tiny.tiny_lm("gpt2", scale=40, dtype=torch.float64)
    noise = Noise.times_std(3.0, ["w3 w14", "w9"])
    ours = rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, samples=4, seed=7)
    std = 3 * reference.sigma(lm.model, tiny.NAMES["gpt2"], [[3, 14], [9]])
    drawn = reference.draws(7, 4, 2, tiny.D_MODEL, std)
    given = rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=drawn.numpy())
    assert ours.corrupted == pytest.approx(given.corrupted, abs=1e-12)


def test_one_sample_is_a_prefix_of_ten():
    lm = tiny.tiny_lm("gpt2")
    one = draw_noise(lm, Noise.absolute(1.0), 1, 2, seed=1).values
    ten = draw_noise(lm, Noise.absolute(1.0), 10, 2, seed=1).values
    assert np.array_equal(one, ten[:1])


def test_noise_too_large_to_count_is_named_as_a_cause():
    lm = tiny.tiny_lm("gpt2", scale=40)
    with pytest.raises(NonFinite, match="size of the noise"):
        tiny.tiny_tracer(lm, noise=Noise.absolute(1e38))


def test_noise_that_hides_nothing_is_said():
    lm = tiny.tiny_lm("gpt2", scale=40)
    assert any("almost nothing" in note for note in tiny.tiny_tracer(lm, noise=0.0).notes)


@pytest.fixture(scope="module")
def lm():
    return tiny.tiny_lm("gpt2")


def drawn(lm, noise, samples=3, seed=1):
    return draw_noise(lm, noise, samples, 2, seed)


def test_a_number_is_a_multiple_of_sigma_and_draws_scale_with_it(lm):
    one, three = drawn(lm, 1.0), drawn(lm, 3.0)
    assert one.values.shape == (3, 2, tiny.D_MODEL)
    np.testing.assert_allclose(three.values, 3 * one.values, rtol=1e-12)
    sigma = subject_embedding_spread(lm).sigma
    np.testing.assert_allclose(one.values, drawn(lm, Noise.absolute(sigma)).values, rtol=1e-12)
    assert three.about["std"] == pytest.approx(3 * sigma)
    assert three.about["multiple"] == 3.0
    assert three.about["text"].startswith("3 × σ (σ = ")


def test_another_seed_gives_other_draws_of_the_same_size(lm):
    one, other = (drawn(lm, Noise.absolute(0.5), 1000, seed) for seed in (1, 2))
    assert (one.seed, other.seed) == (1, 2)
    assert (one.values != other.values).all()
    assert one.values.std() == pytest.approx(0.5, rel=0.05)
    assert other.values.std() == pytest.approx(0.5, rel=0.05)


def test_uniform_noise_fills_its_range_and_stays_within(lm):
    found = drawn(lm, Noise.uniform(0.2), 1000)
    assert 0.199 < np.abs(found.values).max() <= 0.2
    assert np.abs(found.values).mean() == pytest.approx(0.1, rel=0.05)
    assert found.values.mean() == pytest.approx(0, abs=0.005)
    assert found.about == {"text": "uniform on ±0.2"}


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_an_array_is_added_as_it_is_whatever_samples_and_seed_say(lm, kind):
    values = np.random.RandomState(0).randn(5, 2, tiny.D_MODEL)
    found = draw_noise(lm, kind(values), 3, 2, seed=9)
    assert np.array_equal(found.values, values)
    assert found.seed is None


def test_sigma_is_measured_once_per_list_and_shipped_subjects_are_the_default(lm):
    words = ["w3 w14", "w9"]
    assert subject_embedding_spread(lm, words) is subject_embedding_spread(lm, tuple(words))
    assert subject_embedding_spread(lm, words) != subject_embedding_spread(lm, words[:1])
    assert subject_embedding_spread(lm).n_subjects == len(bundled.subjects())


@pytest.mark.parametrize("subjects", [[], ["w3", ""]])
def test_sigma_over_nothing_is_refused(lm, subjects):
    with pytest.raises(rw.RomeWidgetsError, match=r"no subject to measure|subject is empty"):
        subject_embedding_spread(lm, subjects)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf"), True, "3", None])
@pytest.mark.parametrize("make", [Noise.times_std, Noise.absolute, Noise.uniform])
def test_a_scale_that_is_no_size_is_refused(make, scale):
    with pytest.raises(NoiseError, match="finite number of at least 0"):
        make(scale)
