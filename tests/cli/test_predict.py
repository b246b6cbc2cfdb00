import errno
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import matphase as mp
import matphase.images.formats.tiff
import matphase.prediction.run
from matphase.images.mask import region_of
from samples import Sample

Call = Callable[..., Any]
Refused = Callable[..., str]


@pytest.fixture
def predict(work: Path, model_folder: Path) -> list[str]:
    """A call that predicts the volume that the model was trained on."""
    return ["predict", str(model_folder), "images.tif", "--out", "out.tif"]


def write_stack(name: str, array: np.ndarray) -> None:
    mp.save(name, mp.Volume.from_array(array, axes="zyx"), overwrite=True)


# --- it works -------------------------------------------------------------------------------------


def test_the_base_model_needs_no_labels(work: Path, call: Call) -> None:
    result = call("predict", "base", "images.tif", "--out", "out.tif", "--no-tta")
    assert (result.exit_code, result.stderr) == (0, "")
    assert set(np.unique(mp.open("out.tif").to_array())) <= {0, 1, 2}
    record = json.loads(Path("out.json").read_text("utf-8"))
    assert record["model"] == "base"
    assert "carbon_binder" in str(record["phases"])


def test_writes_labels_maps_and_a_record(
    work: Path, predict: list[str], call: Call, model: mp.MatPhase, sample: Sample
) -> None:
    before = set(work.iterdir())
    result = call(*predict)
    assert (result.exit_code, result.stderr) == (0, "")
    written = {path.name for path in set(work.iterdir()) - before}
    assert written == {"out.tif", "out_ugsm.tif", "out_entropy.tif", "out_idk.tif", "out.json"}
    expected = model.predict(sample.images)
    for name, array in {
        "out": expected.labels,
        "out_entropy": expected.entropy,
        "out_idk": expected.idk,
    }.items():
        volume = mp.open(f"{name}.tif")
        np.testing.assert_array_equal(volume.to_array(), array)
        assert (volume.axes, volume.voxel_size, volume.unit) == ("zyx", (0.2, 0.2, 0.2), "um")
    record = json.loads(Path("out.json").read_text("utf-8"))
    assert record["volume"] == "images.tif"
    assert record["model"] == predict[1]
    assert record["volume_fractions"] == expected.volume_fractions()
    assert record["idk_share"] == expected.idk.mean()
    assert mp.PhaseTable.from_json(record["phases"]) == model.phases


def test_prints_the_fractions_and_each_file_on_a_line_that_is_not_wrapped(
    predict: list[str], call: Call
) -> None:
    folder = "a [bold]name[/bold] that is long enough to be wrapped where lines have 120 columns"
    result = call(*predict, "--out", f"{folder}/out.tif")
    fractions = [line.split() for line in result.stdout.splitlines()]
    assert [words[0] for words in fractions[:4]] == ["pore", "carbon", "nickel", "uncertain"]
    assert sum(float(words[1]) for words in fractions[:3]) == pytest.approx(100, abs=0.02)
    assert f"written: {folder}/out.tif, {folder}/out_ugsm.tif, " in result.stdout


def test_quiet_says_nothing(predict: list[str], call: Call) -> None:
    result = call(*predict, "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("out", "others"),
    [
        ("out.ome.tif", ["out_entropy.ome.tif", "out_idk.ome.tif", "out.json"]),
        ("sample 3.run.2.TIF", ["sample 3.run.2_entropy.TIF", "sample 3.run.2_idk.TIF"]),
        ("out.v2.tiff", ["out.v2_entropy.tiff", "out.v2.json"]),
        ("new/folder/out.h5", ["new/folder/out_entropy.h5", "new/folder/out.json"]),
    ],
)
def test_the_other_files_are_named_after_the_labels(
    predict: list[str], call: Call, out: str, others: list[str]
) -> None:
    assert call(*predict, "--out", out).exit_code == 0
    assert all(Path(name).exists() for name in others)
    volume = mp.open(out)
    assert (volume.axes, volume.voxel_size, volume.unit) == ("zyx", (0.2, 0.2, 0.2), "um")
    assert call("evaluate", out, "labels.tif").exit_code == 0


