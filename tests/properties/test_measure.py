"""`mp.measure` as a user calls it: what comes out, with which errors, and what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray
import zarr

import matphase as mp
from matphase.images.volume import Volume
from matphase.prediction.prediction import Prediction
from matphase.properties import front, labelled, transport
from matphase.properties.catalogue import Key
from matphase.properties.interfaces import boundary_lengths
from matphase.scores.validation import Validation
from matphase.support.errors import InputError

PHASES = ["pore", "carbon", "nickel"]


def electrode(shape: tuple[int, ...] = (24, 32, 40), seed: int = 0) -> np.ndarray:
    """Random blobs of three phases, a few voxels wide, all of which percolate or nearly so."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2, mode="wrap")
    return np.digitize(field, np.quantile(field, [0.45, 0.6])).astype(np.uint8)


def keys(found: mp.Measurements) -> set[str]:
    return {one.key.name for one in found}


def test_everything_of_a_volume_has_a_value_a_unit_and_a_method() -> None:
    found = mp.measure(electrode(), PHASES, voxel_size=0.5, unit="um")
    for one in found:
        # in so small a volume every particle touches the border, and none is seen whole
        of_whole_particles = one.key.name in ("particle_median_diameter", "dispersion_index")
        assert math.isnan(one.value) == of_whole_particles, one.key
        assert one.unit
        assert one.method
    assert {"porosity", "coverage", "tortuosity_factor", "dispersion_index"} <= keys(found)
    assert found["porosity"].value == pytest.approx(0.45, abs=0.01)
    assert found["specific_surface_area", "pore"].unit == "1/um"
    # no samples: the segmentation's error is not known, the finite volume's is
    assert found["porosity"].segmentation is None
    assert found["porosity"].sampling is not None
    assert set(found["porosity"].sampling_by) == {"correlation", "bootstrap"}
    json.dumps(found.to_json(), allow_nan=False)


def test_areas_of_the_pairs_add_up_to_the_surfaces() -> None:
    found = mp.measure(electrode(), PHASES, groups=["interfaces"])
    pairs = {one.key.of: one.value for one in found if one.key.name == "interface_area"}
    for name in PHASES:
        own = sum(value for pair, value in pairs.items() if name in pair.split("|"))
        assert found["specific_surface_area", name].value == pytest.approx(own)
    covered = pairs["carbon|nickel"] / found["specific_surface_area", "nickel"].value
    assert found["coverage", "nickel|carbon"].value == pytest.approx(covered)


def test_a_longer_unit_gives_smaller_areas_and_the_same_fractions() -> None:
    one, other = (
        mp.measure(
            electrode(), PHASES, voxel_size=size, unit=unit, groups=["fractions", "interfaces"]
        )
        for size, unit in ((500, "nm"), (0.5, "um"))
    )
    assert one["porosity"].value == other["porosity"].value
    area = Key("interface_area", "pore|carbon")
    assert other[area].value == pytest.approx(1000 * one[area].value)
    assert other[area].sampling == pytest.approx(1000 * (one[area].sampling or 0))


def test_without_a_voxel_size_lengths_are_in_voxels_and_a_note_says_so() -> None:
    found = mp.measure(electrode(), PHASES, groups=["fractions", "sizes"])
    assert found["mean_diameter", "pore"].unit == "px"
    assert any("voxel size" in note for note in found.notes)


def test_the_voxel_size_of_an_unknown_slice_distance_counts_as_none() -> None:
    volume = Volume.from_array(electrode(), voxel_size=(None, 0.5, 0.5), unit="um")
    found = mp.measure(volume, PHASES, groups=["interfaces"])
    assert found["specific_surface_area", "pore"].unit == "1/px"


def test_a_slice_has_the_measures_of_a_plane() -> None:
    found = mp.measure(electrode((64, 72)), PHASES, voxel_size=0.5, unit="um")
    assert {"boundary_length", "surface_area_from_plane", "triple_points"} <= keys(found)
    assert not {"interface_area", "triple_phase_boundary"} & keys(found)
    assert {one.key.axis for one in found} == {"", "y", "x"}


