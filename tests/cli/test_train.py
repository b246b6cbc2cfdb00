import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import matphase as mp
import matphase.images.formats
import matphase.method.model_folder
import matphase.model
from matphase.learning import loop
from matphase.method.ugsm import NetworkSegmenter
from matphase.support.errors import InputError
from samples import Sample

LABEL_MAP = "pore=0,carbon=1,nickel=2"
DATA = ["--images", "images.tif", "--labels", "labels.tif", "--label-map", LABEL_MAP]
TRAIN = ["train", *DATA, "--preset", "quick", "--config", "tiny.toml", "--out", "model"]

Call = Callable[..., Any]
Refused = Callable[..., str]


def fail(error: BaseException) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise error

    return failing


def instead(words: list[str], option: str, value: str) -> list[str]:
    """The words, with another value of one option."""
    place = words.index(option) + 1
    return [*words[:place], value, *words[place + 1 :]]


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write_stack(name: str, array: np.ndarray) -> None:
    mp.save(name, mp.Volume.from_array(array, axes="zyx"), overwrite=True)


# --- it works -------------------------------------------------------------------------------------


def test_without_a_preset_settings_are_chosen_and_told(work: Path, call: Call) -> None:
    small = (
        *("data.crop=32", "ugsm.width=2", "ugsm.depth=1", "ugsm.min_steps=4"),
        *("classical.trees=3", "classical.depth=3", "classical.pixels=300"),
    )
    words = [word for one in small for word in ("--set", one)]
    result = call("train", *DATA, *words, "--out", "model", "--time", "1h")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["classical features", "network", "model"]
    assert all("mIU of left-out slices" in line for line in lines[:3])
    assert lines[-1] == "model written to model"
    assert set(work.glob("model*")) == {work / "model"}
    assert mp.load("model").decisions["network"] in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "quick", "--time", "10min"], "leave it out, or give --preset auto"),
        (
            ["--model", "unet", "--time", "10min"],
            "leave it out, or give --preset auto and no model",
        ),
        (["--preset", "auto", "--time", "soon"], "--time 'soon' is not a time"),
        (["--preset", "auto", "--time", "0.001s"], "too short: one candidate takes"),
        (["--preset", "auto", "--model", "unet"], "search.is_on chooses the model"),
    ],
)
def test_options_of_preset_auto_that_do_not_fit(
    refused: Refused, words: list[str], message: str
) -> None:
    refused("train", *DATA, *words, "--out", "model", says=[message], new="model.partial")


def test_a_training_leaves_a_model_and_nothing_else(work: Path, call: Call) -> None:
    before = set(work.iterdir())
    result = call(*TRAIN)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "model written to model\n"
    assert set(work.iterdir()) - before == {work / "model"}
    assert set(files_in(Path("model"))) == {
        "config.toml",
        "phases.json",
        "manifest.json",
        "ugsm.safetensors",
        "idk.safetensors",
        "lcgar.safetensors",
    }
    model = mp.load("model")
    assert model.phases == mp.PhaseTable.parse(LABEL_MAP)
    assert model.settings.ugsm.width == 4


def test_the_command_line_trains_the_model_that_python_trains(
    work: Path, call: Call, model: mp.MatPhase, sample: Sample
) -> None:
    assert call(*TRAIN, "--quiet").stdout == ""
    expected = model.predict(sample.images)
    result = mp.load("model").predict("images.tif")
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)


def test_a_training_starts_from_the_base_model(work: Path, call: Call) -> None:
    one = ["--set", "ugsm.max_steps=1", "--model", "unet", "--start", "base"]
    result = call(*TRAIN, *one)
    assert (result.exit_code, result.stderr) == (0, "")
    assert mp.load("model").settings.ugsm.start == "base"
    other = call(*instead(TRAIN, "--label-map", "pore=0,sulphur=1,nickel=2"), *one, "--overwrite")
    assert other.exit_code == 0
    assert other.stderr.startswith("matphase: warning: base knows the phases pore, carbon_binder")
    assert other.stderr.count("\n") == 1


def test_a_start_that_is_no_model(refused: Refused) -> None:
    refused(*TRAIN, "--start", "none", says=["none is not a model folder"])
    words = [*TRAIN, "--start", "base", "--model", "classical"]
    refused(*words, says=["has no U-Net that could start from base; leave out --start"])
    refused(*TRAIN, "--start", "model", says=["model is not a model folder"])


