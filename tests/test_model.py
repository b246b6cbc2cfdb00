"""`MatPhase` as Python code uses it; what it trains and predicts is tested elsewhere."""

import json
import signal
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import matphase as mp
from matphase.images.phases import PhaseTable, as_phase_table
from matphase.method import model_folder
from matphase.scores.evaluation import score_row
from matphase.settings import Settings
from matphase.support.errors import FormatError, InputError, Interrupted
from matphase.support.progress import Silent
from matphase.support.warning import MatPhaseWarning
from samples import Sample, striped

NAMES = ["pore", "carbon", "nickel"]


class Noting(Silent):
    """A reporter that counts the steps of each piece of work, and may stop in one of them."""

    def __init__(self, stop_in: str | None = None) -> None:
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self._stop_in = stop_in
        self._title = ""

    def start(self, title: str, total: int, done: int = 0) -> None:
        self._title = title
        self.totals[title], self.done[title] = total, done

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done[self._title] += steps
        if self._title == self._stop_in:
            raise KeyboardInterrupt


# --- what it takes --------------------------------------------------------------------------------


def test_arrays_paths_and_volumes_are_the_same_to_it(
    tmp_path: Path, model: mp.MatPhase, sample: Sample
) -> None:
    volume = mp.Volume.from_array(sample.images)
    mp.save(tmp_path / "scan.tif", volume)
    expected = model.predict(sample.images).labels
    for source in (volume, tmp_path / "scan.tif", str(tmp_path / "scan.tif")):
        np.testing.assert_array_equal(model.predict(source).labels, expected)


def test_a_folder_that_holds_another_model_by_now_is_not_used(
    tmp_path: Path, model: mp.MatPhase, sample: Sample
) -> None:
    folder = tmp_path / "model"
    model_folder.write(model._model, folder)
    opened = mp.load(folder)
    result = opened.predict(sample.images, out=tmp_path / "before.tif")
    assert result.record["model"] == str(folder)
    other = replace(model._model, seed=model._model.seed + 1)
    model_folder.write(other, folder, overwrite=True)
    result = opened.predict(sample.images, out=tmp_path / "after.tif")
    assert result.record["model"] is None


def test_a_scan_that_cannot_be_used_is_named(model: mp.MatPhase, sample: Sample) -> None:
    with pytest.raises(FormatError, match="nothing does not exist"):
        model.predict("nothing")
    with pytest.raises(InputError, match="volume has 1 dimensions"):
        model.predict(sample.images[0, 0])


def test_phases_by_name_by_value_and_as_a_table() -> None:
    table = PhaseTable.from_mapping({"a": 0, "b": 1})
    assert as_phase_table(["a", "b"]) == as_phase_table({"a": 0, "b": 1}) == table
    assert as_phase_table(table) is table


def test_one_slice_is_enough_to_train(tiny_settings: Settings) -> None:
    one = striped(1, 32, 35)
    model = mp.MatPhase(settings=tiny_settings).fit(one.images[0], one.labels[0], NAMES)
    assert model.predict(one.images[0]).labels.shape == (32, 35)


@pytest.mark.parametrize("preset", ["auto", "quick", "small", "best", "paper"])
def test_presets(preset: Any) -> None:
    assert mp.MatPhase(preset).settings == Settings.preset(preset)


def test_settings_are_chosen_unless_a_model_is_named() -> None:
    assert mp.MatPhase().settings == Settings.preset("auto")
    wide = {"ugsm": {"width": 32}}
    assert mp.MatPhase(settings=wide).settings == Settings.preset("auto").updated(wide)
    unet = {"model": "unet"}
    assert mp.MatPhase(settings=unet).settings == Settings.preset("small").updated(unet)