def test_probabilities_on_request(predict: list[str], call: Call) -> None:
    assert call(*predict, "--probabilities").exit_code == 0
    maps = [
        mp.open(f"out_probability_{name}.tif").to_array() for name in ["pore", "carbon", "nickel"]
    ]
    np.testing.assert_allclose(sum(maps), 1, atol=1e-5)
    np.testing.assert_array_equal(np.argmax(maps, axis=0), mp.open("out.tif").to_array())


def test_a_slice_gives_a_slice(predict: list[str], call: Call, sample: Sample) -> None:
    slice_ = mp.Volume.from_array(sample.images[0], voxel_size=(0.1, 0.2), unit="nm")
    mp.save("slice.tif", slice_)
    predict[2] = "slice.tif"
    assert call(*predict).exit_code == 0
    for name in ["out.tif", "out_ugsm.tif", "out_entropy.tif", "out_idk.tif"]:
        volume = mp.open(name)
        assert (volume.axes, volume.shape) == ("yx", (48, 56))
        assert (volume.voxel_size, volume.unit) == ((0.1, 0.2), "nm")


def test_a_dataset_in_a_file(predict: list[str], call: Call, sample: Sample) -> None:
    with h5py.File("scan.h5", "w") as file:
        file["entry/data"] = sample.images
        file["entry/dark"] = sample.images[:1]
    predict[2] = "scan.h5:/entry/data"
    assert call(*predict, "--voxel-size", "0.3", "--unit", "um").exit_code == 0
    assert mp.open("out.tif").shape == sample.images.shape
    assert mp.open("out.tif").voxel_size == (0.3, 0.3, 0.3)


def test_options_reach_the_prediction(
    predict: list[str], call: Call, model: mp.MatPhase, sample: Sample
) -> None:
    words = ["--seed", "3", "--samples", "2", "--intensity", "volume", "--memory", "2MB", "--tta"]
    assert call(*predict, *words).exit_code == 0
    expected = model.predict(sample.images, seed=3, samples=2, intensity="volume", tta=True)
    # other batches may change the last bits
    entropy = mp.open("out_entropy.tif").to_array()
    np.testing.assert_allclose(entropy, expected.entropy, atol=1e-5)


# --- volumes that cannot be used ------------------------------------------------------------------


def test_a_missing_volume(predict: list[str], refused: Refused) -> None:
    predict[2] = "nothing.tif"
    refused(*predict, says=["nothing.tif does not exist", "check the path"])


def test_a_folder_without_images(predict: list[str], refused: Refused) -> None:
    Path("empty").mkdir()
    predict[2] = "empty"
    refused(*predict, says=["folder empty holds no images"])


def test_a_truncated_tiff(predict: list[str], refused: Refused) -> None:
    whole = Path("images.tif").read_bytes()
    Path("images.tif").write_bytes(whole[: len(whole) - 400])
    refused(*predict, says=["images.tif is truncated or damaged"])


def test_pixels_that_are_infinite(predict: list[str], refused: Refused, sample: Sample) -> None:
    images = sample.images.copy()
    images[5, 0, 0] = np.inf
    write_stack("images.tif", images)
    refused(*predict, says=["images.tif has 1 infinite pixel in slice 5"])


def test_an_image_of_one_value(predict: list[str], refused: Refused, sample: Sample) -> None:
    write_stack("images.tif", np.full_like(sample.images, 7))
    refused(*predict, says=["images.tif: all pixels have the value 7"])


def test_a_picture_in_colour(predict: list[str], refused: Refused) -> None:
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("photo.png")
    predict[2] = "photo.png"
    refused(*predict, says=["photo.png is a picture in colour", "convert it to grey"])


def test_an_image_that_is_too_small(predict: list[str], refused: Refused, sample: Sample) -> None:
    write_stack("images.tif", sample.images[:, :31])
    refused(*predict, says=["images.tif is 31 x 56 px", "at least 32 px"])


