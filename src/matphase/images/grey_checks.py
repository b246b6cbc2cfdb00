"""Checks of grey values before work starts, on a few slices: what is wrong in them is easy to see.

What cannot be right is refused; what is probably wrong is a warning.
"""

import numpy as np
from numpy.typing import NDArray

from matphase.images.grey_scale import GreySample, IntensityScale, percentiles
from matphase.images.mask import CIRCLE, mask_name
from matphase.images.volume import Volume, checked_block
from matphase.support.errors import InputError
from matphase.support.warning import warn

LABEL_VALUES = 6
"""Most different values that an image of labels has. A grey image of 8 bit and low contrast still
has about twenty."""
PAIRS = 16
"""Maximum number of pairs of neighbouring slices that are compared."""
MAX_STEP = 0.04
"""Step of the grey value of a material from a slice to the next one, relative to the grey scale,
above which the two do not fit. In virtual electrodes it is at most 0.02."""
MAX_FAR_STEP = 0.12
"""The same for slices that do not resemble the next ones. In real scans it is up to 0.11 between
slices that are 100 slices apart."""
MIN_CORRELATION = 0.3
"""Correlation of the grey values of two slices above which they resemble each other."""
MAX_SHIFT = 0.1
"""Distance of a slice's own percentiles from those of most slices, relative to the grey scale,
above which the slice does not fit."""
MISFITS = 0.25
"""Share of the slices that do not fit, from which on there is a warning."""


def check_is_grey(sample: GreySample) -> None:
    """Refuse labels that are given as the grey image.

    Raises:
        InputError: there are two to six different values.
    """
    found: set[float] = set()
    for plane in sample.planes:
        found.update(np.unique(plane[~np.isnan(plane)])[: LABEL_VALUES + 1].tolist())
        if len(found) > LABEL_VALUES:
            return
    if len(found) > 1:
        values = ", ".join(f"{value:g}" for value in sorted(found))
        raise InputError(
            f"{sample.name} has only the values {values}, so it seems to hold labels; give the "
            "grey image"
        )


def warn_of_round_field(sample: GreySample, volume: Volume) -> None:
    """Warn of slices whose corners, outside of the inscribed circle, all have one value."""
    if mask_name(volume) is not None:
        return
    height, width = volume.shape[-2:]
    rows, columns = (
        (np.arange(side)[:: sample.step] - (side - 1) / 2) ** 2 for side in (height, width)
    )
    beyond = rows[:, np.newaxis] + columns > (min(height, width) / 2 + 1) ** 2
    corners = sample.planes[:, beyond]
    if not corners.size or np.isnan(corners).any() or corners.min() != corners.max():
        return
    value = float(corners.flat[0])
    if np.any(sample.planes[:, ~beyond] != value):
        warn(
            f"{volume.name}: all pixels outside of the inscribed circle of the slices have the "
            f"value {value:g}, as outside of a round field of view, and count as sample; give "
            f"mask={CIRCLE!r} to leave them out"
        )


def warn_of_drift(sample: GreySample, volume: Volume, scale: IntensityScale) -> None:
    """Warn of slices whose grey values do not fit together, where all have one grey scale.

    Such are slices that were scaled one by one, and a brightness that drifts along the stack.

    Args:
        sample: of the volume.
        volume: grey values.
        scale: the scale that is used.
    """
    if scale.kind != "volume" or volume.n_slices < 2 or scale.low >= scale.high:
        return
    span = scale.high - scale.low
    for misfits in (_steps(volume) > span, _shifts(sample) > MAX_SHIFT * span):
        count = int(np.count_nonzero(misfits))
        if count > 1 and count >= MISFITS * misfits.size:
            warn(
                f"{volume.name}: in {count} of {misfits.size} slices that were looked at, the grey "
                "values of the materials do not fit those of the other slices, as where each "
                "slice was scaled by itself, but the model has one grey scale for all slices; "
                "export the volume with one grey range for all slices, or train a model with "
                "data.scale = 'slice'"
            )
            return


def _steps(volume: Volume) -> NDArray[np.float64]:
    """Steps of the grey values of dark and of bright materials to the next slice, (pairs,).

    Each is divided by the largest relative step at which the two slices still fit.

    Pixels are chosen by the mean of both slices, so that most are of one material in both, and
    those that are not have no preferred direction. So the step does not depend on how much there
    is of each material, as percentiles do.
    """
    pairs = min(PAIRS, volume.n_slices - 1)
    steps = []
    for z in np.linspace(0, volume.n_slices - 2, pairs).round().astype(np.int64).tolist():
        height, width = volume.shape[-2:]
        one, other = checked_block(volume, slice(z, z + 2), slice(0, height), slice(0, width))
        inside = ~np.isnan(one + other)
        if not inside.any():
            continue
        mean, step = (one + other)[inside], (other - one)[inside]
        dark, bright = np.quantile(mean, [1 / 3, 2 / 3])
        found = np.median(step[mean <= dark]), np.median(step[mean >= bright])
        with np.errstate(invalid="ignore"):  # slices of one value
            alike = np.corrcoef(one[inside], other[inside])[0, 1] > MIN_CORRELATION
        most = MAX_STEP if alike else MAX_FAR_STEP
        steps.append(max(abs(float(part)) for part in found) / most)
    return np.array(steps)


def _shifts(sample: GreySample) -> NDArray[np.float64]:
    """Distances of the slices' own percentiles from the median of all slices, (slices,)."""
    ends = np.array([percentiles(plane) for plane in sample.planes])
    ends = ends[~np.isnan(ends[:, 0])]
    shifts: NDArray[np.float64] = np.abs(ends - np.median(ends, axis=0)).max(axis=1)
    return shifts
