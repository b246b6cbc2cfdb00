import json

import numpy as np
import pytest

from matphase.images.phases import IGNORE_INDEX
from matphase.scores import trust
from matphase.scores.metrics.detection import aurc, risk_coverage
from matphase.support.errors import InputError

WRONG = np.array([[True, True, False], [False, True, False]])
IDK = np.array([[True, False, True], [False, True, False]])
SCORE = np.array([[0.9, 0.2, 0.8], [0.1, 0.7, 0.0]])
ENTROPY = np.array([[0.5, 0.5, 0.5], [0.5, 0.9, 0.1]])
MUTUAL = np.array([[0.3, 0.2, 0.0], [0.0, 0.4, 0.1]])


class TestDetectors:
    def test_hand_computed_example(self):
        found = trust.detector_comparison(IDK, SCORE, ENTROPY, MUTUAL, WRONG)
        assert (found["pixels"], found["error_rate"], found["flagged"]) == (6, 0.5, 3)
        for name in ("idk", "entropy", "mutual_information"):
            assert found[name]["share"] == 0.5  # equal share is the point of the comparison
        assert found["idk"]["recall"] == found["idk"]["precision"] == pytest.approx(2 / 3)
        # Entropy: 0.9 and, of the four that tie at 0.5, the first two; all three are wrong.
        assert found["entropy"]["recall"] == found["entropy"]["precision"] == 1
        assert found["mutual_information"]["recall"] == 1
        # Wrong 0.9, 0.2, 0.7 against right 0.8, 0.1, 0.0: 3 + 2 + 2 of 9 pairs.
        assert found["idk"]["AUROC"] == pytest.approx(7 / 9)
        assert found["mutual_information"]["AUROC"] == 1
        # Entropy ranks 0.1 right first, the four ties with half wrong next, 0.9 wrong last.
        assert found["entropy"]["AUROC"] == pytest.approx((3 + 2 * 1 + 2 * 2 * 0.5) / 9)
        for name, score in (("idk", SCORE), ("entropy", ENTROPY), ("mutual_information", MUTUAL)):
            assert found[name]["AURC"] == aurc(score, WRONG)
        json.dumps(found, allow_nan=False)

    @pytest.mark.parametrize("count", range(8))
    def test_flags_exactly_as_many_as_idk(self, count):
        random = np.random.default_rng(count)
        score = random.integers(0, 3, 7) / 2
        order = np.argsort(-score, kind="stable")  # highest first, ties as they stand
        wrong = random.random(7) < 0.5
        idk = np.arange(7) < count
        found = trust.detector_comparison(idk, score, score, -score, wrong)
        caught = wrong[order[:count]].sum()
        assert found["flagged"] == count
        assert found["entropy"]["share"] == found["mutual_information"]["share"] == count / 7
        if count:
            assert found["entropy"]["precision"] == pytest.approx(caught / count)
        else:
            assert found["entropy"]["precision"] is None

    def test_only_where(self):
        where = np.array([[True, True, True], [True, False, True]])
        entropy = np.where(where, ENTROPY, np.nan)
        found = trust.detector_comparison(IDK, SCORE, entropy, MUTUAL, WRONG, where)
        parts = [array[where] for array in (IDK, SCORE, ENTROPY, MUTUAL, WRONG)]
        assert found == trust.detector_comparison(*parts)
        assert (found["pixels"], found["flagged"]) == (5, 2)

    def test_nothing_wrong_and_nothing_there(self):
        nothing = trust.detector_comparison(IDK, SCORE, ENTROPY, MUTUAL, WRONG & False)
        assert nothing["idk"]["AUROC"] is nothing["entropy"]["recall"] is None
        empty = trust.detector_comparison(IDK, SCORE, ENTROPY, MUTUAL, WRONG, WRONG & False)
        assert empty["error_rate"] is empty["entropy"]["AURC"] is empty["idk"]["share"] is None
        json.dumps([nothing, empty], allow_nan=False)

    def test_bad_input(self):
        with pytest.raises(InputError, match="shape"):
            trust.detector_comparison(IDK, SCORE[:1], ENTROPY, MUTUAL, WRONG)
        with pytest.raises(InputError, match="shape"):
            trust.detector_comparison(IDK, SCORE, ENTROPY, MUTUAL, WRONG, WRONG[0])
        with pytest.raises(InputError, match="NaN"):
            trust.detector_comparison(IDK, SCORE, ENTROPY * np.nan, MUTUAL, WRONG)


