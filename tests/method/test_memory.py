"""No stage reads more than a slice, or a tile, of what lies on disk at a time."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stages import PHASES

from matphase.learning.run import Run
from matphase.learning.training_pool import Pool
from matphase.method import fit, hcl, hcl_idk, ugsm
from matphase.method.fit import align_labels
from matphase.method.passes import Passes
from matphase.method.pool_predictions import predict_pool
from matphase.method.results import GlobalPrediction, GlobalStack
from matphase.method.ugsm import NetworkSegmenter, segmenter_of
from matphase.networks import registry
from matphase.settings import DataSettings, Settings
from matphase.support.scratch import DiskArray
from samples import Sample, striped

N, HEIGHT, WIDTH = 6, 40, 44


class Watched(DiskArray):
    """An array on disk that notes what is asked of it, and refuses more than an entry at once."""

    def __init__(self, array: NDArray[Any]) -> None:
        super().__init__(array.shape, array.dtype)
        super().__setitem__(..., array)
        self.reads = 0
        self._entry = math.prod(array.shape[1:])

    def __getitem__(self, key: Any) -> NDArray[Any]:
        found = super().__getitem__(key)
        assert found.size <= self._entry, f"{key} asks for more than an entry of {self.shape}"
        self.reads += 1
        return found

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise AssertionError("the whole stack was asked for")


@pytest.fixture(scope="module")
def made() -> Sample:
    return striped(N, HEIGHT, WIDTH)


@pytest.fixture
def pool(made: Sample) -> Pool:
    images = (made.images[:, None] / 50 - 1).astype(np.float32)
    return Pool(Watched(images), Watched(made.labels), np.arange(N), PHASES)


@pytest.fixture
def known(made: Sample) -> GlobalStack:
    """Predictions that are wrong in a third of the pixels."""
    rng = np.random.default_rng(0)
    said = np.where(rng.random(made.labels.shape) < 0.3, (made.labels + 1) % 3, made.labels)
    logits = np.moveaxis(3 * np.eye(3, dtype=np.float32)[said], -1, 1) + rng.normal(
        size=(N, 3, HEIGHT, WIDTH)
    ).astype(np.float32)
    entropy = rng.random(made.labels.shape).astype(np.float32)
    labels = logits.argmax(axis=1).astype(np.uint8)
    return GlobalStack(Watched(labels), Watched(logits), Watched(entropy))


def segmenter(settings: Settings) -> NetworkSegmenter:
    torch.manual_seed(0)
    network = registry.segmenter("mcd_unet", 1, 3, settings.ugsm).eval()
    return segmenter_of(network, 3, settings)


def test_a_watched_array_raises() -> None:
    """Else the tests below would test nothing."""
    watched = Watched(np.zeros((3, 4, 4), np.float32))
    assert watched[1].shape == watched[1:2][0].shape == (4, 4)
    for read in (
        lambda: watched[...],
        lambda: watched[0:2],
        lambda: watched[np.array([0, 1])],
        lambda: np.asarray(watched),
    ):
        with pytest.raises(AssertionError):
            read()


@pytest.mark.parametrize("crop", [0, 32])
def test_training_a_segmenter(pool: Pool, tiny_settings: Settings, crop: int) -> None:
    settings = tiny_settings.ugsm.model_copy(update={"epochs": 1})
    ugsm.fit(pool, settings, DataSettings(crop=crop, flips=True), Run())
    assert pool.images.reads >= N  # type: ignore[attr-defined]


def test_predicting_a_pool(pool: Pool, tiny_settings: Settings) -> None:
    model = segmenter(tiny_settings)
    whole = model.predict(np.stack(list(pool.images)))
    pool = Pool(pool.images, pool.labels, pool.source, PHASES)
    before = pool.images.reads  # type: ignore[attr-defined]
    found = predict_pool(model, pool, Passes(memory=memory_for_a_slice(model)))
    assert pool.images.reads - before == N  # type: ignore[attr-defined]
    np.testing.assert_allclose(np.stack(list(found.logits)), whole.logits, atol=1e-5)


def test_fitting_hcl_idk(pool: Pool, known: GlobalStack, tiny_settings: Settings) -> None:
    network = hcl_idk.fit(known, pool.labels, tiny_settings.idk, Run())
    hcl_idk.partition_of(network, known, tiny_settings.idk, None)
    assert known.logits.reads == 2 * N  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", ["matphase", "local_unet"])
@pytest.mark.parametrize("folds", [1, 2])
def test_fitting_the_refiner(
    pool: Pool, known: GlobalStack, tiny_settings: Settings, model: str, folds: int
) -> None:
    """How often a slice is read does not grow with the number of batches either."""
    settings = tiny_settings.updated(
        {
            "model": model,
            "ugsm": {"epochs": 1},
            "idk": {"target": "gain", "threshold": 0.3},
            "lcgar": {"h": 5, "epochs": 4, "batch_size": 64},
        }
    )
    classifier = hcl_idk.fit(known, pool.labels, settings.idk, Run())
    known.logits.reads = 0  # type: ignore[attr-defined]
    refiner = hcl.fit(pool, known, classifier, np.arange(N) * folds // N, settings, Run())
    assert refiner.deferral is not None
    # of each slice: its split, the inputs of each local network, the answers, the deferral
    assert known.logits.reads <= (4 + 2 * folds) * N  # type: ignore[attr-defined]


def memory_for_a_slice(model: NetworkSegmenter) -> int:
    """For a slice and its pass, but not for a second slice beside it."""
    return model.pass_bytes(HEIGHT, WIDTH) + 90 * HEIGHT * WIDTH


def test_aligning_labels(
    pool: Pool, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frugal(model: NetworkSegmenter, pool: Pool, passes: Passes, _: Any) -> GlobalStack:
        found = predict_pool(model, pool, replace(passes, memory=memory_for_a_slice(model)))
        parts = found.labels, found.logits, found.entropy
        return GlobalStack(*(Watched(part[...]) for part in parts))

    monkeypatch.setattr(fit, "predict_pool", frugal)
    found = align_labels(pool, segmenter(tiny_settings), tiny_settings, Run())
    assert len(found.labels) == N
    assert pool.images.reads == N  # type: ignore[attr-defined]


def test_a_prediction_is_taken_apart_slice_by_slice(known: GlobalStack) -> None:
    some = known.take(np.array([4, 1]))
    assert len(some) == 2
    one = some[0]
    assert isinstance(one, GlobalPrediction)
    np.testing.assert_array_equal(one.logits[0], known.logits[4])
    assert one.labels.shape == (1, HEIGHT, WIDTH)
