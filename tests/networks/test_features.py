"""The features of images whose derivatives are known, and of images cut into pieces."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from matphase.networks import features
from matphase.networks.features import PER_SCALE, SCALES, FeatureBank, count

SIGMAS = [sigma for level in SCALES for sigma in level]
SMOOTH, DIFFERENCE, GRADIENT, LAPLACE, LARGER, SMALLER = range(PER_SCALE)
SIDE = 160


@pytest.fixture(scope="module")
def bank() -> FeatureBank:
    return FeatureBank().double().eval()


def maps_of(bank: FeatureBank, image: Tensor) -> Tensor:
    """Features (scales, PER_SCALE, h, w) of an image (h, w)."""
    with torch.inference_mode():
        found = bank(image[None, None])[0]
    assert len(found) == count()
    torch.testing.assert_close(found[0], image)
    return found[1:].reshape(len(SIGMAS), PER_SCALE, *image.shape)


def grid() -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float64)] * 2, indexing="ij")
    return rows, columns


def inside(maps: Tensor) -> Tensor:
    """What is so far from the border that nothing beyond it counts."""
    return maps[..., 56:104, 56:104]


def test_a_constant_has_no_structure(bank: FeatureBank) -> None:
    maps = maps_of(bank, torch.full((SIDE, SIDE), 0.3, dtype=torch.float64))
    torch.testing.assert_close(maps[:, SMOOTH], torch.full_like(maps[:, SMOOTH], 0.3))
    assert maps[:, DIFFERENCE:].abs().max() < 1e-6


def test_a_ramp_has_its_slope_at_every_scale(bank: FeatureBank) -> None:
    rows, columns = grid()
    maps = inside(maps_of(bank, 0.03 * rows - 0.04 * columns))
    for sigma, found in zip(SIGMAS, maps, strict=True):
        expected = torch.full_like(found[GRADIENT], 0.05 * sigma)
        torch.testing.assert_close(found[GRADIENT], expected, rtol=1e-6, atol=0)
        assert found[[DIFFERENCE, LAPLACE, LARGER, SMALLER]].abs().max() < 1e-6
    torch.testing.assert_close(
        maps[:, SMOOTH], inside(0.03 * rows - 0.04 * columns).expand(4, -1, -1)
    )


def test_a_saddle_has_two_curvatures(bank: FeatureBank) -> None:
    rows, columns = grid()
    curved = 0.002 * (rows - 80) ** 2 - 0.001 * (columns - 80) ** 2
    for sigma, found in zip(SIGMAS, inside(maps_of(bank, curved)), strict=True):
        for kind, value in ((LAPLACE, 0.002), (LARGER, 0.004), (SMALLER, -0.002)):
            expected = torch.full_like(found[kind], value * sigma**2)
            torch.testing.assert_close(found[kind], expected, rtol=2e-3, atol=0)


def test_a_blob_answers_most_at_its_own_scale(bank: FeatureBank) -> None:
    """The Laplacian, times sigma^2, of a Gaussian blob is largest where the scales are equal."""
    rows, columns = grid()
    for number, sigma in enumerate(SIGMAS):
        blob = torch.exp(-((rows - 80) ** 2 + (columns - 80) ** 2) / (2 * sigma**2))
        answers = maps_of(bank, blob)[:, LAPLACE, 80, 80]
        assert int(answers.argmin()) == number
        # -2 t s / (s + t)^2 with s = t, the variances of blob and filter
        assert math.isclose(float(answers[number]), -0.5, abs_tol=0.06)


def test_features_turn_with_the_image(bank: FeatureBank) -> None:
    image = torch.rand(96, 128, dtype=torch.float64)
    turned = maps_of(bank, image.rot90().contiguous())
    torch.testing.assert_close(turned, maps_of(bank, image).rot90(dims=(-2, -1)))


def test_strips_and_channels_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = FeatureBank().eval()
    images = torch.rand(2, 2, 203, 61)
    with torch.inference_mode():
        whole = bank(images)
        single = [bank(images[n : n + 1, c : c + 1]) for n in range(2) for c in range(2)]
        monkeypatch.setattr(features, "STRIP_PIXELS", 0)
        strips = list(bank.strips(images))
    assert [rows.stop - rows.start for rows, _ in strips] == [32] * 6 + [11]
    torch.testing.assert_close(torch.cat([maps for _, maps in strips], 2), whole)
    torch.testing.assert_close(torch.stack(single).reshape(whole.shape), whole)


@pytest.mark.parametrize("axis", [-1, -2])
def test_the_reach_is_true(bank: FeatureBank, axis: int) -> None:
    reach = bank.reach
    assert reach.multiple == 4
    begin = reach.multiple * (reach.radius // reach.multiple + 1)
    end = begin + reach.multiple
    image = torch.rand(36, begin + end, dtype=torch.float64)
    image = image if axis == -1 else image.T.contiguous()

    def seen(changed: int | None) -> Tensor:
        other = image.clone()
        if changed is not None:
            other.narrow(axis, changed, 1).add_(1)
        return maps_of(bank, other).narrow(axis, begin, end - begin)

    for beyond in (begin - reach.radius - 1, end + reach.radius):
        torch.testing.assert_close(seen(beyond), seen(None), rtol=0, atol=0)
    for last in (begin - reach.radius, end - 1 + reach.radius):
        assert not torch.equal(seen(last), seen(None))


def test_small_images_work(bank: FeatureBank) -> None:
    maps = maps_of(bank, torch.rand(5, 7, dtype=torch.float64))
    assert np.isfinite(maps.numpy()).all()
