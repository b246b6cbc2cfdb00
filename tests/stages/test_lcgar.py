import itertools

import numpy as np
import pytest
import torch

from matphase.phases import IGNORE_INDEX
from matphase.settings import LCGARSettings, USISettings
from matphase.stages import lcgar
from matphase.stages.results import GlobalPrediction, Partition
from matphase.training import Run


@pytest.fixture
def scene() -> tuple[np.ndarray, GlobalPrediction, Partition]:
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, 34, 40)).astype(np.float32)
    logits = rng.normal(size=(2, 3, 34, 40)).astype(np.float32)
    labels = logits.argmax(1).astype(np.uint8)
    idk = rng.random(labels.shape) < 0.3
    known = GlobalPrediction(labels, logits, rng.random(labels.shape).astype(np.float32))
    return images, known, Partition(idk, idk.astype(np.float32))


def test_inputs_are_those_of_the_paper(
    scene: tuple[np.ndarray, GlobalPrediction, Partition],
) -> None:
    images, known, partition = scene
    settings = LCGARSettings(h=5)
    inputs = lcgar.LocalInputs(images, known, partition, settings)
    patches, logits = inputs.gather(torch.tensor([1]), torch.tensor([10]), torch.tensor([20]))
    window = np.s_[1, 8:13, 18:23]
    np.testing.assert_array_equal(patches[0, 0], images[window])
    for phase in range(3):
        one_hot = (known.labels[window] == phase) & ~partition.idk[window]
        np.testing.assert_array_equal(patches[0, 1 + phase], one_hot)
    assert partition.idk[window].any()
    np.testing.assert_array_equal(logits[0], known.logits[1, :, 10, 20])


@pytest.mark.parametrize(
    ("image", "labels", "logits"),
    [choice for choice in itertools.product([True, False], repeat=3) if choice[0] or choice[1]],
)
def test_every_choice_of_inputs_trains_and_predicts(
    scene: tuple[np.ndarray, GlobalPrediction, Partition], image: bool, labels: bool, logits: bool
) -> None:
    images, known, partition = scene
    settings = LCGARSettings(
        h=5, image=image, labels=labels, logits=logits, epochs=1, batch_size=256
    )
    truth = known.labels
    weights = np.ones(3, np.float32)
    network = lcgar.fit(images, known, partition, truth, weights, settings, USISettings(), Run())
    local = lcgar.predict(network, images, known, partition, settings)
    assert local.labels.shape == (partition.idk.sum(),)
    np.testing.assert_allclose(local.probabilities.sum(1), 1, atol=1e-5)


def test_learns_what_only_the_patch_shows() -> None:
    """The phase is the sign of the grey value; UGSM's logits say nothing."""
    rng = np.random.default_rng(1)
    images = rng.choice([-0.5, 0.5], (3, 40, 40)).astype(np.float32)
    truth = (images > 0).astype(np.uint8)
    flat = np.zeros((3, 40, 40), np.float32)
    known = GlobalPrediction(np.zeros_like(truth), np.zeros((3, 2, 40, 40), np.float32), flat)
    partition = Partition(np.ones(truth.shape, bool), flat)
    settings = LCGARSettings(h=5, epochs=8, batch_size=128)
    weights = np.ones(2, np.float32)
    network = lcgar.fit(images, known, partition, truth, weights, settings, USISettings(), Run())
    local = lcgar.predict(network, images, known, partition, settings)
    assert (local.labels == truth[partition.idk]).mean() > 0.98


def test_only_known_idk_pixels_take_part(
    scene: tuple[np.ndarray, GlobalPrediction, Partition],
) -> None:
    _, known, partition = scene
    truth = known.labels.copy()
    truth[0, :20] = IGNORE_INDEX
    pixels = lcgar._chosen(lcgar._hard(partition, truth), 0, seed=0)
    assert partition.idk[pixels].all()
    assert (truth[pixels] != IGNORE_INDEX).all()
    assert len(pixels[0]) == (partition.idk & (truth != IGNORE_INDEX)).sum()
    few = lcgar._chosen(lcgar._hard(partition, truth), 50, seed=0)
    assert np.bincount(few[0]).tolist() == [50, 50]
    assert partition.idk.any()


def test_without_idk_pixels_there_is_nothing_to_do(
    scene: tuple[np.ndarray, GlobalPrediction, Partition],
) -> None:
    images, known, partition = scene
    none = Partition(np.zeros_like(partition.idk), partition.score)
    settings = LCGARSettings(h=5)
    weights = np.ones(3, np.float32)
    network = lcgar.fit(images, known, none, known.labels, weights, settings, USISettings(), Run())
    assert len(lcgar.predict(network, images, known, none, settings).labels) == 0
