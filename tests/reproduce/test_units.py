"""The units of the tables: computed together on tiny slices, and stopped in the middle."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.weight_files import save_weights
from matphase.networks import cost, registry
from matphase.reproduce.conditions import claim
from matphase.reproduce.data import UserSlices, split_data
from matphase.reproduce.engine import result_of
from matphase.reproduce.protocol import PRESETS, Protocol
from matphase.reproduce.results import RECORD
from matphase.reproduce.run import run_units
from matphase.reproduce.table_rows import TABLES, TARGETS, units_of
from matphase.reproduce.units import FULL, VARIANTS, Unit, varied
from matphase.scores.metrics.confusion import confusion_matrix
from matphase.settings import Settings
from matphase.support.errors import InputError, OutputError

ALL = (
    "ugsm",
    f"lcgar_{FULL}",
    "lcgar_image_logits",
    "mcd_unet",
    "unet",
    "local_unet",
    "resnet18",
    "adapted_lcgar",
    "out_of_fold",
)


def labels_of(place: Path) -> np.ndarray:
    with np.load(place / "labels.npz") as kept:
        return np.asarray(kept["labels"])


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, protocol: Protocol, slices: UserSlices
) -> tuple[Path, list[str]]:
    """A folder with one unit of each kind, and what was said meanwhile."""
    out = tmp_path_factory.mktemp("reproduce") / "out"
    said: list[str] = []
    claim(out, protocol, slices)
    units = [Unit("blocked", 0, name) for name in reversed(ALL)]
    run_units(units, protocol, slices, out, workers=2, say=said.append)
    return out, said


def found(out: Path, name: str) -> dict[str, Any]:
    result = result_of(Unit("blocked", 0, name), out)
    assert result is not None
    return result


def test_all_are_done_in_the_order_of_what_they_need(done: tuple[Path, list[str]]) -> None:
    _, said = done
    assert said[0] == f"0 of {len(ALL)} trials are done"
    assert len(said) == len(ALL) + 1
    assert said[-1].startswith(f"{len(ALL)} of {len(ALL)} trials: blocked, seed 0, ")
    assert said[-1].endswith("about 0 min left")
    order = [line.split(", ")[2].split(" in ")[0] for line in said[1:]]
    for name in ("local_unet", "resnet18", f"lcgar_{FULL}", "mcd_unet", "out_of_fold"):
        assert order.index("ugsm") < order.index(name)
    assert order.index(f"lcgar_{FULL}") < order.index("adapted_lcgar")


def test_results_hold_what_they_say(
    done: tuple[Path, list[str]], protocol: Protocol, slices: UserSlices
) -> None:
    out, _ = done
    data = split_data(slices.read(), "blocked", 0, protocol)
    for name in ALL:
        result = found(out, name)
        labels = labels_of(out / Unit("blocked", 0, name).place)
        truth = np.where(labels == IGNORE_INDEX, np.uint8(IGNORE_INDEX), data.measured)
        blocks = np.array(result["block_confusions"]["measured"])
        np.testing.assert_array_equal(blocks.sum(axis=0), confusion_matrix(truth, labels, 3))
        assert result["scores"]["measured"]["ACC"] == pytest.approx(
            100 * (labels == truth)[truth != IGNORE_INDEX].mean()
        )
        assert result["parameters"] > 0
        assert result["seconds_per_pixel"] > 0


def test_the_aggregate_keeps_ugsm_outside_idk(done: tuple[Path, list[str]]) -> None:
    out, _ = done
    place = out / Unit("blocked", 0, "ugsm").place
    with np.load(place / "test.npz") as kept:
        idk, known = kept["idk"], kept["labels"]
    assert idk.any()
    for name in (f"lcgar_{FULL}", "lcgar_image_logits", "local_unet"):
        labels = labels_of(out / Unit("blocked", 0, name).place)
        np.testing.assert_array_equal(labels[~idk], known[~idk])


def test_cost_adds_up(done: tuple[Path, list[str]], protocol: Protocol) -> None:
    out, _ = done
    ugsm, unet, full = (found(out, name) for name in ("ugsm", "unet", f"lcgar_{FULL}"))
    # the same network, asked T times
    assert ugsm["macs_per_pixel"] == protocol.settings.ugsm.samples * unet["macs_per_pixel"]
    assert ugsm["parameters"] == unet["parameters"]
    with np.load(out / Unit("blocked", 0, "ugsm").place / "test.npz") as kept:
        share = float(kept["idk"].mean())
    lcgar = registry.patch_classifier("lcgar", 4, 3, 3, protocol.settings.lcgar)
    patch = cost.macs(lcgar, torch.zeros(1, 4, 11, 11), torch.zeros(1, 3))
    mlp = 4 * 16 + 16 * 32 + 32
    assert full["macs_per_pixel"] == pytest.approx(ugsm["macs_per_pixel"] + mlp + share * patch)
    assert full["parameters"] > ugsm["parameters"] + ugsm["idk_parameters"]
    adapted = found(out, "adapted_lcgar")
    assert adapted["parameters"] == full["parameters"]
    assert adapted["macs_per_pixel"] == pytest.approx(ugsm["macs_per_pixel"] + mlp + patch)


def test_resnets_name_some_pixels_of_every_image(
    done: tuple[Path, list[str]], protocol: Protocol
) -> None:
    labels = labels_of(done[0] / Unit("blocked", 0, "resnet18").place)
    asked = (labels != IGNORE_INDEX).sum(axis=(1, 2))
    assert asked.tolist() == [protocol.patches_per_image] * len(labels)
    assert found(done[0], "resnet18")["scores"]["measured"]["boundary_F1"] is None


def test_trust_comes_with_ugsm_and_out_of_fold(done: tuple[Path, list[str]]) -> None:
    out, _ = done
    for name in ("ugsm", "out_of_fold"):
        result = found(out, name)
        detectors = result["detectors"]["measured"]
        assert detectors["entropy"]["share"] == pytest.approx(detectors["idk"]["share"])
        assert set(result["risk_coverage"]["measured"]) == {
            "entropy",
            "mutual_information",
            "idk_score",
        }
    ceiling = found(out, f"lcgar_{FULL}")["ceiling"]["measured"]
    assert ceiling["oracle"]["mIU"] >= max(ceiling["global"]["mIU"], ceiling["aggregate"]["mIU"])


def test_a_second_call_does_nothing(
    done: tuple[Path, list[str]], protocol: Protocol, slices: UserSlices
) -> None:
    out, _ = done
    said: list[str] = []
    units = [Unit("blocked", 0, name) for name in ALL]
    run_units(units, protocol, slices, out, workers=2, say=said.append)
    assert said == [f"{len(ALL)} of {len(ALL)} trials are done"]


@pytest.mark.slow
def test_a_lost_result_is_computed_again_and_is_the_same(
    done: tuple[Path, list[str]], protocol: Protocol, slices: UserSlices
) -> None:
    out, _ = done
    unit = Unit("blocked", 0, "unet")
    before = found(out, "unet")
    for lost in (out / unit.place).iterdir():
        lost.unlink()
    run_units([unit], protocol, slices, out, workers=2, say=lambda _: None)
    after = found(out, "unet")
    for part in ("scores", "block_confusions", "anatomy", "macs_per_pixel"):
        assert after[part] == before[part]


@pytest.mark.slow
def test_lost_arrays_are_made_again_for_what_needs_them(
    done: tuple[Path, list[str]], protocol: Protocol, slices: UserSlices
) -> None:
    """Results alone, as they are shared, are enough for a table but not to train on."""
    out, _ = done
    (out / Unit("blocked", 0, "ugsm").place / "test.npz").unlink()
    said: list[str] = []
    done_already = [Unit("blocked", 0, name) for name in ("ugsm", f"lcgar_{FULL}")]
    run_units(done_already, protocol, slices, out, workers=2, say=said.append)
    assert said == ["2 of 2 trials are done"]
    run_units(
        [Unit("blocked", 0, "lcgar_image")], protocol, slices, out, workers=2, say=said.append
    )
    names = [line.split(", ")[2].split(" in ")[0] for line in said[2:]]
    assert names == ["ugsm", "lcgar_image"]
    figures = [Unit("blocked", 0, "unet")]
    (out / figures[0].place / "labels.npz").unlink()
    run_units(figures, protocol, slices, out, workers=2, say=said.append, with_arrays=figures)
    assert said[-1].startswith("1 of 1 trials: blocked, seed 0, unet")


def test_a_failing_unit_is_told_in_its_own_words(
    tmp_path: Path, protocol: Protocol, slices: UserSlices
) -> None:
    lost = UserSlices(slices.images + "f", slices.labels, slices.label_map)
    with pytest.raises(InputError, match="does not exist"):
        run_units(
            [Unit("blocked", 0, "ugsm")], protocol, lost, tmp_path, workers=1, say=lambda _: None
        )


# --- stopped in the middle ------------------------------------------------------------------------

PROGRAM = """
import sys
from matphase.support.errors import Interrupted
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.conditions import claim
from matphase.reproduce.run import run_units
from matphase.reproduce.data import UserSlices
from matphase.reproduce.units import Unit
from pathlib import Path