def test_a_volume_one_voxel_thick_is_measured_as_the_slice_that_it_is() -> None:
    plane = electrode((64, 72))
    thick = mp.measure(plane[None], PHASES, voxel_size=0.5, unit="um")
    assert any("one voxel thick" in note for note in thick.notes)
    flat = mp.measure(plane, PHASES, voxel_size=0.5, unit="um")
    assert [(one.key, one.value) for one in thick] == [(one.key, one.value) for one in flat]


@pytest.mark.parametrize("voxel_size", [1e-9, 1e9, (1e4, 1, 1), (1e9, 1e5, 1e9)])
@pytest.mark.filterwarnings("error")
def test_lengths_at_the_limits_give_numbers(voxel_size: Any) -> None:
    labels = electrode((16, 20, 24))
    expected = mp.measure(labels, PHASES, groups=["fractions", "connectivity"])
    found = mp.measure(labels, PHASES, voxel_size=voxel_size, unit="um")
    for one in found:
        if one.key.name not in ("particle_median_diameter", "dispersion_index"):
            assert 0 <= one.value < math.inf, one.key
    assert [found[one.key].value for one in expected] == [one.value for one in expected]


def test_many_phases_say_what_is_left_out() -> None:
    labels = np.random.default_rng(0).integers(0, 200, (8, 24, 24)).astype(np.uint8)
    names = [f"grain {number}" for number in range(200)]
    found = mp.measure(labels, names)
    assert keys(found) == {"volume_fraction"}
    assert any("transport, sizes, correlation, chords take long" in note for note in found.notes)
    asked = mp.measure(labels, names, groups="interfaces")
    assert asked["interface_area", "grain 3|grain 4"].value > 0
    assert any("no sampling errors" in note for note in asked.notes)


def test_phases_that_are_absent_change_nothing_for_the_others() -> None:
    names = [*PHASES, *(f"absent {number}" for number in range(190))]
    with_them, without = (mp.measure(electrode((12, 20, 24)), given) for given in (names, PHASES))
    for one in without:
        other = with_them[one.key]
        assert (other.value, other.sampling) == pytest.approx(
            (one.value, one.sampling), nan_ok=True
        ), one.key
    for one in with_them:
        if one.key not in {other.key for other in without} and "absent" in one.key.of:
            none = 0 if one.key.name in ("volume_fraction", "interface_area") else math.nan
            if one.key.name != "specific_surface_area":
                assert one.value == pytest.approx(none, nan_ok=True), one.key


def test_an_absent_phase_is_no_reason_to_fail() -> None:
    labels = np.where(electrode() == 1, 0, electrode()).astype(np.uint8)
    found = mp.measure(labels, PHASES)
    assert found["volume_fraction", "carbon"].value == 0
    assert found["specific_surface_area", "carbon"].value == 0
    assert found["interface_area", "pore|carbon"].value == 0
    assert math.isnan(found["mean_diameter", "carbon"].value)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_phase_that_reaches_no_end_has_an_infinite_tortuosity() -> None:
    labels = electrode()
    labels[12] = 2
    found = mp.measure(labels, PHASES, groups=["transport"], axis=["z"])
    assert found["tortuosity_factor", "pore", "z"].value == math.inf
    assert found["effective_diffusivity", "pore", "z"].value == 0
    assert found["tortuosity_factor", "pore", "z"].interval() is None


def test_phases_that_conduct_together_conduct_more_than_the_better_one_alone() -> None:
    def of(**conductivities: float) -> float:
        found = mp.measure(
            electrode(), PHASES, groups=["transport"], axis=["x"], conductivities=conductivities
        )
        names = "|".join(conductivities)
        return found["effective_conductivity", names, "x"].value

    assert of(carbon=1, nickel=0.1) > of(nickel=0.1) > 0


def test_slabs_give_what_the_whole_volume_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = ["fractions", "interfaces", "connectivity", "correlation"]
    whole = mp.measure(electrode(), PHASES, groups=groups)
    monkeypatch.setattr(labelled, "SLAB_VOXELS", 5 * 32 * 40)
    cut = mp.measure(electrode(), PHASES, groups=groups)
    assert [(one.key, one.value) for one in cut] == [(one.key, one.value) for one in whole]
    # the errors come from the same blocks, too
    for one, other in zip(cut, whole, strict=True):
        assert one.sampling == pytest.approx(other.sampling)


