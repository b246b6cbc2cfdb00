"""Results of units as `matphase reproduce` leaves them, with numbers that are easy to follow."""

import json
from pathlib import Path
from typing import Any

PHASES = ("pore", "carbon", "nickel")
TRUTHS = ("measured", "exact")
MACHINE = {
    "cpu": "some cpu",
    "cores": 2,
    "threads": 1,
    "gpu": None,
    "bf16": False,
    "torch": "2.0",
    "matphase": "0.1",
}


def scores(level: float, phases: tuple[str, ...], subset: bool = False) -> dict[str, Any]:
    """All scores at `level`, ACC at 100 times that; best images 1 % above it, lowest 1 % below."""
    flat = dict.fromkeys(phases, level)
    return {
        "F1": flat,
        "ACC": 100 * level,
        "ACC_best5": {"mean": 100 * level + 1, "sd": 0.25},
        "ACC_low5": {"mean": 100 * level - 1, "sd": 0.5},
        "mIU": level,
        "fIU": level,
        "ECE": None if subset else 1 - level,
        "F1_pooled": flat,
        "boundary_F1": None if subset else flat,
        "volume_fraction_error": dict.fromkeys(phases, 0.5 - level),
    }


def blocks(right: int, wrong: int, n_phases: int, n_blocks: int = 4) -> list[Any]:
    """Equal blocks: `right` pixels of each phase right, `wrong` of phase 0 taken for phase 1."""
    block = [[right * (a == b) for b in range(n_phases)] for a in range(n_phases)]
    block[0][1] = wrong
    return [block] * n_blocks


def anatomy(phases: tuple[str, ...], truths: tuple[str, ...], rate: float) -> dict[str, Any]:
    """Errors at `rate` up to 1 px from the boundary, and none beyond."""

    def bins(name: str, near: float, far: float, **more: list[float]) -> list[dict[str, Any]]:
        ends = ((0.0, 1.0, near), (1.0, 5.0, far), (5.0, None, far))
        return [
            {"above": low, "up_to": high, "pixels": 100, "share": 1 / 3, name: value}
            | {key: values[index] for key, values in more.items()}
            for index, (low, high, value) in enumerate(ends)
        ]

    pairs = [f"{a}-{b}" for i, a in enumerate(phases) for b in phases[i + 1 :]]
    shares = {"all": 1.0, "boundary": 0.75, "bulk": 0.25}
    found: dict[str, Any] = {
        truth: {
            "by_distance": bins("error_rate", rate, 0.0, share_of_errors=[1.0, 0.0, 0.0]),
            "confusions": {
                pair: shares if pair == pairs[0] else dict.fromkeys(shares, 0.0) for pair in pairs
            },
        }
        for truth in truths
    }
    if "exact" in truths:
        found["label_noise"] = {
            "pixels": 300,
            "agreement": 0.95,
            "by_distance": bins("agreement", 0.85, 1.0),
        }
        found["misregistration"] = {
            "differing": 30,
            "method_right": 0.5,
            "label_right": 0.4,
            "both_wrong": 0.1,
        }
    return found


def trust(truths: tuple[str, ...], recall: float) -> dict[str, Any]:
    """HCL-IDK at `recall`, entropy 0.1 below it, mutual information at None."""

    def detector(value: float | None) -> dict[str, float | None]:
        return {"AUROC": 0.9, "AURC": 0.01, "recall": value, "precision": 0.3, "share": 0.2}

    return {
        "detectors": {
            truth: {
                "pixels": 300,
                "error_rate": 0.1,
                "flagged": 60,
                "idk": detector(recall),
                "entropy": detector(recall - 0.1),
                "mutual_information": detector(None),
            }
            for truth in truths
        }
    }


def ceiling(truths: tuple[str, ...], oracle: float) -> dict[str, Any]:
    return {
        "ceiling": {
            truth: {
                "global": {"mIU": 0.7, "accuracy": 0.8},
                "aggregate": {"mIU": 0.75, "accuracy": 0.85},
                "oracle": {"mIU": oracle, "accuracy": 0.95},
                "idk_pixels": 60,
                "within_idk": {
                    "both_right": 0.6,
                    "only_global_right": 0.1,
                    "only_local_right": 0.2,
                    "both_wrong": 0.1,
                },
            }
            for truth in truths
        }
    }


def leave(
    out: Path,
    name: str,
    seed: int,
    level: float,
    *,
    split: str = "blocked",
    phases: tuple[str, ...] = PHASES,
    truths: tuple[str, ...] = TRUTHS,
    pixels: tuple[int, int] = (9, 1),
    subset: bool = False,
    **more: Any,
) -> None:
    """Write a unit's result.

    Args:
        out: folder of all results.
        name: of the unit.
        seed: of it.
        level: see `scores`; against exact labels 0.1 higher.
        split: of it.
        phases: names.
        truths: labels that it is scored against.
        pixels: right and wrong ones a block, see `blocks`.
        subset: it was asked for some pixels only.
        more: further entries, in place of what is here.
    """
    levels = {truth: level + 0.1 * (truth == "exact") for truth in truths}
    result = {
        "unit": {"split": split, "seed": seed, "name": name},
        "machine": MACHINE,
        "on_all_pixels": not subset,
        "built_on": None,
        "weights": None,
        "phases": list(phases),
        "seconds": 10.0 + seed,
        "parameters": 1234567,
        "macs_per_pixel": 1000.0 * (seed + 1),
        "seconds_per_pixel": 1 / (100 * (seed + 1)),
        "scores": {truth: scores(value, phases, subset) for truth, value in levels.items()},
        "block_confusions": {truth: blocks(*pixels, len(phases)) for truth in truths},
        "subset_block_confusions": {truth: blocks(*pixels, len(phases)) for truth in truths},
        "anatomy": {} if subset else anatomy(phases, truths, 1 - level),
        **more,
    }
    folder = out / "units" / split / f"seed{seed}" / name
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result), "utf-8")


def tables_in(markdown: str) -> list[list[list[str]]]:
    """The tables of a Markdown page: cells by row, the header first, without the rule."""
    found: list[list[list[str]]] = []
    inside = False
    for line in markdown.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        assert line.endswith("|")
        cells = [
            text.strip().replace("\0", "|") for text in line.replace("\\|", "\0")[1:-1].split("|")
        ]
        if not inside:
            found.append([])
        inside = True
        if set("".join(cells)) - set("-: "):
            found[-1].append(cells)
        else:
            assert len(cells) == len(found[-1][0])
    return found
