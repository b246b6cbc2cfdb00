"""Parts of a volume along its axes, which are read only where they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from matphase.images.arrays import ArrayLike, Window, chunks_of
from matphase.images.volume import Volume
from matphase.support.errors import InputError

Crop: TypeAlias = Sequence[slice | Sequence[int | None]]
"""Part of a volume as a user gives it: `slice(start, stop)` or (start, stop) for each axis."""


def crop_windows(crop: Crop, volume: Volume) -> tuple[Window, ...]:
    """Part of each axis that a crop keeps.

    Args:
        crop: for each axis of the volume where it begins and where it ends, as in Python's slices:
            the end is not part of it, None is an open end, and negative numbers count from the end
            of the axis. `numpy.s_[10:50, :, 20:]` makes one.
        volume: what is cropped.

    Returns:
        `slice(start, stop)` for each axis, with 0 <= start < stop <= side.

    Raises:
        InputError: not one part per axis, a step, or a part that is empty or not inside.
    """
    parts = [crop] if isinstance(crop, slice) else list(crop)
    if len(parts) != volume.ndim:
        raise InputError(
            f"crop= gives {len(parts)} part{'s' * (len(parts) != 1)} but {volume.name} has the "
            f"axes {', '.join(volume.axes)}; give START:STOP for each axis"
        )
    return tuple(
        _window(part, axis, side, volume.name)
        for part, axis, side in zip(parts, volume.axes, volume.shape, strict=True)
    )


def _window(part: Any, axis: str, side: int, name: str) -> Window:
    if not isinstance(part, slice):
        try:
            part = slice(*part)
        except TypeError as error:
            raise InputError(f"crop= along {axis} is {part!r}; give START:STOP") from error
    ends = part.start, part.stop
    if part.step not in (None, 1) or not all(
        end is None or (isinstance(end, int | np.integer) and not isinstance(end, bool))
        for end in ends
    ):
        raise InputError(
            f"crop= along {axis} is {part}; give whole numbers START:STOP without a step"
        )
    start, stop = (
        default if end is None else int(end) + side * (end < 0)
        for end, default in zip(ends, (0, side), strict=True)
    )
    if not 0 <= start < stop <= side:
        text = ":".join("" if end is None else str(end) for end in ends)
        raise InputError(
            f"crop= along {axis} is {text}, but {name} has the voxels 0 to {side - 1} there; give "
            f"START:STOP with 0 <= START < STOP <= {side}"
        )
    return slice(start, stop)


def cropped(volume: Volume, windows: tuple[Window, ...]) -> Volume:
    """Part of a volume, of which nothing is read yet.

    Args:
        volume: any volume.
        windows: of `crop_windows`.
    """
    data = volume.data
    part = data[windows] if isinstance(data, np.ndarray) else Part(data, windows)
    return replace(volume, data=part)


@dataclass(frozen=True, eq=False)
class Part:
    """Part of an array, read only where it is asked for.

    Attributes:
        data: the array.
        windows: the part of each of its axes.
    """

    data: ArrayLike
    windows: tuple[Window, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the part along each axis."""
        return tuple(window.stop - window.start for window in self.windows)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        dtype: np.dtype[Any] = np.dtype(self.data.dtype)
        return dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the chunks in which the array is stored, within the part."""
        chunks = chunks_of(self.data)
        return chunks and tuple(map(min, chunks, self.shape))

    def __getitem__(self, windows: tuple[Window, ...]) -> Any:
        """Read a block, given by one `slice(start, stop)` per axis."""
        return self.data[
            tuple(
                slice(whole.start + part.start, whole.start + part.stop)
                for whole, part in zip(self.windows, windows, strict=True)
            )
        ]
