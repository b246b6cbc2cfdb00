import itertools
import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    confusion_matrix as sklearn_confusion_matrix,
)
from sklearn.metrics import (
    f1_score,
    jaccard_score,
    roc_auc_score,
)

from matphase.images.phases import IGNORE_INDEX
from matphase.networks.torchvision_shim import make_torchvision_importable
from matphase.scores.evaluation import score_segmentation
from matphase.scores.metrics.boundary import boundary_f1
from matphase.scores.metrics.calibration import expected_calibration_error, reliability_curve
from matphase.scores.metrics.confusion import (
    accuracy,
    confusion_matrix,
    f1_per_phase,
    frequency_weighted_iou,
    mean_iou,
    volume_fraction_error,
)
from matphase.scores.metrics.detection import aurc, auroc, detection_scores, risk_coverage
from matphase.support.errors import InputError

NAN = float("nan")

# Eight labelled pixels and one ignored. By hand, per phase: true pixels 3, 3, 2; found rightly
# 2, 1, 2; false alarms 1, 1, 1.
TRUTH = np.array([[[0, 0, 0], [1, 1, 1], [2, 2, IGNORE_INDEX]]], dtype=np.uint8)
PREDICTION = np.array([[[0, 0, 1], [1, 0, 2], [2, 2, 0]]], dtype=np.uint8)


@pytest.fixture
def stack():
    random = np.random.default_rng(3)
    truth = random.integers(0, 3, (7, 16, 20)).astype(np.uint8)
    prediction = np.where(random.random(truth.shape) < 0.8, truth, (truth + 1) % 3).astype(np.uint8)
    prediction[2] = truth[2]
    truth[random.random(truth.shape) < 0.1] = IGNORE_INDEX
    return truth, prediction


class TestFromConfusion:
    def test_hand_computed_example(self):
        confusion = confusion_matrix(TRUTH, PREDICTION, 3)
        np.testing.assert_array_equal(confusion, [[2, 1, 0], [1, 1, 1], [0, 0, 2]])
        assert confusion.dtype == np.int64
        assert accuracy(confusion) == 5 / 8
        np.testing.assert_allclose(f1_per_phase(confusion), [4 / 6, 2 / 5, 4 / 5])
        assert mean_iou(confusion) == pytest.approx((2 / 4 + 1 / 4 + 2 / 3) / 3)
        assert frequency_weighted_iou(confusion) == pytest.approx(
            (3 * 2 / 4 + 3 * 1 / 4 + 2 * 2 / 3) / 8
        )
        np.testing.assert_allclose(volume_fraction_error(confusion), [0, -1 / 8, 1 / 8])

    def test_agrees_with_scikit_learn(self, stack):
        truth, prediction = stack
        labelled = truth != IGNORE_INDEX
        t, p = truth[labelled], prediction[labelled]
        confusion = confusion_matrix(truth, prediction, 3)
        np.testing.assert_array_equal(confusion, sklearn_confusion_matrix(t, p))
        np.testing.assert_allclose(f1_per_phase(confusion), f1_score(t, p, average=None))
        assert mean_iou(confusion) == pytest.approx(jaccard_score(t, p, average="macro"))
        assert frequency_weighted_iou(confusion) == pytest.approx(
            jaccard_score(t, p, average="weighted")
        )

    def test_false_positives_lower_the_iou(self):
        # The denominator printed in the paper, t_c + FN_c, would give phase 0 an IoU of 1 here.
        confusion = np.array([[10, 0], [10, 10]])
        assert mean_iou(confusion) == pytest.approx((10 / 20 + 10 / 20) / 2)

    def test_phase_in_neither_is_undefined_and_left_out_of_the_mean(self):
        confusion = np.array([[4, 0, 0], [0, 0, 0], [0, 0, 4]])
        np.testing.assert_array_equal(f1_per_phase(confusion), [1, NAN, 1])
        assert mean_iou(confusion) == 1
        assert frequency_weighted_iou(confusion) == 1

    def test_phase_only_predicted_scores_zero(self):
        confusion = np.array([[3, 1], [0, 0]])
        np.testing.assert_allclose(f1_per_phase(confusion), [6 / 7, 0])
        assert mean_iou(confusion) == pytest.approx((3 / 4 + 0) / 2)
        assert frequency_weighted_iou(confusion) == pytest.approx(3 / 4)

    def test_all_ignored_is_undefined(self):
        truth = np.full((4, 4), IGNORE_INDEX, np.uint8)
        confusion = confusion_matrix(truth, np.zeros_like(truth), 3)
        assert confusion.sum() == 0
        for measure in (accuracy, mean_iou, frequency_weighted_iou):
            assert math.isnan(measure(confusion))
        assert np.isnan(f1_per_phase(confusion)).all()
        assert np.isnan(volume_fraction_error(confusion)).all()

    @given(
        hnp.arrays(np.uint8, (2, 30), elements=st.sampled_from([0, 1, 2, 3])),
        st.permutations(range(4)),
    )
    def test_names_of_phases_do_not_matter(self, pair, order):
        truth, prediction = pair
        new = np.array(order, dtype=np.uint8)
        before = confusion_matrix(truth, prediction, 4)
        after = confusion_matrix(new[truth], new[prediction], 4)
        np.testing.assert_array_equal(f1_per_phase(after)[new], f1_per_phase(before))
        assert mean_iou(after) == pytest.approx(mean_iou(before))
        assert abs(volume_fraction_error(before).sum()) < 1e-12

    @pytest.mark.parametrize(
        ("truth", "prediction", "words"),
        [
            (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "shape"),
            (np.full((2, 2), 3, np.uint8), np.zeros((2, 2), np.uint8), "truth holds the index 3"),
            (np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8), "prediction holds"),
            (np.zeros((2, 2), np.int64), np.full((2, 2), -1), "prediction holds the index -1"),
            (np.zeros((2, 2), np.uint8), np.zeros((2, 2)), "integer"),
        ],
    )
    def test_bad_input(self, truth, prediction, words):
        with pytest.raises(InputError, match=words):
            confusion_matrix(truth, prediction, 3)


