import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from matphase.images.annotations import Annotations
from matphase.images.grey_scale import IntensityScale
from matphase.images.neighbours import central, check_neighbours
from matphase.images.phases import PhaseTable
from matphase.images.tiles import Halo, read_tile, tiles
from matphase.images.volume import Volume
from matphase.learning.training_pool import Pool
from matphase.settings import DataSettings
from matphase.support.errors import InputError
from samples import Counted

SCALE = IntensityScale(0, 10)
PHASES = PhaseTable.from_names(("pore", "carbon"))


def stack(n: int) -> Volume:
    """Slice z has the value z, but for one pixel, so that it has contrast."""
    array = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None], (n, 32, 34)).copy()
    array[:, 0, 0] = 10
    return Volume.from_array(array, name="grey")


def images_of(volume: Volume, first: int, last: int, slices: int) -> np.ndarray:
    """Slices `first` to `last` - 1, each between its neighbours."""
    every = tiles((volume.n_slices, 32, 34), (last - first, 32, 34), Halo(slices=slices // 2))
    (some,) = (tile for tile in every if tile.core[0] == slice(first, last))
    return read_tile(volume, SCALE.of_slices(volume), some, slices).images


def test_a_tile_without_a_halo_does_not_show_neighbours() -> None:
    tile = tiles((6, 32, 34), (2, 32, 34))[1]
    with pytest.raises(ValueError, match="no halo for 3 slices"):
        read_tile(stack(6), SCALE.of_slices(stack(6)), tile, 3)


def values(images: np.ndarray) -> list[list[float]]:
    return ((images[..., 5, 5] + 1) * 5).round(4).tolist()


def test_an_image_lies_between_its_neighbours_and_the_ends_repeat() -> None:
    found = values(images_of(stack(6), 0, 6, 5))
    assert [found[z] for z in (0, 3, 5)] == [[0, 0, 0, 1, 2], [1, 2, 3, 4, 5], [3, 4, 5, 5, 5]]
    assert values(images_of(stack(1), 0, 1, 3)) == [[0, 0, 0]]
    assert images_of(stack(6), 2, 4, 1).shape == (2, 1, 32, 34)


def test_each_slice_of_a_tile_is_read_once() -> None:
    source = Counted(stack(8).to_array())
    volume = Volume.from_array(source)
    images_of(volume, 3, 6, 3)
    assert sorted(source.read) == [2, 3, 4, 5, 6]


def test_a_network_that_sees_less_gets_the_middle() -> None:
    seven = images_of(stack(9), 4, 5, 7)
    assert values(central(seven, 3)) == [[3, 4, 5]]
    assert central(seven, 1).shape == (1, 1, 32, 34)
    np.testing.assert_array_equal(central(central(seven, 5), 1), seven[:, 3:4])


def test_pools_of_sparse_labels_keep_neighbours_through_augmentation() -> None:
    labels = np.zeros((2, 32, 34), np.uint8)
    labels[1] = 1
    grey = stack(9)
    annotations = Annotations.of(grey, Volume.from_array(labels), PHASES, [2, 6])
    pool = Pool.read(annotations, SCALE, slices=3)
    assert [values(pool.images[i]) for i in range(2)] == [[1, 2, 3], [5, 6, 7]]
    pool, _ = pool.prepared(DataSettings(copies=2, smooth_labels=False))
    assert pool.images.shape == (4, 3, 32, 34)
    assert [values(pool.images[i]) for i in (2, 3)] == [[5, 6, 7]] * 2


def test_a_pool_reads_its_slices_and_their_neighbours_alone() -> None:
    source = Counted(stack(40).to_array().astype(np.uint8))
    grey = Volume.from_array(source)
    annotations = Annotations.of(grey, Volume.from_array(np.zeros((2, 32, 34))), PHASES, [7, 30])
    assert source.read == []
    Pool.read(annotations, SCALE, slices=3)
    assert {*source.read} == {6, 7, 8, 29, 30, 31}


# --- are they neighbours? -------------------------------------------------------------------------


def blobs(noise: float, size: float = 4) -> np.ndarray:
    """A stack of random bodies of about `size` px, with a bright rim common to all slices."""
    rng = np.random.default_rng(0)
    bodies = gaussian_filter(rng.normal(size=(60, 500, 260)), size) > 0
    grey = bodies + rng.normal(0, noise, bodies.shape)
    grey[:, :9] += 5
    return np.asarray(grey, np.float32)


def test_a_stack_passes_however_noisy_and_so_do_slices_of_it_that_are_labelled() -> None:
    volume = Volume.from_array(blobs(noise=3))
    check_neighbours(volume, range(60), 5)
    check_neighbours(volume, [10, 30, 50], 3)
    check_neighbours(volume, [59], 3)


def test_slices_picked_from_a_stack_are_refused_unless_each_is_seen_alone() -> None:
    picked = Volume.from_array(blobs(noise=0.1)[::20], name="picked")
    with pytest.raises(InputError, match=r"slices of picked do not look .* 5 neighbours .* = 1"):
        check_neighbours(picked, range(3), 5)
    with pytest.raises(InputError, match="do not look"):
        check_neighbours(picked, [2], 3)
    check_neighbours(picked, range(3), 1)
    check_neighbours(Volume.from_array(blobs(noise=0.1)[0]), [0], 5)


def test_slices_without_detail_and_small_ones_do_not_tell() -> None:
    flat = np.repeat(np.arange(4, dtype=np.float32), 260 * 260).reshape(4, 260, 260)
    check_neighbours(Volume.from_array(flat), range(4), 3)
    check_neighbours(Volume.from_array(blobs(noise=0.1)[::20, :200, :200]), range(3), 3)
