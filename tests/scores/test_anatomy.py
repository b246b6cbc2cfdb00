import json
import math

import numpy as np
import pytest

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.scores import anatomy
from matphase.support.errors import InputError

PHASES = PhaseTable.from_names(["pore", "carbon", "nickel"])


def halves(width: int = 12, edge: int = 6, height: int = 2) -> np.ndarray:
    """One slice, phase 0 left of the column `edge`, phase 1 from there on."""
    return np.broadcast_to(np.arange(width) >= edge, (1, height, width)).astype(np.uint8)


@pytest.fixture
def stacks():
    random = np.random.default_rng(2)
    coarse = random.integers(0, 3, (3, 4, 5)).repeat(4, axis=1).repeat(4, axis=2)
    exact = coarse.astype(np.uint8)
    noisy = [
        np.where(random.random(exact.shape) < 0.8, exact, (exact + 1) % 3).astype(np.uint8)
        for _ in range(2)
    ]
    for stack in (exact, *noisy):
        stack[random.random(stack.shape) < 0.05] = IGNORE_INDEX
    return exact, *noisy


class TestDistance:
    def test_straight_edge(self):
        distance = anatomy.distance_to_boundary(halves(6, 3))
        np.testing.assert_allclose(distance[0, 0], [2.5, 1.5, 0.5, 0.5, 1.5, 2.5])
        assert distance.dtype == np.float32

    def test_corner(self):
        truth = np.zeros((1, 5, 5), np.uint8)
        truth[0, 2, 2] = 2
        distance = anatomy.distance_to_boundary(truth)[0]
        assert distance[2, 2] == distance[2, 1] == distance[1, 2] == 0.5
        assert distance[1, 1] == pytest.approx(math.sqrt(2) - 0.5)
        assert distance[0, 0] == pytest.approx(math.sqrt(8) - 0.5)

    def test_agrees_with_all_pairs(self, stacks):
        truth = stacks[0][:1]
        distance = anatomy.distance_to_boundary(truth)[0]
        places = np.argwhere(truth[0] != IGNORE_INDEX)
        phases = truth[0][tuple(places.T)]
        apart = np.linalg.norm(places[:, None] - places, axis=-1)
        apart[phases[:, None] == phases] = np.inf
        np.testing.assert_allclose(distance[tuple(places.T)], apart.min(axis=1) - 0.5, rtol=1e-6)
        assert np.isnan(distance[truth[0] == IGNORE_INDEX]).all()

    def test_slices_know_nothing_of_each_other(self):
        truth = np.concatenate([halves(), np.ones_like(halves()), np.zeros_like(halves())])
        distance = anatomy.distance_to_boundary(truth)
        np.testing.assert_array_equal(distance[:1], anatomy.distance_to_boundary(halves()))
        assert np.isinf(distance[1:]).all()

    def test_ignored_pixels_are_no_boundary(self):
        truth = np.array([[[0, IGNORE_INDEX, 0, 1]]], np.uint8)
        np.testing.assert_array_equal(
            anatomy.distance_to_boundary(truth), [[[2.5, np.nan, 0.5, 0.5]]]
        )
        truth[truth == 1] = IGNORE_INDEX
        assert np.isinf(anatomy.distance_to_boundary(truth)[0, 0, [0, 2]]).all()

    def test_needs_a_stack(self):
        with pytest.raises(InputError, match="stack"):
            anatomy.distance_to_boundary(np.zeros((3, 3), np.uint8))


class TestErrorByDistance:
    def test_hand_computed_bins(self):
        # Distances 0.5 to 5.5 on either side; 4 pixels at each.
        truth = halves()
        labels = truth.copy()
        labels[0, 0, 5:7] = [1, 0]  # 2 of 4 at 0.5
        labels[0, 1, 0] = 1  # 1 of 4 at 5.5
        found = anatomy.error_by_distance(truth, labels, 2)
        assert [(entry["above"], entry["up_to"]) for entry in found] == [
            (0, 1), (1, 2), (2, 3), (3, 5), (5, None),
        ]  # fmt: skip
        assert [entry["pixels"] for entry in found] == [4, 4, 4, 8, 4]
        assert [entry["error_rate"] for entry in found] == [0.5, 0, 0, 0, 0.25]
        assert [entry["share_of_errors"] for entry in found] == pytest.approx(
            [2 / 3, 0, 0, 0, 1 / 3]
        )
        assert [entry["share"] for entry in found] == pytest.approx(
            [1 / 6, 1 / 6, 1 / 6, 1 / 3, 1 / 6]
        )

    def test_shares_add_up(self, stacks):
        truth, labels, _ = stacks
        found = anatomy.error_by_distance(truth, labels, 3)
        scored = (truth != IGNORE_INDEX) & (labels != IGNORE_INDEX)
        assert sum(entry["pixels"] for entry in found) == scored.sum()
        assert sum(entry["share"] for entry in found) == pytest.approx(1)
        assert sum(entry["share_of_errors"] for entry in found) == pytest.approx(1)
        errors = sum(entry["pixels"] * (entry["error_rate"] or 0) for entry in found)
        assert errors == pytest.approx((truth != labels)[scored].sum())

    def test_perfect(self):
        found = anatomy.error_by_distance(halves(), halves(), 2, (1, 99, math.inf))
        assert [entry["error_rate"] for entry in found] == [0, 0, None]
        assert [entry["share_of_errors"] for entry in found] == [None] * 3
        json.dumps(found, allow_nan=False)

    def test_one_phase_is_all_bulk(self):
        truth = np.zeros((1, 3, 3), np.uint8)
        found = anatomy.error_by_distance(truth, truth + 1, 2)
        assert [entry["pixels"] for entry in found] == [0, 0, 0, 0, 9]
        assert found[-1]["error_rate"] == 1

    @pytest.mark.parametrize("edges", [(), (1, 2), (2, 1, math.inf), (0, math.inf)])
    def test_bad_edges(self, edges):
        with pytest.raises(InputError, match="edges"):
            anatomy.error_by_distance(halves(), halves(), 2, edges)

    def test_bad_labels(self):
        with pytest.raises(InputError, match="index 7"):
            anatomy.error_by_distance(halves(), halves() * 7, 2)