@pytest.mark.parametrize("size", ["0", "-0.2", "0.2,0.2,0"])
def test_voxel_sizes_that_cannot_be(predict: list[str], refused: Refused, size: str) -> None:
    refused(*predict, f"--voxel-size={size}", "--unit", "um", says=["images.tif", "above zero"])


def test_another_grey_scale_is_refused_and_can_be_set(
    predict: list[str], refused: Refused, call: Call, sample: Sample
) -> None:
    write_stack("images.tif", sample.images * 50 + 1000)
    refused(*predict, says=["images.tif", "the model was trained on", "--intensity volume"])
    assert call(*predict, "--intensity", "volume").exit_code == 0


# --- models that cannot be used -------------------------------------------------------------------


@pytest.fixture
def copied(predict: list[str], model_folder: Path) -> Path:
    """A model that may be spoiled; `predict` uses it."""
    shutil.copytree(model_folder, "model")
    predict[1] = "model"
    return Path("model")


def test_a_folder_that_is_no_model(predict: list[str], refused: Refused) -> None:
    for name, says in {
        "nothing": "nothing is not a model folder",
        "images.tif": "images.tif is not a model folder",
        ".": "has no manifest.json",
    }.items():
        predict[1] = name
        refused(*predict, "--out", "new/out.tif", says=[says, "`matphase train`"])


@pytest.mark.parametrize(
    "name",
    ["config.toml", "phases.json", "ugsm.safetensors", "idk.safetensors", "lcgar.safetensors"],
)
def test_a_model_with_a_missing_or_altered_file(
    copied: Path, predict: list[str], refused: Refused, name: str
) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    refused(*predict, says=[f"model/{name} was altered", "copy the model folder again"])
    (copied / name).unlink()
    refused(*predict, says=[f"model/{name} is missing", "copy the whole model folder again"])


def test_a_model_with_a_foreign_file(copied: Path, predict: list[str], refused: Refused) -> None:
    (copied / "weights.pt").write_bytes(b"?")
    refused(*predict, says=["model/weights.pt does not belong to the model", "move it elsewhere"])


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


def test_a_pickle_in_place_of_the_weights_is_never_opened(
    copied: Path, predict: list[str], refused: Refused
) -> None:
    from matphase.method.model_folder import MANIFEST, _checksum

    weights = copied / "ugsm.safetensors"
    weights.write_bytes(pickle.dumps(_Trap()))
    refused(*predict, says=["model/ugsm.safetensors was altered"])
    # not even with a checksum to match
    sums = json.loads((copied / MANIFEST).read_text("utf-8"))
    sums[weights.name] = _checksum(weights)
    (copied / MANIFEST).write_text(json.dumps(sums), "utf-8")
    refused(*predict, says=["model/ugsm.safetensors does not hold the weights"])
    assert not Path("sprung").exists()


# --- what is there already ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["out.tif", "out_ugsm.tif", "out_entropy.tif", "out_idk.tif", "out.json"]
)
def test_output_that_exists_is_kept_unless_told(
    predict: list[str], refused: Refused, call: Call, name: str
) -> None:
    Path(name).write_text("mine", "utf-8")
    refused(*predict, says=[f"{name} exists", "pass --overwrite"])
    if name != "out.tif":  # nobody named these
        refused(*predict, "--overwrite", says=[f"{name} is not replaced, since", "move it"])
        Path(name).unlink()
    assert call(*predict, "--overwrite").exit_code == 0
    assert call(*predict, "--overwrite").exit_code == 0, "an earlier prediction is replaced"
    assert mp.open("out.tif").shape == (6, 48, 56)
    assert json.loads(Path("out.json").read_text("utf-8"))["volume"] == "images.tif"


