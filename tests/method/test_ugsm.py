import numpy as np
import pytest
import torch
from scipy.special import entr, softmax
from stages import pool_of

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.run import Run
from matphase.method import ugsm
from matphase.method.passes import Passes
from matphase.method.pool_predictions import predict_pool
from matphase.method.ugsm import NetworkSegmenter
from matphase.networks import cost, registry
from matphase.networks.dropout import dropout_samples
from matphase.networks.unet import UNet
from matphase.settings import DataSettings, UGSMSettings
from matphase.support.errors import InputError
from matphase.support.seeds import mix
from samples import Sample, skip_without

SETTINGS = UGSMSettings(width=4, depth=2, samples=5)


@pytest.fixture(scope="module")
def network() -> UNet:
    torch.manual_seed(0)
    return registry.segmenter("mcd_unet", 1, 3, SETTINGS).eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (3, 1, 37, 45)).astype(np.float32)


def ready(
    network: UNet, settings: UGSMSettings = SETTINGS, average: str = "logits"
) -> NetworkSegmenter:
    return NetworkSegmenter(network, settings, 3, average, "float32")  # type: ignore[arg-type]


def passes(network: UNet, images: np.ndarray, seed: int = 0) -> np.ndarray:
    """The T logit maps, one by one: (samples, n, phases, height, width)."""
    out = []
    for number in range(SETTINGS.samples):
        with torch.no_grad(), dropout_samples(network, [mix(seed, "sample", number)]):
            out.append(network(torch.from_numpy(images)).numpy())
    return np.stack(out)


def test_summary_is_that_of_the_single_passes(network: UNet, images: np.ndarray) -> None:
    logits = passes(network, images)
    result = ready(network).predict(images, Passes(mutual_information=True))
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
    averaged = ready(network, other).predict(images)
    np.testing.assert_allclose(averaged.entropy, of_mean, atol=1e-5)


def test_answer_of_the_mean_softmax(network: UNet, images: np.ndarray) -> None:
    mean = softmax(passes(network, images), axis=2).mean(0)
    result = ready(network, average="softmax").predict(images)
    np.testing.assert_allclose(result.probabilities, mean, atol=1e-5)
    np.testing.assert_array_equal(result.labels, mean.argmax(1))
    np.testing.assert_allclose(result.entropy, entr(mean).sum(1), atol=1e-5)


@pytest.mark.parametrize("average", ["logits", "softmax"])
@pytest.mark.parametrize("tta", [False, True])
def test_kept_samples_are_those_of_the_single_passes(
    network: UNet, images: np.ndarray, average: str, tta: bool
) -> None:
    result = ready(network, average=average).predict(images, Passes(keep_samples=True, tta=tta))
    assert result.samples is not None
    found = softmax(result.logits + result.samples, axis=2)
    if not tta:
        np.testing.assert_allclose(found, softmax(passes(network, images), axis=2), atol=2e-3)
    if average == "softmax":
        np.testing.assert_allclose(found.mean(0), result.probabilities, atol=2e-3)
    else:
        assert np.abs(result.samples.astype(np.float32).mean(0)).max() < 2e-3


@pytest.mark.parametrize("average", ["logits", "softmax"])
def test_flips_and_turns_are_averaged_as_samples_are(images: np.ndarray, average: str) -> None:
    settings = SETTINGS.model_copy(update={"tta": True})
    torch.manual_seed(0)
    plain = registry.segmenter("unet", 1, 3, settings).eval()
    segmenter = ready(plain, settings, average)
    seen = images[..., :36, :44]  # on the grid of the network, so nothing is padded
    logits = []
    for k in range(4):
        for axes in ((), (3,)):
            turned = np.flip(np.rot90(seen, k, (2, 3)), axes)
            with torch.no_grad():
                said = plain(torch.from_numpy(turned.copy())).numpy()
            logits.append(np.rot90(np.flip(said, axes), -k, (2, 3)))
    expected = (
        softmax(np.mean(logits, axis=0), axis=1)
        if average == "logits"
        else softmax(logits, axis=2).mean(0)
    )
    np.testing.assert_allclose(segmenter.predict(seen).probabilities, expected, atol=1e-5)
    # of any size, a turned image has the turned prediction, but for where it is padded
    known = segmenter.predict(seen[..., ::-1, :].swapaxes(2, 3).copy()).probabilities
    np.testing.assert_allclose(known, expected[..., ::-1, :].swapaxes(2, 3), atol=1e-5)
    once = segmenter.predict(seen, Passes(tta=False))
    with torch.no_grad():
        np.testing.assert_allclose(
            once.probabilities, plain(torch.from_numpy(seen)).softmax(1).numpy(), atol=1e-5
        )


