"""Labels find their way back to what they label, and stay where they belong already."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import softmax
from stages import pool_of

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.run import Run
from matphase.method import align as align_module
from matphase.method import scaling
from matphase.method.align import Alignment, _field_by_tiles, _warp_labels, align
from matphase.method.fit import align_labels
from matphase.method.scaling import Scaling
from matphase.method.ugsm import segmenter_of
from matphase.networks import registry
from matphase.networks.dropout import dropout_samples
from matphase.settings import AlignSettings, Settings
from matphase.support.scratch import Stack
from matphase.support.seeds import mix

ON = AlignSettings(after=0.5)


def phases(seed: int, shape: tuple[int, int] = (96, 112)) -> NDArray[np.uint8]:
    """Blobs of three phases."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 5)
    return np.digitize(field, np.quantile(field, [0.4, 0.7])).astype(np.uint8)


def seen(labels: NDArray[np.uint8], sharp: float = 0.9) -> NDArray[np.float32]:
    """What a network that sees these phases, a little blurred, would say."""
    planes = np.stack(
        [gaussian_filter((labels == phase).astype(np.float32), 1) for phase in range(3)]
    )
    return (sharp * planes + (1 - sharp) / 3).astype(np.float32)


def displaced(
    labels: NDArray[np.uint8], seed: int, length: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Labels moved by a smooth field of that RMS length, and the field."""
    rng = np.random.default_rng(seed)
    field = np.stack([gaussian_filter(rng.normal(size=labels.shape), 20) for _ in range(2)])
    field *= length / np.sqrt((field**2).sum(axis=0).mean())
    rows, columns = np.indices(labels.shape)
    rows = np.rint(rows + field[0]).astype(int).clip(0, labels.shape[0] - 1)
    columns = np.rint(columns + field[1]).astype(int).clip(0, labels.shape[1] - 1)
    return labels[rows, columns], field


def agreement(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    counted = (one != IGNORE_INDEX) & (other != IGNORE_INDEX)
    return float(np.mean((one == other)[counted]))


@pytest.mark.parametrize("length", [1.0, 2.0])
def test_displaced_labels_move_back(length: float) -> None:
    truth = phases(1)
    labels, field = displaced(truth, 2, length)
    found = align(seen(truth)[None], labels[None], ON)
    wrong = 1 - agreement(labels, truth)
    # a displacement along a boundary shows nowhere, so some of the error stays
    assert 1 - agreement(found.labels[0], truth) < 0.35 * wrong
    assert np.hypot(*found.fields[0]).mean() < 1.5 * np.hypot(*field).mean()


def test_slices_that_fit_keep_their_labels_beside_slices_that_do_not() -> None:
    truths = np.stack([phases(3), phases(8)])
    labels = truths.copy()
    labels[0, 40:44, 50:54] += 1  # a flaw, which would draw a few labels along
    labels[1], _ = displaced(truths[1], 2, 1.0)
    labels %= 3
    found = align(np.stack([seen(truth) for truth in truths]), labels, ON)
    assert np.array_equal(found.labels[0], labels[0])
    assert not found.fields[0].any()
    assert not np.array_equal(found.labels[1], labels[1])


def test_labels_that_lie_off_as_a_whole_come_back_by_the_affine_part() -> None:
    truth = phases(9)
    rows, columns = np.indices(truth.shape).astype(float)
    # 9 px down, 4 px to the left, and stretched by up to 3 px at the sides
    rows = np.rint(rows + 9 + (rows - 48) / 16).astype(int).clip(0, 95)
    columns = np.rint(columns - 4 - (columns - 56) / 19).astype(int).clip(0, 111)
    labels = truth[rows, columns]
    inside = np.s_[14:-14, 14:-14]
    errors = []
    for affine in (False, True):
        settings = ON.model_copy(update={"affine": affine})
        found = align(seen(truth)[None], labels[None], settings)
        errors.append(1 - agreement(found.labels[0][inside], truth[inside]))
    assert errors[1] < 0.03
    assert errors[1] < errors[0] / 3
    fits = align(seen(truth)[None], truth[None], ON.model_copy(update={"affine": True}))
    assert np.array_equal(fits.labels[0], truth)
    assert not fits.fields[...].any()


def test_a_network_that_knows_nothing_moves_nothing() -> None:
    labels = phases(4)
    blank = np.full((1, 3, *labels.shape), 1 / 3, np.float32)
    found = align(blank, labels[None], ON)
    assert np.array_equal(found.labels[0], labels)
    assert not found.fields[...].any()


def test_what_comes_from_outside_is_ignored_and_no_phase_is_made_up() -> None:
    truth = phases(5)
    shifted = np.roll(truth, 3, axis=1)
    found = align(seen(truth)[None], shifted[None], ON.model_copy(update={"size": 1e-5}))
    assert np.median(found.fields[0, 1]) == pytest.approx(3, abs=0.7)
    # the last columns were beyond the edge of the labels
    assert (found.labels[0][:, -1] == IGNORE_INDEX).mean() > 0.8
    assert set(np.unique(found.labels)) <= {0, 1, 2, IGNORE_INDEX}


def test_ignored_labels_take_no_part() -> None:
    truth = phases(6)
    labels, _ = displaced(truth, 7, 1.5)
    labels[:, 60:] = IGNORE_INDEX
    found = align(seen(truth)[None], labels[None], ON)
    assert (found.labels[0][:, 64:] == IGNORE_INDEX).all()
    inside = np.s_[4:-4, 4:52]
    assert agreement(found.labels[0][inside], truth[inside]) > agreement(
        labels[inside], truth[inside]
    )


def test_the_summary_says_how_far_and_what_it_changed() -> None:
    before = np.zeros((2, 4, 6), np.uint8)
    before[:, :, 3:] = 1
    after = before.copy()
    after[0, :, 3] = 0
    fields = np.zeros((2, 2, 4, 6), np.float32)
    fields[0, 0], fields[0, 1] = 3, 4
    summary = Alignment(after, fields).summary(before, ("pore", "nickel"))
    assert summary["mean_displacement_px"] == pytest.approx(2.5)
    assert summary["displacement_95_percent_px"] == pytest.approx(5)
    assert summary["labels_changed"] == pytest.approx(4 / 48)
    assert "unit" not in summary
    measured = Alignment(after, fields).summary(before, ("pore", "nickel"), (0.2, 0.1), "um")
    assert measured["mean_displacement"] == pytest.approx(np.hypot(0.6, 0.4) / 2)
    assert measured["unit"] == "um"
    assert summary["volume_fractions_before"] == {"pore": 0.5, "nickel": 0.5}
    assert summary["volume_fractions_after"]["pore"] == pytest.approx(28 / 48)


# --- large slices ---------------------------------------------------------------------------------


def test_a_large_slice_is_aligned_in_parts_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels move to the nearest pixel, so what counts is half a pixel.

    Parts have nodes of their own, and see 64 px beyond what they answer for, four times the
    distance of the nodes. Their fields differ from that of the whole by less than half a pixel in
    nearly all pixels, at the seams too; so nearly all labels are the same, and are as good.
    """
    truth = phases(1, (112, 400))
    labels, _ = displaced(truth, 3, 1.5)
    whole = _field_by_tiles(seen(truth), labels, ON)
    monkeypatch.setattr(align_module, "TILE_SIDE", 128)
    parts = _field_by_tiles(seen(truth), labels, ON)
    apart = np.hypot(*(whole - parts))
    assert 0 < apart.mean() < 0.15
    for near in (np.s_[:], np.s_[:, 118:138], np.s_[:, 246:266]):
        assert np.quantile(apart[near], 0.95) < 0.5
    middle = np.s_[:, 128:256]  # a part between others
    assert np.quantile(apart[middle], 0.99) < 0.5
    moved, expected = (_warp_labels(labels, field) for field in (parts, whole))
    assert np.mean(moved != expected) < 0.015
    assert (
        np.mean(moved != truth) < 1.1 * np.mean(expected != truth) < 0.4 * np.mean(labels != truth)
    )


def test_a_large_slice_has_one_affine_part(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = phases(9, (112, 400))
    labels = np.full_like(truth, 255)
    labels[9:] = truth[:-9]  # moved down by 9 px
    labels[:, 70:330] = 255  # so that one of three tiles knows no label
    monkeypatch.setattr(align_module, "TILE_SIDE", 134)
    field = _field_by_tiles(seen(truth), labels, ON.model_copy(update={"affine": True}))
    assert np.median(field[0], axis=0)[200] == pytest.approx(9, abs=1.5)
    assert np.abs(np.diff(field[0], axis=1)).max() < 3


# --- what the network says ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mcd_unet", "ugsm"])
def test_labels_move_to_what_the_model_predicts(
    name: str, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `mcd_unet` that is the mean softmax of the samples, not the softmax of the mean."""
    settings = tiny_settings.updated(
        {"model": name, "precision": "float32", "ugsm": {"dropout": 0.5}}
    )
    torch.manual_seed(0)
    network = registry.segmenter("mcd_unet", 1, 3, settings.ugsm).eval()
    # sure answers, which dropout changes: then both means differ
    network.head.weight.data *= 300
    network.head.bias.data.zero_()
    images = np.random.default_rng(0).uniform(-1, 1, (2, 1, 40, 44)).astype(np.float32)
    pool = pool_of(images, np.stack([phases(1, (40, 44)), phases(2, (40, 44))]))
    passes = []
    for number in range(3):  # as many as the settings say
        with torch.no_grad(), dropout_samples(network, [mix(0, "sample", number)]):
            passes.append(network(torch.from_numpy(images)).numpy())
    of_softmax = softmax(np.stack(passes), axis=2).mean(axis=0)
    of_logits = softmax(np.mean(passes, axis=0), axis=1)
    assert np.abs(of_softmax - of_logits).max() > 0.05
    shown: list[NDArray[np.float32]] = []

    def noting(probabilities: Iterator[NDArray[np.float32]], labels: Stack, *_: Any) -> Alignment:
        shown.extend(probabilities)
        return Alignment(labels, np.zeros((2, 2, 40, 44), np.float32))

    monkeypatch.setattr(align_module, "align", noting)
    # the scaling to the labels comes behind the mean, and is left out here
    as_it_is = Scaling("vector", (1.0,) * 3, (0.0,) * 3)
    monkeypatch.setattr(scaling, "fit", lambda *_: as_it_is)
    align_labels(pool, segmenter_of(network, 3, settings), settings, Run())
    expected, other = (of_softmax, of_logits) if name == "mcd_unet" else (of_logits, of_softmax)
    np.testing.assert_allclose(shown, expected, atol=1e-4)
    assert np.abs(shown - other).max() > 0.05
