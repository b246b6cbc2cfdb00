"""Networks and classical features that answer as one."""

import numpy as np
import pytest

import matphase as mp
from matphase.method.combined import CombinedSegmenter
from matphase.method.ugsm import NetworkSegmenter
from matphase.settings import Settings
from samples import striped

SETTINGS = Settings.from_mapping(
    {
        "model": "combined",
        "data": {"copies": 1, "smooth_labels": False, "crop": 32, "scale": "both"},
        "ugsm": {"width": 2, "depth": 1, "epochs": 1, "batch_size": 4, "samples": 1, "dropout": 0},
        "classical": {"trees": 3, "depth": 3, "pixels": 300},
        "combination": {"networks": 2, "own_scale": True},
        "precision": "float32",
    }
)


@pytest.fixture(scope="module")
def fitted() -> CombinedSegmenter:
    made = striped(2, 48, 48)
    model = mp.MatPhase(settings=SETTINGS).fit(made.images, made.labels, ["pore", "cbd", "nmc"])
    segmenter = model._model.segmenter
    assert isinstance(segmenter, CombinedSegmenter)
    return segmenter


def test_every_other_network_sees_the_slices_own_scale_alone(fitted: CombinedSegmenter) -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (1, 2, 32, 32)).astype(np.float32)
    other_volume, other_slice = images.copy(), images.copy()
    other_volume[:, 0] = rng.uniform(-1, 1, (32, 32))
    other_slice[:, 1] = rng.uniform(-1, 1, (32, 32))
    first, second = fitted.members[:2]
    assert isinstance(first, NetworkSegmenter)
    assert isinstance(second, NetworkSegmenter)
    answers = [
        [member.predict(seen).logits for seen in (images, other_volume, other_slice)]
        for member in (first, second)
    ]
    assert np.array_equal(answers[1][0], answers[1][1])
    for one, other in ((0, 1), (0, 2)):
        assert not np.array_equal(answers[0][one], answers[0][other])
    assert not np.array_equal(answers[1][0], answers[1][2])


def test_members_share_the_weight(fitted: CombinedSegmenter) -> None:
    assert fitted.weights == (0.25, 0.25, 0.5)
    images = np.random.default_rng(1).uniform(-1, 1, (1, 2, 32, 32)).astype(np.float32)
    expected = sum(
        weight * member.predict(images).probabilities
        for weight, member in zip(fitted.weights, fitted.members, strict=True)
    )
    np.testing.assert_allclose(fitted.predict(images).probabilities, expected, atol=1e-6)