class TestScoreSegmentation:
    def test_matches_the_measures_it_collects(self, stack):
        truth, prediction = stack
        scores = score_segmentation(truth, prediction, 3)
        pooled = confusion_matrix(truth, prediction, 3)
        assert scores.f1 == tuple(f1_per_phase(pooled))
        assert scores.accuracy == accuracy(pooled)
        assert scores.miu == mean_iou(pooled)
        assert scores.fiu == frequency_weighted_iou(pooled)
        assert scores.volume_fraction_error == tuple(volume_fraction_error(pooled))
        assert scores.boundary_f1 == tuple(boundary_f1(truth, prediction, 3))

    def test_best_and_lowest_five(self):
        # Image i of 8 has i of 10 pixels wrong: accuracies 100, 90, ..., 30 %.
        truth = np.zeros((8, 2, 5), np.uint8)
        prediction = (np.arange(10) < np.arange(8)[:, None]).reshape(8, 2, 5).astype(np.uint8)
        scores = score_segmentation(truth, prediction, 2)
        assert scores.acc_best5 == pytest.approx((80, math.sqrt(200)))
        assert scores.acc_low5 == pytest.approx((50, math.sqrt(200)))

    def test_fewer_than_five_images_rank_all(self):
        truth = np.zeros((2, 2, 2), np.uint8)
        prediction = truth.copy()
        prediction[1] = 1
        scores = score_segmentation(truth, prediction, 2)
        assert scores.acc_best5 == scores.acc_low5 == pytest.approx((50, 50))

    def test_mean_over_images_is_not_the_pooled_score(self):
        # Phase 1 is right in image 0 (F1 = 1), wrong in image 1 (F1 = 0), absent from image 2.
        truth = np.array([[[1, 1, 1, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]], np.uint8)
        prediction = np.array([[[1, 1, 1, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]], np.uint8)
        scores = score_segmentation(truth, prediction, 2)
        assert scores.f1_per_image_mean[1] == pytest.approx(1 / 2)
        assert scores.f1[1] == pytest.approx(6 / 7)

    def test_ignored_image_is_not_ranked(self):
        truth = np.zeros((2, 2, 2), np.uint8)
        truth[0] = IGNORE_INDEX
        scores = score_segmentation(truth, np.zeros_like(truth), 2)
        assert scores.acc_low5 == (100, 0)
        everything = score_segmentation(truth[:1], truth[:1], 2)
        assert all(math.isnan(value) for value in (*everything.acc_best5, everything.accuracy))

    def test_prediction_under_ignored_truth_changes_nothing(self, stack):
        truth, prediction = stack
        other = np.where(truth == IGNORE_INDEX, (prediction + 1) % 3, prediction).astype(np.uint8)
        assert (other != prediction).any()
        assert score_segmentation(truth, other, 3) == score_segmentation(truth, prediction, 3)

    def test_perfect_prediction(self, stack):
        truth, _ = stack
        scores = score_segmentation(truth, np.where(truth == IGNORE_INDEX, 0, truth), 3)
        assert scores.f1 == scores.f1_per_image_mean == scores.boundary_f1 == (1, 1, 1)
        assert scores.accuracy == scores.miu == scores.fiu == 1
        assert scores.acc_best5 == scores.acc_low5 == (100, 0)
        assert scores.volume_fraction_error == (0, 0, 0)

    @pytest.mark.parametrize("shape", [(4, 4), (0, 4, 4), (1, 1, 4, 4)])
    def test_needs_a_stack(self, shape):
        labels = np.zeros(shape, np.uint8)
        with pytest.raises(InputError, match="stack"):
            score_segmentation(labels, labels, 2)


class TestBoundaryF1:
    @staticmethod
    def halves(edge: int, width: int = 20) -> np.ndarray:
        """One slice, phase 0 left of the column `edge`, phase 1 from there on."""
        return np.broadcast_to(np.arange(width) >= edge, (1, 12, width)).astype(np.uint8)

    @pytest.mark.parametrize("shift", [-4, -3, -2, -1, 0, 1, 2, 3, 4])
    @pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1)])
    def test_an_edge_agrees_up_to_the_tolerance(self, shift, axes):
        truth, prediction = self.halves(10).transpose(axes), self.halves(10 + shift).transpose(axes)
        scores = boundary_f1(truth, prediction, 2, tolerance=2)
        np.testing.assert_array_equal(scores, [1, 1] if abs(shift) <= 2 else [0, 0])

    def test_tolerance_is_a_euclidean_distance(self):
        truth, prediction = np.zeros((2, 1, 12, 12), np.uint8)
        truth[0, 5, 5] = prediction[0, 6, 6] = 1
        assert boundary_f1(truth, prediction, 2, tolerance=1)[1] == 0
        assert boundary_f1(truth, prediction, 2, tolerance=1.5)[1] == 1

    def test_hand_computed_precision_and_recall(self):
        # True outline of phase 1: a lone pixel. Predicted: that pixel and one far from it.
        truth, prediction = np.zeros((2, 1, 15, 15), np.uint8)
        truth[0, 3, 3] = prediction[0, 3, 3] = prediction[0, 11, 11] = 1
        # Precision 1/2, recall 1.
        assert boundary_f1(truth, prediction, 2)[1] == pytest.approx(2 / 3)
        # Phase 0's outline: 4 pixels around each spot; precision 4/8, recall 1.
        assert boundary_f1(truth, prediction, 2)[0] == pytest.approx(2 / 3)

    def test_absent_phase(self):
        flat, spot = np.zeros((2, 1, 8, 8), np.uint8)
        spot[0, 4, 4] = 1
        np.testing.assert_array_equal(boundary_f1(flat, flat, 3), [NAN, NAN, NAN])
        np.testing.assert_array_equal(boundary_f1(flat, spot, 3), [0, 0, NAN])
        np.testing.assert_array_equal(boundary_f1(spot, flat, 3), [0, 0, NAN])

    def test_slices_are_judged_alone_and_averaged(self):
        truth = np.concatenate([self.halves(10), self.halves(10), np.zeros((1, 12, 20), np.uint8)])
        prediction = np.concatenate(
            [self.halves(10), self.halves(3), np.zeros((1, 12, 20), np.uint8)]
        )
        np.testing.assert_array_equal(boundary_f1(truth, prediction, 2), [0.5, 0.5])

    def test_edge_of_an_ignored_region_is_no_boundary(self):
        truth = np.zeros((1, 10, 10), np.uint8)
        truth[:, :, 5:] = IGNORE_INDEX
        prediction = np.zeros_like(truth)
        prediction[:, :, 5:] = 1
        assert np.isnan(boundary_f1(truth, prediction, 2)).all()