@pytest.mark.parametrize(
    ("name", "asked", "number"),
    [
        ("unet", Passes(), 1),
        ("unet", Passes(tta=True, samples=3), 8),
        ("mcd_unet", Passes(), 5),
        ("mcd_unet", Passes(tta=True), 5),
        ("mcd_unet", Passes(tta=True, samples=11), 11),
    ],
)
def test_the_number_of_passes_is_known_beforehand(
    images: np.ndarray, name: str, asked: Passes, number: int
) -> None:
    segmenter = ready(registry.segmenter(name, 1, 3, SETTINGS).eval())
    passed = []
    segmenter.network.register_forward_hook(lambda _n, seen, _o: passed.append(len(seen[0])))
    segmenter.predict(images[:1], asked)
    assert segmenter.passes_over_a_slice(asked) == sum(passed) == number


def test_entropy_lies_between_zero_and_log_phases(network: UNet, images: np.ndarray) -> None:
    result = NetworkSegmenter(network, SETTINGS, 3).predict(images)
    assert result.entropy.min() >= 0
    assert result.entropy.max() <= np.log(3) + 1e-6


@pytest.mark.parametrize("memory", [600_000, 2 * 10**6, 10**9])
def test_memory_limit_changes_the_batches_only(
    network: UNet, images: np.ndarray, memory: int
) -> None:
    whole = ready(network).predict(images)
    limited = ready(network).predict(images, Passes(memory=memory))
    np.testing.assert_allclose(limited.logits, whole.logits, atol=1e-5)


def test_batches_fit_the_memory_they_are_given(network: UNet) -> None:
    one = cost.pass_bytes(network, 64, 64)
    for memory, slices, samples in ((1, 1, 1), (3, 3, 1), (17, 8, 2), (47, 8, 5)):
        batch = ready(network)._batch_size((64, 64), 8, 5, memory * one)
        assert (batch.slices, batch.samples) == (slices, samples)
    with pytest.raises(InputError, match="one pass over a slice of 64 x 64 px"):
        ready(network)._batch_size((64, 64), 8, 5, one - 1)


def test_without_dropout_all_passes_agree(images: np.ndarray) -> None:
    settings = SETTINGS.model_copy(update={"dropout": 0.0})
    torch.manual_seed(0)
    plain = registry.segmenter("mcd_unet", 1, 3, settings)
    result = ready(plain, settings).predict(images, Passes(mutual_information=True))
    assert result.mutual_information is not None
    assert result.mutual_information.max() < 1e-5


def test_it_sees_the_middle_of_more_slices_than_it_needs(network: UNet) -> None:
    five = np.random.default_rng(1).uniform(-1, 1, (2, 5, 32, 40)).astype(np.float32)
    found, expected = (ready(network).predict(part) for part in (five, five[:, 2:3]))
    np.testing.assert_array_equal(found.logits, expected.logits)


@pytest.mark.parametrize("memory", ["rectangles", "a slice", "all"])
def test_a_pool_is_predicted_tile_by_tile_as_whole_slices_are(memory: str) -> None:
    """Under a limit that no slice fits into, too: from windows that see as far as the network."""
    settings = UGSMSettings(width=2, depth=1, samples=3)
    torch.manual_seed(0)
    segmenter = NetworkSegmenter(
        registry.segmenter("mcd_unet", 3, 3, settings).eval(),
        settings.model_copy(update={"slices": 3}),
        3,
        precision="float32",
        channels=3,
    )
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, 97, 131)).astype(np.float32)
    pool = pool_of(images, np.zeros((3, 97, 131), np.uint8))
    one = segmenter.pass_bytes(97, 131)
    limit = {"rectangles": one // 2, "a slice": 3 * one, "all": 10**9}[memory]
    advanced = []

    class Noting:
        def start(self, title: str, total: int, done: int = 0) -> None: ...

        def advance(self, steps: int = 1, note: str = "") -> None:
            advanced.append(steps)

        def finish(self) -> None: ...

    shapes = []
    segmenter.network.register_forward_hook(lambda _n, seen, _o: shapes.append(seen[0].shape[-2:]))
    found = predict_pool(segmenter, pool, Passes(memory=limit), Noting())
    assert ((97, 131) in shapes) == (memory != "rectangles")
    assert sum(advanced) == 3
    for number, part in enumerate(found):
        whole = segmenter.predict(images[number : number + 1])
        np.testing.assert_allclose(part.logits, whole.logits, atol=1e-5)
        np.testing.assert_allclose(part.entropy, whole.entropy, atol=1e-5)
        np.testing.assert_array_equal(part.labels, part.logits.argmax(axis=1))


def test_deeplab_refuses_a_single_example(sample: Sample) -> None:
    skip_without("segmentation_models_pytorch")
    pool = pool_of(sample.images[:1], sample.labels[:1])
    with pytest.raises(InputError, match="deeplabv3 needs at least 2 training examples, got 1"):
        ugsm.fit(pool, SETTINGS, DataSettings(), Run(), network="deeplabv3")


def test_a_phase_that_never_occurs_is_refused(sample: Sample) -> None:
    labels = np.where(sample.labels == 2, IGNORE_INDEX, sample.labels).astype(np.uint8)
    with pytest.raises(InputError, match="no pixel of phase 2"):
        ugsm.fit(pool_of(sample.images, labels), SETTINGS, DataSettings(), Run())
