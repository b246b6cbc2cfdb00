"""What is wrong in grey values is seen on a few slices, and little else is taken for it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from matphase.images.grey_checks import check_is_grey, warn_of_drift, warn_of_round_field
from matphase.images.grey_scale import GreySample, IntensityScale, Kind
from matphase.images.mask import masked, region_of
from matphase.images.volume import Volume
from matphase.support.errors import InputError
from matphase.support.warning import MatPhaseWarning


def electrode(seed: int = 0, noise: float = 6, spacing: float = 2) -> np.ndarray:
    """Twelve slices of three materials, which resemble the next ones."""
    rng = np.random.default_rng(seed)
    bodies = gaussian_filter(rng.normal(size=(12, 96, 98)), (spacing, 4, 4))
    grey = np.array([60.0, 90.0, 200.0])[np.digitize(bodies, np.quantile(bodies, [0.35, 0.6]))]
    return (grey + rng.normal(0, noise, grey.shape)).clip(0, 255).astype(np.float32)


@contextmanager
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", MatPhaseWarning)
        yield


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("values", [(0, 1), (0, 128, 255), (0, 1, 2, 3, 4, 9)])
def test_labels_are_no_grey_image(values: tuple[int, ...], dtype: type) -> None:
    labels = np.random.default_rng(0).choice(values, (3, 40, 50)).astype(dtype)
    with pytest.raises(InputError, match=r"scan\.tif has only the values 0, .*the grey image"):
        check_is_grey(GreySample.of(Volume.from_array(labels, name="scan.tif")))
    region = np.ones(labels.shape[1:], bool)
    region[:5] = False
    with pytest.raises(InputError, match="seems to hold labels"):
        check_is_grey(GreySample.of(masked(Volume.from_array(labels), region)))


def test_a_grey_image_may_have_few_values() -> None:
    posterised = (electrode() / 20).astype(np.uint8)
    assert 7 <= len(np.unique(posterised)) <= 13
    check_is_grey(GreySample.of(Volume.from_array(posterised)))
    blank = electrode()
    blank[:6] = 0  # slices beyond the end of the sample
    check_is_grey(GreySample.of(Volume.from_array(blank)))


# --- round field of view --------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 137, 255])
def test_a_round_field_of_view_is_named(value: int) -> None:
    volume = Volume.from_array(electrode(), name="scan.tif")
    round_field = np.where(region_of("circle", volume).to_array(), volume.to_array(), value)
    found = Volume.from_array(round_field, name="scan.tif")
    with pytest.warns(MatPhaseWarning, match=rf"scan\.tif: .* value {value}, .*mask='circle'"):
        warn_of_round_field(GreySample.of(found), found)
    with no_warning():
        for other in (masked(found, "circle"), masked(found, np.ones((96, 98))), volume):
            warn_of_round_field(GreySample.of(other), other)
        round_field[3, 0, 0] += 1
        other = Volume.from_array(round_field)
        warn_of_round_field(GreySample.of(other), other)


def test_a_large_round_field_of_view_is_seen_on_a_part_of_its_pixels() -> None:
    volume = Volume.from_array(np.random.default_rng(0).random((2, 1201, 1100), np.float32))
    grey = np.where(region_of("circle", volume).to_array(), volume.to_array(), np.float32(-1))
    sample = GreySample.of(Volume.from_array(grey))
    assert sample.step > 1
    with pytest.warns(MatPhaseWarning, match="round field"):
        warn_of_round_field(sample, Volume.from_array(grey))


# --- drift ----------------------------------------------------------------------------------------


def check_drift(grey: np.ndarray, kind: Kind = "volume") -> None:
    volume = Volume.from_array(grey, name="scan.tif")
    sample = GreySample.of(volume)
    scale = IntensityScale.of(sample)
    warn_of_drift(sample, volume, IntensityScale(scale.low, scale.high, kind))


def scaled_one_by_one(grey: np.ndarray, seed: int) -> np.ndarray:
    """As 8-bit exports do, between a minimum and a maximum of each slice."""
    rng = np.random.default_rng(seed)
    ends = [(one.min() + rng.uniform(0, 15), one.max() - rng.uniform(0, 40)) for one in grey]
    made = [(one - low) / (high - low) * 255 for one, (low, high) in zip(grey, ends, strict=True)]
    return np.clip(made, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_slices_that_were_scaled_one_by_one_are_counted(seed: int) -> None:
    grey = scaled_one_by_one(electrode(seed), seed)
    with pytest.warns(MatPhaseWarning, match=r"scan\.tif: in [3-9] of 11 slices .*data\.scale"):
        check_drift(grey)
    with no_warning():  # by a model that does the same
        check_drift(grey, "slice")


def test_a_brightness_that_drifts_far_is_named() -> None:
    with pytest.warns(MatPhaseWarning, match="of 1[12] slices"):
        check_drift(electrode() * np.linspace(0.7, 1.3, 12, dtype=np.float32)[:, None, None])
    rng = np.random.default_rng(0)
    gain = 1 + 0.1 * rng.normal(size=(12, 1, 1))
    with pytest.warns(MatPhaseWarning, match="of 11 slices"):
        check_drift(electrode() * gain)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [6, 30])
def test_mild_drift_and_other_structure_are_no_reason_for_a_warning(
    seed: int, noise: float
) -> None:
    with no_warning():
        check_drift(electrode(seed, noise))
        check_drift(electrode(seed, noise, spacing=0))  # slices that are no neighbours
        check_drift(electrode(seed, noise) * np.linspace(0.95, 1.05, 12)[:, None, None])
        check_drift(electrode(seed, noise)[:1])
        inside = np.zeros((12, 96, 98), bool)
        inside[4:9, 20:60, 10:50] = True
        check_drift(np.where(inside, electrode(seed, noise), np.nan))