class TestCalibration:
    def test_hand_computed_example(self):
        # Two bins. Confidences .6 (wrong), .8 (right), .9 (right) and, in (0, .5], .5 (right).
        probabilities = np.array([[0.6, 0.4], [0.2, 0.8], [0.9, 0.1], [0.5, 0.5]])
        truth = np.array([1, 1, 0, 0])
        curve = reliability_curve(probabilities, truth, bins=2)
        np.testing.assert_array_equal(curve.count, [1, 3])
        np.testing.assert_allclose(curve.confidence, [0.5, 2.3 / 3])
        np.testing.assert_allclose(curve.accuracy, [1, 2 / 3])
        error = expected_calibration_error(probabilities, truth, bins=2)
        assert error == pytest.approx(0.25 * 0.5 + 0.75 * (2.3 / 3 - 2 / 3))

    def test_agrees_with_torchmetrics(self):
        make_torchvision_importable()  # which torchmetrics imports where it is installed
        from torchmetrics.classification import MulticlassCalibrationError

        random = np.random.default_rng(0)
        logits = random.normal(0, 2, (3, 4, 20, 24))
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        truth = random.integers(0, 4, (3, 20, 24))
        truth[random.random(truth.shape) < 0.1] = IGNORE_INDEX
        theirs = MulticlassCalibrationError(4, n_bins=15, norm="l1", ignore_index=IGNORE_INDEX)
        expected = theirs(torch.from_numpy(probabilities), torch.from_numpy(truth))
        ours = expected_calibration_error(probabilities, truth)
        assert ours == pytest.approx(float(expected), abs=1e-6)

    def test_calibrated_by_construction(self):
        random = np.random.default_rng(1)
        first = random.random(200_000)
        truth = (random.random(first.size) > first).astype(np.uint8)
        error = expected_calibration_error(np.stack([first, 1 - first], axis=1), truth)
        assert error < 0.01

    def test_certain_and_always_wrong(self):
        probabilities = np.zeros((1, 2, 4, 4), np.float32)
        probabilities[:, 0] = 1
        assert expected_calibration_error(probabilities, np.ones((1, 4, 4), int)) == 1

    def test_empty_bins_and_nothing_labelled(self):
        probabilities = np.full((1, 2, 2, 2), 0.5)
        curve = reliability_curve(probabilities, np.zeros((1, 2, 2), int), bins=10)
        assert curve.count[4] == curve.count.sum() == 4
        assert np.isnan(curve.accuracy[:4]).all()
        ignored = np.full((1, 2, 2), IGNORE_INDEX)
        assert math.isnan(expected_calibration_error(probabilities, ignored))

    @pytest.mark.parametrize(
        ("probabilities", "truth", "bins", "words"),
        [
            (np.full((1, 2, 4, 4), 0.5), np.zeros((1, 4, 5), int), 15, "do not fit"),
            (np.full((1, 2, 4, 4), 2.0), np.zeros((1, 4, 4), int), 15, "softmax"),
            (np.full((1, 2, 4, 4), NAN), np.zeros((1, 4, 4), int), 15, "softmax"),
            (np.full((1, 2, 4, 4), 0.5), np.full((1, 4, 4), 2), 15, "truth holds the index 2"),
            (np.full((1, 2, 4, 4), 0.5), np.zeros((1, 4, 4), int), 0, "bins"),
        ],
    )
    def test_bad_input(self, probabilities, truth, bins, words):
        with pytest.raises(InputError, match=words):
            expected_calibration_error(probabilities, truth, bins)