def test_what_does_not_fit_into_memory_is_left_out_with_a_note() -> None:
    found = mp.measure(electrode(), PHASES, memory=10**6)
    assert {"porosity", "specific_surface_area", "mean_diameter"} <= keys(found)
    assert "tortuosity_factor" not in keys(found)
    assert any(note.startswith("transport needs") for note in found.notes)


def test_the_default_limit_is_a_share_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "free_memory_bytes", lambda: 10**9)
    assert "tortuosity_factor" in keys(mp.measure(electrode(), PHASES, groups="transport"))
    monkeypatch.setattr(front, "free_memory_bytes", lambda: 10**6)
    with pytest.raises(InputError, match=r"transport needs \S+MB .* limit of 800kB"):
        mp.measure(electrode(), PHASES, groups="transport")


def test_transport_is_left_out_by_what_flows_and_not_by_what_there_is() -> None:
    labels = np.ones((40, 40, 40), np.uint8)
    labels[:, :3, :3] = 0  # a channel along z
    labels[:, 10:, 1:-1] = 0  # most of the pores, which reach no end but those along z and y
    limit = transport.memory_needed(labels.size, 40 * 9, (1.0, 1.0, 1.0))
    labels[::2, 10:] = 1  # now they reach the end of y alone
    along_z = mp.measure(labels, ["pore", "solid"], groups="transport", axis="z", memory=limit)
    assert math.isfinite(along_z["tortuosity_factor", "pore", "z"].value)
    labels[:, 10:, 1:-1] = 0
    with pytest.raises(InputError, match="transport needs"):
        mp.measure(labels, ["pore", "solid"], groups="transport", axis="z", memory=limit)


def test_the_spread_of_samples_is_the_error_of_segmentation(
    model: mp.MatPhase, sample: Any
) -> None:
    result = model.predict(sample.images, keep_samples=True)
    assert result.samples is not None
    assert result.samples.shape == (3, *sample.images.shape)
    found = mp.measure(result, groups=["fractions"])
    shares = [np.mean(one == 0) for one in result.samples]
    assert found["porosity"].segmentation == pytest.approx(np.std(shares, ddof=1))
    assert found.about["samples"] == 3
    # without samples that error is not known, and nothing else changes
    without = mp.measure(model.predict(sample.images), groups=["fractions"])
    assert without["porosity"].segmentation is None
    assert without["porosity"].value == found["porosity"].value


def predicted(
    result: Prediction, labels: np.ndarray | None = None, validation: Validation | None = None
) -> Prediction:
    """The prediction with other labels, or another validation."""
    maps = {"labels": np.asarray(result.indices) if labels is None else labels.astype(np.uint8)}
    return Prediction(maps, result.phases, result.volume, validation=validation)


def test_validation_slices_correct_fractions_and_areas(model: mp.MatPhase, sample: Any) -> None:
    result = model.predict(sample.images)
    exact = model.phases.encode(sample.labels)
    wrong = np.where((exact == 1) & (np.arange(exact.shape[2]) % 3 == 0), 0, exact)
    validation = Validation.of(exact, wrong.astype(np.uint8), 3, boundary_lengths)
    better = mp.measure(
        predicted(result, wrong, validation=validation), groups=["fractions", "interfaces"]
    )
    share = better["volume_fraction", "carbon"]
    assert share.measured == pytest.approx(np.mean(wrong == 1))
    assert share.value == pytest.approx(np.mean(exact == 1))
    assert better["porosity"].value == better["volume_fraction", "pore"].value
    assert share.segmentation is not None
    # the stripes make boundaries that are not there: their area shrinks, and all still add up
    pairs = [one for one in better if one.key.name == "interface_area"]
    assert all(one.value < one.measured for one in pairs if one.key.of == "pore|carbon")
    own = sum(one.value for one in pairs if "carbon" in one.key.of)
    assert better["specific_surface_area", "carbon"].value == pytest.approx(own)
    covered = better["interface_area", "carbon|nickel"].value
    surface = better["specific_surface_area", "nickel"].value
    assert better["coverage", "nickel|carbon"].value == pytest.approx(covered / surface)


