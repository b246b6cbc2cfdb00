"""Every network by its name: sizes, storage, learning, and what is particular to each."""

import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.learning.weight_files import load_weights, save_weights
from matphase.networks import registry, torchvision_shim
from matphase.networks.cost import parameters
from matphase.networks.dropout import dropout_samples
from matphase.networks.fcn import bilinear
from matphase.networks.padding import Mirrored, mirrored
from matphase.networks.registry import (
    MODELS,
    PATCH_CLASSIFIERS,
    SEGMENTERS,
    Network,
    composition,
    names,
    patch_classifier,
    segmenter,
)
from matphase.networks.segnet import SegNet
from matphase.settings import LCGARSettings, UGSMSettings
from matphase.support.errors import InputError
from samples import striped

RESNETS = ["resnet18", "resnet34", "resnet50"]
BORROWED = ("deeplabv3", "manet", "unetpp")
"""Networks of a library, which take the longest."""
SMALL = UGSMSettings(width=4, depth=3)


def needs(name: str) -> None:
    """Skip where the extra `baselines` is not installed."""
    if name in BORROWED:
        if importlib.util.find_spec("segmentation_models_pytorch") is None:
            pytest.skip("segmentation-models-pytorch is not installed")
    elif name in RESNETS and importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")


def build(name: str, in_channels: int = 1, settings: UGSMSettings = SMALL) -> nn.Module:
    needs(name)
    torch.manual_seed(0)
    return segmenter(name, in_channels, 3, settings)


def classifier(name: str, h: int, n_logits: int) -> nn.Module:
    needs(name)
    torch.manual_seed(0)
    return patch_classifier(name, 2, 3, n_logits, LCGARSettings(h=h))


