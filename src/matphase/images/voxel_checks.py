"""Voxel sizes that should be the same: of images and their labels, of a model and a volume."""

from collections.abc import Mapping
from typing import Any

from matphase.images.volume import Volume
from matphase.images.voxel_size import (
    VoxelSize,
    checked_voxel_size,
    converted,
    voxel_size_text,
)
from matphase.support.errors import InputError
from matphase.support.warning import warn

TOLERANCE = 0.02
"""Relative difference of two lengths up to which they count as equal, since files round them."""


def warn_of_contradiction(images: Volume, labels: Volume) -> None:
    """Warn of labels whose voxel size is not that of their images.

    The slice spacing is compared only where there are as many labels as images.
    """
    axes = 3 if images.n_slices == labels.n_slices > 1 else 2
    if differ(images.voxel_size, images.unit, labels.voxel_size, labels.unit, axes):
        warn(
            f"{labels.name} has the {voxel_size_text(labels.voxel_size, labels.unit)}, but "
            f"{images.name} has the {voxel_size_text(images.voxel_size, images.unit)}; check that "
            "they belong together, or give the voxel size of the images (voxel_size=)"
        )


def warn_of_other_size(record: Mapping[str, Any], volume: Volume, *, slices: int) -> None:
    """Warn of a volume whose voxel size is not that of the slices a model was trained on.

    Args:
        record: of the training, with what `voxel_record` gave; models without it are not checked.
        volume: grey values.
        slices: number of slices that the model sees at once; for one, the spacing of the slices
            does not matter.
    """
    size, unit = recorded_voxel_size(record)
    if differ(size, unit, volume.voxel_size, volume.unit, 2 if slices == 1 else 3):
        warn(
            f"{volume.name} has the {voxel_size_text(volume.voxel_size, volume.unit)}, but the "
            f"model was trained on slices with {voxel_size_text(size, unit)}, so materials may "
            "look different to it; check both, or predict at the model's voxel size "
            "(resample=True)"
        )


def differ(
    size: VoxelSize | None,
    unit: str | None,
    other: VoxelSize | None,
    other_unit: str | None,
    axes: int = 3,
) -> bool:
    """Whether two voxel sizes contradict; lengths that are not known contradict nothing.

    Args:
        size: in axes order.
        unit: of `size`.
        other: in axes order.
        other_unit: of `other`.
        axes: how many of the last axes are compared.
    """
    if size is None or other is None or unit is None or other_unit is None:
        return False
    pairs = zip(size[::-1][:axes], other[::-1][:axes], strict=False)
    return any(
        abs(converted(theirs, other_unit, unit) / ours - 1) > TOLERANCE
        for ours, theirs in pairs
        if ours is not None and theirs is not None
    )


def voxel_record(volume: Volume) -> dict[str, Any]:
    """Voxel size of training slices for the record of a model; empty where it is not known."""
    if volume.voxel_size is None:
        return {}
    lengths = zip(volume.axes, volume.voxel_size, strict=True)
    known = {axis: length for axis, length in lengths if length is not None}
    return {"voxel_size": {**known, "unit": volume.unit}}


def recorded_voxel_size(record: Mapping[str, Any]) -> tuple[VoxelSize | None, str | None]:
    """Voxel size (z, y, x) and unit that `voxel_record` recorded; (None, None) without them."""
    found = record.get("voxel_size")
    if not isinstance(found, Mapping):
        return None, None
    try:
        size = found.get("z"), found["y"], found["x"]
        return checked_voxel_size(size, found["unit"], "zyx", "the model")
    except (KeyError, TypeError, AttributeError, InputError):
        return None, None
