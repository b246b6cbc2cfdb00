import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.learning.training_pool import Pool
from matphase.reproduce.data import SplitData
from matphase.reproduce.figures import WRONG, most_different, write_figures
from matphase.reproduce.table_rows import FIGURE_UNITS, MATPHASE
from matphase.reproduce.units import Unit
from matphase.scores import anatomy, trust
from matphase.support.errors import InputError

NAMES = ["figure1", "figure2", "figure3", "reliability", "risk_coverage", "error_by_distance"]
SHAPE = (3, 24, 30)


def make_data(n_phases: int = 3, exact: bool = True) -> SplitData:
    """Stripes of the phases; the measured labels have an ignored corner and a wrong row."""
    stripes = (np.arange(SHAPE[2]) * n_phases // SHAPE[2]).astype(np.uint8)
    truth = np.broadcast_to(stripes, SHAPE).copy()
    measured = truth.copy()
    measured[:, 12] = 0
    measured[:, :3, :3] = IGNORE_INDEX
    images = truth[:, np.newaxis].astype(np.float32) - 1
    phases = PhaseTable.from_names(("pore", "carbon", "nickel", "glue", "tin")[:n_phases])
    return SplitData(
        Pool(images, measured, np.arange(len(images)), phases),
        images,
        measured,
        truth if exact else None,
        phases,
        groups=1,
        channels=1,
    )


def make_results(out: Path, data: SplitData, seed: int = 0, missing: str = "") -> None:
    """Results as `units.compute` leaves them, of three methods that are wrong here and there."""
    n = len(data.phases)
    rng = np.random.default_rng(seed)
    truth = data.measured if data.exact is None else data.exact
    right = np.where(truth == IGNORE_INDEX, 0, truth)[:, None] == np.arange(n)[:, None, None]
    logits = (2.0 * right + rng.normal(size=right.shape)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy = -(probabilities * np.log(probabilities)).sum(1)
    known = logits.argmax(1).astype(np.uint8)
    for name in FIGURE_UNITS:
        if name == missing:
            continue
        labels = known.copy()
        if name == MATPHASE:
            labels[:, 5:9, 5:9] = (labels[:, 5:9, 5:9] + 1) % n
        result: dict[str, Any] = {
            "anatomy": {
                key: {"by_distance": anatomy.error_by_distance(labels=labels, truth=t, n_phases=n)}
                for key, t in data.truths
            }
        }
        folder = out / Unit("blocked", seed, name).place
        folder.mkdir(parents=True)
        np.savez_compressed(folder / "labels.npz", labels=labels)
        if name == "ugsm":
            np.savez(folder / "test.npz", labels=known, logits=logits, entropy=entropy)
            result["reliability"] = {
                key: trust.reliability(probabilities, t) for key, t in data.truths
            }
            result["risk_coverage"] = {
                key: {
                    score: trust.risk_coverage_curve(entropy, t != known, where=t != IGNORE_INDEX)
                    for score in ("entropy", "mutual_information", "idk_score")
                }
                for key, t in data.truths
            }
        (folder / "result.json").write_text(json.dumps(result), "utf-8")


def check(files: list[Path], out: Path) -> dict[str, tuple[int, int]]:
    """All are there, small, and pictures that show something; gives their sizes."""
    assert files == [out / f"{name}.png" for name in NAMES]
    sizes = {}
    for path in files:
        assert path.stat().st_size < 300_000
        with Image.open(path) as picture:
            sizes[path.stem] = picture.size
            assert len(picture.convert("RGB").getcolors(2**24)) > 10
    assert all(400 < width < 1300 and 250 < height < 1000 for width, height in sizes.values())
    return sizes


def has_red(path: Path) -> bool:
    """Whether a rectangle is drawn: no phase has its colour."""
    with Image.open(path) as picture:
        colors = np.array([color for _, color in picture.convert("RGB").getcolors(2**24)])
    return bool((np.abs(colors - 255 * np.array(WRONG)).max(1) <= 1).any())


@pytest.mark.parametrize(
    ("n_phases", "exact", "voxel_size", "unit"),
    [
        (2, False, None, None),
        (3, True, 0.2, "um"),
        pytest.param(5, True, None, None, marks=pytest.mark.slow),
    ],
)
def test_all_figures_are_drawn(
    tmp_path: Path, n_phases: int, exact: bool, voxel_size: float | None, unit: str | None
) -> None:
    data = make_data(n_phases, exact)
    make_results(tmp_path, data)
    (tmp_path / "figure1.png").write_text("of before")
    sizes = check(write_figures(tmp_path, [0], data, voxel_size, unit), tmp_path)
    # a panel for each truth
    for name in ("figure1", "figure2", "risk_coverage", "error_by_distance"):
        assert (sizes[name][0] > 700) == exact
    assert has_red(tmp_path / "figure1.png")
    assert {path.name for path in tmp_path.iterdir()} == {"units", *(f"{n}.png" for n in NAMES)}


def test_curves_are_of_the_seeds_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data()
    for seed in (3, 4, 5):
        make_results(tmp_path, data, seed, missing=MATPHASE if seed == 5 else "")
    # a bin that no pixel of one seed falls in, and one that none of any does
    for seed, empty in ((3, [-1]), (4, [-1, -2])):
        for name in ("ugsm", MATPHASE):
            path = tmp_path / Unit("blocked", seed, name).place / "result.json"
            result = json.loads(path.read_text("utf-8"))
            for found in result["anatomy"].values():
                for number in empty:
                    found["by_distance"][number]["error_rate"] = None
            path.write_text(json.dumps(result), "utf-8")
    titles: list[str] = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.suptitle", lambda _, title, **__: titles.append(title)
    )
    check(write_figures(tmp_path, [3, 4, 5, 6], data, 0.2, "um"), tmp_path)
    assert titles == ["UGSM, mean and range of 2 seeds", "mean and range of 2 seeds"]


@pytest.mark.parametrize(
    ("missing", "title"), [("unet", "U-Net"), ("ugsm", "UGSM"), (MATPHASE, "MatPhase")]
)
def test_nothing_is_written_without_a_unit(tmp_path: Path, missing: str, title: str) -> None:
    data = make_data()
    make_results(tmp_path, data, missing=missing)
    with pytest.raises(InputError, match=f"no result of {title} for seed 0"):
        write_figures(tmp_path, [0], data, None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["units"]


def test_methods_that_agree_have_no_rectangles(tmp_path: Path) -> None:
    data = make_data()
    make_results(tmp_path, data)
    folders = [tmp_path / Unit("blocked", 0, name).place for name in ("unet", MATPHASE)]
    with np.load(folders[0] / "labels.npz") as kept:
        np.savez_compressed(folders[1] / "labels.npz", labels=kept["labels"])
    write_figures(tmp_path, [0], data, None, None)
    assert not has_red(tmp_path / "figure1.png")


class TestWindows:
    def test_hand_case(self) -> None:
        first = np.zeros((8, 10), np.uint8)
        second = first.copy()
        second[5:7, 6:9] = 1  # 6 pixels, which a window of 3 holds where its corner is in (4..5, 6)
        second[0, 0] = second[1, 1] = 2
        assert most_different(first, second, 3, 3) == [(4, 6), (0, 0)]

    def test_windows_do_not_overlap_nor_leave_the_image(self) -> None:
        rng = np.random.default_rng(0)
        first, second = rng.integers(0, 3, (2, 20, 23)).astype(np.uint8)
        corners = most_different(first, second, 6, 5)
        assert len(corners) == 5
        covered = np.zeros(first.shape, int)
        for y, x in corners:
            assert 0 <= y <= 14
            assert 0 <= x <= 17
            covered[y : y + 6, x : x + 6] += 1
        assert covered.max() == 1
        counts = [np.sum((first != second)[y : y + 6, x : x + 6]) for y, x in corners]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] == max(
            np.sum((first != second)[y : y + 6, x : x + 6]) for y in range(15) for x in range(18)
        )

    def test_as_large_as_the_image(self) -> None:
        first, second = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)
        assert most_different(first, second, 4, 2) == [(0, 0)]

    def test_no_difference_no_window(self) -> None:
        same = np.zeros((5, 5), np.uint8)
        assert most_different(same, same, 2, 3) == []
