import numpy as np
import pytest
import torch
from scipy.special import entr, softmax

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.trainer import Draw, Run
from matphase.method import ugsm
from matphase.networks import zoo
from matphase.networks.dropout import dropout_samples
from matphase.networks.unet import UNet
from matphase.settings import DataSettings, UGSMSettings
from matphase.support.errors import InputError
from matphase.support.seeds import mix
from samples import Sample

SETTINGS = UGSMSettings(width=4, depth=2, samples=5)


@pytest.fixture(scope="module")
def network() -> UNet:
    torch.manual_seed(0)
    return zoo.segmenter("mcd_unet", 1, 3, SETTINGS).eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (3, 37, 45)).astype(np.float32)


def passes(network: UNet, images: np.ndarray, seed: int = 0) -> np.ndarray:
    """The T logit maps, one by one: (samples, n, phases, height, width)."""
    out = []
    for number in range(SETTINGS.samples):
        with torch.no_grad(), dropout_samples(network, [mix(seed, "sample", number)]):
            out.append(network(torch.from_numpy(images[:, None])).numpy())
    return np.stack(out)


def test_summary_is_that_of_the_single_passes(network: UNet, images: np.ndarray) -> None:
    logits = passes(network, images)
    result = ugsm.predict(network, images, SETTINGS, precision="float32", mutual_information=True)
    mean = logits.mean(0)
    np.testing.assert_allclose(result.logits, mean, atol=1e-5)
    np.testing.assert_array_equal(result.labels, result.logits.argmax(1))
    np.testing.assert_allclose(result.entropy, entr(softmax(mean, 1)).sum(1), atol=1e-5)
    probabilities = softmax(logits, axis=2)
    of_mean = entr(probabilities.mean(0)).sum(1)
    expected = entr(probabilities).sum(2).mean(0)
    assert result.mutual_information is not None
    np.testing.assert_allclose(result.mutual_information, of_mean - expected, atol=1e-5)
    other = SETTINGS.model_copy(update={"uncertainty": "mean_softmax"})
    averaged = ugsm.predict(network, images, other, precision="float32")
    np.testing.assert_allclose(averaged.entropy, of_mean, atol=1e-5)


def test_answer_of_the_mean_softmax(network: UNet, images: np.ndarray) -> None:
    mean = softmax(passes(network, images), axis=2).mean(0)
    result = ugsm.predict(network, images, SETTINGS, precision="float32", average="softmax")
    np.testing.assert_allclose(result.probabilities, mean, atol=1e-5)
    np.testing.assert_array_equal(result.labels, mean.argmax(1))
    np.testing.assert_allclose(result.entropy, entr(mean).sum(1), atol=1e-5)


def test_entropy_lies_between_zero_and_log_phases(network: UNet, images: np.ndarray) -> None:
    result = ugsm.predict(network, images, SETTINGS)
    assert result.entropy.min() >= 0
    assert result.entropy.max() <= np.log(3) + 1e-6


@pytest.mark.parametrize("memory", [600_000, 2 * 10**6, 10**9])
def test_memory_limit_changes_the_batches_only(
    network: UNet, images: np.ndarray, memory: int
) -> None:
    whole = ugsm.predict(network, images, SETTINGS, precision="float32")
    limited = ugsm.predict(network, images, SETTINGS, precision="float32", memory=memory)
    np.testing.assert_allclose(limited.logits, whole.logits, atol=1e-5)


def test_batches_fit_the_memory_they_are_given(network: UNet) -> None:
    one = zoo.activation_bytes(network, 64, 64)
    for memory, slices, samples in ((1, 1, 1), (3, 3, 1), (17, 8, 2), (47, 8, 5)):
        batch = ugsm._batching(network, (64, 64), 8, 5, memory * one)
        assert (batch.slices, batch.samples) == (slices, samples)
    with pytest.raises(InputError, match="one pass over a slice of 64 x 64 px"):
        ugsm._batching(network, (64, 64), 8, 5, one - 1)


def test_without_dropout_all_passes_agree(images: np.ndarray) -> None:
    settings = SETTINGS.model_copy(update={"dropout": 0.0})
    torch.manual_seed(0)
    plain = zoo.segmenter("mcd_unet", 1, 3, settings)
    result = ugsm.predict(plain, images, settings, mutual_information=True)
    assert result.mutual_information is not None
    assert result.mutual_information.max() < 1e-5


def test_examples_are_crops_of_image_and_labels_together() -> None:
    images = np.arange(2 * 48 * 56, dtype=np.float32).reshape(2, 48, 56)
    labels = (images % 251).astype(np.uint8)
    examples = ugsm.SliceExamples(images, labels, crop=32, flips=True)
    assert len(examples) == 2 * 3
    draw = Draw(np.arange(6), seed=4)
    x, y = examples.batch(draw)
    assert x.shape == (6, 1, 32, 32)
    assert y.dtype == torch.int64
    np.testing.assert_array_equal(x[:, 0].numpy() % 251, y.numpy())
    again, _ = examples.batch(draw)
    assert torch.equal(x, again)
    other, _ = examples.batch(Draw(np.arange(6), seed=5))
    assert not torch.equal(x, other)


def test_channels_are_cropped_and_turned_together() -> None:
    grey = np.random.default_rng(0).integers(0, 200, (2, 40, 44)).astype(np.float32)
    channels = np.stack([grey, grey + 1, -grey], axis=1)
    examples = ugsm.SliceExamples(channels, grey.astype(np.uint8), crop=32, flips=True)
    x, y = examples.batch(Draw(np.arange(4), seed=1))
    assert x.shape == (4, 3, 32, 32)
    for channel, expected in enumerate((y, y + 1, -y)):
        np.testing.assert_array_equal(x[:, channel].numpy(), expected.numpy())


def test_deeplab_refuses_a_single_example(sample: Sample) -> None:
    with pytest.raises(InputError, match="deeplabv3 needs at least 2 training examples"):
        ugsm.fit(
            sample.images[:1],
            sample.labels[:1],
            3,
            SETTINGS,
            DataSettings(),
            Run(),
            network="deeplabv3",
        )


def test_a_phase_that_never_occurs_is_refused(sample: Sample) -> None:
    labels = np.where(sample.labels == 2, IGNORE_INDEX, sample.labels).astype(np.uint8)
    with pytest.raises(InputError, match="no pixel of phase 2"):
        ugsm.fit(sample.images, labels, 3, SETTINGS, DataSettings(), Run())
