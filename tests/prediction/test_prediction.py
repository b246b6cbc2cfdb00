"""What a prediction promises, whatever the model has learned."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import matphase as mp
from matphase.images.phases import PhaseTable
from matphase.prediction.prediction import prediction_bytes
from matphase.settings import Settings
from matphase.support.errors import InputError, OutputError
from samples import Sample, striped

MAPS = ("labels", "global_labels", "entropy", "idk", "idk_score")


@pytest.fixture(scope="module")
def able(sample: Sample, tiny_settings: Settings) -> mp.MatPhase:
    """A model that is good enough to trust itself in some places and not in others."""
    settings = tiny_settings.updated(
        {"ugsm": {"epochs": 40}, "idk": {"epochs": 8, "batch_size": 256}, "lcgar": {"epochs": 3}}
    )
    return mp.MatPhase(settings=settings).fit(
        sample.images, sample.labels, ["pore", "carbon", "nickel"]
    )


@pytest.fixture(scope="module")
def prediction(able: mp.MatPhase, sample: Sample) -> mp.Prediction:
    return able.predict(sample.images)


def test_the_model_that_is_tested_here_has_both_kinds_of_pixels(
    prediction: mp.Prediction, sample: Sample
) -> None:
    assert 0.02 < prediction.idk.mean() < 0.9
    assert np.mean(prediction.labels == sample.labels) > 0.85


# --- shapes, axes, voxel size ---------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (1, 32, 35), (3, 41, 64), (17, 32, 33)])
def test_maps_have_the_shape_of_the_volume(able: mp.MatPhase, shape: tuple[int, ...]) -> None:
    images = striped(17, *shape[-2:]).images
    images = images[0] if len(shape) == 2 else images[: shape[0]]
    result = able.predict(images, mutual_information=True)
    assert result.mutual_information.shape == shape
    for name in MAPS:
        assert getattr(result, name).shape == shape
    assert result.probabilities.shape == result.global_probabilities.shape == (3, *shape)
    assert result.volume.axes == "zyx"[-len(shape) :]


def test_axes_voxel_size_and_unit_are_those_of_the_volume(
    able: mp.MatPhase, sample: Sample
) -> None:
    size = (0.5, 0.1, 0.2)
    volume = mp.Volume.from_array(sample.images, voxel_size=size, unit="um", name="scan")
    result = able.predict(volume)
    assert result.volume is volume
    assert able.predict(sample.images).volume.voxel_size is None


def assert_same_to_rounding(first: NDArray[Any], second: NDArray[Any]) -> None:
    """Equal but for the last bits: some CPUs add in an order that the batch decides.

    In bfloat16 a last bit is 1/256 of the value.
    """
    if first.dtype.kind == "f":
        np.testing.assert_allclose(first, second, atol=5e-3)
        assert np.mean(np.abs(first - second) < 1e-5) > 0.999
    else:
        assert np.mean(first == second) > 0.999


def test_a_slice_gets_what_it_gets_in_its_stack(
    able: mp.MatPhase, sample: Sample, prediction: mp.Prediction
) -> None:
    result = able.predict(sample.images[3])
    for name in MAPS:
        assert_same_to_rounding(getattr(result, name), getattr(prediction, name)[3])


def test_integer_images_are_taken_as_they_are(able: mp.MatPhase, sample: Sample) -> None:
    images = np.clip(sample.images, 0, 255).round()
    expected = able.predict(images)
    result = able.predict(images.astype(np.uint8))
    np.testing.assert_array_equal(result.labels, expected.labels)


# --- what the maps say ----------------------------------------------------------------------------


def test_types_and_ranges(prediction: mp.Prediction) -> None:
    assert prediction.idk.dtype == bool
    for name in ("probabilities", "global_probabilities", "entropy", "idk_score"):
        array: NDArray[np.float32] = getattr(prediction, name)
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
        assert array.min() >= 0
    assert prediction.entropy.max() <= math.log(3) * (1 + 1e-6)
    assert prediction.idk_score.max() <= 1


def test_probabilities_sum_to_one(prediction: mp.Prediction) -> None:
    for array in (prediction.probabilities, prediction.global_probabilities):
        np.testing.assert_allclose(array.sum(axis=0), 1, atol=1e-5)


def test_labels_are_the_most_probable_phases(prediction: mp.Prediction) -> None:
    np.testing.assert_array_equal(prediction.labels, prediction.probabilities.argmax(axis=0))
    np.testing.assert_array_equal(
        prediction.global_labels, prediction.global_probabilities.argmax(axis=0)
    )


def test_nothing_outside_the_idk_set_differs_from_what_ugsm_says(
    prediction: mp.Prediction,
) -> None:
    known = ~prediction.idk
    assert known.any()
    np.testing.assert_array_equal(prediction.labels[known], prediction.global_labels[known])
    np.testing.assert_array_equal(
        prediction.probabilities[:, known], prediction.global_probabilities[:, known]
    )
    assert (prediction.probabilities != prediction.global_probabilities)[:, ~known].any()


def test_idk_is_where_its_score_reaches_the_threshold(
    able: mp.MatPhase, prediction: mp.Prediction
) -> None:
    threshold = able.settings.idk.threshold
    np.testing.assert_array_equal(prediction.idk, prediction.idk_score >= threshold)


def test_entropy_is_that_of_the_mean_logits(prediction: mp.Prediction) -> None:
    p = prediction.global_probabilities.astype(np.float64)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=0)
    np.testing.assert_allclose(prediction.entropy, entropy, atol=1e-5)


def test_volume_fractions_are_those_of_the_labels(prediction: mp.Prediction) -> None:
    fractions = prediction.volume_fractions()
    assert list(fractions) == ["pore", "carbon", "nickel"]
    assert fractions["carbon"] == pytest.approx(np.mean(prediction.labels == 1))
    assert sum(fractions.values()) == pytest.approx(1)


# --- which phases ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phases", "values"),
    [
        ({"pore": 0, "solid": 1}, [0, 1, 1]),
        ({"pore": 0, "carbon": 128, "nickel": 255}, [0, 128, 255]),
        ({"nickel": 300, "pore": -5, "carbon": 17}, [-5, 17, 300]),
    ],
)
def test_labels_have_the_values_of_the_user(
    sample: Sample, tiny_settings: Settings, phases: dict[str, int], values: list[int]
) -> None:
    labels = np.array(values)[sample.labels]
    model = mp.MatPhase(settings=tiny_settings).fit(sample.images, labels, phases)
    result = model.predict(sample.images)
    assert set(np.unique(result.labels)) <= set(values)
    assert set(np.unique(result.global_labels)) <= set(values)
    assert result.labels.dtype == PhaseTable.from_mapping(phases).dtype
    assert result.probabilities.shape[0] == len(phases)
    chosen = np.array(list(phases.values()))[result.probabilities.argmax(axis=0)]
    np.testing.assert_array_equal(result.labels, chosen)


def test_four_phases_with_gaps_and_ignored_pixels(sample: Sample, tiny_settings: Settings) -> None:
    table = PhaseTable.parse("pore=0,carbon=10,nickel=20,crack=40,ignore=99")
    labels = sample.labels * np.uint8(10)
    images = sample.images.copy()
    labels[:, 20:28, 10:30], images[:, 20:28, 10:30] = 40, 140
    labels[:, :, :6] = 99
    model = mp.MatPhase(settings=tiny_settings).fit(images, labels, table)
    result = model.predict(images)
    assert set(np.unique(result.labels)) <= {0, 10, 20, 40}
    assert result.probabilities.shape[0] == 4
    assert set(result.volume_fractions()) == {"pore", "carbon", "nickel", "crack"}


# --- draws and memory -----------------------------------------------------------------------------


def test_the_seed_names_the_masks(
    able: mp.MatPhase, sample: Sample, prediction: mp.Prediction
) -> None:
    same = able.predict(sample.images, seed=0)
    other = able.predict(sample.images, seed=1)
    for name in (*MAPS, "probabilities"):
        np.testing.assert_array_equal(getattr(prediction, name), getattr(same, name))
    assert (prediction.entropy != other.entropy).any()


def test_more_samples_change_the_answer_and_settle(able: mp.MatPhase, sample: Sample) -> None:
    images = sample.images[:2]

    def spread(samples: int) -> float:
        first, second = (able.predict(images, samples=samples, seed=s).entropy for s in (1, 2))
        return float(np.abs(first - second).mean())

    assert spread(24) < spread(1) / 2


@pytest.mark.parametrize("memory", [1_400_000, 10**7, 10**12])
def test_the_memory_limit_does_not_change_the_answer(
    able: mp.MatPhase, sample: Sample, prediction: mp.Prediction, memory: int
) -> None:
    result = able.predict(sample.images, memory=memory)
    for name in (*MAPS, "probabilities"):
        assert_same_to_rounding(getattr(result, name), getattr(prediction, name))


def test_a_memory_limit_below_one_pass_is_refused(able: mp.MatPhase, sample: Sample) -> None:
    with pytest.raises(InputError, match=r"a slice of 48 x 56 px takes 1.3MB .* 1kB; raise"):
        able.predict(sample.images, memory=1000)


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"intensity": "modle"}])
def test_wrong_arguments_are_named(
    able: mp.MatPhase, sample: Sample, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        able.predict(sample.images, **wrong)


def test_memory_is_told_for_all_maps() -> None:
    assert prediction_bytes((10, 100, 100), 3) == 10**5 * (13 + 24)
    assert prediction_bytes((10, 100, 100), 5) > prediction_bytes((10, 100, 100), 3)


# --- grey scales ----------------------------------------------------------------------------------


def test_another_grey_scale_is_refused(able: mp.MatPhase, sample: Sample) -> None:
    with pytest.raises(InputError, match=r"the model was trained on .*intensity='volume'"):
        able.predict(sample.images * 100)


def test_a_scan_may_bring_its_own_grey_scale(
    able: mp.MatPhase, sample: Sample, prediction: mp.Prediction
) -> None:
    result = able.predict(sample.images * 100 + 3000, intensity="volume")
    assert np.mean(result.labels == prediction.labels) > 0.99


def test_a_small_shift_in_grey_is_taken(
    able: mp.MatPhase, sample: Sample, prediction: mp.Prediction
) -> None:
    result = able.predict(sample.images + 5)
    assert np.mean(result.labels == prediction.labels) > 0.5


def test_saving_does_not_replace_the_scan_it_came_from(
    able: mp.MatPhase, sample: Sample, tmp_path: Path
) -> None:
    scan = tmp_path / "scan.tif"
    mp.save(scan, mp.Volume.from_array(sample.images[:1]))
    before = scan.read_bytes()
    result = able.predict(scan)
    with pytest.raises(OutputError, match="is an input"):
        result.save(scan, overwrite=True)
    assert scan.read_bytes() == before


def test_saving_goes_on_after_a_kill(
    able: mp.MatPhase, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Stands for a kill, after which nothing is tidied up."""

    def kill(*_: object) -> None:
        raise Killed

    result = able.predict(sample.images[:1])
    with monkeypatch.context() as patch:
        patch.setattr("matphase.prediction.prediction.publish", kill)
        patch.setattr("matphase.prediction.prediction.remove_working_folder", kill)
        with pytest.raises(Killed):
            result.save(tmp_path / "out.tif")
    assert any(path.name.startswith(".out") for path in tmp_path.iterdir())
    result.save(tmp_path / "out.tif")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
