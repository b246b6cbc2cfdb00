"""The public names: a change here is a change for every user."""

import inspect
import subprocess
import sys

import pytest

import matphase as mp

PUBLIC = [
    "MatPhase",
    "MatPhaseError",
    "Measurements",
    "Phase",
    "PhaseTable",
    "Prediction",
    "Settings",
    "VirtualElectrode",
    "Volume",
    "load",
    "measure",
    "open",
    "open_prediction",
    "save",
]


def test_the_public_names_are_these() -> None:
    assert mp.__all__ == PUBLIC
    assert dir(mp) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_exists_and_is_described(name: str) -> None:
    assert inspect.getdoc(getattr(mp, name))


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert mp.__version__ == version("matphase")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'matphase' has no attribute 'segment'"):
        _ = mp.segment  # type: ignore[attr-defined]
    assert not hasattr(mp, "nothing")


@pytest.mark.parametrize(
    "code",
    [
        "import matphase",
        "import matphase; matphase.Volume, matphase.PhaseTable, matphase.open, matphase.Settings",
        "import matphase; dir(matphase); matphase.VirtualElectrode",
    ],
)
def test_what_needs_no_network_loads_no_network_library(code: str) -> None:
    check = "; import sys; print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + check], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_error_meant_for_the_user_has_one_base() -> None:
    from matphase.support import errors

    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(kind, mp.MatPhaseError) for kind in kinds)
    # code that knows nothing of MatPhase catches wrong values as it does everywhere
    assert issubclass(errors.InputError, ValueError)


def test_the_parameters_that_users_write_down() -> None:
    """Scripts name these; they may be added to, not renamed."""
    assert list(inspect.signature(mp.MatPhase).parameters) == ["preset", "settings", "seed"]
    fit = inspect.signature(mp.MatPhase.fit).parameters
    assert list(fit)[:4] == ["self", "images", "labels", "phases"]
    assert {"validation", "folder", "reporter"} <= set(fit)
    predict = inspect.signature(mp.MatPhase.predict).parameters
    assert {"volume", "out", "samples", "seed", "intensity", "memory", "workers"} <= set(predict)
    assert {"axes", "voxel_size", "unit"} <= set(inspect.signature(mp.open).parameters)
    assert {"path", "volume", "overwrite"} <= set(inspect.signature(mp.save).parameters)
