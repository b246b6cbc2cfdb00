import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from matphase.images.grey_scale import IntensityScale
from matphase.images.neighbours import central, check_neighbours, labelled_slices, read_images
from matphase.images.phases import PhaseTable
from matphase.images.volume import ArraySource, Volume
from matphase.learning.pairs import Pairs
from matphase.settings import DataSettings
from matphase.support.errors import InputError

SCALE = IntensityScale(0, 10)


class Counting(ArraySource):
    """Voxels that know which slices were read."""

    reads: list[int]

    def read_block(self, z: slice, rows: slice, columns: slice) -> np.ndarray:
        self.reads.extend(range(z.start, z.stop))
        return super().read_block(z, rows, columns)


def stack(n: int, **known: object) -> Volume:
    """Slice z has the value z, but for one pixel, so that it has contrast."""
    array = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None], (n, 32, 34)).copy()
    array[:, 0, 0] = 10
    return Volume.from_array(array, name="grey", **known)


def values(images: np.ndarray) -> list[list[float]]:
    return ((images[..., 5, 5] + 1) * 5).round(4).tolist()


def test_an_image_lies_between_its_neighbours_and_the_ends_repeat() -> None:
    assert values(read_images(stack(6), SCALE, [0, 3, 5], 5)) == [
        [0, 0, 0, 1, 2],
        [1, 2, 3, 4, 5],
        [3, 4, 5, 5, 5],
    ]
    assert values(read_images(stack(1), SCALE, [0], 3)) == [[0, 0, 0]]
    assert read_images(stack(6), SCALE, [0, 3], 1).shape == (2, 32, 34)


def test_each_slice_is_read_once() -> None:
    source = Counting(stack(8).to_array())
    object.__setattr__(source, "reads", [])
    read_images(Volume.from_source(source), SCALE, [2, 3, 4], 3)
    assert sorted(source.reads) == [1, 2, 3, 4, 5]


def test_a_network_that_sees_less_gets_the_middle() -> None:
    seven = read_images(stack(9), SCALE, [4], 7)
    assert values(central(seven, 3)) == [[3, 4, 5]]
    assert central(seven, 1).shape == (1, 32, 34)
    np.testing.assert_array_equal(central(central(seven, 1), 1), seven[:, 3])


def test_labels_of_some_slices_find_theirs_by_number_or_by_distance() -> None:
    labels = Volume.from_array(np.zeros((3, 32, 34), np.uint8), name="known")
    assert labelled_slices(stack(9), labels, [1, 4, 7]).tolist() == [1, 4, 7]
    fine = stack(9, voxel_size=(250, 50, 50), unit="nm")
    coarse = Volume.from_array(labels.to_array(), voxel_size=(1, 0.05, 0.05), unit="um")
    assert labelled_slices(fine, coarse, None).tolist() == [0, 4, 8]
    assert labelled_slices(stack(3), labels, None).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("there", "chosen", "says"),
    [
        (9, None, "say which of the slices are labelled"),
        (9, [0, 1], "2 slice numbers are given for known, which has 3"),
        (9, [0, 1, 9], "slices 0, 1, 9 of grey, which has slices 0 to 8"),
        (9, [0, 1, 1], "a number of its own for each"),
    ],
)
def test_slices_that_cannot_be_labelled_are_refused(
    there: int, chosen: list[int] | None, says: str
) -> None:
    labels = Volume.from_array(np.zeros((3, 32, 34), np.uint8), name="known")
    with pytest.raises(InputError, match=says):
        labelled_slices(stack(there), labels, chosen)


def test_pairs_of_sparse_labels_keep_neighbours_through_augmentation() -> None:
    labels = np.zeros((2, 32, 34), np.uint8)
    labels[1] = 1
    pairs = Pairs.read(
        stack(9),
        Volume.from_array(labels),
        PhaseTable.from_names(("pore", "carbon")),
        SCALE,
        slices=3,
        label_slices=[2, 6],
    )
    assert values(pairs.images) == [[1, 2, 3], [5, 6, 7]]
    pool, _ = pairs.prepared(
        DataSettings(copies=2, smooth_labels=False), PhaseTable.from_names(("pore", "carbon"))
    )
    assert pool.images.shape == (4, 3, 32, 34)
    assert values(pool.images[2:]) == [[5, 6, 7]] * 2


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
