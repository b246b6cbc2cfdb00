"""Blocks answer as the whole does, whatever their size, for every kind of model."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import matphase as mp
from matphase.cli.parsing import parse_memory
from matphase.images.grey_scale import IntensityScale
from matphase.images.mask import masked
from matphase.images.phases import PhaseTable
from matphase.images.tiles import Halo, Maps, Shape, Tile, tiles
from matphase.method import deferral, segmenters
from matphase.method.calibrator import Calibrator
from matphase.method.conformal import RiskGuarantee
from matphase.method.hcl import HCL
from matphase.method.model import Model
from matphase.method.scaling import Scaling
from matphase.networks import registry
from matphase.networks.unet import UNet
from matphase.prediction.blocks import Task, block_images, block_maps, blocks_of, plan, task_of
from matphase.prediction.maps import KINDS as MAP_KINDS
from matphase.prediction.maps import OUTSIDE
from matphase.settings import Settings
from matphase.support.errors import DivergedError, InputError
from samples import skip_without, striped

SHAPE = (2, 91, 101)
SMALL = {"ugsm": {"width": 3, "depth": 2, "samples": 2}, "precision": "float32"}
BLOCKS: list[Shape] = [(1, 91, 101), (2, 48, 52), (1, 91, 32)]


def model_of(**sections: Any) -> Model:
    """A model with random weights, which still says something else of every pixel."""
    settings = Settings.from_mapping(SMALL).updated(sections)
    phases = PhaseTable.from_mapping({"pore": 0, "carbon": 128, "nickel": 255})
    torch.manual_seed(3)
    made_of = registry.composition(settings.model)
    segmenter = segmenters.kind(settings).untrained(3, settings)
    for network in segmenter.networks.values():
        speaking_of_all_phases(network.eval())
    kind = settings.data.scale
    scale = IntensityScale(-10, 90, "volume" if kind == "auto" else kind)

    def made(settings: Settings, refiner: HCL | None) -> Model:
        return Model(settings, phases, scale, 0, segmenter, refiner, Calibrator(), {})

    if made_of.local is None:
        return made(settings, None)
    refiner = HCL.untrained(3, settings)
    refiner.local.eval()
    with torch.no_grad():
        # as it is, many pixels share the highest score, and few the lowest
        refiner.idk.layers[-1].weight.neg_()
    never = settings.updated({"idk": {"threshold": 1.0}})
    first = whole(made(never, replace(refiner, settings=never)))
    # a few pixels, and none so near the threshold that rounding could decide
    threshold = in_a_gap(np.sort(first["idk_score"], axis=None), 0.96, 0.98)
    tuned = settings.updated({"idk": {"threshold": threshold}})
    return made(tuned, replace(refiner, settings=tuned))


def in_a_gap(values: np.ndarray, first: float, last: float) -> float:
    """A threshold between quantiles of sorted values, as far as can be from each of them."""
    some = values[int(first * len(values)) : int(last * len(values))]
    widest = np.diff(some).argmax()
    return float(some[widest] + some[widest + 1]) / 2


def speaking_of_all_phases(network: nn.Module) -> None:
    """Centre and stretch its logits, since random weights mostly favour one phase."""
    if not isinstance(network, UNet):
        return
    with torch.no_grad():
        image = torch.from_numpy(VOLUME.to_array()[:1, None] / 50 - 1).float()
        logits = network(image.expand(-1, network.down[0][0].in_channels, -1, -1))
        spread = logits.std((0, 2, 3), correction=0)
        network.head.weight *= (2 / spread)[:, None, None, None]
        network.head.bias.copy_((network.head.bias - logits.mean((0, 2, 3))) * 2 / spread)


VOLUME = mp.Volume.from_array(striped(*SHAPE).images + np.float32([[[0]], [[7]]]))


def task(model: Model, **wanted: Any) -> Task:
    return task_of(model, VOLUME, **wanted)


def whole(model: Model, **wanted: Any) -> Maps:
    (only,) = tiles(SHAPE, SHAPE)
    return one_block(model, only, task(model, **wanted))


def one_block(model: Model, block: Tile, asked: Task) -> Maps:
    return block_maps(model, block_images(model, VOLUME, block, asked), block, asked)


def in_blocks(model: Model, blocks: list[Tile], **wanted: Any) -> Maps:
    asked = task(model, **wanted)
    maps: Maps = {}
    for block in reversed(blocks):
        for name, part in one_block(model, block, asked).items():
            assert part.shape[-3:] == block.shape
            maps.setdefault(name, np.zeros((*part.shape[:-3], *SHAPE), part.dtype))
            maps[name][..., *block.core] = part
    return maps


def cut(model: Model, block: Shape) -> list[Tile]:
    assert model.halo is not None
    return tiles(SHAPE, block, model.halo)


def assert_same(found: Maps, expected: Maps) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        if array.dtype.kind == "f":
            np.testing.assert_allclose(found[name], array, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], array, err_msg=name)


KINDS: dict[str, dict[str, Any]] = {
    "matphase": {},
    "matphase that sees the image beyond its patch": {"lcgar": {"padding": "image", "h": 7}},
    "matphase that sees neighbouring slices": {"ugsm": {"slices": 3}, "lcgar": {"slices": 3}},
    "matphase with channel dropout": {"ugsm": {"dropout_kind": "channel"}},
    "matphase on scales of slices": {"data": {"scale": "slice"}},
    "matphase on both scales": {
        "data": {"scale": "both"},
        "ugsm": {"slices": 3},
        "lcgar": {"slices": 3},
    },
    "two networks combined": {
        "model": "combined",
        "combination": {"networks": 2, "weight": 1.0},
        "ugsm": {"dropout": 0.3},
    },
    "ugsm": {"model": "ugsm"},
    "ugsm, flipped and turned": {"model": "ugsm", "ugsm": {"tta": True, "samples": 9}},
    "matphase, flipped and turned": {
        "data": {"scale": "both"},
        "ugsm": {"tta": True, "dropout_kind": "channel"},
    },
    "unet on both scales, flipped and turned": {
        "model": "unet",
        "data": {"scale": "both"},
        "ugsm": {"tta": True},
    },
    "mcd_unet": {"model": "mcd_unet"},
    "unet": {"model": "unet"},
    "local_unet": {"model": "local_unet"},
    "adapted_lcgar": {"model": "adapted_lcgar", "lcgar": {"h": 5, "padding": "image"}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_equal_the_whole(kind: str) -> None:
    model = model_of(**KINDS[kind])
    samples = 2 if model.segmenter.draws_samples else 1
    wanted = {"mutual_information": True, "keep_samples": samples > 1}
    expected = whole(model, **wanted)
    assert len(np.unique(expected["labels"])) > 1
    if model.refiner is not None:
        assert 0.01 < expected["idk"].mean() < 0.05
        assert (expected["probabilities"] != expected["global_probabilities"]).any()
    for block in BLOCKS[1:2] if "adapted" in kind else BLOCKS:
        assert_same(in_blocks(model, cut(model, block), **wanted), expected)


def test_flips_and_turns_are_those_of_the_settings_unless_asked_otherwise() -> None:
    plain, turned = (model_of(model="unet", ugsm={"tta": tta}) for tta in (False, True))
    for model, expected in ((plain, False), (turned, True)):
        assert task(model).tta is expected
        assert task(model, tta=not expected).tta is not expected
    first, second = whole(plain, tta=True), whole(turned)
    np.testing.assert_array_equal(first["probabilities"], second["probabilities"])
    assert (first["probabilities"] != whole(plain)["probabilities"]).any()


@pytest.mark.parametrize("scaling", ["temperature", "vector"])
def test_scaling_and_trust_are_those_of_the_whole(scaling: Any) -> None:
    model = model_of()
    weights, biases = {"temperature": ((0.5,) * 3, (0.0,) * 3)}.get(
        scaling, ((0.5, 2.0, 1.0), (0.1, 0.0, -0.2))
    )
    learned = Scaling(scaling, weights, biases)
    scaled = replace(model_of(), calibrator=Calibrator(learned))
    sure = np.sort(whole(scaled)["probabilities"].max(axis=0), axis=None)
    guarantee = RiskGuarantee(0.1, in_a_gap(sure, 0.4, 0.6), 1, 10, 5, 1)
    model = replace(scaled, calibrator=Calibrator(learned, guarantee))
    expected = whole(model, keep_samples=True)
    assert 0.3 < expected["trusted"].mean() < 0.7
    assert_same(in_blocks(model, cut(model, BLOCKS[1]), keep_samples=True), expected)


@pytest.mark.parametrize("fusion", ["replace", "soft"])
def test_deferral_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch, fusion: str) -> None:
    asked = model_of(aggregator={"fusion": fusion})
    torch.manual_seed(4)
    network = deferral.build(3, asked.settings.idk).eval()
    assert isinstance(asked.refiner, HCL)
    model = replace(asked, refiner=replace(asked.refiner, deferral=network))
    scores: list[np.ndarray] = []
    with monkeypatch.context() as patch:
        real = deferral.predict
        patch.setattr(deferral, "predict", lambda *some: scores.append(real(*some)) or scores[-1])
        whole(model)
    # about half of the pixels on each side, and none so near that rounding could decide
    middle = in_a_gap(np.sort(scores[0]), 0.4, 0.6)
    with torch.no_grad():
        network.layers[-1].bias -= float(np.log(middle / (1 - middle)))
    expected = whole(model, keep_samples=True)
    assert 0.3 < expected["deferred"].sum() / expected["idk"].sum() < 0.7
    for block in BLOCKS:
        assert_same(in_blocks(model, cut(model, block), keep_samples=True), expected)


def test_without_the_halo_blocks_differ() -> None:
    model = model_of()
    expected = whole(model)
    found = in_blocks(model, tiles(SHAPE, BLOCKS[1], Halo(0, 4)))
    assert np.abs(found["probabilities"] - expected["probabilities"]).max() > 1e-3


def test_the_spread_of_porosity_does_not_depend_on_the_block() -> None:
    """Masks drawn by block would average out over blocks, and error bars with them."""
    model = model_of(ugsm={"samples": 6})

    def porosity(maps: Maps) -> np.ndarray:
        return (maps["samples"] == 0).mean(axis=(1, 2, 3))

    expected = porosity(whole(model, keep_samples=True))
    assert expected.std() > 0.001
    for block in BLOCKS[1:2]:
        found = porosity(in_blocks(model, cut(model, block), keep_samples=True))
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_predicted_volume_does_not_depend_on_the_memory() -> None:
    model = mp.MatPhase(settings=Settings.from_mapping(SMALL))
    model._trained = trained = model_of(model="ugsm")
    large = model.predict(VOLUME)
    small = model.predict(VOLUME, memory=3 * 10**6)
    assert len(blocks_of(trained, VOLUME, task(trained, memory=3 * 10**6))) > 2
    np.testing.assert_array_equal(small.labels, large.labels)
    np.testing.assert_allclose(small.probabilities, large.probabilities, atol=1e-5)


# --- which blocks ---------------------------------------------------------------------------------


def test_whole_slices_several_together_where_they_fit() -> None:
    blocks = plan(model_of(), (300, 117, 131), 0, 10**9)
    assert [block.shape[0] for block in blocks] == [16] * 18 + [12]
    assert all(block.window[1:] == (slice(0, 117), slice(0, 131)) for block in blocks)


def test_slices_that_are_no_neighbours_are_refused_by_a_model_that_sees_several() -> None:
    noise = np.random.default_rng(0).uniform(0, 80, (4, 260, 260))
    with pytest.raises(InputError, match=r"do not look like the next ones .* 3 neighbours"):
        task_of(model_of(ugsm={"slices": 3}), mp.Volume.from_array(noise))
    task_of(model_of(), mp.Volume.from_array(noise))


@pytest.mark.parametrize(("slices", "blocks"), [(1, 1), (7, 7), (40, 20), (64, 16)])
def test_a_short_stack_keeps_several_workers_busy(slices: int, blocks: int) -> None:
    assert len(plan(model_of(), (slices, 117, 131), 0, 10**9)) == blocks


@pytest.mark.parametrize("memory", [4_000_000, 10**7, 10**8])
def test_blocks_take_no_more_than_the_memory(memory: int) -> None:
    model = model_of()
    blocks = plan(model, (3, 300, 420), 3, memory)
    assert sum(block.voxels for block in blocks) == 3 * 300 * 420
    for block in blocks:
        rows, columns = (part.stop - part.start for part in block.window[1:])
        needed = block.pixels_seen * model.pixel_bytes(3)
        assert needed + model.pass_bytes(rows, columns) <= memory


PEAK = """
import json
import sys
from pathlib import Path
import numpy as np
import torch
import matphase as mp
from matphase.images.grey_scale import IntensityScale
from matphase.prediction.blocks import block_images, block_maps, blocks_of, task_of
from matphase.method import ugsm
from matphase.method.calibrator import Calibrator
from matphase.method.hcl import HCL
from matphase.method.model import Model
from matphase.images.phases import PhaseTable
from matphase.settings import Settings