if __name__ == "__main__":
    protocol = Protocol.model_validate_json(Path(sys.argv[1]).read_text())
    slices, out = UserSlices(*sys.argv[2:5]), Path(sys.argv[5])
    claim(out, protocol, slices)
    units = [Unit("blocked", 0, name) for name in ("ugsm", "lcgar_matphase", "lcgar_image")]
    try:
        run_units(units, protocol, slices, out, workers=2, say=lambda text: print(text, flush=True))
    except Interrupted as error:
        sys.exit(str(error))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "stop", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_what_is_done_survives_a_stop(
    stop: signal.Signals,
    tmp_path: Path,
    done: tuple[Path, list[str]],
    protocol: Protocol,
    slices: UserSlices,
) -> None:
    (tmp_path / "run.py").write_text(PROGRAM)
    (tmp_path / "protocol.json").write_text(protocol.model_dump_json())
    command = [sys.executable, "-W", "ignore", str(tmp_path / "run.py")]
    command += [str(tmp_path / "protocol.json"), slices.images, slices.labels, slices.label_map]
    command += [str(tmp_path / "out")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        assert first.stdout is not None
        assert first.stderr is not None
        assert first.stdout.readline() == "0 of 3 trials are done\n"
        assert first.stdout.readline().startswith("1 of 3 trials: blocked, seed 0, ugsm in ")
        # as Ctrl-C does, the signal goes to the workers, too; a kill reaches the parent alone
        if stop == signal.SIGINT:
            os.killpg(first.pid, stop)
        else:
            first.kill()
        said = first.stderr.read()
    if stop == signal.SIGINT:
        assert f"stopped; finished results are kept in {tmp_path / 'out'}" in said
    assert first.returncode != 0
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    begun = second.stdout.splitlines()
    assert begun[0].startswith("1 of 3 trials are done; about ")
    assert len(begun) == 3
    # the same results as of a run that nobody stopped
    for name in ("ugsm", "lcgar_matphase"):
        result = result_of(Unit("blocked", 0, name), tmp_path / "out")
        assert result is not None
        assert result["scores"] == found(done[0], name)["scores"]


# --- conditions -----------------------------------------------------------------------------------


def test_a_folder_belongs_to_its_conditions(
    tmp_path: Path, protocol: Protocol, slices: UserSlices
) -> None:
    claim(tmp_path / "out", protocol, slices)
    claim(tmp_path / "out", protocol, slices)
    for other, whose in ((protocol.updated(folds=3), slices), (protocol, None)):
        with pytest.raises(InputError, match="another preset, other settings, other slices"):
            claim(tmp_path / "out", other, whose)
    # a record from before a setting existed is of the same conditions as its default
    path = tmp_path / "out" / RECORD
    record = json.loads(path.read_text())
    record["protocol"]["settings"].pop("calibration")
    path.write_text(json.dumps(record))
    claim(tmp_path / "out", protocol, slices)
    record["protocol"]["settings"].pop("ugsm")
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="results of another"):
        claim(tmp_path / "out", protocol, slices)
    path.write_text("{")
    with pytest.raises(InputError, match="results of another"):
        claim(tmp_path / "out", protocol, slices)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, protocol: Protocol) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="other files than results"):
        claim(tmp_path, protocol, None)
    with pytest.raises((InputError, OutputError)):
        claim(tmp_path / "thesis.tex", protocol, None)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    found = Protocol.named(name)
    assert found.preset == name
    # every setting survives the record in the output folder
    assert Protocol(**json.loads(json.dumps(found.model_dump(mode="json")))) == found


