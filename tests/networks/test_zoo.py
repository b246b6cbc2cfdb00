"""Every network of every model: sizes, storage, learning, and what is particular to each."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.learning.trainer import load_weights, save_weights
from matphase.networks import torchvision_shim
from matphase.networks.dropout import dropout_samples
from matphase.networks.fcn import bilinear
from matphase.networks.padding import Mirrored, mirrored
from matphase.networks.segnet import SegNet
from matphase.networks.zoo import (
    KINDS,
    activation_bytes,
    local_unet,
    macs,
    parameters,
    patch_classifier,
    segmenter,
)
from matphase.settings import LCGARSettings, UGSMSettings
from matphase.support.errors import InputError
from samples import striped

SEGMENTERS = ["unet", "mcd_unet", "fcn", "segnet", "deeplabv3", "manet", "unetpp"]
RESNETS = ["resnet18", "resnet34", "resnet50"]
SMALL = UGSMSettings(width=4, depth=3)


def needs(name: str) -> None:
    """Skip where the extra `baselines` is not installed."""
    if name in ("deeplabv3", "manet", "unetpp"):
        if importlib.util.find_spec("segmentation_models_pytorch") is None:
            pytest.skip("segmentation-models-pytorch is not installed")
    elif name in RESNETS and importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")


def build(name: str, in_channels: int = 1, settings: UGSMSettings = SMALL) -> nn.Module:
    needs(name)
    torch.manual_seed(0)
    if name == "local_unet":
        # of LCGAR's inputs the image alone, so that it takes what the others take
        return local_unet(3, settings, LCGARSettings(labels=False, logits=False))
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


@pytest.mark.parametrize("name", [*SEGMENTERS, "local_unet"])
def test_learns_four_slices_by_heart(name: str) -> None:
    sample = striped(4, 16, 16)
    images = torch.from_numpy(sample.images)[:, None] / 40 - 1
    labels = torch.from_numpy(sample.labels).long()
    # stripes 24 px wide: DeepLabV3 answers on a grid of 16 px and cannot draw finer ones
    images, labels = (
        part.repeat_interleave(4, -1).repeat_interleave(4, -2) for part in (images, labels)
    )
    network = build(name, settings=UGSMSettings(width=8, depth=3, dropout=0.1))
    assert learn(network, images, target=labels, steps=200, rate=0.003) > 0.9


@pytest.mark.parametrize("name", SEGMENTERS)
def test_activations_grow_with_the_area_and_cover_the_output(name: str) -> None:
    network = build(name)
    small, large = activation_bytes(network, 64, 64), activation_bytes(network, 128, 128)
    assert small > 4 * 3 * 64 * 64
    # attention over all pairs of places grows faster than the area
    assert 3.9 * small < large < 5 * small
    assert network.training
    assert next(network.parameters()).device.type == "cpu"


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
def test_patch_classifiers_learn_by_heart(name: str, h: int) -> None:
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


def test_every_kind_can_be_built() -> None:
    patch = LCGARSettings()
    for kind in KINDS.values():
        assert parameters(build(kind.network)) > 0
        if kind.local == "local_unet":
            local = local_unet(3, SMALL, patch).eval()
            # grey, three one-hot labels, three logits
            assert local(torch.rand(1, 7, 33, 47)).shape == (1, 3, 33, 47)
        elif kind.local is not None:
            needs(kind.local)
            assert parameters(patch_classifier(kind.local, 4, 3, 3, patch)) > 0


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="no network 'alexnet'; choose unet"):
        segmenter("alexnet", 1, 3, SMALL)
    with pytest.raises(InputError, match="no local network 'svm'; choose lcgar"):
        patch_classifier("svm", 1, 3, 0, LCGARSettings())


def test_macs_of_a_convolution_are_those_counted_by_hand() -> None:
    layer = nn.Conv2d(2, 5, kernel_size=3, padding=1)
    assert macs(layer, torch.rand(1, 2, 7, 6)) == 7 * 6 * 5 * 2 * 3 * 3
    assert parameters(layer) == 5 * 2 * 3 * 3 + 5
    assert layer.training


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
