"""A prediction on disk is the same to its user as one in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import matphase as mp
from matphase.images.phases import PhaseTable
from matphase.prediction.maps import KINDS
from matphase.support.errors import InputError
from matphase.support.warning import MatPhaseWarning
from samples import Sample

PHASES = {"pore": 0, "carbon": 128, "nickel": 255}


def in_memory() -> mp.Prediction:
    """A prediction with all maps that can be written."""
    rng = np.random.default_rng(0)
    shape = (3, 32, 40)
    scores = rng.random((3, *shape), np.float32)
    maps: dict[str, Any] = {"probabilities": scores / scores.sum(axis=0)}
    for name, kind in KINDS.items():
        if kind.file is None or kind.per == "phase":
            continue
        size = (2, *shape) if kind.per == "sample" else shape
        maps[name] = {
            "phase": rng.integers(0, 3, size, np.uint8),
            "mask": rng.random(size) < 0.4,
            "number": rng.random(size, np.float32),
        }[kind.content]
    grey = rng.normal(50, 10, shape).astype(np.float32)
    volume = mp.Volume.from_array(grey, voxel_size=(0.4, 0.2, 0.2), unit="um", name="scan")
    return mp.Prediction(maps, PhaseTable.from_mapping(PHASES), volume)


@pytest.fixture(scope="module")
def memory() -> mp.Prediction:
    return in_memory()


@pytest.fixture(scope="module", params=[".tif", ".h5", ".ome.zarr"])
def disk(
    request: pytest.FixtureRequest,
    memory: mp.Prediction,
    tmp_path_factory: pytest.TempPathFactory,
) -> mp.Prediction:
    out = tmp_path_factory.mktemp("stored") / f"out{request.param}"
    mp.save(out, memory)
    return mp.open_prediction(out)


def test_all_maps_come_back(memory: mp.Prediction, disk: mp.Prediction) -> None:
    assert disk.maps == memory.maps
    for name in (*disk.maps, "indices", "global_indices"):
        found, expected = getattr(disk, name), getattr(memory, name)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert (found.ndim, found.size, len(found)) == (
            *(expected.ndim, expected.size),
            len(expected),
        )
        np.testing.assert_array_equal(np.asarray(found), expected)
    assert disk.phases == memory.phases
    assert (disk.shape, disk.voxel_size, disk.unit) == ((3, 32, 40), (0.4, 0.2, 0.2), "um")
    assert disk.volume_fractions() == pytest.approx(memory.volume_fractions())
    assert disk.n_samples == memory.n_samples == 2


def test_phases_have_the_values_of_the_user_outside_and_indices_inside(
    memory: mp.Prediction, disk: mp.Prediction
) -> None:
    for one in (memory, disk):
        assert set(np.unique(one.labels)) == {0, 128, 255}
        assert set(np.unique(one.samples)) == {0, 128, 255}
        assert set(np.unique(one.indices)) == {0, 1, 2}
        np.testing.assert_array_equal(one.volumes("labels")[0].to_array(), np.asarray(one.labels))


INDICES = st.one_of(
    st.integers(-2, 1),
    st.slices(2),
    st.just(Ellipsis),
    st.tuples(st.integers(-2, 1), st.slices(3)),
    st.tuples(st.just(Ellipsis), st.slices(40)),
    st.tuples(st.slices(2), st.just(Ellipsis), st.integers(-40, 39)),
    st.tuples(st.slices(2), st.integers(0, 2), st.slices(30)),
)


@given(index=INDICES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_part_is_what_numpy_would_give(
    memory: mp.Prediction, disk: mp.Prediction, index: Any
) -> None:
    for name in ("labels", "idk", "samples"):
        found, expected = getattr(disk, name), getattr(memory, name)
        try:
            part = expected[index]
        except IndexError:
            with pytest.raises(IndexError):
                found[index]
            continue
        np.testing.assert_array_equal(found[index], part)


def test_a_part_reads_only_that_part(
    memory: mp.Prediction, disk: mp.Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = mp.Volume.__getitem__

    def counted(self: mp.Volume, index: Any) -> Any:
        part = whole(self, index)
        read.append(part.size)
        return part

    samples, entropy = disk.samples, disk.entropy
    monkeypatch.setattr(mp.Volume, "__getitem__", counted)
    monkeypatch.setattr(mp.Volume, "to_array", None)
    np.testing.assert_array_equal(entropy[1], memory.entropy[1])
    np.testing.assert_array_equal(samples[1, 2, 3:5, -7:], memory.samples[1, 2, 3:5, -7:])
    assert read == [32 * 40, 2 * 7]


def test_masks_and_comparisons_work_as_with_numpy(
    memory: mp.Prediction, disk: mp.Prediction
) -> None:
    np.testing.assert_array_equal(disk.labels == 128, memory.labels == 128)
    np.testing.assert_array_equal(~disk.idk, ~memory.idk)
    np.testing.assert_array_equal(disk.entropy[memory.idk], memory.entropy[memory.idk])
    assert np.mean(disk.entropy) == pytest.approx(memory.entropy.mean())


def test_what_was_not_kept_names_the_argument_that_keeps_it(
    model: mp.MatPhase, sample: Sample, tmp_path: Path
) -> None:
    plain = model.predict(sample.images[:2])
    stored = model.predict(sample.images[:2], out=tmp_path / "out.ome.zarr")
    for one, name in ((plain, "samples"), (stored, "samples")):
        with pytest.raises(InputError, match=r"has no samples; predict with keep_samples=True"):
            getattr(one, name)
    with pytest.raises(InputError, match="mutual_information; predict with mutual_information=Tr"):
        _ = plain.mutual_information
    with pytest.raises(InputError, match="probabilities; predict with probabilities=True"):
        _ = stored.probabilities
    with pytest.raises(InputError, match="idk_score; it is kept in memory only"):
        _ = stored.idk_score
    assert plain.trusted is stored.trusted is None
    assert plain.deferred is stored.deferred is None
    assert stored.volume is not None
    with pytest.raises(InputError, match="cannot be opened any more"):
        _ = mp.open_prediction(tmp_path / "out.ome.zarr").volume


def test_a_file_that_went_is_named(tmp_path: Path, memory: mp.Prediction) -> None:
    memory.save(tmp_path / "out.tif")
    (tmp_path / "out_sample_02.tif").unlink()
    with pytest.warns(MatPhaseWarning, match=r"out_sample_02\.tif is missing"):
        opened = mp.open_prediction(tmp_path / "out.tif")
    assert "samples" not in opened.maps
    with pytest.raises(InputError, match=r"out_sample_02\.tif is missing, .* predict again"):
        _ = opened.samples
    mp.save(tmp_path / "out_idk.tif", mp.Volume.from_array(np.zeros((32, 40))), overwrite=True)
    with pytest.raises(InputError, match="do not belong to one prediction"):
        _ = opened.idk


def test_phases_in_another_order(disk: mp.Prediction, memory: mp.Prediction) -> None:
    assert disk.path is not None
    other = mp.open_prediction(disk.path, ["nickel", "pore", "carbon"])
    assert other.phases.names == ("nickel", "pore", "carbon")
    np.testing.assert_array_equal(other.labels, memory.labels)
    np.testing.assert_array_equal(np.array([1, 2, 0])[memory.indices], other.indices)
    np.testing.assert_array_equal(other.probabilities, memory.probabilities[[2, 0, 1]])
    with pytest.raises(InputError, match="name the same phases"):
        mp.open_prediction(disk.path, ["void", "pore", "carbon"])


def test_it_can_be_measured_and_saved_in_another_format(
    disk: mp.Prediction, memory: mp.Prediction, tmp_path: Path
) -> None:
    for one in (disk, disk.save(tmp_path / "again.ome.zarr")):
        found = mp.measure(one, groups=["fractions"])
        assert found["volume_fraction", "carbon"].value == pytest.approx(
            (memory.labels == 128).mean()
        )
        np.testing.assert_array_equal(one.samples, memory.samples)


def test_python_does_what_the_command_line_does(
    model: mp.MatPhase, model_folder: Path, sample: Sample, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from matphase.cli import app

    mp.save(tmp_path / "scan.tif", mp.Volume.from_array(sample.images))
    words = ["predict", str(model_folder), str(tmp_path / "scan.tif"), "--mutual-information"]
    words += ["--out", str(tmp_path / "cli.ome.zarr"), "--keep-samples", "--seed", "4"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    result = model.predict(
        tmp_path / "scan.tif",
        out=tmp_path / "python.ome.zarr",
        keep_samples=True,
        mutual_information=True,
        seed=4,
    )
    other = mp.open_prediction(tmp_path / "cli.ome.zarr")
    assert result.maps == other.maps
    assert "mutual_information" in result.maps
    for name in result.maps:
        np.testing.assert_array_equal(getattr(result, name), getattr(other, name), err_msg=name)
    assert not list(tmp_path.glob(".*"))


def test_arguments_that_do_not_fit_together(
    model: mp.MatPhase, sample: Sample, tmp_path: Path
) -> None:
    for wrong in ({"workers": 2}, {"scheduler": "tcp://x:1"}, {"overwrite": True}):
        with pytest.raises(InputError, match="give out="):
            model.predict(sample.images, **wrong)
    with pytest.raises(InputError, match="got both workers= and scheduler="):
        model.predict(sample.images, out=tmp_path / "o.tif", workers=1, scheduler="tcp://x:1")
    with pytest.raises(InputError, match=r"so it has to be a file; save it \(mp\.save\)"):
        model.predict(sample.images, out=tmp_path / "o.tif", workers=1)
    assert list(tmp_path.iterdir()) == []


# --- what a notebook shows ------------------------------------------------------------------------


def test_text_and_table(disk: mp.Prediction, memory: mp.Prediction) -> None:
    for one in (memory, disk):
        text, page = repr(one), one._repr_html_()
        for fact in ("3 x 32 x 40 voxels", "0.4 x 0.2 x 0.2 um", "carbon 33", "entropy"):
            assert fact in text
        assert text.count("\n") <= 4
        for fact in ("data:image/png;base64,", "carbon", "128", "33."):
            assert fact in page
    assert str(disk.path) in repr(disk)
    assert "in memory" in repr(memory)


def test_names_of_phases_cannot_break_the_page() -> None:
    some = in_memory()
    table = PhaseTable.from_mapping({"<script>": 0, "carbon": 1, "nickel": 2})
    page = mp.Prediction({"labels": some.indices}, table, some.volume)._repr_html_()
    assert "<script>" not in page


def test_plot_draws_a_slice(disk: mp.Prediction, memory: mp.Prediction) -> None:
    figure = memory.plot()
    assert isinstance(figure, Figure)
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == ["input", "phases", "entropy in nats"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["pore", "carbon", "nickel"]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), memory.volume.slice(1))
    entropy = memory.plot(0).axes[2].images[0].get_array()
    np.testing.assert_array_equal(entropy, memory.entropy[0])
    # the scan of this one is not to be found
    alone = [panel.get_title() for panel in disk.plot(2).axes if panel.get_title()]
    assert alone == ["phases", "entropy in nats"]
    with pytest.raises(InputError, match="got slice 3, but the prediction has slices 0 to 2"):
        memory.plot(3)


def test_equality_and_hash_do_not_break(memory: mp.Prediction, disk: mp.Prediction) -> None:
    assert memory == memory
    assert memory != disk
    assert len({memory, disk}) == 2
