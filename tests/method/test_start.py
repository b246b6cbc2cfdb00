import numpy as np
import pytest
import torch
from torch import Tensor

import matphase as mp
from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import PhaseTable
from matphase.method import model_folder, segmenters, start
from matphase.method.calibrator import Calibrator
from matphase.method.model import Model
from matphase.method.ugsm import NetworkSegmenter
from matphase.settings import Settings
from matphase.support.errors import InputError

KNOWN = PhaseTable.from_names(["pore", "carbon_binder", "active_material"])
BOTH = Settings.from_mapping(
    {"model": "unet", "data": {"scale": "both"}, "ugsm": {"width": 4, "depth": 2, "dropout": 0}}
)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a model that sees two grey scales, with random weights."""
    torch.manual_seed(1)
    segmenter = segmenters.kind(BOTH).untrained(3, BOTH)
    scale = IntensityScale(0, 1, "both")
    model = Model(BOTH, KNOWN, scale, 0, segmenter, None, Calibrator(), {"slices": 1})
    folder = tmp_path_factory.mktemp("start") / "model"
    model_folder.write(model, folder)
    return str(folder)


def logits(segmenter: NetworkSegmenter | None, images: Tensor) -> np.ndarray:
    assert segmenter is not None
    with torch.no_grad():
        found: np.ndarray = segmenter.network.eval()(images).numpy()
    return found


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 2, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.fixture(scope="module")
def expected(known: str, images: Tensor) -> np.ndarray:
    segmenter = model_folder.read(start.folder_of(known)).segmenter
    assert isinstance(segmenter, NetworkSegmenter)
    return logits(segmenter, images)


def started(known: str, names: list[str], **values: object) -> NetworkSegmenter | None:
    settings = BOTH.updated({**values}).updated({"ugsm": {"start": known}})
    return start.segmenter(settings, PhaseTable.from_names(names))


def test_phases_are_matched_by_their_usual_names(
    known: str, images: Tensor, expected: np.ndarray
) -> None:
    found = logits(started(known, ["NMC", "pore", "CBD"]), images)
    np.testing.assert_array_equal(found, expected[:, [2, 0, 1]])


@pytest.mark.parametrize(
    "names",
    [
        ["pore", "carbon", "nickel", "graphite"],
        ["pore", "nickel"],
        ["pore", "carbon", "sulphur"],
        ["pore", "nickel", "graphite"],
    ],
)
def test_other_phases_get_a_new_head(
    known: str, images: Tensor, expected: np.ndarray, names: list[str]
) -> None:
    segmenter = started(known, names)
    found = logits(segmenter, images)
    assert found.shape[1] == len(names)
    assert segmenter is not None
    settings = BOTH.updated({"ugsm": {"start": known}})
    _, note = start.resolved(settings, PhaseTable.from_names(names))
    assert note is not None
    assert f"not {', '.join(names)}, so the last layer" in note


def test_neighbouring_slices_change_nothing_at_first(
    known: str, images: Tensor, expected: np.ndarray
) -> None:
    several = torch.cat([torch.rand_like(images), images, torch.rand_like(images)], dim=1)
    segmenter = started(known, list(KNOWN.names), ugsm={"slices": 3})
    np.testing.assert_allclose(logits(segmenter, several), expected, atol=1e-6)


@pytest.mark.parametrize(("scale", "seen"), [("volume", 0), ("auto", 0), ("slice", 1)])
def test_one_grey_scale_of_two(known: str, images: Tensor, scale: str, seen: int) -> None:
    lone = torch.zeros_like(images)
    lone[:, seen] = images[:, seen]
    both = logits(started(known, list(KNOWN.names)), lone)
    one = started(known, list(KNOWN.names), data={"scale": scale})
    np.testing.assert_allclose(logits(one, images[:, seen : seen + 1]), both, atol=1e-6)


def test_two_grey_scales_in_place_of_one(model: mp.MatPhase, model_folder: str) -> None:
    lone = torch.rand(1, 1, 32, 32)
    both = torch.cat([lone, torch.rand(1, 1, 32, 32)], dim=1)
    names = list(model.phases.names)
    one = started(str(model_folder), names, data={"scale": "volume"}, ugsm={"dropout": 0.2})
    two = started(str(model_folder), names, ugsm={"dropout": 0.2})
    np.testing.assert_allclose(logits(one, lone), logits(two, both), atol=1e-6)


def test_the_network_gets_the_size_of_the_start(known: str) -> None:
    settings = Settings.preset("small").updated({"ugsm": {"start": known}})
    found, note = start.resolved(settings, KNOWN)
    assert (found.ugsm.width, found.ugsm.depth) == (4, 2)
    assert note is None
    assert found == settings.updated({"ugsm": {"width": 4, "depth": 2}})
    plain = Settings.preset("small")
    assert start.resolved(plain, KNOWN) == (plain, None)
    assert start.segmenter(plain, KNOWN) is None


@pytest.mark.parametrize("model", ["classical", "fcn"])
def test_a_model_without_a_unet_cannot_start_from_one(known: str, model: str) -> None:
    settings = BOTH.updated({"model": model, "ugsm": {"start": known}})
    with pytest.raises(InputError, match=rf"{model} has no U-Net that could start from .*start="):
        start.resolved(settings, KNOWN)


def test_a_start_without_a_unet_is_refused(tmp_path: pytest.TempPathFactory) -> None:
    settings = BOTH.updated({"model": "fcn"})
    segmenter = segmenters.kind(settings).untrained(3, settings)
    scale = IntensityScale(0, 1, "both")
    folder = tmp_path / "fcn"  # type: ignore[operator]
    model = Model(settings, KNOWN, scale, 0, segmenter, None, Calibrator(), {"slices": 1})
    model_folder.write(model, folder)
    with pytest.raises(InputError, match=r"fcn has no U-Net to start from; give start='base'"):
        start.resolved(BOTH.updated({"ugsm": {"start": str(folder)}}), KNOWN)
