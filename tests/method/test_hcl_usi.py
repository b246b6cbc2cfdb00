import itertools
import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matphase.method import hcl_usi
from matphase.method.hcl_usi import admitted_share, curriculum
from matphase.settings import USISettings
from matphase.support import scratch
from matphase.support.errors import InputError

FAMILIES = get_args(USISettings.model_fields["pacing"].annotation)


@pytest.mark.parametrize("family", FAMILIES)
@given(start=st.floats(0.01, 1), full_at=st.floats(0.05, 1))
def test_pacing_rises_from_start_to_everything(family: str, start: float, full_at: float) -> None:
    settings = USISettings(pacing=family, start=start, full_at=full_at)  # type: ignore[arg-type]
    shares = [admitted_share(settings, step / 200) for step in range(201)]
    assert shares[0] == pytest.approx(start, abs=1e-6)
    assert shares[-1] == 1
    assert all(early <= late for early, late in itertools.pairwise(shares))
    assert admitted_share(settings, full_at) == 1


def test_pacing_families_at_half_time() -> None:
    """Wu, Dyer and Neyshabur 2021, table 2, with b = 0.2, a = 1, at t/T = 0.5."""
    growth = {
        "linear": 0.5,
        "quadratic": 0.25,
        "root": math.sqrt(0.5),
        "exponential": (math.exp(5) - 1) / (math.exp(10) - 1),
        "logarithmic": 1 + 0.1 * math.log(0.5 + math.exp(-10)),
        "step": 0.0,
    }
    assert set(growth) == set(FAMILIES)
    for family, expected in growth.items():
        settings = USISettings(pacing=family, start=0.2, full_at=1)  # type: ignore[arg-type]
        assert admitted_share(settings, 0.5) == pytest.approx(0.2 + 0.8 * expected)


def seen(order: str, epoch: int = 0) -> np.ndarray:
    settings = USISettings(order=order, start=0.1, full_at=0.5)  # type: ignore[arg-type]
    uncertainty = np.random.default_rng(0).random(1000).astype(np.float32)
    paced = curriculum(uncertainty, 50, epochs=4, settings=settings, seed=3)
    return np.stack([uncertainty[batch] for batch in paced.epoch(epoch)])


def test_rising_order_starts_with_the_surest_pixels() -> None:
    first = seen("rising")
    assert first[0].max() < 0.12
    assert first.mean() < 0.35
    assert seen("rising", epoch=3).mean() == pytest.approx(0.5, abs=0.03)


def test_controls() -> None:
    assert seen("falling")[0].min() > 0.88
    assert seen("random")[0].mean() == pytest.approx(0.5, abs=0.12)
    # the random order too is paced: its first batch comes from a tenth of the pixels
    assert len(np.unique(seen("random")[0])) <= 100
    assert len(np.unique(seen("none")[0])) > 45
    assert seen("none")[0].mean() == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("order", ["rising", "falling", "random", "none"])
def test_an_epoch_is_the_same_each_time_it_is_asked_for(order: str) -> None:
    np.testing.assert_array_equal(seen(order, 2), seen(order, 2))
    assert not np.array_equal(seen(order, 2), seen(order, 3))


@pytest.mark.parametrize("small", [0, 2**24])
@pytest.mark.parametrize("falling", [False, True])
def test_ranking_keeps_the_order_of_equal_pixels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small: int, falling: bool
) -> None:
    """Entropies may be negative by rounding; -0 and 0 are equal."""
    monkeypatch.setattr(scratch, "SMALL", small)
    monkeypatch.setattr(hcl_usi, "PIXELS_AT_ONCE", 64)
    values = np.random.default_rng(0).normal(size=999).round(1).astype(np.float32)
    values[::7], values[::11] = 0.0, -0.0
    expected = np.argsort(-values if falling else values, kind="stable")
    found = hcl_usi._ranked(values, falling=falling, folder=tmp_path)
    np.testing.assert_array_equal(found[:], expected)


def test_more_pixels_than_can_be_ranked_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hcl_usi, "MAX_PIXELS", 4)
    with pytest.raises(InputError, match="on 5 pixels; set lcgar"):
        curriculum(np.zeros(5, np.float32), 2, 1, USISettings(), 0)
