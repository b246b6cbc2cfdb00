import dataclasses

import numpy as np
import pytest

from matphase.errors import InputError
from matphase.virtual import Imaging, VirtualElectrode

SHAPE = (4, 48, 40)


class Log:
    def __init__(self):
        self.open = []
        self.pieces = []

    def start(self, title, total, done=0):
        self.open.append([title, total, done])

    def advance(self, steps=1, note=""):
        self.open[-1][2] += steps

    def finish(self):
        self.pieces.append(self.open.pop())


def test_an_electrode_has_image_labels_phases_and_voxel_size():
    electrode = VirtualElectrode.simulate(shape=SHAPE, seed=1, voxel_size=0.25)

    for array, dtype in (
        (electrode.image, np.float32),
        (electrode.labels, np.uint8),
        (electrode.measured_labels, np.uint8),
    ):
        assert array.shape == SHAPE
        assert array.dtype == dtype
    assert np.isfinite(electrode.image).all()
    assert (electrode.voxel_size, electrode.unit) == (0.25, "um")
    assert electrode.phases.names == ("pore", "carbon", "nickel")
    assert set(np.unique(electrode.measured_labels)) <= {0, 1, 2}


def test_the_seed_names_the_electrode():
    first, again, other = (VirtualElectrode.simulate(SHAPE, seed) for seed in (1, 1, 2))

    for name in ("image", "labels", "measured_labels"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_imaging_changes_the_image_and_not_the_labels():
    plain = VirtualElectrode.simulate(SHAPE, 1)
    noisy = VirtualElectrode.simulate(SHAPE, 1, imaging=Imaging(noise=0.5))

    assert np.array_equal(plain.labels, noisy.labels)
    assert np.array_equal(plain.measured_labels, noisy.measured_labels)
    assert noisy.image.std() > plain.image.std()


def test_progress_is_told_to_the_end():
    log = Log()

    VirtualElectrode.simulate(SHAPE, reporter=log)

    assert [title for title, _, _ in log.pieces] == ["packing particles", "drawing particles"]
    assert all(total == done > 0 for _, total, done in log.pieces)
    assert not log.open


def test_an_electrode_is_frozen():
    electrode = VirtualElectrode.simulate(SHAPE)

    with pytest.raises(dataclasses.FrozenInstanceError):
        electrode.unit = "mm"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": (4, 16, 32)}, "too small"),
        ({"pore": 0.5}, "make them sum to 1"),
        ({"grain": 3}, "has no setting 'grain'"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        VirtualElectrode.simulate(**({"shape": SHAPE} | wrong))
