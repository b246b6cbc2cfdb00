"""How often the error bars of `matphase measure` hold the exact value.

    python benchmarks/error_bars.py OUT [--electrodes 40]

One model learns from one end of a virtual electrode, with validation slices from its other end,
and predicts other electrodes. Their properties on the predicted labels, with error bars, are
compared with those on the exact labels. OUT keeps the model, the predictions and what was measured:
a second call goes on.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import publish
from numpy.typing import NDArray

import matphase as mp
from matphase.images.volume import Volume
from matphase.learning.splits import blocked_split
from matphase.properties.catalogue import Key
from matphase.properties.estimate import Measurements
from matphase.properties.sampling import half_width
from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import grid
from matphase.support.text import times

SHAPE = (64, 128, 144)
VOXEL = 0.2
"""In um, that of the recipe."""
TRAINED_ON = 1000
"""Seed of the electrode that the model learns from; the others are counted from 0."""
PROPERTIES = {
    "porosity": Key("porosity"),
    "binder fraction": Key("volume_fraction", "carbon"),
    "active fraction": Key("volume_fraction", "nickel"),
    "active surface": Key("specific_surface_area", "nickel"),
    "active-pore area": Key("interface_area", "pore|nickel"),
    "tortuosity factor of the pores, z": Key("tortuosity_factor", "pore", "z"),
}
EXACT, PREDICTED = "exact.tif", "predicted.tif"
"""In the folder of an electrode."""


def main() -> None:
    """Predict, measure, and write results/error_bars.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--electrodes", type=int, default=40)
    parser.add_argument("--predict-only", action="store_true")
    arguments = parser.parse_args()
    out, seeds = arguments.out, range(arguments.electrodes)
    model = trained(out / "model")
    run([Case("predicted", seed) for seed in seeds], partial(predicted, model), out)
    if arguments.predict_only:
        return
    cases = [Case("measured", seed) for seed in seeds]
    results = run(cases, partial(measured, model, out), out)
    report([result["properties"] for result in results.values()], reference_labels())


def trained(folder: Path) -> mp.MatPhase:
    """The model, trained once."""
    if folder.exists():
        return mp.load(folder)
    electrode = mp.VirtualElectrode.simulate(shape=SHAPE, seed=TRAINED_ON)
    split = blocked_split(SHAPE[0], validation=0)
    pairs = [
        (electrode.image[part], electrode.measured_labels[part])
        for part in (split.train, split.test)
    ]
    model = mp.MatPhase("quick").fit(
        *pairs[0], electrode.phases, validation=pairs[1], folder=folder.with_name("training")
    )
    model.save(folder)
    return model


def predicted(model: mp.MatPhase, case: Case, folder: Path) -> dict[str, Any]:
    """Simulate and predict an electrode; its labels are kept in the folder."""
    electrode = mp.VirtualElectrode.simulate(shape=SHAPE, seed=case.seed)
    volume = labelled(electrode.image)
    model.predict(volume, out=folder / PREDICTED, keep_samples=True, overwrite=True)
    mp.save(folder / EXACT, labelled(electrode.labels), overwrite=True, labels=True)
    return {}


def measured(model: mp.MatPhase, out: Path, case: Case, _: Path) -> dict[str, Any]:
    """Properties of an electrode on its exact labels, and as predicted, with their errors."""
    kept = out / Case("predicted", case.seed).place
    exact = properties(mp.open(kept / EXACT), model.phases)
    found = properties(mp.open_prediction(kept / PREDICTED))
    return {"properties": {name: row(exact, found, key) for name, key in PROPERTIES.items()}}


def labelled(voxels: NDArray[Any]) -> Volume:
    """Labels or grey values as a volume with the voxel size of the electrodes."""
    return Volume.from_array(voxels, None, VOXEL, "um", "electrode")


def properties(source: Any, phases: mp.PhaseTable | None = None) -> Measurements:
    """The properties that are compared, of labels or of a prediction."""
    groups = ("fractions", "interfaces", "transport")
    return mp.measure(source, phases, groups=groups, axis=("z",))