def test_one_validation_slice_corrects_nothing_and_a_note_says_so(
    model: mp.MatPhase, sample: Any
) -> None:
    result = model.predict(sample.images)
    exact = model.phases.encode(sample.labels)
    wrong = np.where(exact == 1, 0, exact).astype(np.uint8)
    validation = Validation.of(exact[:1], wrong[:1], 3, boundary_lengths)
    found = mp.measure(predicted(result, validation=validation), groups=["fractions"])
    assert all(one.value == one.measured for one in found)
    assert any("the model has 1" in note for note in found.notes)


def test_a_property_that_one_sample_lacks_has_no_bounds(model: mp.MatPhase, sample: Any) -> None:
    labels = electrode()
    blocked = labels.copy()
    blocked[12] = 2
    maps = {"labels": labels, "samples": np.stack([labels, labels, blocked])}
    result = Prediction(maps, model.phases, Volume.from_array(labels))
    tau = mp.measure(result, groups=["transport"], axis=["z"])["tortuosity_factor", "pore", "z"]
    assert tau.segmentation == math.inf
    assert tau.interval() == (0, math.inf)


BOX = (slice(None), slice(3, 30), slice(5, 37))


def boxed(shape: tuple[int, ...]) -> np.ndarray:
    """A mask that is true in `BOX`."""
    mask = np.zeros(shape, bool)
    mask[BOX] = True
    return mask


def test_a_box_as_a_mask_and_as_a_crop_give_the_same() -> None:
    labels = electrode()
    outside = ~boxed(labels.shape)
    labels[outside] = 77  # of no phase, and never looked at
    options: dict[str, Any] = {"voxel_size": 0.5, "unit": "um", "conductivities": {"carbon": 1}}
    masked = mp.measure(labels, PHASES, mask=boxed(labels.shape), **options)
    cropped = mp.measure(labels, PHASES, crop=BOX, **options)
    ignored = mp.measure(
        labels, {"pore": 0, "carbon": 1, "nickel": 2, "ignore": [77, 78]}, **options
    )
    flowing = ("tortuosity_factor", "effective_", "percolating_share")
    for one in cropped:
        for other in (masked[one.key], ignored[one.key]):
            if one.key.name.startswith(flowing) and one.key.axis != "z":
                assert math.isnan(other.value), one.key
                assert other.interval() is None
            else:
                assert other.value == pytest.approx(one.value, rel=1e-4, nan_ok=True), one.key
            assert other.needed is None or one.needed is None or one.needed < 10 * other.needed
    for one in (masked, ignored):
        assert one.about["counted_voxels"] == cropped.about["counted_voxels"] == 24 * 27 * 32
        assert sum("y, x is not a number" in note for note in one.notes) == 2
        json.dumps(one.to_json(), allow_nan=False)
    assert not any("not a number" in note for note in cropped.notes)
    assert (cropped.about["crop"], cropped.about["shape"]) == (
        [[0, 24], [3, 30], [5, 37]],
        [24, 27, 32],
    )


def test_a_round_field_of_view_is_a_word() -> None:
    labels = np.zeros((6, 40, 40), np.uint8)
    y, x = np.indices((40, 40)) - 19.5
    labels[:, y**2 + x**2 > 20**2] = 1  # outside, all of it
    found = mp.measure(labels, ["pore", "solid"], mask="circle", groups=["fractions", "transport"])
    assert found.porosity.value == 1
    tau = found["tortuosity_factor"]
    assert tau["z"].value == pytest.approx(1, abs=1e-9)
    assert math.isnan(tau["y"].value)
    assert math.isnan(tau["x"].value)
    assert found.about["mask"] == "mask 'circle'"


def test_a_mask_has_the_shape_of_the_labels_before_a_crop() -> None:
    labels = electrode()
    mask = np.random.default_rng(0).random(labels.shape) > 0.3
    crop = np.s_[3:20, 1:, :-2]
    found = mp.measure(labels, PHASES, mask=mask, crop=crop, groups="fractions")
    assert found.porosity.value == np.mean(labels[crop][mask[crop]] == 0)


