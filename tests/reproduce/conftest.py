"""Slices and conditions with which a unit takes seconds."""

import pytest

import matphase as mp
from matphase.reproduce.data import UserSlices
from matphase.reproduce.protocol import Protocol
from matphase.settings import Settings
from samples import striped


@pytest.fixture(scope="session")
def protocol(tiny_settings: Settings) -> Protocol:
    """The smallest conditions under which every unit can be computed."""
    return Protocol(
        preset="quick",
        test_every=2,
        patches_per_image=40,
        resnet_thinning=10,
        block=(2, 24, 28),
        settings=tiny_settings.updated({"data": {"local_images": 3}, "ugsm": {"epochs": 1}}),
    )


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> UserSlices:
    """Sixteen labelled slices on disk."""
    folder = tmp_path_factory.mktemp("slices")
    made = striped(16, 48, 56)
    mp.save(folder / "images.tif", mp.Volume.from_array(made.images))
    mp.save(folder / "labels.tif", mp.Volume.from_array(made.labels))
    return UserSlices(
        str(folder / "images.tif"), str(folder / "labels.tif"), "pore=0,carbon=1,nickel=2"
    )