def test_the_paper_preset_keeps_the_papers_training() -> None:
    found, paper = Protocol.named("paper").settings, Settings.preset("paper")
    assert found.updated({"data": {"local_images": 0}}) == paper


@pytest.mark.parametrize(
    "change",
    [{"model": "unet"}, {"usi": {"pacing": "root"}}, {"lcgar": {"h": 17}}, {"idk": {"folds": 3}}],
)
def test_what_rows_vary_cannot_be_set(change: dict[str, Any], protocol: Protocol) -> None:
    with pytest.raises(InputError, match="since rows of the tables vary it or measure without it"):
        protocol.updated(settings=protocol.settings.updated(change))


def test_an_unknown_preset() -> None:
    with pytest.raises(InputError, match="there is no preset 'huge'"):
        Protocol.named("huge")
    with pytest.raises(InputError, match="folds: "):
        Protocol.named("quick").updated(folds=1)


# --- rows and units -------------------------------------------------------------------------------


def test_rows_share_units() -> None:
    units = units_of(TARGETS, range(3))
    assert len(units) == len(set(units))
    for table in ("table1", "table2", "table5"):
        assert Unit("blocked", 0, f"lcgar_{FULL}") in units_of([table], [0])
    assert Unit("paper", 2, "unetpp") in units
    assert not any(unit.split == "paper" for unit in units_of(["table2", "table5"], [0]))
    assert {unit.seed for unit in units_of(["figures"], [4, 5])} == {4}