class TestOracle:
    TRUTH = np.array([[[0, 0, 1, 1, 0, 1, IGNORE_INDEX]]], np.uint8)
    GLOBAL = np.array([[[0, 0, 0, 1, 2, 0, 0]]], np.uint8)
    LOCAL = np.array([[[0, 1, 1, 1, 1, IGNORE_INDEX, 1]]], np.uint8)
    IDK = np.array([[[1, 1, 1, 0, 1, 0, 1]]], bool)

    def test_hand_computed_example(self):
        found = trust.oracle_ceiling(self.TRUTH, self.GLOBAL, self.LOCAL, self.IDK, 3)
        assert found["idk_pixels"] == 4
        assert found["within_idk"] == {
            "both_right": 0.25,
            "only_global_right": 0.25,
            "only_local_right": 0.25,
            "both_wrong": 0.25,
        }
        # Global 0 0 0 1 2 0; aggregate 0 1 1 1 1 0; oracle 0 0 1 1 1 0; truth 0 0 1 1 0 1.
        assert found["global"]["accuracy"] == pytest.approx(3 / 6)
        assert found["aggregate"]["accuracy"] == pytest.approx(3 / 6)
        assert found["oracle"]["accuracy"] == pytest.approx(4 / 6)
        assert found["global"]["mIU"] == pytest.approx((2 / 5 + 1 / 3 + 0) / 3)
        assert found["aggregate"]["mIU"] == pytest.approx((1 / 4 + 2 / 5) / 2)
        assert found["oracle"]["mIU"] == pytest.approx((2 / 4 + 2 / 4) / 2)

    def test_oracle_is_never_worse(self):
        random = np.random.default_rng(0)
        truth, first, second = random.integers(0, 3, (3, 2, 9, 9)).astype(np.uint8)
        idk = random.random(truth.shape) < 0.4
        found = trust.oracle_ceiling(truth, first, second, idk, 3)
        oracle = found["oracle"]["accuracy"]
        assert oracle >= max(found["global"]["accuracy"], found["aggregate"]["accuracy"])
        assert sum(found["within_idk"].values()) == pytest.approx(1)
        gain = found["within_idk"]["only_local_right"] - found["within_idk"]["only_global_right"]
        assert found["aggregate"]["accuracy"] - found["global"]["accuracy"] == pytest.approx(
            gain * idk.mean()
        )

    def test_what_was_not_scored_counts_nowhere(self):
        local = self.LOCAL.copy()
        local[0, 0, 1] = IGNORE_INDEX
        found = trust.oracle_ceiling(self.TRUTH, self.GLOBAL, local, self.IDK, 3)
        assert found["idk_pixels"] == 3
        assert found["global"]["accuracy"] == pytest.approx(2 / 5)

    def test_no_idk(self):
        found = trust.oracle_ceiling(self.TRUTH, self.GLOBAL, self.LOCAL, self.IDK & False, 3)
        assert found["global"] == found["aggregate"] == found["oracle"]
        assert set(found["within_idk"].values()) == {None}
        json.dumps(found, allow_nan=False)

    def test_bad_input(self):
        with pytest.raises(InputError, match="shape"):
            trust.oracle_ceiling(self.TRUTH, self.GLOBAL, self.LOCAL[..., 1:], self.IDK, 3)
        with pytest.raises(InputError, match="index 2"):
            trust.oracle_ceiling(self.TRUTH, self.GLOBAL, self.LOCAL, self.IDK, 2)


class TestCurves:
    def test_short_curve_is_whole(self):
        found = trust.risk_coverage_curve(
            np.array([0.4, 0.1, 0.3, 0.2]), np.array([True, False, True, False])
        )
        assert found["coverage"] == [0.25, 0.5, 0.75, 1]
        assert found["risk"] == pytest.approx([0, 0, 1 / 3, 1 / 2])

    def test_long_curve_is_thinned_to_points_of_it(self):
        random = np.random.default_rng(1)
        uncertainty, wrong = random.random(5000), random.random(5000) < 0.2
        found = trust.risk_coverage_curve(uncertainty, wrong, points=11)
        coverage, risk = risk_coverage(uncertainty, wrong)
        assert len(found["coverage"]) == len(found["risk"]) == 11
        assert found["coverage"][0] == coverage[0]
        assert found["coverage"][-1] == 1
        assert found["risk"][-1] == wrong.mean()
        assert set(zip(found["coverage"], found["risk"], strict=True)) <= set(
            zip(coverage.tolist(), risk.tolist(), strict=True)
        )
        np.testing.assert_allclose(np.diff(found["coverage"]), 0.1, atol=1e-3)

    def test_no_pixels_and_too_few_points(self):
        nothing = np.zeros(2, bool)
        found = trust.risk_coverage_curve(np.ones(2), nothing, where=nothing)
        assert found == {"coverage": [], "risk": []}
        with pytest.raises(InputError, match="points"):
            trust.risk_coverage_curve(np.ones(2), nothing, points=1)

    def test_reliability(self):
        probabilities = np.array([[0.9, 0.9, 0.6, 0.6], [0.1, 0.1, 0.4, 0.4]]).reshape(1, 2, 2, 2)
        truth = np.array([[[0, 0], [0, 1]]], np.uint8)
        found = trust.reliability(probabilities, truth, bins=5)
        assert found["count"] == [0, 0, 2, 0, 2]
        assert found["confidence"] == [None, None, pytest.approx(0.6), None, pytest.approx(0.9)]
        assert found["accuracy"] == [None, None, 0.5, None, 1]
        assert found["ECE"] == pytest.approx(0.1)
        json.dumps(found, allow_nan=False)
        ignored = trust.reliability(probabilities, np.full_like(truth, IGNORE_INDEX), bins=5)
        assert ignored["ECE"] is None