few_scores = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, math.inf]), st.booleans()), min_size=1, max_size=7
)


class TestAuroc:
    def test_hand_computed_example_with_a_tie(self):
        # Pairs (positive, negative): 3>1, 3>2, 2>1 win and 2=2 is half: 3.5 of 4.
        score = np.array([3.0, 2.0, 2.0, 1.0])
        positive = np.array([True, True, False, False])
        assert auroc(score, positive) == 3.5 / 4

    @pytest.mark.parametrize("levels", [2, 10, 10**9])
    def test_agrees_with_scikit_learn(self, levels):
        random = np.random.default_rng(5)
        positive = random.random(5000) < 0.2
        score = np.floor((random.random(5000) + 0.4 * positive) * levels)
        assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score), abs=1e-12)

    def test_exact_on_millions(self):
        # Every negative below every positive but for one tie: 1 - 1/2 / (n+ n-).
        half = 1_500_000
        score = np.arange(2 * half, dtype=np.float64)
        positive = score >= half
        assert auroc(score, positive) == 1
        score[half] = half - 1
        assert auroc(score, positive) == (2 * half**2 - 1) / (2 * half**2)

    @given(few_scores)
    def test_reversed_score_gives_the_complement(self, pixels):
        score, positive = (np.array(column) for column in zip(*pixels, strict=True))
        forward, backward = auroc(score, positive), auroc(-score, positive)
        if positive.all() or not positive.any():
            assert math.isnan(forward)
        else:
            assert forward + backward == pytest.approx(1)

    def test_only_where(self):
        score, positive = np.array([[1.0, 2.0], [NAN, 3.0]]), np.array([[0, 1], [1, 0]], bool)
        where = np.array([[1, 1], [0, 0]], bool)
        assert auroc(score, positive, where=where) == 1

    def test_bad_input(self):
        with pytest.raises(InputError, match="NaN"):
            auroc(np.array([NAN, 1.0]), np.array([True, False]))
        with pytest.raises(InputError, match="shape"):
            auroc(np.zeros(3), np.zeros(4, bool))
        with pytest.raises(InputError, match="where"):
            auroc(np.zeros(3), np.zeros(3, bool), where=np.ones(2, bool))