class TestConfusionShares:
    def test_hand_computed_pairs(self):
        truth = halves()
        labels = truth.copy()
        labels[0, 0, [0, 5, 6]] = [1, 1, 0]  # pore-carbon: one in the bulk, two at the boundary
        labels[0, 1, 11] = 2  # carbon-nickel in the bulk
        found = anatomy.confusion_shares(truth, labels, PHASES)
        assert found == {
            "pore-carbon": {"all": 0.75, "boundary": 0.5, "bulk": 0.25},
            "pore-nickel": {"all": 0, "boundary": 0, "bulk": 0},
            "carbon-nickel": {"all": 0.25, "boundary": 0, "bulk": 0.25},
        }

    def test_shares_add_up(self, stacks):
        found = anatomy.confusion_shares(*stacks[:2], PHASES)
        assert sum(pair["all"] for pair in found.values()) == pytest.approx(1)
        for pair in found.values():
            assert pair["boundary"] + pair["bulk"] == pytest.approx(pair["all"])

    def test_perfect(self):
        found = anatomy.confusion_shares(halves(), halves(), PHASES)
        assert {value for pair in found.values() for value in pair.values()} == {None}


class TestLabelNoise:
    def test_shifted_edge(self):
        # The measured edge is one pixel off: of the 4 pixels at 0.5, 2 are wrong.
        found = anatomy.label_noise(halves(edge=7), halves())
        assert found["pixels"] == 24
        assert found["agreement"] == pytest.approx(22 / 24)
        agreement = [entry["agreement"] for entry in found["by_distance"]]
        assert agreement == [0.5, 1, 1, 1, 1]

    def test_bins_add_up_to_the_whole(self, stacks):
        exact, measured, _ = stacks
        found = anatomy.label_noise(measured, exact)
        bins = found["by_distance"]
        assert sum(entry["share"] * (entry["agreement"] or 0) for entry in bins) == pytest.approx(
            found["agreement"]
        )

    def test_nothing_to_compare(self):
        ignored = np.full((1, 2, 2), IGNORE_INDEX, np.uint8)
        found = anatomy.label_noise(ignored, np.zeros_like(ignored))
        assert found["agreement"] is None
        json.dumps(found, allow_nan=False)

    def test_shapes_must_agree(self):
        with pytest.raises(InputError, match="shape"):
            anatomy.label_noise(halves(), halves(11))


class TestMisregistration:
    def test_hand_computed_shares(self):
        exact = np.array([[[0, 0, 0, 0, 0, 0, 0]]], np.uint8)
        measured = np.array([[[0, 1, 1, 0, 1, 1, IGNORE_INDEX]]], np.uint8)
        labels = np.array([[[0, 1, 0, 1, 2, 0, 1]]], np.uint8)
        found = anatomy.misregistration_share(measured, exact, labels)
        assert found == {
            "differing": 4,
            "method_right": 0.5,
            "label_right": 0.25,
            "both_wrong": 0.25,
        }

    def test_shares_add_up(self, stacks):
        exact, measured, labels = stacks
        found = anatomy.misregistration_share(measured, exact, labels)
        parts = ("method_right", "label_right", "both_wrong")
        assert sum(found[part] for part in parts) == pytest.approx(1)
        swapped = anatomy.misregistration_share(labels, exact, measured)
        assert swapped["method_right"] == found["label_right"]

    def test_no_difference(self):
        found = anatomy.misregistration_share(halves(), halves(edge=7), halves())
        assert found == {
            "differing": 0,
            "method_right": None,
            "label_right": None,
            "both_wrong": None,
        }
