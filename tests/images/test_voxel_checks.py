"""Voxel sizes that contradict each other."""

import warnings

import numpy as np
import pytest

from matphase.images.volume import Volume
from matphase.images.voxel_checks import (
    recorded_voxel_size,
    voxel_record,
    warn_of_contradiction,
    warn_of_other_size,
)
from matphase.support.warning import MatPhaseWarning


def volume(size: object, unit: str | None = "um", slices: int = 4, name: str = "array") -> Volume:
    return Volume.from_array(np.zeros((slices, 4, 5)), "zyx", size, unit, name)  # type: ignore[arg-type]


IMAGES = volume(0.2, name="scan.tif")


@pytest.mark.parametrize(
    "labels",
    [
        volume(0.4, name="known"),
        volume((0.2, 0.2, 0.3), name="known"),
        volume(0.2, "nm", 2, "known"),
    ],
)
def test_labels_of_another_size(labels: Volume) -> None:
    with pytest.warns(
        MatPhaseWarning, match=r"known has the voxel size .*, but scan\.tif .*0\.2 x"
    ):
        warn_of_contradiction(IMAGES, labels)


@pytest.mark.parametrize(
    "labels",
    [
        volume(None, None),
        volume(200, "nm"),
        volume(0.201),
        volume((None, 0.2, 0.2)),
        volume((2.0, 0.2, 0.2), slices=2),  # labels of some slices are further apart
    ],
)
def test_labels_of_the_same_size(labels: Volume) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", MatPhaseWarning)
        warn_of_contradiction(IMAGES, labels)


@pytest.mark.parametrize("size", [(0.5, 0.2, 0.1), (None, 0.2, 0.2)])
def test_a_record_gives_the_voxel_size_back(size: tuple[float | None, ...]) -> None:
    assert recorded_voxel_size(voxel_record(volume(size))) == (size, "um")
    plane = Volume.from_array(np.zeros((4, 5)), voxel_size=(0.2, 0.1), unit="nm")
    assert recorded_voxel_size(voxel_record(plane)) == ((None, 0.2, 0.1), "nm")


@pytest.mark.parametrize("record", [{}, {"voxel_size": 3}, {"voxel_size": {"y": 1, "unit": "um"}}])
def test_a_record_without_a_voxel_size(record: dict[str, object]) -> None:
    assert recorded_voxel_size(record) == (None, None)
    assert voxel_record(volume(None, None)) == {}


def test_a_volume_of_another_size_than_the_model() -> None:
    record = voxel_record(volume((0.4, 0.2, 0.2)))
    with pytest.warns(MatPhaseWarning, match=r"0\.1 x 0\.1 x 0\.1 um, .* 0\.4 x 0\.2 .*resample"):
        warn_of_other_size(record, volume(0.1), slices=1)
    with pytest.warns(MatPhaseWarning, match="trained on"):
        warn_of_other_size(record, volume(0.2), slices=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MatPhaseWarning)
        warn_of_other_size(record, volume(0.2), slices=1)  # which sees no other slice
        warn_of_other_size({}, volume(0.1), slices=1)
