"""The risk guarantee of trusted pixels: what is proved holds, by the correction."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from matphase.method import conformal
from matphase.method.conformal import RiskGuarantee
from matphase.settings import CalibrationSettings
from matphase.support import scratch
from matphase.support.errors import InputError

SIDE = 8
"""Each block is a slice of SIDE x SIDE pixels."""


def settings(risk: float, block: tuple[int, int, int] = (1, SIDE, SIDE)) -> CalibrationSettings:
    return CalibrationSettings(risk=risk, block=block)


def slices(sure: object, wrong: object) -> tuple[NDArray[np.float32], ...]:
    """Probabilities of two phases, answers and labels, from how sure and how wrong pixels are."""
    sure = np.asarray(sure, np.float32)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    labels = np.asarray(wrong).astype(np.uint8)
    return probabilities, np.zeros_like(labels), labels


def fitted(data: tuple[NDArray[np.float32], ...], chosen: CalibrationSettings) -> RiskGuarantee:
    """The guarantee that slices of probabilities, answers and known labels give."""
    probabilities, answer, labels = data
    return conformal.fit(
        [(probabilities.max(axis=1).ravel(), (answer != labels).ravel())],
        labels.size,
        conformal.block_pixels(labels.shape, chosen),
        chosen,
    )


def electrode(
    seed: int, blocks: int, spread: float, lost: float = 0
) -> tuple[NDArray[np.float32], ...]:
    """Blocks that differ in how often they are wrong, though all are equally sure of themselves.

    On average a pixel is wrong twice as often as it says; `spread` is the variance between blocks
    of the factor by which it is wrong more often or less, and a share `lost` of them is wrong
    everywhere.
    """
    rng = np.random.default_rng(seed)
    shape = (blocks, SIDE, SIDE)
    doubt = 0.9 * rng.random(shape) ** 4
    factor = rng.gamma(1 / spread, spread, (blocks, 1, 1))
    wrong = (rng.random(shape) < doubt * factor) | (rng.random((blocks, 1, 1)) < lost)
    return slices(1 - doubt / 2, wrong)


def lowest_threshold(sure: object, wrong: object, risk: float) -> float:
    """Of all candidates tried in turn: the lowest at which at most `risk` of the surer are wrong.

    Without a reserve; above 1 where there is none.
    """
    sure, wrong = np.ravel(sure), np.ravel(wrong)
    good = [t for t in np.unique(sure) if wrong[sure >= t].mean() <= risk]
    return min(good, default=2.0)


# --- known answers --------------------------------------------------------------------------------


def test_a_threshold_by_hand() -> None:
    # blocks of one pixel: (wrong + 0.75) <= 0.25 trusted holds for 3 and more right pixels, and
    # with the wrong one among them from 7 on
    sure = np.array([0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55]).reshape(1, 1, 9)
    wrong = np.array([0, 0, 0, 1, 0, 0, 0, 1, 1]).reshape(1, 1, 9)
    found = fitted(slices(sure, wrong), settings(0.25, (1, 1, 1)))
    assert found == RiskGuarantee(
        0.25, pytest.approx(0.65), block=1, labelled=9, trusted=7, wrong=1
    )


def test_equally_sure_pixels_are_trusted_together_or_not_at_all() -> None:
    sure = np.full((1, 4, 4), 0.9)
    wrong = np.zeros((1, 4, 4))
    all_right = fitted(slices(sure, wrong), settings(0.25, (1, 1, 1)))
    assert all_right.trusted == 16
    wrong[0, :2] = 1
    half = fitted(slices(sure, wrong), settings(0.25, (1, 1, 1)))
    assert (half.threshold, half.trusted, half.wrong) == (None, 0, 0)


def test_what_it_trusts_is_what_it_counted() -> None:
    probabilities, answer, labels = electrode(0, 80, 0.3)
    guarantee = fitted((probabilities, answer, labels), settings(0.1))
    trusted = guarantee.trusts(probabilities)
    assert 0 < trusted.sum() == guarantee.trusted < trusted.size == guarantee.labelled
    assert np.count_nonzero(answer[trusted] != labels[trusted]) == guarantee.wrong


def test_no_threshold_trusts_no_pixel() -> None:
    guarantee = RiskGuarantee(0.02, None, 1, 1, 0, 0)
    assert not guarantee.trusts(slices(np.ones((1, 3, 3)), 0)[0]).any()


def test_more_risk_trusts_more_and_larger_blocks_trust_less() -> None:
    data = electrode(1, 80, 0.3)
    by_risk = [fitted(data, settings(risk)).trusted for risk in (0.03, 0.06, 0.1, 0.2)]
    assert by_risk == sorted(by_risk)
    assert by_risk[0] < by_risk[-1]
    blocks = [(1, 1, 1), (1, SIDE, SIDE), (2, SIDE, SIDE), (4, SIDE, SIDE)]
    by_block = [fitted(data, settings(0.1, block)).trusted for block in blocks]
    assert by_block == sorted(by_block, reverse=True)
    assert by_block[0] > by_block[-1]


@pytest.mark.parametrize("at_once", [7, 2**22])
@pytest.mark.parametrize("small", [0, 2**24])
def test_pixels_in_any_order_and_parts_give_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_once: int, small: int
) -> None:
    """Also where they lie on disk, and are counted a few at a time."""
    probabilities, answer, labels = electrode(2, 80, 0.3)
    probabilities = probabilities.round(2)  # so that many are equal
    expected = fitted((probabilities, answer, labels), settings(0.1))
    assert 0 < expected.trusted < labels.size
    monkeypatch.setattr(conformal, "PIXELS_AT_ONCE", at_once)
    monkeypatch.setattr(scratch, "SMALL", small)
    order = np.random.default_rng(0).permutation(labels.size)
    sure, wrong = probabilities.max(axis=1).ravel()[order], (answer != labels).ravel()[order]
    parts = [(sure[:99], wrong[:99]), (sure[99:], wrong[99:])]
    block = conformal.block_pixels(labels.shape, settings(0.1))
    assert conformal.fit(parts, labels.size, block, settings(0.1), tmp_path) == expected


def test_a_block_is_no_larger_than_the_slices() -> None:
    assert conformal.block_pixels((3, 40, 20), settings(0.1, (8, 32, 32))) == 3 * 32 * 20


# --- the guarantee --------------------------------------------------------------------------------


def left_out(data: tuple[NDArray[np.float32], ...], chosen: CalibrationSettings) -> int:
    """Wrong trusted pixels of all blocks, each by the threshold that the others chose."""
    wrong = 0
    for block in range(len(data[0])):
        rest = tuple(np.delete(part, block, axis=0) for part in data)
        guarantee = fitted(rest, chosen)
        probabilities, answer, labels = (part[[block]] for part in data)
        wrong += np.count_nonzero((answer != labels) & guarantee.trusts(probabilities))
    return wrong


@pytest.mark.parametrize("spread", [0.1, 1, 10])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_proved_holds_for_any_blocks(seed: int, spread: float) -> None:
    """Exchangeable blocks are equally likely in any order, so the mean over them is no chance."""
    data, risk = electrode(seed, 40, spread), 0.08
    threshold = lowest_threshold(data[0].max(axis=1), data[1] != data[2], risk)
    allowed = risk * np.count_nonzero(data[0].max(axis=1) >= threshold)
    assert left_out(data, settings(risk)) <= allowed <= risk * data[1].size


def test_without_the_reserve_it_does_not_hold() -> None:
    """One block is wrong everywhere: nobody expects it who has not seen it."""
    sure = np.full((12, SIDE, SIDE), 0.9)
    wrong = np.zeros((12, SIDE, SIDE))
    wrong[5] = 1
    data, risk = slices(sure, wrong), 0.08
    assert left_out(data, settings(risk, (1, 1, 1))) > risk * wrong.size * 0.9
    assert left_out(data, settings(risk)) == 0


def kept(block: tuple[int, int, int], risk: float) -> tuple[float, float]:
    """Over draws of validation and unseen blocks: wrong among the trusted, and how often <= risk.

    Errors come in blocks, and now and then a block is wrong everywhere.
    """
    counts, held = np.zeros(2), []
    for draw in range(150):
        guarantee = fitted(electrode(draw, 60, 0.3, 0.02), settings(risk, block))
        probabilities, answer, labels = electrode(10_000 + draw, 60, 0.3, 0.02)
        trusted = guarantee.trusts(probabilities)
        wrong = np.count_nonzero(trusted & (answer != labels))
        counts += [wrong, np.count_nonzero(trusted)]
        held.append(wrong <= risk * np.count_nonzero(trusted))
    return counts[0] / counts[1], float(np.mean(held))


def test_errors_that_come_in_blocks_break_a_guarantee_made_pixel_by_pixel() -> None:
    risk = 0.05
    error, held = kept((1, SIDE, SIDE), risk)
    naive_error, naive_held = kept((1, 1, 1), risk)
    assert error <= risk < 0.9 * naive_error
    assert naive_held < 0.6 < held


# --- too little -----------------------------------------------------------------------------------


def test_too_few_blocks_are_told_before_the_work() -> None:
    shape, every = (4, 64, 64), 4 * 64 * 64
    conformal.check_enough_blocks(every, shape, settings(0.2, (4, 32, 32)))
    with pytest.raises(InputError, match=r"at least 49 blocks of 8 x 32 x 32 .* got 4; give more"):
        conformal.check_enough_blocks(every, shape, settings(0.02, (8, 32, 32)))
    # of half the pixels the phase is not known
    with pytest.raises(InputError, match=r"at least 4 blocks of 4 x 32 x 32 pixels, got 2;"):
        conformal.check_enough_blocks(every // 2, shape, settings(0.2, (4, 32, 32)))


def test_slices_that_pass_can_keep_the_guarantee_if_all_is_right() -> None:
    labels = np.zeros((49, SIDE, SIDE), np.uint8)
    conformal.check_enough_blocks(labels.size, labels.shape, settings(0.02))
    found = fitted(slices(np.ones(labels.shape), labels), settings(0.02))
    assert found.trusted == labels.size


# --- on disk --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [None, 0.9])
def test_it_comes_back(threshold: float | None) -> None:
    one = RiskGuarantee(0.02, threshold, 8192, 50_000, 30_000, 400)
    assert RiskGuarantee.from_json(one.to_json()) == one


@pytest.mark.parametrize("content", [None, [], {}, {"risk": 0.1}, {"threshold": "high"}])
def test_what_is_no_guarantee_is_refused(content: object) -> None:
    with pytest.raises(InputError, match="the risk guarantee of the model is damaged"):
        RiskGuarantee.from_json(content)