def learn(network: nn.Module, *inputs: Tensor, target: Tensor, steps: int, rate: float) -> float:
    """Accuracy on its own training data after at most `steps` steps, in evaluation mode."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    accuracy = 0.0
    for step in range(1, steps + 1):
        network.train()
        optimizer.zero_grad()
        F.cross_entropy(network(*inputs), target).backward()
        optimizer.step()
        if step % 5 == 0:
            network.eval()
            with torch.no_grad():
                accuracy = (network(*inputs).argmax(1) == target).float().mean().item()
            if accuracy > 0.9:
                break
    return accuracy


@pytest.mark.parametrize("name", SEGMENTERS)
def test_any_size_and_number_of_channels(name: str) -> None:
    for in_channels, size in [(1, (45, 67)), (3, (33, 32))]:
        network = build(name, in_channels).eval()
        with torch.no_grad():
            logits = network(torch.rand(2, in_channels, *size))
        assert logits.shape == (2, 3, *size)
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", SEGMENTERS)
def test_survives_being_stored(name: str, tmp_path: Path) -> None:
    network = build(name).eval()
    image = torch.rand(1, 1, 32, 32)
    other = build(name).eval()
    with torch.no_grad():
        for weight in [*network.parameters(), *network.buffers()]:
            if weight.is_floating_point():
                weight += 0.01 * torch.rand_like(weight)
        save_weights(network, tmp_path / "network.safetensors")
        assert not torch.equal(other(image), network(image))
        load_weights(other, tmp_path / "network.safetensors")
        assert torch.equal(other(image), network(image))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in BORROWED else n for n in SEGMENTERS],
)
def test_overfits_four_slices(name: str) -> None:
    sample = striped(4, 16, 16)
    images = torch.from_numpy(sample.images)[:, None] / 40 - 1
    labels = torch.from_numpy(sample.labels).long()
    # stripes 24 px wide: DeepLabV3 answers on a grid of 16 px and cannot draw finer ones
    images, labels = (
        part.repeat_interleave(4, -1).repeat_interleave(4, -2) for part in (images, labels)
    )
    network = build(name, settings=UGSMSettings(width=8, depth=3, dropout=0.1))
    assert learn(network, images, target=labels, steps=200, rate=0.003) > 0.9


def test_only_dropout_samples_make_predictions_differ() -> None:
    image = torch.rand(1, 1, 32, 32)
    for name, differ in [("mcd_unet", True), ("unet", False)]:
        network = build(name).eval()
        with torch.no_grad():
            assert torch.equal(network(image), network(image))
            with dropout_samples(network, [1, 2]):
                first, second = network(image.repeat(2, 1, 1, 1))
        assert torch.equal(first, second) != differ


@pytest.mark.parametrize("n_logits", [0, 3])
@pytest.mark.parametrize(
    ("name", "h"), [("lcgar", 11), ("lcgar", 17), ("lcgar", 25), *((name, 11) for name in RESNETS)]
)
def test_every_weight_of_a_patch_classifier_learns(name: str, h: int, n_logits: int) -> None:
    network = classifier(name, h, n_logits).train()
    inputs = [torch.rand(2, 2, h, h), torch.randn(2, 3)][: 2 if n_logits else 1]
    output = network(*inputs)
    assert output.shape == (2, 3)
    F.cross_entropy(output, torch.tensor([0, 1])).backward()
    assert all(
        weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters()
    )


@pytest.mark.parametrize(
    ("name", "h"), [("lcgar", 11), ("lcgar", 17), ("lcgar", 25), ("resnet18", 11)]
)
def test_patch_classifiers_overfit(name: str, h: int) -> None:
    target = torch.arange(24) % 3
    patches = torch.rand(24, 2, h, h) + target[:, None, None, None]
    network = classifier(name, h, 3)
    logits = torch.randn(24, 3)
    assert learn(network, patches, logits, target=target, steps=100, rate=0.001) > 0.9


def test_patch_classifiers_see_the_logits_of_the_centre() -> None:
    network = classifier("resnet18", 11, 3).eval()
    patch = torch.rand(2, 2, 11, 11)
    assert not torch.equal(network(patch, torch.zeros(2, 3)), network(patch, torch.ones(2, 3)))


@pytest.mark.parametrize("factor", [2, 8])
def test_transposed_convolutions_begin_as_bilinear_upsampling(factor: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    maps = torch.stack([rows + 2 * columns, 5 - columns])[None]
    with torch.no_grad():
        upsampled = bilinear(2, factor)(maps)
    expected = F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
    assert upsampled.shape == expected.shape
    inside = slice(factor // 2, -(factor // 2))
    torch.testing.assert_close(upsampled[..., inside, inside], expected[..., inside, inside])


def test_segnet_puts_maxima_back_where_they_were() -> None:
    network = SegNet(1, 2, width=2)
    image = torch.tensor([[1.0, 2.0, 0.0, 9.0], [4.0, 3.0, 8.0, 7.0]])[None, None]
    back = network.unpool(*network.pool(image))
    assert back.tolist() == [[[[0.0, 0.0, 0.0, 9.0], [4.0, 0.0, 0.0, 0.0]]]]


def test_segnet_uses_the_places_of_each_level() -> None:
    network = build("segnet").eval()
    assert isinstance(network, SegNet)
    given: list[Tensor] = []
    used: list[Tensor] = []
    network.pool.register_forward_hook(lambda _layer, _inputs, output: given.append(output[1]))
    network.unpool.register_forward_hook(lambda _layer, inputs, _output: used.append(inputs[1]))
    with torch.no_grad():
        network(torch.rand(1, 1, 32, 32))
    assert len(used) == 5
    assert all(torch.equal(a, b) for a, b in zip(given, reversed(used), strict=True))


def test_segnet_has_the_weights_of_its_paper_at_width_64() -> None:
    with torch.device("meta"):
        segnet = segmenter("segnet", 3, 12, UGSMSettings(width=64))
    # the paper counts 14.7 M in the encoder, and the decoder mirrors it
    assert parameters(segnet) == pytest.approx(2 * 14.7e6, rel=0.01)


# --- names ----------------------------------------------------------------------------------------


def test_every_model_is_made_of_networks_that_there_are() -> None:
    assert names()[0] == "matphase"
    assert set(names()) == set(MODELS) >= set(SEGMENTERS)
    for made_of in MODELS.values():
        assert (made_of.segmenter is None) == (made_of.kind == "classical")
        assert made_of.segmenter in {None, *SEGMENTERS}
        assert made_of.local in {None, *SEGMENTERS, *PATCH_CLASSIFIERS}
    assert {made_of.segmenter for made_of in MODELS.values()} == {None, *SEGMENTERS}
    assert {made_of.local for made_of in MODELS.values()} >= set(PATCH_CLASSIFIERS)


@pytest.mark.parametrize(
    ("given", "meant"), [("resnet_18", "resnet18"), ("Matphase", "matphase"), ("unet++", "unet")]
)
def test_an_unknown_model_names_the_nearest(given: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"no model '{re.escape(given)}'; did you mean '{meant}'"):
        composition(given)


def test_an_unknown_model_that_is_near_to_none_lists_all() -> None:
    with pytest.raises(InputError, match="no model 'xyz'; choose one of matphase, ugsm, ") as found:
        composition("xyz")
    assert all(name in str(found.value) for name in MODELS)
    assert "did you mean" not in str(found.value)


def test_names_can_be_listed_without_torch() -> None:
    """`matphase train --help` would else take seconds."""
    code = (
        "import sys; from matphase.networks import registry; "
        "registry.composition('matphase'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_factory_names_a_function_and_its_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    module = types.ModuleType("matphase.networks.tiny")
    module.build = lambda *arguments: made.append(arguments)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "matphase.networks.tiny", module)
    Network("tiny:build").build(1, 2)
    Network("tiny:build:18").build(1, 2)
    assert made == [(1, 2), ("18", 1, 2)]


# --- what the networks are made of ----------------------------------------------------------------


def test_mirroring_only_where_it_is_needed() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    assert mirrored(image, 1) is image
    assert mirrored(image, 4)[0, 0, :, 0].tolist() == [0, 4, 8, 4]
    assert torch.equal(Mirrored(nn.Identity(), 4)(image), image)


def test_torchvision_can_be_imported_after_the_shim() -> None:
    needs("resnet18")
    needs("unetpp")
    for _ in range(3):
        torchvision_shim.make_torchvision_importable()
    assert hasattr(torch.ops.torchvision, "nms")
    importlib.import_module("segmentation_models_pytorch")
    assert "torchvision" in sys.modules


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("segmentation_models_pytorch", "torchvision"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(registry, "find_spec", lambda _: None)
    advice = r"pip install 'matphase\[baselines\]'"
    with pytest.raises(InputError, match=rf"segmentation_models_pytorch; .*{advice}"):
        segmenter("unetpp", 1, 3, SMALL)
    with pytest.raises(InputError, match=rf"torchvision; .*{advice}"):
        patch_classifier("resnet18", 1, 3, 0, LCGARSettings())


def test_does_nothing_where_torchvision_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torchvision_shim, "find_spec", {}.get)
    torchvision_shim.make_torchvision_importable()
    assert "torchvision" not in sys.modules


def test_other_failures_of_torchvision_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("operator torchvision::roi_align is broken")

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torchvision_shim, "find_spec", str)
    monkeypatch.setattr(torchvision_shim.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="roi_align"):
        torchvision_shim.make_torchvision_importable()