class TestRiskCoverage:
    def test_hand_computed_example(self):
        coverage, risk = risk_coverage(
            np.array([0.4, 0.1, 0.3, 0.2]), np.array([True, False, True, False])
        )
        np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(risk, [0, 0, 1 / 3, 1 / 2])
        area = aurc(np.array([0.4, 0.1, 0.3, 0.2]), np.array([True, False, True, False]))
        assert area == pytest.approx((1 / 3 + 1 / 2) / 4)

    @settings(max_examples=50, deadline=None)
    @given(few_scores)
    def test_ties_give_the_mean_over_all_orders(self, pixels):
        uncertainty, wrong = (np.array(column) for column in zip(*pixels, strict=True))
        kept = np.arange(1, len(pixels) + 1)
        curves = [
            np.cumsum(wrong[list(order)]) / kept
            for order in itertools.permutations(range(len(pixels)))
            if (uncertainty[list(order)][1:] >= uncertainty[list(order)][:-1]).all()
        ]
        _, risk = risk_coverage(uncertainty, wrong)
        np.testing.assert_allclose(risk, np.mean(curves, axis=0), atol=1e-12)

    def test_useless_uncertainty_has_the_overall_risk_everywhere(self):
        wrong = np.random.default_rng(0).random(1000) < 0.3
        _, risk = risk_coverage(np.zeros(1000), wrong)
        np.testing.assert_allclose(risk, wrong.mean())
        assert aurc(np.zeros(1000), wrong) == pytest.approx(wrong.mean())

    def test_order_of_pixels_does_not_matter(self):
        random = np.random.default_rng(2)
        uncertainty, wrong = random.integers(0, 5, 200) / 4, random.random(200) < 0.4
        order = random.permutation(200)
        assert aurc(uncertainty, wrong) == aurc(uncertainty[order], wrong[order])

    def test_informed_beats_useless_beats_misinformed(self):
        wrong = np.random.default_rng(0).random(1000) < 0.3
        informed, misinformed = aurc(wrong * 1.0, wrong), aurc(wrong * -1.0, wrong)
        assert informed < wrong.mean() < misinformed

    def test_only_where(self):
        uncertainty, wrong = np.array([0.1, 0.2, 0.3]), np.array([True, False, True])
        coverage, risk = risk_coverage(uncertainty, wrong, where=np.array([0, 1, 1], bool))
        np.testing.assert_allclose(coverage, [0.5, 1])
        np.testing.assert_allclose(risk, [0, 0.5])

    def test_no_pixels(self):
        coverage, risk = risk_coverage(np.zeros(0), np.zeros(0, bool))
        assert coverage.size == risk.size == 0
        assert math.isnan(aurc(np.zeros(0), np.zeros(0, bool)))


class TestDetection:
    IDK = np.array([True, True, True, False, False])
    WRONG = np.array([True, True, False, True, False])

    def test_hand_computed_example(self):
        scores = detection_scores(self.IDK, self.WRONG)
        assert scores == pytest.approx((2 / 3, 2 / 3, 3 / 5))
        only = detection_scores(self.IDK, self.WRONG, where=np.array([1, 0, 1, 1, 1], dtype=bool))
        assert only == pytest.approx((1 / 2, 1 / 2, 2 / 4))

    def test_undefined(self):
        nothing = np.zeros(5, bool)
        assert math.isnan(detection_scores(self.IDK, nothing).recall)
        assert math.isnan(detection_scores(nothing, self.WRONG).precision)
        assert detection_scores(nothing, self.WRONG).recall == 0

    def test_shapes_must_agree(self):
        with pytest.raises(InputError, match="shape"):
            detection_scores(self.IDK, self.WRONG[:3])
