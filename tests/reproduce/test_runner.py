import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matphase.errors import InputError, OutputError
from matphase.metrics import confusion_matrix
from matphase.phases import IGNORE_INDEX
from matphase.reproduce import runner
from matphase.reproduce.protocol import PRESETS, Protocol
from matphase.reproduce.rows import TABLES, TARGETS, units_of
from matphase.reproduce.runner import claim, result_of, run_units
from matphase.reproduce.trial import UserSlices, trial
from matphase.reproduce.units import FULL, VARIANTS, Unit, varied
from matphase.settings import Settings

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
    assert said[0] == f"0 of {len(ALL)} units are done"
    assert len(said) == len(ALL) + 1
    assert said[-1].startswith(f"{len(ALL)} of {len(ALL)} units: blocked, seed 0, ")
    assert said[-1].endswith("about 0 min left")
    order = [line.split(", ")[2].split(" in ")[0] for line in said[1:]]
    for name in ("local_unet", "resnet18", f"lcgar_{FULL}", "mcd_unet", "out_of_fold"):
        assert order.index("ugsm") < order.index(name)
    assert order.index(f"lcgar_{FULL}") < order.index("adapted_lcgar")


def test_results_hold_what_they_say(
    done: tuple[Path, list[str]], protocol: Protocol, slices: UserSlices
) -> None:
    out, _ = done
    data = trial(slices.read(), "blocked", 0, protocol)
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
    assert full["macs_per_pixel"] > ugsm["macs_per_pixel"]
    assert full["parameters"] > ugsm["parameters"] + ugsm["idk_parameters"]
    adapted = found(out, "adapted_lcgar")
    assert adapted["parameters"] == full["parameters"]
    assert adapted["macs_per_pixel"] >= full["macs_per_pixel"]


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
    assert said == [f"{len(ALL)} of {len(ALL)} units are done"]


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


def test_a_failing_unit_is_told_in_its_own_words(
    tmp_path: Path, protocol: Protocol, slices: UserSlices
) -> None:
    lost = UserSlices(slices.images + "f", slices.labels, slices.label_map)
    with pytest.raises(InputError, match="does not exist"):
        run_units(
            [Unit("blocked", 0, "ugsm")], protocol, lost, tmp_path, workers=1, say=lambda _: None
        )


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    """Else they would go on for minutes, beside the call that continues."""
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c',\n"
        "    'import os, time; from matphase.reproduce.runner import _prepare; _prepare(1);'\n"
        f'    \'open(r"{tmp_path}/pid", "w").write(str(os.getpid())); time.sleep(60)\'])\n'
        f"while not os.path.exists(r'{tmp_path}/pid'): time.sleep(0.05)\n"
        "time.sleep(0.3); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=False)
    child = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    if not child.parent.parent.exists():
        pytest.skip("no /proc here to see processes in")
    for _ in range(100):
        if not child.exists() or child.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the worker is still running")


# --- conditions -----------------------------------------------------------------------------------


def test_a_folder_belongs_to_its_conditions(
    tmp_path: Path, protocol: Protocol, slices: UserSlices
) -> None:
    claim(tmp_path / "out", protocol, slices)
    claim(tmp_path / "out", protocol, slices)
    for other, whose in ((protocol.updated(folds=3), slices), (protocol, None)):
        with pytest.raises(InputError, match="another preset, other settings or other slices"):
            claim(tmp_path / "out", other, whose)
    (tmp_path / "out" / runner.RECORD).write_text("{")
    with pytest.raises(InputError, match="results of another"):
        claim(tmp_path / "out", protocol, slices)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, protocol: Protocol) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="something else than results"):
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
    base = Settings.preset("small")
    assert varied(base, VARIANTS[FULL]) == base
    assert varied(base, VARIANTS["h17"]).lcgar.h == 17
    assert varied(base, VARIANTS["twice_the_steps"]).lcgar.epochs == 2 * base.lcgar.epochs
    assert varied(base, VARIANTS["anti_curriculum"]).usi.order == "falling"
    pacings = {varied(base, VARIANTS[name]).usi.pacing for name in VARIANTS}
    assert pacings == {"logarithmic", "exponential", "step", "linear", "quadratic", "root"}
    for name, changes in VARIANTS.items():
        assert (varied(base, changes) == base) == (name == FULL)
