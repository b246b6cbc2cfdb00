"""What every model keeps to, whatever it is made of; and that a new one is a file and a line."""

import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import matphase as mp
from matphase.images.tiles import Halo, tiles
from matphase.method.model import Model
from matphase.networks import registry
from matphase.networks.registry import Composition, Network
from matphase.settings import Settings
from samples import skip_without, striped

NAMES = ["pore", "carbon", "nickel"]
LEAST = {
    "ugsm": {"width": 2, "depth": 1, "epochs": 1, "samples": 2, "batch_size": 2, "max_steps": 2},
    "idk": {"pixels_per_image": 40, "batch_size": 40},
    "lcgar": {"h": 5, "pixels_per_image": 40, "batch_size": 40},
    "classical": {"trees": 3, "depth": 4},
    "precision": "float32",
}
MADE = striped(2, 35, 41)


def trained(name: str, base: Settings, seed: int = 0) -> mp.MatPhase:
    model = mp.MatPhase(settings=base.updated(LEAST | {"model": name}), seed=seed)
    return model.fit(MADE.images, MADE.labels, NAMES)


def image(model: Model, width: int) -> NDArray[np.float32]:
    """One slice of odd sides, (1, 1, 33, width)."""
    plane = striped(1, 33, width, seed=7).images[0]
    return model.scale.apply(plane)[np.newaxis, np.newaxis]


def weights(model: Model) -> dict[str, NDArray[np.float32]]:
    return {
        f"{part}.{name}": weight.numpy()
        for part, network in model.networks.items()
        for name, weight in network.state_dict().items()
    }


def check_shapes(maps: dict[str, NDArray[np.float32]], name: str, width: int) -> None:
    shape = (1, 33, width)
    for part in ("labels", "entropy", "idk", "idk_score", "global_labels"):
        assert maps[part].shape == shape, part
    assert maps["probabilities"].shape == (3, *shape)
    assert np.isfinite(maps["probabilities"]).all()
    np.testing.assert_allclose(maps["probabilities"].sum(axis=0), 1, atol=1e-4)
    np.testing.assert_array_equal(maps["labels"], maps["probabilities"].argmax(axis=0))
    made_of = registry.MODELS[name]
    if made_of.local is None:
        assert not maps["idk"].any()
        np.testing.assert_array_equal(maps["labels"], maps["global_labels"])
    elif not made_of.everywhere:
        outside = ~maps["idk"]
        np.testing.assert_array_equal(maps["labels"][outside], maps["global_labels"][outside])