@pytest.mark.slow
def test_results_built_on_another_ugsm_are_made_again(
    done: tuple[Path, list[str]], protocol: Protocol, slices: UserSlices
) -> None:
    out, _ = done
    unit = Unit("blocked", 0, f"lcgar_{FULL}")
    place, before = out / unit.place, found(out, unit.name)
    (place / "result.json").write_text(json.dumps({**before, "built_on": "another"}))
    (place / "built_on.txt").write_text("another")
    # a network trained on another UGSM, which must not be taken for this one's
    other = registry.patch_classifier("lcgar", 4, 3, 3, protocol.settings.lcgar)
    save_weights(other, place / "lcgar.safetensors", overwrite=True)
    said: list[str] = []
    run_units([unit], protocol, slices, out, workers=2, say=said.append)
    assert f"{unit.name} in " in said[-1]
    after = found(out, unit.name)
    assert after["built_on"] == found(out, "ugsm")["weights"]
    assert after["scores"] == before["scores"]


def test_every_row_of_the_papers_tables_is_there() -> None:
    counts = {name: sum(row.paper is not None for row in TABLES[name].rows) for name in TABLES}
    assert counts == {
        "table1": 3,
        "table2": 4,
        "table3": 11,
        "table5": 3,
        "curriculum": 0,
        "sampling": 0,
    }


def test_variants_change_what_they_name() -> None:
    base = Protocol.named("small").settings
    assert varied(base, VARIANTS[FULL]) == base
    assert varied(base, VARIANTS["h17"]).lcgar.h == 17
    assert varied(base, VARIANTS["twice_the_steps"]).lcgar.epochs == 2 * base.lcgar.epochs
    assert varied(base, VARIANTS["anti_curriculum"]).usi.order == "falling"
    pacings = {varied(base, VARIANTS[name]).usi.pacing for name in VARIANTS}
    assert pacings == {"logarithmic", "exponential", "step", "linear", "quadratic", "root"}
    for name, changes in VARIANTS.items():
        assert (varied(base, changes) == base) == (name == FULL)