def memory(key):
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(dict(line.split(":", 1) for line in status)[key].split()[0])

torch.set_num_threads(1)
limit, kept = int(sys.argv[1]), int(sys.argv[2])
settings = Settings.from_mapping(
    {"ugsm": {"width": 8, "samples": 6}, "idk": {"threshold": 0.0}, "precision": "float32"}
).updated(json.loads(sys.argv[3]))
phases = PhaseTable.from_names(["pore", "carbon", "nickel"])
segmenter, refiner = ugsm.untrained(3, settings), HCL.untrained(3, settings)
segmenter.network.eval()
refiner.local.eval()
kind = "both" if settings.data.channels == 2 else "volume"
model = Model(settings, phases, IntensityScale(0, 255, kind), 0, segmenter, refiner,
              Calibrator(), {})
noise = np.random.default_rng(0).integers(0, 255, (1, 400, 400)).astype(np.uint8).repeat(4, 0)
volume = mp.Volume.from_array(noise)
small = mp.Volume.from_array(noise[:1, :40, :40])
for one, memory_limit in ((small, 10**9), (volume, limit)):
    task = task_of(model, one, memory=memory_limit, keep_samples=kept)
    block = blocks_of(model, one, task)[0]
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    block_maps(model, block_images(model, one, block, task), block, task)
print(memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="not Linux")
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("limit", [14 * 10**7, 2 * 10**8])
@pytest.mark.parametrize(
    "changed",
    [{}, {"data": {"scale": "both"}, "ugsm": {"tta": True, "slices": 7}}],
    ids=["one scale", "both scales, turned"],
)
def test_a_block_keeps_to_its_memory(limit: int, kept: bool, changed: dict[str, Any]) -> None:
    """Of the process as a whole, also where LCGAR answers for every pixel."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(limit), str(int(kept)), json.dumps(changed)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert limit / 10 < int(done.stdout) <= limit


def test_too_little_memory_says_how_much_is_enough() -> None:
    model = model_of()
    with pytest.raises(InputError, match="limit is 10kB; raise the") as caught:
        plan(model, (3, 300, 420), 0, 10_000)
    enough = parse_memory(str(caught.value).split("memory limit to ")[1])
    assert plan(model, (3, 300, 420), 0, enough)
    with pytest.raises(InputError):
        plan(model, (3, 300, 420), 0, enough * 8 // 10)


def test_a_network_that_looks_at_whole_slices_says_so() -> None:
    skip_without("segmentation_models_pytorch")
    model = model_of(model="manet")
    assert len(plan(model, (1, 64, 64), 0, 10**9)) == 1
    with pytest.raises(InputError, match=r"manet needs whole slices, and one of 64 x 64 px"):
        plan(model, (3, 64, 64), 0, 10**6)


# --- numbers that are not finite ------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("stage", ["segmenter", "refiner"])
def test_maps_that_are_not_finite_are_no_prediction(stage: str, value: float) -> None:
    model = model_of(idk={"threshold": 0.0})
    assert isinstance(model.refiner, HCL)
    network = model.segmenter.networks["ugsm"] if stage == "segmenter" else model.refiner.local
    with torch.no_grad():
        network.head.weight.fill_(value)  # type: ignore[union-attr,operator]
    (block,) = tiles(SHAPE, SHAPE)
    with pytest.raises(DivergedError, match=r"a map that is not finite \(.* of block 0\)"):
        one_block(model, block, task(model))


# --- outside of the sample ------------------------------------------------------------------------


def inside_of_each_slice() -> np.ndarray:
    """Regions that differ from slice to slice, with a corner that is outside of all."""
    rows, columns = np.mgrid[:91, :101]
    return np.stack([rows + columns < 150, (rows < 70) & (columns > 3)])


@pytest.mark.parametrize(
    "kind",
    [
        "matphase",
        "matphase that sees neighbouring slices",
        "matphase on both scales",
        "ugsm",
        "unet on both scales, flipped and turned",
    ],
)
def test_grey_values_outside_change_nothing_inside(kind: str) -> None:
    model, inside = model_of(**KINDS[kind]), inside_of_each_slice()
    wanted = {"mutual_information": True, "keep_samples": model.segmenter.draws_samples}
    (only,) = tiles(SHAPE, SHAPE)
    found = []
    for outside in (0, 1e4):
        grey = mp.Volume.from_array(np.where(inside, VOLUME.to_array(), outside))
        volume = masked(grey, inside)
        asked = task_of(model, volume, **wanted)
        found.append(block_maps(model, block_images(model, volume, only, asked), only, asked))
        maps: Maps = {}
        for block in cut(model, BLOCKS[1]):
            seen = block_images(model, volume, block, asked)
            for name, part in block_maps(model, seen, block, asked).items():
                maps.setdefault(name, np.zeros((*part.shape[:-3], *SHAPE), part.dtype))
                maps[name][..., *block.core] = part
        assert_same(maps, found[-1])
    one, other = found
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array, err_msg=name)
        expected = OUTSIDE[MAP_KINDS[name].content]
        np.testing.assert_array_equal(array[..., ~inside], expected, err_msg=name)
        if array.dtype.kind == "f":
            assert not np.isnan(array[..., inside]).any()
        elif array.dtype == np.uint8:
            assert (array[..., inside] < 3).all()


def test_a_block_that_is_wholly_outside_is_not_given_to_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of()
    region = np.zeros(SHAPE[1:], bool)
    region[:40, :40] = True
    volume = masked(VOLUME, region)
    asked = task_of(model, volume, mutual_information=True, keep_samples=True)
    blocks = cut(model, (2, 48, 52))
    first = block_maps(model, block_images(model, volume, blocks[0], asked), blocks[0], asked)
    monkeypatch.setattr(Model, "answer", None)
    last = block_maps(model, block_images(model, volume, blocks[-1], asked), blocks[-1], asked)
    assert {name: array.dtype for name, array in last.items()} == {
        name: array.dtype for name, array in first.items()
    }
    for name, array in last.items():
        assert array.shape == (*first[name].shape[:-3], *blocks[-1].shape)
        np.testing.assert_array_equal(array, OUTSIDE[MAP_KINDS[name].content])


# --- at another voxel size ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 0.5, 0.5), (0.5, 1.6, 1.3)])
@pytest.mark.parametrize(
    "kind", ["matphase", "matphase that sees neighbouring slices", "matphase, flipped and turned"]
)
def test_blocks_of_a_resampled_volume_equal_the_whole(kind: str, size: tuple[float, ...]) -> None:
    trained = model_of(**KINDS[kind])
    model = replace(trained, record={"voxel_size": {"z": 1.0, "y": 1.0, "x": 1.0, "unit": "um"}})
    inside = inside_of_each_slice()
    grey = mp.Volume.from_array(VOLUME.to_array(), voxel_size=size, unit="um")
    volume = masked(grey, inside)
    asked = task_of(model, volume, mutual_information=True, keep_samples=True, resample=True)
    assert asked.resampling is not None

    def maps_of(blocks: list[Tile]) -> Maps:
        maps: Maps = {}
        for block in blocks:
            seen = block_images(model, volume, block, asked)
            for name, part in block_maps(model, seen, block, asked).items():
                maps.setdefault(name, np.zeros((*part.shape[:-3], *SHAPE), part.dtype))
                maps[name][..., *block.core] = part
        return maps

    expected = maps_of(tiles(SHAPE, SHAPE))
    assert len(np.unique(expected["labels"][inside])) > 1
    for name, array in expected.items():
        outside = OUTSIDE[MAP_KINDS[name].content]
        np.testing.assert_array_equal(array[..., ~inside], outside, err_msg=name)
        assert array.dtype.kind != "f" or not np.isnan(array[..., inside]).any(), name
    assert_same(maps_of(tiles(SHAPE, (1, 40, 52))), expected)
    needed = 12 * 10**6
    for block in plan(model, SHAPE, 2, needed, asked.resampling):
        tile = asked.resampling.tile(block, model.halo)
        rows, columns = (part.stop - part.start for part in tile.window[1:])
        assert model.pass_bytes(rows, columns) + tile.pixels_seen * model.pixel_bytes(2) <= needed