def check_tiles(
    model: Model, images: NDArray[np.float32], whole: dict[str, NDArray[np.float32]]
) -> None:
    """Tiles give what the whole slice gives, as far as float32 goes."""
    halo = model.halo
    if halo.radius is None:
        assert model.segmenter.reach is None
        return
    height, width = images.shape[-2:]
    cut = tiles(
        (1, height, width),
        (1, height, halo.multiple),
        Halo(halo.radius, halo.multiple, halo.slices),
    )
    assert len(cut) > 2
    assert any(tile.window[2] != slice(0, width) for tile in cut), "else there is nothing to test"
    for tile in (cut[0], cut[len(cut) // 2], cut[-1]):
        part = model.answer(images[:, :, *tile.window[1:]], origin=tile.origin, inner=tile.inner)
        for name in ("probabilities", "global_probabilities", "entropy", "idk_score"):
            here = whole[name][..., *tile.core[1:]]
            np.testing.assert_allclose(part[name], here, atol=2e-5, err_msg=name)


DEEPER = ("resnet34", "resnet50")
"""Models that differ from resnet18 in depth alone, and take the longest."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in DEEPER else n for n in registry.MODELS],
)
def test_every_model(name: str, tiny_settings: Settings, tmp_path: Path) -> None:
    made_of = registry.MODELS[name]
    for part in made_of.networks:
        if part.package is not None:
            skip_without(part.package)
    first = trained(name, tiny_settings)
    again = trained(name, tiny_settings)
    model = first._model
    for key, weight in weights(model).items():
        np.testing.assert_array_equal(weight, weights(again._model)[key], err_msg=key)

    reach = model.halo
    width = 37 if reach.radius is None else reach.radius + 3 * reach.multiple + 5 | 1
    images = image(model, width)
    whole = model.answer(images)
    check_shapes(whole, name, width)
    check_tiles(model, images, whole)

    first.save(tmp_path / "model")
    loaded = mp.load(tmp_path / "model")._model
    before, after = (each.segmenter.predict(images) for each in (model, loaded))
    np.testing.assert_array_equal(before.logits, after.logits)
    inner = slice(0, 33), slice(0, 7)
    expected = model.answer(images, inner=inner)
    for key, found in loaded.answer(images, inner=inner).items():
        np.testing.assert_array_equal(found, expected[key], err_msg=key)


def test_another_seed_is_another_model(tiny_settings: Settings) -> None:
    one, other = (weights(trained("matphase", tiny_settings, seed)._model) for seed in (0, 1))
    assert any(not np.array_equal(one[key], other[key]) for key in one)


# --- a new network --------------------------------------------------------------------------------


class Pixels(nn.Module):
    """Two layers; it says neither how far it looks nor what it costs."""

    def __init__(self, in_channels: int, n_phases: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, n_phases, 1)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images)
        return logits


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> str:
    """The file, and the line."""
    file = types.ModuleType("matphase.networks.pixels")
    file.build = lambda channels, phases, settings: Pixels(channels, phases, settings.width)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "matphase.networks.pixels", file)
    monkeypatch.setitem(registry.SEGMENTERS, "pixels", Network("pixels:build"))
    # every line of SEGMENTERS is a model of its own; here the table was made already
    monkeypatch.setitem(registry.MODELS, "pixels", Composition("pixels"))
    return "pixels"


def test_a_new_network_trains_predicts_and_is_stored(
    registered: str, tiny_settings: Settings, tmp_path: Path
) -> None:
    model = mp.MatPhase(
        settings=tiny_settings.updated({"model": registered, "ugsm": {"epochs": 20}})
    ).fit(MADE.images, MADE.labels, NAMES)
    assert isinstance(model._model.networks["ugsm"], Pixels)
    result = model.predict(MADE.images)
    assert np.mean(result.labels == MADE.labels) > 0.6
    model.save(tmp_path / "model")
    again = mp.load(tmp_path / "model").predict(MADE.images)
    np.testing.assert_array_equal(again.probabilities, result.probabilities)


def test_a_new_local_network_needs_no_more(
    registered: str, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(registry.MODELS, "local_pixels", Composition("mcd_unet", registered))
    settings = tiny_settings.updated({"model": "local_pixels", "idk": {"threshold": 0.3}})
    model = mp.MatPhase(settings=settings).fit(MADE.images, MADE.labels, NAMES)
    assert isinstance(model._model.networks["lcgar"], Pixels)
    result = model.predict(MADE.images)
    assert result.idk.any()
    model.save(tmp_path / "model")
    again = mp.load(tmp_path / "model").predict(MADE.images)
    np.testing.assert_array_equal(again.probabilities, result.probabilities)
    # it does not say how far it looks, so that it gets whole slices
    assert model._model.halo.radius is None


def test_a_refiner_sits_behind_any_network(
    registered: str, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """HCL knows nothing of the network before it."""
    monkeypatch.setitem(registry.MODELS, "refined", Composition(registered, local="lcgar"))
    model = trained("refined", tiny_settings)
    assert set(model._model.networks) == {"ugsm", "idk", "lcgar"}
    assert model._model.halo.radius is None
    model.save(tmp_path / "model")
    images = image(model._model, 37)
    whole = model._model.answer(images)
    check_shapes(whole, "refined", 37)
    loaded = mp.load(tmp_path / "model")._model
    np.testing.assert_array_equal(loaded.answer(images)["probabilities"], whole["probabilities"])


def test_a_model_without_refiner_is_its_segmenter(model: mp.MatPhase) -> None:
    """The parts are exchangeable: without its refiner a model answers as UGSM does."""
    whole = model._model
    images = image(whole, 37)
    bare = replace(whole, refiner=None).answer(images)
    np.testing.assert_array_equal(bare["labels"], whole.answer(images)["global_labels"])
    assert not bare["idk"].any()