def test_a_baseline_is_trained_and_predicts_without_idk(work: Path, call: Call) -> None:
    done = call("train", *DATA, "--config", "tiny.toml", "--model", "segnet", "--out", "segnet")
    assert done.exit_code == 0, done.output
    assert not Path("segnet/idk.safetensors").exists()
    assert 'model = "segnet"' in Path("segnet/config.toml").read_text("utf-8")
    assert call("predict", "segnet", "images.tif", "--out", "phases.tif").exit_code == 0
    scores = call("evaluate", "phases.tif", "labels.tif")
    assert "no pixel is uncertain" in scores.stdout
    assert "UGSM alone" not in scores.stdout


def test_set_changes_what_the_file_says(work: Path, call: Call) -> None:
    words = ["--set", "ugsm.width=6", "--set", "lcgar.h=7", "--set", "usi.order=none"]
    assert call(*TRAIN, *words).exit_code == 0
    settings = mp.load("model").settings
    assert (settings.ugsm.width, settings.ugsm.depth) == (6, 2)
    assert (settings.lcgar.h, settings.usi.order) == (7, "none")


def test_a_model_that_is_not_known(refused: Refused) -> None:
    refused(
        "train",
        *DATA,
        "--model",
        "nnunet",
        "--out",
        "m",
        says=["there is no model 'nnunet'; did you mean 'unet'? choose one of matphase, ugsm"],
    )


def test_folders_of_png_with_gaps_in_the_values_and_ignored_pixels(
    work: Path, call: Call, sample: Sample
) -> None:
    grey = np.clip(sample.images * 2, 0, 255).astype(np.uint8)
    values = np.array([0, 128, 255], np.uint8)[sample.labels]
    values[:, :3] = 7
    for name, stack in {"grey": grey, "known": values}.items():
        Path(name).mkdir()
        for z, plane in enumerate(stack):
            Image.fromarray(plane).save(f"{name}/slice_{z}.png")
    result = call(
        *["train", "--images", "grey", "--labels", "known", "--config", "tiny.toml"],
        *["--label-map", "pore=0,carbon=128,nickel=255,ignore=7", "--out", "deep/er/model"],
    )
    assert result.exit_code == 0
    labels = mp.load("deep/er/model").predict("grey").labels
    assert set(np.unique(labels)) <= {0, 128, 255}


# --- data that cannot be used ---------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--images", "--labels"])
def test_a_missing_file(refused: Refused, option: str) -> None:
    refused(
        *instead(TRAIN, option, "nothing.tif"),
        says=["nothing.tif does not exist", "check the path"],
    )


@pytest.mark.parametrize("option", ["--images", "--labels"])
def test_a_folder_without_images(refused: Refused, option: str) -> None:
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no image", "utf-8")
    refused(*instead(TRAIN, option, "empty"), says=["folder empty holds no images", ".tif"])