def test_mask_and_crop_in_a_slice() -> None:
    plane = electrode((64, 72))
    found = mp.measure(
        plane, PHASES, mask="circle", crop=[(None, 40), (10, None)], groups=["fractions"]
    )
    y, x = np.indices(plane.shape) - np.array([31.5, 35.5])[:, None, None]
    inside = y**2 + x**2 <= 32**2
    assert found.porosity.value == np.mean(plane[:40, 10:][inside[:40, 10:]] == 0)
    thick = mp.measure(plane[None], PHASES, mask="circle", groups=["fractions"])
    assert thick.porosity.value == np.mean(plane[inside] == 0)


def test_labels_that_are_not_numbers_are_ignored() -> None:
    labels = electrode().astype(np.float32)
    labels[:, :5] = np.nan
    found = mp.measure(labels, PHASES, groups="fractions")
    assert found.porosity.value == np.mean(labels[:, 5:] == 0)


def test_slabs_in_a_mask_give_what_the_whole_volume_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {
        "groups": ["fractions", "interfaces", "connectivity", "correlation"],
        "mask": boxed((24, 32, 40)),
        "crop": np.s_[2:, :, :],
    }
    whole = mp.measure(electrode(), PHASES, **options)
    monkeypatch.setattr(labelled, "SLAB_VOXELS", 5 * 32 * 40)
    cut = mp.measure(electrode(), PHASES, **options)
    assert [one.key for one in cut] == [one.key for one in whole]
    np.testing.assert_array_equal([one.value for one in cut], [one.value for one in whole])
    assert cut.notes == whole.notes


def test_samples_of_a_prediction_are_measured_in_the_same_region() -> None:
    labels = np.stack([electrode(seed=seed) for seed in range(3)])
    maps = {"labels": labels[0], "samples": labels}
    result = Prediction(maps, mp.PhaseTable.from_names(PHASES), Volume.from_array(labels[0]))
    found = mp.measure(
        result, mask=boxed(labels[0].shape), crop=np.s_[4:, :, :], groups="fractions"
    )
    shares = [np.mean(one[4:, 3:30, 5:37] == 0) for one in labels]
    assert found.porosity.segmentation == pytest.approx(np.std(shares, ddof=1))


def test_what_was_not_predicted_is_not_measured(
    model: mp.MatPhase, sample: Any, tmp_path: Path
) -> None:
    result = model.predict(sample.images, mask="circle", keep_samples=True)
    result.save(tmp_path / "out.tif")
    inside = np.asarray(result.indices) != 255
    for source in (result, tmp_path / "out.tif"):
        found = mp.measure(source, groups=["fractions", "transport"], axis="zx")
        assert found.about["counted_voxels"] == np.count_nonzero(inside) < inside.size
        assert found.porosity.value == np.mean(np.asarray(result.indices)[inside] == 0)
        assert math.isnan(found["tortuosity_factor", "pore", "x"].value)
        assert any("along x is not a number" in note for note in found.notes)


def test_an_ignored_rim_changes_neither_transport_nor_its_error() -> None:
    core = electrode()
    framed = np.full((24, 48, 60), 255, np.uint8)
    framed[:, 8:40, 10:50] = core
    phases = mp.PhaseTable.parse("pore=0,carbon=1,nickel=2,ignore=255")
    one, two = (
        mp.measure(labels, phases, groups=["transport"], axis=["z"])[
            "effective_diffusivity", "pore", "z"
        ]
        for labels in (core, framed)
    )
    assert two.value == pytest.approx(one.value, rel=1e-3)
    assert two.sampling == pytest.approx(one.sampling, rel=0.6)


def as_zarr(labels: np.ndarray) -> Any:
    stored = zarr.create_array({}, shape=labels.shape, chunks=(4, 8, 8), dtype=labels.dtype)
    stored[:] = labels
    return stored