def test_an_unknown_preset() -> None:
    with pytest.raises(InputError, match="there is no preset 'fast'"):
        mp.MatPhase("fast")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.phases,
        lambda model: model.save("model"),
        lambda model: model.predict(np.zeros((40, 40))),
        lambda model: model.refit_local(np.zeros((40, 40)), np.zeros((40, 40))),
    ],
)
def test_an_untrained_model_says_so(use: Callable[[mp.MatPhase], object]) -> None:
    with pytest.raises(InputError, match="call fit, or load a trained one"):
        use(mp.MatPhase("quick"))


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "labels", "phases", "message"),
    [
        (np.s_[:3], np.s_[:], NAMES, "images has 3 slices but labels has 6"),
        (np.s_[:, 1:], np.s_[:], NAMES, "slices of images are 47 x 56 pixels"),
        (np.s_[:], np.s_[:], NAMES[:2], r"labels, slice 0 hold label value 2"),
        (np.s_[:], np.s_[:], [*NAMES, "void"], r"the phase 'void' \(value 3\) never occurs"),
        (np.s_[:], np.s_[:], ["pore", "pore", "carbon"], "pore is named twice"),
        (np.s_[:, :31], np.s_[:, :31], NAMES, "images is 31 x 56 px"),
    ],
)
def test_pairs_that_cannot_be_used(
    sample: Sample,
    tiny_settings: Settings,
    tmp_path: Path,
    images: Any,
    labels: Any,
    phases: list[str],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        mp.MatPhase(settings=tiny_settings).fit(
            sample.images[images], sample.labels[labels], phases, folder=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_validation_is_checked_like_training(
    sample: Sample, tiny_settings: Settings, tmp_path: Path
) -> None:
    bad = sample.images[:1].copy()
    bad[0, 0, 0] = np.inf
    with pytest.raises(InputError, match="validation images has 1 infinite"):
        mp.MatPhase(settings=tiny_settings).fit(
            *(sample.images, sample.labels, NAMES), validation=(bad, sample.labels[:1])
        )


def test_a_failed_fit_leaves_the_model_as_it_was(
    tiny_settings: Settings, sample: Sample, model_folder: Path
) -> None:
    model = mp.load(model_folder)
    before = model.predict(sample.images).labels
    with pytest.raises(InputError):
        model.fit(sample.images, sample.labels[:2], NAMES)
    np.testing.assert_array_equal(model.predict(sample.images).labels, before)


# --- tuning, refitting ----------------------------------------------------------------------------


def test_a_tuned_threshold_reaches_the_recall_and_is_saved(
    sample: Sample, tiny_settings: Settings, tmp_path: Path
) -> None:
    settings = tiny_settings.updated({"idk": {"tune_recall": 0.8}})
    unseen = striped(3, 48, 56, seed=1)
    model = mp.MatPhase(settings=settings).fit(
        *(sample.images, sample.labels, NAMES), validation=(unseen.images, unseen.labels)
    )
    result = model.predict(unseen.images)
    wrong = result.global_labels != unseen.labels
    assert wrong.any()
    assert np.mean(result.idk[wrong]) >= 0.8
    model.save(tmp_path / "model")
    loaded = mp.load(tmp_path / "model")
    assert loaded.settings.idk.threshold != settings.idk.threshold
    np.testing.assert_array_equal(loaded.predict(unseen.images).idk, result.idk)


def test_a_refitted_model_shares_all_but_the_local_network(
    model: mp.MatPhase, sample: Sample
) -> None:
    usi = model.settings.usi.model_copy(update={"order": "none"})
    other = model.refit_local(sample.images, sample.labels, usi=usi)
    first, second = model.predict(sample.images), other.predict(sample.images)
    np.testing.assert_array_equal(first.global_probabilities, second.global_probabilities)
    np.testing.assert_array_equal(first.idk, second.idk)
    assert (first.probabilities != second.probabilities).any()
    assert other.settings.usi.order == "none"
    assert model.settings.usi.order == "rising"


def test_two_grey_scales_and_turns_from_training_to_files(
    sample: Sample, tiny_settings: Settings, tmp_path: Path
) -> None:
    settings = tiny_settings.updated(
        {"data": {"scale": "both"}, "ugsm": {"tta": True, "slices": 3}, "lcgar": {"slices": 3}}
    )
    model = mp.MatPhase(settings=settings).fit(sample.images, sample.labels, NAMES)
    model.save(tmp_path / "model")
    written = tomllib.loads((tmp_path / "model" / "config.toml").read_text("utf-8"))
    assert written["intensity"]["kind"] == "both"
    outside = np.zeros(sample.images.shape, np.bool_)
    outside[:, :5] = True
    volume = mp.Volume.from_array(np.where(outside, np.float32(np.nan), sample.images))
    expected = model.predict(volume)
    loaded = mp.load(tmp_path / "model")
    found = loaded.predict(volume, memory=8 * 10**6, out=tmp_path / "out.tif")
    np.testing.assert_array_equal(found.labels, expected.labels)
    ignored = expected.phases.ignore
    assert ((np.asarray(found.labels) == ignored) == outside).all()
    # what is learned again is learned from the same images
    again = loaded.refit_local(sample.images, sample.labels)
    np.testing.assert_array_equal(again.predict(volume).labels, expected.labels)


# --- progress and stopping ------------------------------------------------------------------------


def test_progress_is_told_to_the_end(sample: Sample, tiny_settings: Settings) -> None:
    reporter = Noting()
    model = mp.MatPhase(settings=tiny_settings).fit(
        *(sample.images, sample.labels, NAMES), reporter=reporter
    )
    assert {"train ugsm", "train idk", "train lcgar"} <= set(reporter.totals)
    model.predict(sample.images, reporter=reporter)
    assert reporter.totals["predict"] == sample.images.size
    assert reporter.done == reporter.totals


@pytest.mark.parametrize("stage", ["ugsm", "idk", "lcgar"])
def test_a_stopped_training_goes_on_where_it_was(
    sample: Sample, tiny_settings: Settings, model: mp.MatPhase, tmp_path: Path, stage: str
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    untrained = mp.MatPhase(settings=tiny_settings)
    data = (sample.images, sample.labels, NAMES)
    try:
        with pytest.raises(
            Interrupted, match=f"stopped during {stage}; .* (kept|starts from the beginning)"
        ):
            untrained.fit(*data, folder=tmp_path / "run", reporter=Noting(f"train {stage}"))
    finally:
        left = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, handler)
    assert left == handler, "Ctrl-C must work again in the program that goes on"
    with pytest.raises(InputError, match="not trained yet"):
        untrained.predict(sample.images)
    resumed = untrained.fit(*data, folder=tmp_path / "run")
    expected = model.predict(sample.images)
    np.testing.assert_array_equal(resumed.predict(sample.images).labels, expected.labels)


def test_without_a_folder_nothing_is_kept_and_it_says_so(
    sample: Sample, tiny_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(Interrupted, match="nothing was kept, since no folder was given"):
            mp.MatPhase(settings=tiny_settings).fit(
                *(sample.images, sample.labels, NAMES), reporter=Noting("train ugsm")
            )
    finally:
        signal.signal(signal.SIGINT, handler)
    assert list(tmp_path.iterdir()) == []


def test_training_without_a_folder_leaves_no_file(
    sample: Sample, tiny_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mp.MatPhase(settings=tiny_settings).fit(sample.images, sample.labels, NAMES)
    assert list(tmp_path.iterdir()) == []


def test_training_with_aligned_labels_keeps_the_steps_and_says_what_moved(
    sample: Sample, tiny_settings: Settings, tmp_path: Path
) -> None:
    settings = tiny_settings.updated({"align": {"after": 0.5}})
    model = mp.MatPhase(settings=settings).fit(
        sample.images, sample.labels, NAMES, folder=tmp_path / "run"
    )
    assert (tmp_path / "run" / "ugsm_before_alignment.safetensors").exists()
    model.save(tmp_path / "model")
    record = tomllib.loads((tmp_path / "model" / "config.toml").read_text("utf-8"))["training"]
    moved = record["alignment"]
    assert 0 <= moved["mean_displacement_px"] <= moved["displacement_95_percent_px"] + 1e-9
    assert sum(moved["volume_fractions_after"].values()) == pytest.approx(1)
    again = mp.MatPhase(settings=settings).fit(sample.images, sample.labels, NAMES)
    found = model.align(sample.images, sample.labels, NAMES).summary
    assert {name: found[name] for name in moved} == moved, (
        "the labels that the end was learned from"
    )
    refitted = model.refit_local(sample.images, sample.labels)
    one, *others = (each.predict(sample.images).probabilities for each in (model, again, refitted))
    for other in others:
        assert np.array_equal(one, other)


def test_a_training_of_an_earlier_version_goes_on(
    sample: Sample, tiny_settings: Settings, tmp_path: Path
) -> None:
    """Settings that were added since are at their defaults."""
    mp.MatPhase(settings=tiny_settings).fit(sample.images, sample.labels, NAMES, folder=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    del record["settings"]["align"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    mp.MatPhase(settings=tiny_settings).fit(sample.images, sample.labels, NAMES, folder=tmp_path)
    assert written, "stages were finished"
    assert written == {path: path.stat().st_mtime_ns for path in written}, "none was trained again"


# --- depth ----------------------------------------------------------------------------------------


def test_networks_that_see_neighbouring_slices(
    tmp_path: Path, sample: Sample, tiny_settings: Settings
) -> None:
    settings = tiny_settings.updated({"ugsm": {"slices": 3}, "lcgar": {"slices": 5}})
    model = mp.MatPhase(settings=settings).fit(
        sample.images,
        sample.labels[[1, 4]],
        NAMES,
        label_slices=[1, 4],
        validation=(sample.images, sample.labels[[2]]),
        validation_slices=[2],
    )
    before = model.predict(sample.images)
    model.save(tmp_path / "deep")
    again = mp.load(tmp_path / "deep").predict(sample.images)
    np.testing.assert_array_equal(again.probabilities, before.probabilities)
    # slice 0 sees 0 to 1 (UGSM) and 0 to 2 (LCGAR): what changes far away is not there for it
    changed = sample.images.copy()
    changed[3] = changed[3][::-1]
    after = model.predict(changed)
    moved = [
        not np.array_equal(before.global_probabilities[:, z], after.global_probabilities[:, z])
        for z in range(6)
    ]
    assert moved == [False, False, True, True, True, False]
    np.testing.assert_array_equal(before.probabilities[:, 0], after.probabilities[:, 0])


def test_slices_picked_from_a_stack_are_refused_where_several_are_seen(
    sample: Sample, tiny_settings: Settings
) -> None:
    rng = np.random.default_rng(0)
    picked = Sample(rng.normal(size=(3, 260, 260)), np.arange(3 * 260**2).reshape(3, 260, 260) % 3)
    deep = mp.MatPhase(settings=tiny_settings.updated({"ugsm": {"slices": 3}}))
    with pytest.raises(InputError, match="slices of images do not look like the next ones"):
        deep.fit(picked.images, picked.labels, NAMES)
    with pytest.raises(InputError, match="slices of validation images do not look like"):
        deep.fit(*(sample.images, sample.labels, NAMES), validation=(picked.images, picked.labels))


def test_outside_of_the_mask_teaches_nothing(sample: Sample, tiny_settings: Settings) -> None:
    """Neither its grey values nor its labels, in training, alignment and validation."""
    settings = tiny_settings.updated(
        {"align": {"after": 0.5}, "calibration": {"scaling": "vector"}}
    )
    inside = np.ones(sample.labels.shape, np.uint8)
    inside[:, :, 40:] = 0
    inside[:3, :10] = 0
    made = []
    for outside in (0.0, 500.0):
        images = np.where(inside, sample.images, np.float32(outside))
        labels = np.where(inside, sample.labels, np.uint8(outside > 0))
        model = mp.MatPhase(settings=settings).fit(
            *(images, labels, NAMES),
            mask=inside,
            validation=(images[:2], labels[:2]),
            validation_mask=inside[:2],
        )
        aligned = model.align(images, labels, mask=inside)
        assert (aligned.labels[inside == 0] == 255).all()
        assert model.validation is not None
        assert model.validation.confusion.sum() == inside[:2].sum()
        made.append((model, aligned))
    (one, first), (other, second) = made
    for name, network in one._model.networks.items():
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, other._model.networks[name].state_dict()[key]), (name, key)
    assert one._model.record == other._model.record
    assert one.scaling == other.scaling
    np.testing.assert_array_equal(first.labels, second.labels)


def test_a_volume_of_smaller_voxels_is_predicted_better_at_the_voxel_size_of_the_model(
    sample: Sample, tiny_settings: Settings, tmp_path: Path
) -> None:
    images = mp.Volume.from_array(sample.images, voxel_size=0.2, unit="um")
    longer = {"model": "ugsm", "ugsm": {"epochs": 60, "width": 8}}
    settings = tiny_settings.updated(longer)
    model = mp.MatPhase(settings=settings).fit(images, sample.labels, NAMES)
    model.save(tmp_path / "model")
    model = mp.load(tmp_path / "model")
    labels = sample.labels[:2].repeat(2, 1).repeat(2, 2)
    grey = sample.images[:2].repeat(2, 1).repeat(2, 2)
    fine = mp.Volume.from_array(grey, voxel_size=(0.2, 0.1, 0.1), unit="um", name="fine")
    with pytest.warns(MatPhaseWarning, match=r"fine has the voxel size 0\.2 x 0\.1 .*resample"):
        plain = model.predict(fine)
    better = model.predict(fine, resample=True, out=tmp_path / "better.tif")
    assert better.shape == fine.shape
    assert better.voxel_size == fine.voxel_size
    scores = [
        score_row(labels, np.asarray(found.indices), model.phases)["mIU"]
        for found in (plain, better)
    ]
    assert 1 - scores[1] < 0.7 * (1 - scores[0])