@pytest.mark.parametrize("option", ["--images", "--labels"])
def test_a_truncated_tiff(refused: Refused, option: str) -> None:
    whole = Path("images.tif").read_bytes()
    Path("cut.tif").write_bytes(whole[: len(whole) // 2])
    refused(*instead(TRAIN, option, "cut.tif"), says=["cut.tif", "truncated", "export it again"])


def test_labels_of_fewer_slices(refused: Refused, sample: Sample) -> None:
    write_stack("five.tif", sample.labels[:5])
    refused(
        *instead(TRAIN, "--labels", "five.tif"),
        says=[
            "images.tif has 6 slices but five.tif has 5",
            "give the numbers of the labelled slices (--label-slices)",
        ],
    )


def test_labels_of_other_size(refused: Refused, sample: Sample) -> None:
    write_stack("narrow.tif", sample.labels[:, :, 1:])
    refused(
        *instead(TRAIN, "--labels", "narrow.tif"),
        says=["images.tif are 48 x 56", "narrow.tif are 48 x 55", "must cover the same pixels"],
    )


def test_a_label_value_that_is_not_in_the_map(refused: Refused, sample: Sample) -> None:
    labels = sample.labels.copy()
    labels[4, 5, 6] = 9
    write_stack("labels.tif", labels)
    refused(*TRAIN, says=["labels.tif, slice 4", "label value 9", "add a phase or an ignore value"])


def test_labels_that_are_no_whole_numbers(refused: Refused, sample: Sample) -> None:
    write_stack("labels.tif", sample.labels + np.float32(0.5))
    refused(*TRAIN, says=["labels.tif, slice 0", "labels are whole numbers"])


def test_a_phase_that_never_occurs(refused: Refused) -> None:
    refused(
        *[*TRAIN, "--label-map", f"{LABEL_MAP},binder=3"],
        says=[
            "labels.tif: the phase 'binder' (value 3) never occurs",
            "remove it from the label map",
        ],
    )


def test_an_image_of_one_value(refused: Refused, sample: Sample) -> None:
    images = sample.images.copy()
    images[3] = 5
    write_stack("images.tif", images)
    refused(*TRAIN, says=["slice 3 of images.tif", "have the value 5", "give an image"])
    write_stack("images.tif", np.zeros_like(images))
    refused(*TRAIN, says=["images.tif: all pixels have the value 0", "check that"])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_pixels_that_are_infinite(refused: Refused, sample: Sample, value: float) -> None:
    images = sample.images.copy()
    images[2, 4:6, 5] = value
    write_stack("images.tif", images)
    refused(*TRAIN, says=["images.tif has 2 infinite pixels in slice 2", "replace them"])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_picture_in_colour(refused: Refused, suffix: str) -> None:
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(f"photo{suffix}")
    refused(
        *instead(TRAIN, "--images", f"photo{suffix}"), says=[f"photo{suffix}", "convert it to grey"]
    )


@pytest.mark.parametrize("shape", [(6, 31, 56), (6, 48, 20)])
def test_an_image_that_is_too_small(refused: Refused, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    write_stack("images.tif", rng.random(shape, np.float32))
    write_stack("labels.tif", rng.integers(0, 3, shape, np.uint8))
    refused(*TRAIN, says=[f"images.tif is {shape[1]} x {shape[2]} px", "at least 32 px"])


# --- options that cannot be used ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--preset", "fast"], ["no preset 'fast'", "choose auto, quick, small, best or paper"]),
        (["--label-map", "pore"], ["'pore'", "not NAME=INTEGER"]),
        (["--label-map", "pore=0"], ["2 to 200 phases"]),
        (["--label-map", "pore=0,carbon=0"], ["value 0 stands for two phases"]),
        (["--set", "ugsm.width"], ["--set 'ugsm.width' is not SECTION.NAME=VALUE"]),
        (["--set", "ugsm.width=0"], ["--set: ugsm.width: must be greater", "got 0"]),
        (
            ["--set", "model=nnunet"],
            ["there is no model 'nnunet'; did you mean 'unet'? choose one of matphase"],
        ),
        (["--config", "nothing.toml"], ["cannot read settings from nothing.toml"]),
        (["--config", "images.tif"], ["images.tif is not a TOML file"]),
        (["--validation-images", "images.tif"], ["belong together; give both or neither"]),
        (["--resume"], ["no interrupted training in model.partial", "omit --resume"]),
        (["--out", "."], [". has no name of its own"]),
        (["--out", "images.tif"], ["images.tif exists", "pass --overwrite"]),
        (["--out", "images.tif", "--overwrite"], ["images.tif is a file, which is not replaced"]),
        (["--out", "images.tif/model"], ["images.tif is a file", "choose another path"]),
    ],
)
def test_options_that_cannot_be(refused: Refused, words: list[str], says: list[str]) -> None:
    refused(*TRAIN, *words, says=says)


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[ugsm]\nepochs = 0", ["ugsm.epochs", "got 0"]),
        ("[ugsm]\nwdith = 8", ["no setting 'ugsm.wdith'; did you mean 'ugsm.width'?"]),
        ("ugsm = 3", ["ugsm"]),
        ("[lcgar]\nh = 10", ["bad.toml: lcgar.h: must be odd", "got 10"]),
        ("[idk]\ntune_recall = 0.9", ["idk.tune_recall needs validation slices"]),
        ("[ugsm", ["bad.toml is not a TOML file"]),
    ],
)
def test_settings_that_cannot_be(refused: Refused, toml: str, says: list[str]) -> None:
    Path("bad.toml").write_text(toml, "utf-8")
    refused(*TRAIN, "--config", "bad.toml", says=says)