@pytest.mark.parametrize(
    "convert",
    [
        lambda labels: dask.array.from_array(labels, chunks=(5, 16, 16)),
        lambda labels: xarray.DataArray(labels, dims=("z", "y", "x")),
        as_zarr,
        np.ndarray.tolist,
        Volume.from_array,
    ],
    ids=["dask", "xarray", "zarr", "lists", "volume"],
)
def test_any_array_gives_what_a_numpy_array_gives(convert: Any) -> None:
    groups = ["fractions", "interfaces", "connectivity"]
    labels = electrode((12, 16, 20))
    expected = mp.measure(labels, PHASES, groups=groups)
    found = mp.measure(convert(labels), PHASES, groups=groups)
    assert [(one.key, one.value) for one in found] == [(one.key, one.value) for one in expected]


def test_a_lazy_slice_is_measured_as_an_image() -> None:
    plane = electrode((64, 72))
    lazy = mp.measure(dask.array.from_array(plane, chunks=32), PHASES, groups="fractions")
    assert lazy.porosity.value == pytest.approx(np.mean(plane == 0))


def test_a_lazy_array_is_not_loaded_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    class Stack:
        shape, dtype = (40, 16, 16), np.dtype(np.uint8)

        def __getitem__(self, window: Any) -> np.ndarray:
            read.append(window[0].stop - window[0].start)
            return np.zeros((read[-1], 16, 16), np.uint8)

        def __array__(self, *_: Any, **__: Any) -> np.ndarray:
            raise AssertionError("loaded whole")

    monkeypatch.setattr(labelled, "SLAB_VOXELS", 4 * 16 * 16)
    assert mp.measure(Stack(), PHASES, groups="fractions", memory=0).porosity.value == 1
    assert max(read) < 40


@pytest.mark.parametrize(
    ("labels", "phases", "options", "message"),
    [
        # labels are looked at before anything else
        (electrode() * 7, PHASES, {"groups": "transport", "memory": 1}, "label values 7, 14"),
        (np.full((4, 5, 6), 9), {"a": 0, "b": 1, "ignore": 9}, {}, "all voxels .* are ignored"),
        (np.eye(6), PHASES, {"mask": np.eye(6), "crop": [(0, 2), (3, 6)]}, "all voxels"),
        (
            electrode(),
            PHASES,
            {"groups": ["transport", "sizes"], "memory": 9},
            "nothing was measured",
        ),
        (electrode(), ["a", "b", "c"], {"groups": "particles"}, "roles="),
        (electrode()[:1], PHASES, {"groups": "transport", "axis": "z"}, "one voxel thick"),
        (electrode(), PHASES, {"voxel_size": 1e-320, "unit": "um"}, "um long along z, which no"),
        (electrode(), PHASES, {"voxel_size": 1e308, "unit": "nm"}, "1e.308 nm long along z"),
        (electrode(), PHASES, {"voxel_size": (1, 1e6, 1), "unit": "um"}, "1e.06 times as long"),
        (electrode(), PHASES, {"mask": np.ones((4, 4))}, "mask has shape 4 x 4"),
        (electrode(), PHASES, {"crop": np.s_[:30, :, :]}, "along z is :30, .* 0 to 23"),
        (electrode(), PHASES, {"crop": np.s_[:, :, :, :]}, "4 parts .* axes z, y, x"),
        (electrode(), None, {}, "not known"),
        (electrode() * 7, PHASES, {}, "label value"),
        (electrode(), PHASES, {"axis": ["t"]}, "no axis 't'"),
        (electrode(), PHASES, {"voxel_size": 0.5}, "without a unit"),
        (electrode(), PHASES, {"groups": ["size"]}, "did you mean 'sizes'"),
        (np.zeros((4, 4, 4, 4), np.uint8), PHASES, {}, "4 axes of"),
        ([[0, 1], [0]], PHASES, {}, "different lengths"),
        ([["a", "b"]], PHASES, {}, "values"),
    ],
)
def test_bad_input_is_named(labels: Any, phases: Any, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mp.measure(labels, phases, **options)


def test_the_phases_of_a_prediction_are_its_own(model: mp.MatPhase, sample: Any) -> None:
    with pytest.raises(InputError, match="leave out phases="):
        mp.measure(model.predict(sample.images), {"nickel": 2, "pore": 0, "carbon": 1})


def test_a_model_that_draws_no_samples_keeps_none(model: mp.MatPhase, sample: Any) -> None:
    with pytest.raises(InputError, match="no samples to keep"):
        model.predict(sample.images, samples=1, keep_samples=True)
