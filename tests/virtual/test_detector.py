import numpy as np
import pytest
from scipy import stats

from matphase.virtual.detector import blurred, count, gains


def test_counts_have_the_moments_and_the_distribution_of_poisson():
    for photons in (20.0, 5000.0):
        counted = count(np.ones(400_000), photons, 0.0, np.random.default_rng(0)) * photons
        assert counted.mean() == pytest.approx(photons, rel=0.002)
        assert counted.var() == pytest.approx(photons, rel=0.02)
        assert stats.skew(counted) == pytest.approx(photons**-0.5, abs=0.02)
        # a continuous variable beside a discrete one: compare half way between the counts
        for share in (0.05, 0.5, 0.95):
            at = stats.poisson.ppf(share, photons)
            assert (counted <= at + 0.5).mean() == pytest.approx(
                stats.poisson.cdf(at, photons), abs=0.01
            )


def test_read_noise_adds_its_variance():
    counted = count(np.full(200_000, 0.5), 1000.0, 30.0, np.random.default_rng(1)) * 1000
    assert counted.var() == pytest.approx(500 + 900, rel=0.02)


def test_measured_intensity_has_a_logarithm_even_without_photons():
    counted = count(np.zeros(1000), 3.0, 2.0, np.random.default_rng(2))
    assert counted.min() == pytest.approx(0.5 / 3)
    assert np.isfinite(np.log(counted)).all()


def test_noise_follows_a_small_change_of_the_intensity_smoothly():
    intensity = np.random.default_rng(3).random(10_000)
    first, second = (
        count(intensity * factor, 800.0, 5.0, np.random.default_rng(4))
        for factor in (1.0, 1.0 + 1e-12)
    )
    assert np.abs(first - second).max() < 1e-10


def test_blur_keeps_the_sum_and_has_its_width():
    image = np.zeros((41, 41))
    image[20, 20] = 1
    spread = blurred(image, 1.5)
    place = np.arange(41) - 20
    assert spread.sum() == pytest.approx(1)
    assert (spread.sum(axis=1) * place**2).sum() == pytest.approx(1.5**2, rel=0.01)
    assert blurred(image, 0) is image


def test_gains_are_near_one():
    gain = gains((300, 200), 0.01, np.random.default_rng(5))
    assert gain.mean() == pytest.approx(1, abs=1e-3)
    assert gain.std() == pytest.approx(0.01, rel=0.02)
    assert np.array_equal(gains((3, 3), 0.0, np.random.default_rng(6)), np.ones((3, 3)))