def test_tensorboard_that_is_not_installed(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matphase.model.find_spec", lambda _: None)
    refused(
        *TRAIN, "--tensorboard", "logs", says=["TensorBoard is not installed", "matphase[tracking]"]
    )


# --- what is there already ------------------------------------------------------------------------


def test_a_model_that_exists_is_kept_unless_told(
    refused: Refused, call: Call, model_folder: Path
) -> None:
    shutil.copytree(model_folder, "model")
    refused(*TRAIN, says=["model exists", "pass --overwrite"])
    assert call(*TRAIN, "--seed", "5", "--overwrite").exit_code == 0
    assert mp.load("model").seed == 5
    assert not Path("model.partial").exists()


def test_a_folder_that_is_no_model_is_never_replaced(refused: Refused) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter1.tex").write_text("years of work", "utf-8")
    refused(*TRAIN, "--out", "thesis", "--overwrite", says=["thesis is not replaced"])


def test_the_folder_of_the_images_is_never_replaced(refused: Refused, model_folder: Path) -> None:
    shutil.copytree(model_folder, "scans")
    shutil.copy("images.tif", "scans/images.tif")
    refused(
        *[*instead(TRAIN, "--images", "scans/images.tif"), "--out", "scans", "--overwrite"],
        says=["scans is not replaced, since it contains images.tif, which was not written"],
    )


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_model_stays_when_the_new_one_cannot_be_written(
    refused: Refused,
    call: Call,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    shutil.copytree(model_folder, "model")
    with monkeypatch.context() as patch:
        patch.setattr(
            matphase.method.model_folder, "save_weights", fail(OSError(code, os.strerror(code)))
        )
        refused(
            *[*TRAIN, "--seed", "5", "--overwrite"],
            says=["cannot write model", os.strerror(code)],
            new="model.partial",
        )
    assert mp.load("model").seed == 0
    # what was trained is not lost: once there is room, only the writing is done again
    with monkeypatch.context() as patch:
        patch.setattr(loop.L.Trainer, "fit", fail(AssertionError("trained again")))
        assert call(*TRAIN, "--seed", "5", "--overwrite", "--resume").exit_code == 0
    assert mp.load("model").seed == 5


def test_a_folder_that_cannot_be_written(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    refused(*TRAIN, says=["no permission to write in", "choose another output path"])


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_place_where_no_folder_can_be_made(refused: Refused) -> None:
    refused(*TRAIN, "--out", "/proc/nowhere/model", says=["cannot write /proc/nowhere/model"])


@pytest.mark.parametrize(
    ("room", "file", "seconds_between_checkpoints"),
    [
        (100, "run.json", 15),
        (20_000, "ugsm.safetensors", 15),
        (20_000, "ugsm.ckpt", 0),
        (60_000, "lcgar.safetensors", 15),
    ],
)
def test_a_disk_that_runs_full(
    refused: Refused,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    file: str,
    seconds_between_checkpoints: int,
) -> None:
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", seconds_between_checkpoints)
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # a file that grows beyond this fails as it would on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        refused(*TRAIN, says=[f"cannot write model.partial/{file}"], new="model.partial")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resume = ["--resume"] if Path("model.partial").exists() else []
    assert call(*TRAIN, *resume).exit_code == 0
    assert not Path("model.partial").exists()


# --- stopped and resumed --------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """The checkpoint from which each training of a network starts; None for the beginning."""
    starts: list[Path | None] = []
    fit = loop.L.Trainer.fit

    def noted(*args: Any, ckpt_path: Path | None = None, **kwargs: Any) -> None:
        starts.append(ckpt_path)
        fit(*args, ckpt_path=ckpt_path, **kwargs)

    monkeypatch.setattr(loop.L.Trainer, "fit", noted)
    return starts


def test_ctrl_c_ends_the_program_and_keeps_the_last_checkpoint(
    work: Path, call: Call, started: list[Path | None]
) -> None:
    long = [*TRAIN, "--set", "ugsm.epochs=40"]
    checkpoint = Path("model.partial/ugsm.ckpt")
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from matphase.learning import loop; loop.SECONDS_BETWEEN_CHECKPOINTS = 0\n"
        "from matphase.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *long],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while process.poll() is None and not checkpoint.exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    # and nothing else: imports of torch and Lightning print no warnings
    assert stderr == (
        f"matphase: stopped during ugsm; the last checkpoint is kept in {checkpoint}; "
        "continue with --resume\n"
    )
    assert (process.returncode, stdout) == (1, "")
    assert not Path("model").exists()
    assert set(files_in(Path("model.partial"))) == {"run.json", "ugsm.ckpt"}

    result = call(*long, "--resume")
    assert (result.exit_code, result.stderr) == (0, "")
    assert started == [checkpoint, None, None]
    assert not Path("model.partial").exists()
    assert mp.load("model").settings.ugsm.epochs == 40


def test_ctrl_c_in_a_later_stage_keeps_the_finished_ones(
    work: Path,
    call: Call,
    refused: Refused,
    started: list[Path | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    long = [*TRAIN, "--set", "lcgar.epochs=3"]
    checkpoint = Path("model.partial/lcgar.ckpt")
    save = loop.L.Trainer.save_checkpoint
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(trainer: Any, path: Path, *args: Any, **kwargs: Any) -> None:
        save(trainer, path, *args, **kwargs)
        if checkpoint.exists():  # this is the second one of the stage
            signal.raise_signal(signal.SIGINT)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(loop.L.Trainer, "save_checkpoint", interrupted)
            refused(
                *long,
                says=[f"stopped during lcgar; the last checkpoint is kept in {checkpoint}"],
                new="model.partial",
            )
    finally:
        signal.signal(signal.SIGINT, handler)
    finished = {"ugsm.safetensors", "idk.safetensors"}
    assert set(files_in(Path("model.partial"))) == {"run.json", checkpoint.name, *finished}

    started.clear()
    assert call(*long, "--resume").exit_code == 0
    assert started == [checkpoint]
    assert not Path("model.partial").exists()


def test_ctrl_c_between_trainings_keeps_the_finished_stages(
    work: Path,
    call: Call,
    refused: Refused,
    started: list[Path | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(NetworkSegmenter, "predict", fail(KeyboardInterrupt()))
        refused(
            *TRAIN,
            says=["stopped; the finished stages are kept in model.partial; continue with --resume"],
            new="model.partial",
        )
    assert set(files_in(Path("model.partial"))) == {"run.json", "ugsm.safetensors"}
    started.clear()
    assert call(*TRAIN, "--resume").exit_code == 0
    assert started == [None, None], "UGSM was trained again"
    assert {path.name for path in work.iterdir()} == {
        "images.tif",
        "labels.tif",
        "model",
        "tiny.toml",
    }


def test_ctrl_c_while_the_model_is_written(
    call: Call, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(matphase.method.model_folder, "save_weights", fail(KeyboardInterrupt()))
        refused(*TRAIN, says=["kept in model.partial", "--resume"], new="model.partial")
    assert call(*TRAIN, "--resume").exit_code == 0


def test_ctrl_c_before_anything_is_done(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matphase.images.formats, "open", fail(KeyboardInterrupt()))
    refused(*TRAIN, says=["stopped; nothing was written"])


@pytest.fixture
def stopped(work: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a training that was stopped after UGSM."""
    with monkeypatch.context() as patch:
        patch.setattr(NetworkSegmenter, "predict", fail(KeyboardInterrupt()))
        assert call(*TRAIN).exit_code == 1
    return Path("model.partial")


def test_an_interrupted_training_is_not_thrown_away(
    stopped: Path, refused: Refused, call: Call
) -> None:
    refused(*TRAIN, says=["model.partial holds an interrupted training", "--resume"])
    # a slip in the other options does not cost it either
    refused(
        *instead(TRAIN, "--images", "nothing.tif"),
        "--overwrite",
        says=["nothing.tif does not exist"],
    )
    assert call(*TRAIN, "--overwrite").exit_code == 0
    assert not stopped.exists()


def test_resume_with_something_else_is_refused(
    stopped: Path, refused: Refused, sample: Sample
) -> None:
    keep = "to continue, or remove that folder"
    resume = [*TRAIN, "--resume"]
    refused(*resume, "--seed", "1", says=["started with other seed", keep])
    renamed = "void=0,carbon=1,nickel=2"
    refused(*resume, "--label-map", renamed, says=["started with other phases", keep])
    Path("other.toml").write_text("[lcgar]\nepochs = 7\n", "utf-8")
    refused(*resume, "--config", "other.toml", says=["started with other settings", keep])
    write_stack("other.tif", sample.images[::-1].copy())
    refused(*instead(resume, "--images", "other.tif"), says=["started with other data", keep])
    assert stopped.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_record_of_a_training(stopped: Path, refused: Refused, text: str) -> None:
    (stopped / "run.json").write_text(text, "utf-8")
    refused(*TRAIN, "--resume", says=["model.partial/run.json is damaged", "train again"])


def test_a_partial_folder_of_somebody_elses_stays(refused: Refused) -> None:
    Path("model.partial").mkdir()
    Path("model.partial/notes.txt").write_text("mine", "utf-8")
    refused(*TRAIN, "--overwrite", says=["model.partial holds other files, not a training"])


def test_an_interrupted_training_stays_when_the_new_one_cannot_begin(refused: Refused) -> None:
    Path("model.partial").mkdir()
    Path("model.partial/run.json").write_text("{}", "utf-8")
    Path("model.partial/ugsm.ckpt").write_text("weights", "utf-8")
    mp.save(
        "labels.tif", mp.Volume.from_array(mp.open("labels.tif").to_array() + 7), overwrite=True
    )
    refused(*TRAIN, "--overwrite", says=["label value"])


# --- files as people have them --------------------------------------------------------------------


def slices(folder: str, name: str, stack: np.ndarray, numbers: Sequence[int]) -> list[str]:
    """A folder of files of one slice each; their paths."""
    Path(folder).mkdir()
    paths = [f"{folder}/{name.format(number)}" for number in numbers]
    for path, plane in zip(paths, stack[list(numbers)], strict=True):
        mp.save(path, mp.Volume.from_array(plane))
    return paths


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The annotations of each training, which ends there."""
    found: list[Any] = []

    def read(annotations: Any, *_: Any, **__: Any) -> None:
        found.append(annotations)
        raise InputError("read")

    monkeypatch.setattr(matphase.model.Pool, "read", read)
    return found


@pytest.mark.parametrize("how", ["folders", "patterns", "files", "an option each"])
def test_slices_are_paired_by_the_names_of_their_files(
    work: Path, call: Call, sample: Sample, seen: list[Any], how: str
) -> None:
    images = slices("scan", "s_{:03}.tif", sample.images, range(6))
    labels = slices("known", "label_{}.png", sample.labels, [2, 5])
    given = {
        "folders": (["scan"], ["known"]),
        "patterns": (["scan/s_*.tif"], ["known/*.png"]),
        "files": (images, labels),
        "an option each": (
            [*images[:1], *(word for one in images[1:] for word in ("--images", one))],
            labels,
        ),
    }
    shown, known = given[how]
    words = ["--images", *shown, "--labels", *known, "--label-map", LABEL_MAP, "--out", "model"]
    assert "read" in call("train", *words).stderr
    (found,) = seen
    assert found.z.tolist() == [2, 5]
    np.testing.assert_array_equal(found.plane(1), sample.labels[5])


def test_names_that_contradict_are_refused_and_numbers_override_them(
    work: Path, refused: Refused, call: Call, sample: Sample, seen: list[Any]
) -> None:
    slices("scan", "s_{:03}.tif", sample.images, [0, 2, 4])
    slices("known", "s_{:03}.tif", sample.labels, [0, 4, 5])
    words = instead(instead(TRAIN, "--images", "scan"), "--labels", "known")
    refused(*words, says=["known has s_005.tif, but scan", "--label-slices"])
    validation = ["--validation-images", "scan", "--validation-labels", "known"]
    refused(*TRAIN, *validation, says=["known has s_005.tif, but scan", "--validation-slices"])
    assert "read" in call(*words, "--label-slices", "0,1,2").stderr
    assert seen[-1].z.tolist() == [0, 1, 2]


def test_a_mask_is_no_file_that_may_be_replaced(
    work: Path, refused: Refused, sample: Sample
) -> None:
    write_stack("mask.tif", np.ones_like(sample.labels))
    words = [*TRAIN, "--mask", "mask.tif"]
    refused(*instead(words, "--out", "mask.tif"), "--overwrite", says=["mask.tif"])
    write_stack("mask.tif", np.zeros_like(sample.labels))
    refused(*words, says=["the mask mask.tif is zero everywhere", "--mask"])
    refused(*instead(words, "--mask", "round"), says=["round does not exist"])
