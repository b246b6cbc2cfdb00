import operator
from functools import reduce

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import fractions
from matphase.support.errors import InputError

VOLUMES = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=7),
    elements=st.sampled_from([0, 1, 2, IGNORE_INDEX]),
)


def test_counts_shares_of_counted_voxels():
    image = np.array([[0, 0, 1], [IGNORE_INDEX, 0, 1]], np.uint8)
    np.testing.assert_allclose(fractions.volume_fractions(image, 3), [3 / 5, 2 / 5, 0])
    down, across = fractions.fraction_profiles(image, 3)
    np.testing.assert_allclose(down, [[2 / 3, 1 / 3, 0], [1 / 2, 1 / 2, 0]])
    np.testing.assert_allclose(across, [[1, 0, 0], [1, 0, 0], [0, 1, 0]])


def test_what_has_no_voxel_is_nan():
    image = np.full((2, 3), IGNORE_INDEX, np.uint8)
    assert np.isnan(fractions.volume_fractions(image, 2)).all()
    image[0] = 1
    down, _ = fractions.fraction_profiles(image, 2)
    np.testing.assert_array_equal(down, [[0, 1], [np.nan, np.nan]])


@settings(max_examples=40, deadline=None)
@given(VOLUMES, st.data())
def test_slabs_add_up_to_the_whole(volume, data):
    cuts = data.draw(st.lists(st.integers(1, len(volume)), unique=True).map(sorted))
    slabs = [slab for slab in np.split(volume, cuts) if len(slab)]
    summed = reduce(operator.add, (fractions.phase_counts(slab, 3) for slab in slabs))
    for ours, whole in zip(
        summed.profiles, fractions.phase_counts(volume, 3).profiles, strict=True
    ):
        np.testing.assert_array_equal(ours, whole)


@settings(max_examples=40, deadline=None)
@given(VOLUMES, st.permutations([0, 1, 2]))
def test_renaming_phases_and_turning_axes_moves_the_numbers_along(volume, names):
    table = np.arange(256, dtype=np.uint8)
    table[:3] = names
    before = fractions.volume_fractions(volume, 3)
    after = fractions.volume_fractions(table[volume], 3)
    np.testing.assert_array_equal(after[names], before)
    profiles = fractions.fraction_profiles(volume, 3)
    turned = fractions.fraction_profiles(np.flip(volume.T, 0), 3)
    np.testing.assert_array_equal(turned[0], profiles[-1][::-1])
    for axis in range(1, volume.ndim):
        np.testing.assert_array_equal(turned[axis], profiles[-1 - axis])


def test_bad_input_is_told():
    with pytest.raises(InputError, match="holds phase index 3, but there are 2 phases"):
        fractions.phase_counts(np.full((2, 2), 3, np.uint8), 2)
    with pytest.raises(InputError, match="give uint8 of shape"):
        fractions.phase_counts(np.zeros((2, 2)), 2)
    with pytest.raises(InputError, match="give uint8 of shape"):
        fractions.phase_counts(np.zeros(4, np.uint8), 2)
    one, other = (fractions.phase_counts(np.zeros((2, n, 4), np.uint8), 2) for n in (3, 4))
    with pytest.raises(InputError, match="do not add up"):
        one + other