def row(exact: Measurements, found: Measurements, key: Key) -> dict[str, float | None]:
    """One property of one electrode."""
    one, true = found[key], exact[key]
    return {
        "exact": true.value,
        "measured": one.measured,
        "value": one.value,
        "samples": one.segmentation_by.get("samples"),
        "validation": one.segmentation_by.get("validation"),
        "sampling": true.sampling,
    }


def reference_labels() -> dict[str, tuple[float, float]]:
    """Properties of the electrode learned from: on exact labels, and on those as measured.

    Validation slices have labels as measured, so they cannot correct what these get wrong.
    """
    electrode = mp.VirtualElectrode.simulate(shape=SHAPE, seed=TRAINED_ON)
    phases = mp.PhaseTable.from_mapping({"pore": 0, "carbon": 1, "nickel": 2}, ignore=255)
    exact, given = (
        properties(labelled(labels), phases)
        for labels in (electrode.labels, electrode.measured_labels)
    )
    return {name: (exact[key].value, given[key].value) for name, key in PROPERTIES.items()}


def report(rows: list[dict[str, Any]], references: dict[str, tuple[float, float]]) -> None:
    """Write results/error_bars.{json,md}."""
    lines, summary = [], {}
    for name in PROPERTIES:
        seen = [one[name] for one in rows]
        exact, value, plain = (
            np.array([one[key] for one in seen]) for key in ("exact", "value", "measured")
        )
        errors = {
            key: np.array([one[key] or 0.0 for one in seen]) for key in ("samples", "validation")
        }
        both = np.hypot(errors["samples"], errors["validation"])
        sampling = np.array([one["sampling"] for one in seen])
        summary[name] = {
            "exact_mean": float(exact.mean()),
            "bias_measured": float((plain - exact).mean()),
            "bias_value": float((value - exact).mean()),
            "error_sd": float((value - exact).std(ddof=1)),
            "samples": float(errors["samples"].mean()),
            "validation": float(errors["validation"].mean()),
            "held_samples_only": held(plain, errors["samples"], exact),
            "held": held(value, both, exact),
            "held_sampling": held(exact, sampling, np.full_like(exact, exact.mean())),
        }
        one = summary[name]
        lines.append(
            [
                name,
                *(f"{one[key]:.4g}" for key in ("exact_mean", "bias_measured", "bias_value")),
                *(f"{one[key]:.2g}" for key in ("error_sd", "samples", "validation")),
                *(
                    f"{100 * one[key]:.0f} %"
                    for key in ("held_samples_only", "held", "held_sampling")
                ),
            ]
        )
    reference_lines = [
        [name, f"{exact:.4g}", f"{given:.4g}"] for name, (exact, given) in references.items()
    ]
    header = [
        "property",
        "exact, mean",
        "bias on the labels",
        "bias corrected",
        "SD of the error",
        "error by samples",
        "by validation",
        "held by samples alone",
        "held",
        "mean of all held by sampling",
    ]
    text = f"""# How often error bars hold the exact value

`python benchmarks/error_bars.py OUT --electrodes {len(rows)}`. One model (preset quick) that
learned from one virtual electrode (recipe paper, {times(SHAPE)} voxels), with
validation slices from its other end, predicts {len(rows)} others. "Held" is the share of them
whose exact value lies in the 90 % interval of segmentation; the last column, the share whose
exact labels' interval of sampling holds the mean of all electrodes. Errors are standard errors,
means over the electrodes.

{grid(header, lines)}

The validation slices have labels as measured, displaced as FIB-SEM and EDS would have them. On the
electrode that was learned from, these say:

{grid(["property", "exact labels", "labels as measured"], reference_lines)}
"""
    content = {"electrodes": len(rows), "properties": summary, "reference_labels": references}
    publish("error_bars", content, text)


def held(
    value: NDArray[np.float64], error: NDArray[np.float64], true: NDArray[np.float64]
) -> float:
    """Share of the 90 % intervals that hold the true value."""
    half = np.array([half_width(one) for one in error])
    return float(np.mean(np.abs(value - true) <= half))


if __name__ == "__main__":
    main()
