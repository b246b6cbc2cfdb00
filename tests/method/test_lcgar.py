import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from stages import local_pool

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.run import Run
from matphase.method import lcgar
from matphase.method.results import GlobalPrediction, LocalPool, Partition
from matphase.settings import LCGARSettings, Settings
from matphase.support import scratch


def fit(
    images: np.ndarray,
    known: GlobalPrediction,
    partition: Partition,
    truth: np.ndarray,
    settings: LCGARSettings,
) -> torch.nn.Module:
    """A network trained with the standard curriculum and equal weights."""
    data = local_pool(images, truth, known, partition)
    return lcgar.fit(data, Settings(lcgar=settings), Run())


@pytest.fixture
def scene() -> tuple[np.ndarray, GlobalPrediction, Partition]:
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, 1, 34, 40)).astype(np.float32)
    logits = rng.normal(size=(2, 3, 34, 40)).astype(np.float32)
    labels = logits.argmax(1).astype(np.uint8)
    idk = rng.random(labels.shape) < 0.3
    known = GlobalPrediction(labels, logits, rng.random(labels.shape).astype(np.float32))
    return images, known, Partition(idk, idk.astype(np.float32))


@pytest.mark.parametrize(("padding", "margin"), [("zeros", 2), ("image", 2 + 6)])
def test_inputs_are_those_of_the_paper(
    scene: tuple[np.ndarray, GlobalPrediction, Partition], padding: str, margin: int
) -> None:
    images, known, partition = scene
    settings = LCGARSettings.model_validate({"h": 5, "padding": padding})
    inputs = lcgar.LocalInputs.of(images, known, partition, settings)
    patches, logits = inputs.gather(torch.tensor([1]), torch.tensor([10]), torch.tensor([20]))
    window = np.s_[1, 10 - margin : 11 + margin, 20 - margin : 21 + margin]
    np.testing.assert_array_equal(patches[0, 0], images[:, 0][window])
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
    network = fit(images, known, partition, truth, settings)
    local = lcgar.predict(network, images, known, partition, Settings(lcgar=settings))
    assert local.labels.shape == (partition.idk.sum(),)
    np.testing.assert_allclose(local.probabilities.sum(1), 1, atol=1e-5)


def test_learns_what_only_the_patch_shows() -> None:
    """The phase is the sign of the grey value; UGSM's logits say nothing."""
    rng = np.random.default_rng(1)
    images = rng.choice([-0.5, 0.5], (3, 1, 40, 40)).astype(np.float32)
    truth = (images[:, 0] > 0).astype(np.uint8)
    flat = np.zeros((3, 40, 40), np.float32)
    known = GlobalPrediction(np.zeros_like(truth), np.zeros((3, 2, 40, 40), np.float32), flat)
    partition = Partition(np.ones(truth.shape, bool), flat)
    settings = LCGARSettings(h=5, epochs=8, batch_size=128)
    network = fit(images, known, partition, truth, settings)
    local = lcgar.predict(network, images, known, partition, Settings(lcgar=settings))
    assert (local.labels == truth[partition.idk]).mean() > 0.98


def test_learns_without_padding_and_answers_for_whole_slices() -> None:
    """The phase is the sign of a smooth grey value; UGSM's logits say nothing."""
    noise = np.random.default_rng(1).normal(size=(3, 40, 40))
    truth = (ndimage.gaussian_filter(noise, (0, 2.5, 2.5), mode="wrap") > 0).astype(np.uint8)
    flat = np.zeros(truth.shape, np.float32)
    known = GlobalPrediction(np.zeros_like(truth), np.zeros((3, 2, 40, 40), np.float32), flat)
    partition = Partition(np.ones(truth.shape, bool), flat)
    settings = LCGARSettings(
        h=5, padding="image", epochs=6, batch_size=128, pixels_per_image=300, learning_rate=4e-3
    )
    images = truth[:, None].astype(np.float32) - 0.5
    network = fit(images, known, partition, truth, settings)
    local = lcgar.predict(network, images, known, partition, Settings(lcgar=settings))
    assert (local.labels == truth[partition.idk]).mean() > 0.9


def positions(data: LocalPool, limit: int, *, everywhere: bool) -> tuple[np.ndarray, ...]:
    """Images, rows and columns of the pixels that a network is trained on."""
    pixels = lcgar.TrainingPixels.of(data, limit, 0, everywhere=everywhere)
    places = pixels.positions(np.arange(len(pixels)))
    np.testing.assert_array_equal(pixels.values(data.pool.labels)[:], data.pool.labels[places])
    return places