def test_probabilities_that_exist_are_kept_before_the_long_work(
    predict: list[str], refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out_probability_carbon.tif").write_text("mine", "utf-8")
    monkeypatch.setattr(matphase.prediction.run, "block_maps", None)
    refused(*predict, "--probabilities", says=["out_probability_carbon.tif exists"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--out", "out.zarr"], ["out.zarr", "use one of", ".tif"]),
        (["--out", "out"], ["out: cannot write this kind of file"]),
        (["--out", "images.tif/out.tif"], ["images.tif is a file"]),
        (["--out", "folder.tif", "--overwrite"], ["folder.tif is a folder"]),
        (["--out", "images.tif", "--overwrite"], ["would replace images.tif"]),
        (["--memory", "lots"], ["--memory 'lots' is not an amount", "2GB"]),
    ],
)
def test_outputs_that_cannot_be(
    predict: list[str], refused: Refused, words: list[str], says: list[str]
) -> None:
    Path("folder.tif").mkdir()
    refused(*predict, *words, says=says)


def test_slices_of_the_input_are_not_replaced(
    predict: list[str], refused: Refused, sample: Sample
) -> None:
    Path("scan").mkdir()
    for z, plane in enumerate(sample.images):
        mp.save(f"scan/{z}.tif", mp.Volume.from_array(plane))
    predict[2] = "scan"
    for name in ("3.tif", "new.tif", "deep/new.tif"):
        refused(
            *predict, "--out", f"scan/{name}", "--overwrite", says=[f"scan/{name} would", "scan"]
        )
    predict[2] = "scan/3_entropy.tif"
    shutil.copy("scan/3.tif", predict[2])
    refused(
        *[*predict, "--out", "scan/3.tif", "--overwrite"],
        says=["scan/3_entropy.tif would replace scan/3_entropy.tif"],
    )


def test_nothing_is_written_into_a_model(
    copied: Path, predict: list[str], refused: Refused
) -> None:
    refused(*predict, "--out", "model/out.tif", says=["model is a model folder"])


def test_a_folder_that_cannot_be_written(
    predict: list[str], refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    refused(*predict, says=["no permission to write in", "choose another output path"])


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_place_where_no_folder_can_be_made(predict: list[str], refused: Refused) -> None:
    refused(*predict, "--out", "/proc/nowhere/out.tif", says=["cannot write /proc/nowhere/out"])


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_an_earlier_prediction_stays_whole_when_the_new_one_cannot_be_written(
    predict: list[str],
    refused: Refused,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    assert call(*predict).exit_code == 0
    save, calls = matphase.images.formats.tiff.save, []

    def second_fails(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise error
        save(*args, **kwargs)

    monkeypatch.setattr(matphase.images.formats.tiff, "save", second_fails)
    says = ["stopped", "finished blocks are kept in .out.tif.matphase"]
    if isinstance(error, OSError):
        says[0] = "cannot write out.tif: No space left"
    words = [*predict, "--seed", "9", "--overwrite"]
    refused(*words, says=says, new=".out.tif.matphase")
    assert len(calls) == 2
    refused(*predict, "--overwrite", says=["another seed"], new=".out.tif.matphase")
    monkeypatch.setattr(matphase.images.formats.tiff, "save", save)
    assert call(*words).exit_code == 0
    assert not list(Path().glob(".*"))


@pytest.mark.parametrize("room", [100, 3_000])
def test_a_disk_that_runs_full(predict: list[str], refused: Refused, room: int) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # a file that grows beyond this fails as it would on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        refused(*predict, says=["cannot write out"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [100, 1_500, 20_000])
def test_a_disk_that_runs_full_of_hdf5(work: Path, room: int) -> None:
    pytest.importorskip("resource")
    code = (
        "import resource, sys\n"
        "import matphase as mp\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)\n"
        "try:\n"
        "    mp.save('out.h5', mp.open('images.tif'))\n"
        "except mp.MatPhaseError as error:\n"
        "    print(error)\n"
    )
    # in a process of its own: HDF5 has crashed here
    done = subprocess.run(
        [sys.executable, "-c", code, str(room)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "cannot write out.h5: File too large\n"
    assert {path.name for path in work.iterdir()} == {"images.tif", "labels.tif", "tiny.toml"}


def test_ctrl_c(predict: list[str], refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(matphase.prediction.run, "block_maps", stop)
    refused(*predict, says=["stopped; nothing was written"])


# --- a region of interest -------------------------------------------------------------------------


def fractions(text: str) -> dict[str, float]:
    found = re.findall(r"^(\w[\w, ]*?) +(\d+\.\d+) %$", text, flags=re.MULTILINE)
    return {name: float(share) for name, share in found}


@pytest.mark.parametrize("outside", ["zero", "another constant", "NaN"])
def test_a_round_field_of_view(
    predict: list[str], call: Call, sample: Sample, outside: str
) -> None:
    """With a mask or NaN, nothing outside counts; without, there is a warning."""
    inside = region_of("circle", mp.Volume.from_array(sample.images)).to_array()
    value = {"zero": 0, "another constant": 97, "NaN": np.nan}[outside]
    write_stack("images.tif", np.where(inside, sample.images, np.float32(value)))
    plain, options = call(*predict), ["--mask", "circle"]
    assert plain.exit_code == 0
    if outside == "NaN":
        options = []
        assert plain.stderr == ""
    else:
        assert re.fullmatch(
            rf"matphase: warning: images\.tif: .* the value {value}, .* --mask circle .*\n",
            plain.stderr,
        )
        assert "outside" not in plain.stdout
    masked = call(*predict, *options, "--overwrite")
    assert (masked.exit_code, masked.stderr) == (0, "")
    labels = mp.open("out.tif").to_array()
    assert (labels[~inside] == 255).all()
    found = fractions(masked.stdout)
    counts = 100 * np.bincount(labels[inside], minlength=3) / inside.sum()
    shares = [found[name] for name in ("pore", "carbon", "nickel")]
    assert shares == pytest.approx(counts, abs=0.01)
    assert found["outside, not counted"] == pytest.approx(100 * (1 - inside.mean()), abs=0.01)
    scored = call("evaluate", "out.tif", "labels.tif", "--json", "-")
    row = json.loads(scored.stdout)["rows"]["out.tif"]
    right = (labels == sample.labels)[inside].mean()
    assert row["ACC"] == pytest.approx(100 * right)


def test_a_mask_of_a_file_is_no_output(
    predict: list[str], refused: Refused, sample: Sample
) -> None:
    write_stack("out.tif", np.ones_like(sample.labels))
    refused(*predict, "--mask", "out.tif", "--overwrite", says=["out.tif"])
    write_stack("few.tif", np.ones_like(sample.labels[:3]))
    refused(*predict, "--mask", "few.tif", says=["few.tif has shape 3 x 48 x 56", "--mask"])


# --- what is probably wrong -----------------------------------------------------------------------


@pytest.mark.parametrize("intensity", ["model", "volume"])
def test_labels_in_place_of_the_image(predict: list[str], refused: Refused, intensity: str) -> None:
    predict[2] = "labels.tif"
    refused(*predict, "--intensity", intensity, says=["labels.tif has only the values 0, 1, 2"])


def test_slices_that_were_scaled_one_by_one(predict: list[str], call: Call, sample: Sample) -> None:
    gains = np.array([1, 1.3, 0.9, 1.2, 0.8, 1.1], np.float32)[:, None, None]
    write_stack("images.tif", sample.images * gains)
    result = call(*predict)
    assert result.exit_code == 0
    assert re.fullmatch(
        r"matphase: warning: images\.tif: in [2-5] of [56] slices .*data\.scale.*\n", result.stderr
    )


def test_several_files_are_slices(predict: list[str], call: Call, sample: Sample) -> None:
    names = [f"slice_{z}.tif" for z in range(6)]
    for name, plane in zip(names, sample.images, strict=True):
        mp.save(name, mp.Volume.from_array(plane))
    assert call(*predict).exit_code == 0
    expected = mp.open("out.tif").to_array()
    words = ["predict", predict[1], *names, "--out", "files.tif"]
    assert call(*words).exit_code == 0
    np.testing.assert_array_equal(mp.open("files.tif").to_array(), expected)
