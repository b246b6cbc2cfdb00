"""Trees as arrays: known answers, equality with scikit-learn, and files that were tampered with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.ensemble import ExtraTreesClassifier

from matphase.learning.weight_files import load_weights, save_weights
from matphase.method import classical
from matphase.networks import forest as forests
from matphase.networks.forest import Forest
from matphase.settings import ClassicalSettings
from matphase.support.errors import ModelError


def pixels(n: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Features (n, 5), and phases that depend on two of them, with noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 5)).astype(np.float32)
    # equal values decide at thresholds, too
    values[:, 4] = np.round(values[:, 4])
    noisy = values[:, 0] + values[:, 4] + rng.normal(0, 0.5, n)
    return values, np.digitize(noisy, [-0.7, 0.7]).astype(np.uint8)


@pytest.fixture(scope="module")
def forest() -> Forest:
    settings = ClassicalSettings(trees=11, depth=9, balance=0)
    made = classical.fit(*pixels(3000), 3, settings, seed=4)
    assert isinstance(made, Forest)
    return made


def shares_of(forest: Forest, values: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return forest.probabilities(torch.from_numpy(values.T.copy())).T.numpy()


def test_a_tree_decides_as_it_is_written() -> None:
    tree = Forest(features=2, n_phases=2, trees=1, depth=2)
    tree.feature[0] = torch.tensor([1, 0, 0])
    tree.threshold[0] = torch.tensor([0.0, -1.0, 1.0])
    tree.shares[0] = torch.tensor([[1.0, 0.0], [0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
    values = np.array([[-2, 0], [0, 0], [1, 0.1], [2, 0.1], [-1, -0.0]], np.float32)
    found = shares_of(tree, values)
    np.testing.assert_array_equal(found[:, 1], [0, 0.25, 0.5, 1, 0])
    with torch.inference_mode():
        logs = tree(torch.from_numpy(values.T.copy())).numpy()
    np.testing.assert_allclose(logs.T, np.log(np.maximum(found, forests.FLOOR)), rtol=1e-6)


def test_it_is_the_forest_that_scikit_learn_fitted(forest: Forest) -> None:
    values, labels = pixels(3000)
    model = ExtraTreesClassifier(
        11,
        max_depth=9,
        min_samples_leaf=classical.LEAF,
        random_state=4,
    )
    model.fit(values, labels)
    new, _ = pixels(20_000, seed=1)
    # values at the very thresholds, where rounding would show
    new[:500, 0] = forest.threshold.flatten()[forest.feature.flatten() == 0][:500]
    np.testing.assert_allclose(shares_of(forest, new), model.predict_proba(new), atol=2e-6)


def test_chunks_and_groups_change_nothing(forest: Forest, monkeypatch: pytest.MonkeyPatch) -> None:
    values, _ = pixels(1001)
    whole = shares_of(forest, values)
    monkeypatch.setattr(forests, "CHUNK", 64)
    np.testing.assert_array_equal(shares_of(forest, values), whole)
    monkeypatch.setattr(forests, "GROUP", 3)
    np.testing.assert_allclose(shares_of(forest, values), whole, atol=1e-6)


def test_the_number_of_threads_changes_nothing(forest: Forest) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = classical.fit(
            *pixels(3000), 3, ClassicalSettings(trees=11, depth=9, balance=0), seed=4
        )
    finally:
        torch.set_num_threads(before)
    for name, array in forest.state_dict().items():
        assert torch.equal(array, again.state_dict()[name]), name


def test_another_seed_is_another_forest(forest: Forest) -> None:
    other = classical.fit(*pixels(3000), 3, ClassicalSettings(trees=11, depth=9, balance=0), seed=5)
    assert not torch.equal(forest.threshold, other.state_dict()["threshold"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("feature", 5), ("feature", -1), ("shares", -0.5), ("shares", 7.0), ("threshold", np.nan)],
)
def test_planted_arrays_are_refused(
    forest: Forest, tmp_path: Path, name: str, value: float
) -> None:
    path = tmp_path / "classical.safetensors"
    save_weights(forest, path)
    tensors = load_file(path)
    tensors[name].view(-1)[7] = value
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"classical\.safetensors (does not hold|holds) "):
        load_weights(Forest(5, 3, 11, 9), path)


def test_a_forest_survives_being_saved(forest: Forest, tmp_path: Path) -> None:
    save_weights(forest, tmp_path / "forest.safetensors")
    loaded = Forest(5, 3, 11, 9)
    load_weights(loaded, tmp_path / "forest.safetensors")
    values, _ = pixels(100)
    np.testing.assert_array_equal(shares_of(loaded, values), shares_of(forest, values))
    with pytest.raises(ModelError, match="does not hold the weights that its settings describe"):
        load_weights(Forest(5, 3, 11, 8), tmp_path / "forest.safetensors")