def test_only_known_idk_pixels_take_part(
    scene: tuple[np.ndarray, GlobalPrediction, Partition],
) -> None:
    images, known, partition = scene
    truth = known.labels.copy()
    truth[0, :20] = IGNORE_INDEX
    data = local_pool(images, truth, known, partition)
    pixels = positions(data, 0, everywhere=False)
    assert partition.idk[pixels].all()
    assert (truth[pixels] != IGNORE_INDEX).all()
    hard = partition.idk & (truth != IGNORE_INDEX)
    assert len(pixels[0]) == hard.sum()
    few = positions(data, 50, everywhere=False)
    assert np.bincount(few[0]).tolist() == [50, 50]
    assert partition.idk.any()
    every = positions(data, 0, everywhere=True)
    assert len(every[0]) == np.count_nonzero(truth != IGNORE_INDEX)
    assert (truth[every] != IGNORE_INDEX).all()


def test_pixels_on_disk_train_the_same_network(
    scene: tuple[np.ndarray, GlobalPrediction, Partition], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = LCGARSettings(h=5, epochs=1, batch_size=256)
    here = fit(*scene, scene[1].labels, settings).state_dict()
    monkeypatch.setattr(scratch, "SMALL", 0)
    there = fit(*scene, scene[1].labels, settings).state_dict()
    for name, weight in here.items():
        assert torch.equal(weight, there[name])


@pytest.mark.parametrize("slices", [1, 3])
def test_inputs_from_disk_are_those_from_memory(
    scene: tuple[np.ndarray, GlobalPrediction, Partition], slices: int
) -> None:
    _, known, partition = scene
    images = np.random.default_rng(1).uniform(-1, 1, (2, 5, 34, 40)).astype(np.float32)
    settings = LCGARSettings(h=5, slices=slices)
    data = local_pool(images, known.labels, known, partition)
    here = lcgar.LocalInputs.of(images, known, partition, settings)
    there = lcgar.LocalInputs.on_disk(data, settings)
    where = (torch.tensor([0, 1, 1]), torch.tensor([0, 33, 7]), torch.tensor([39, 0, 9]))
    for one, other in zip(here.gather(*where), there.gather(*where), strict=True):
        assert torch.equal(one, other)


def test_without_idk_pixels_there_is_nothing_to_do(
    scene: tuple[np.ndarray, GlobalPrediction, Partition],
) -> None:
    images, known, partition = scene
    none = Partition(np.zeros_like(partition.idk), partition.score)
    settings = LCGARSettings(h=5)
    network = fit(images, known, none, known.labels, settings)
    assert len(lcgar.predict(network, images, known, none, Settings(lcgar=settings)).labels) == 0


@pytest.mark.parametrize(
    ("image", "labels", "logits", "h"),
    [
        *(
            (*choice, 11)
            for choice in itertools.product([True, False], repeat=3)
            if any(choice[:2])
        ),
        *((True, True, True, h) for h in (17, 25)),
    ],
)
def test_whole_slices_answer_as_their_patches_do(
    scene: tuple[np.ndarray, GlobalPrediction, Partition],
    image: bool,
    labels: bool,
    logits: bool,
    h: int,
) -> None:
    images, known, partition = scene
    settings = LCGARSettings(h=h, padding="image", image=image, labels=labels, logits=logits)
    torch.manual_seed(h)
    network = lcgar.build(3, Settings(lcgar=settings)).eval()
    inputs = lcgar.LocalInputs.of(images, known, partition, settings)
    with torch.no_grad():
        batches = inputs.batches(np.nonzero(partition.idk), 512)
        expected = torch.cat([network(*batch).softmax(1) for batch in batches]).numpy()
    # the smaller memory holds but a few rows at once
    for memory in (10**9, 10**6):
        exact = Settings(lcgar=settings, precision="float32")
        local = lcgar.predict(network, images, known, partition, exact, memory=memory)
        np.testing.assert_allclose(local.probabilities, expected, atol=1e-5)
        np.testing.assert_array_equal(local.labels, expected.argmax(1))


def test_each_slice_is_evaluated_in_the_cheaper_way(
    scene: tuple[np.ndarray, GlobalPrediction, Partition], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, known, partition = scene
    idk = partition.idk.copy()
    idk[1] = False
    idk[1, [3, 30], [0, 39]] = True
    settings = LCGARSettings(padding="image")
    network = lcgar.build(3, Settings(lcgar=settings))
    seen: list[torch.Size] = []
    network.register_forward_hook(lambda _network, inputs, _output: seen.append(inputs[0].shape))
    both = lcgar.predict(
        network, images, known, Partition(idk, partition.score), Settings(lcgar=settings)
    )
    assert seen == [(2, 4, 23, 23)], "many pixels come from maps, two from their patches"
    for number in (0, 1):
        one = np.s_[number : number + 1]
        alone = lcgar.predict(
            network,
            images[one],
            replace(known, labels=known.labels[one], logits=known.logits[one]),
            Partition(idk[one], partition.score[one]),
            Settings(lcgar=settings),
        )
        own = both.probabilities[np.nonzero(idk)[0] == number]
        np.testing.assert_array_equal(alone.probabilities, own)
