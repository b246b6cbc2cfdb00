"""The rows of each table, and the units that they are made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matphase.reproduce.protocol import SplitName
from matphase.reproduce.units import FULL, UNTHINNED, VARIANTS, Unit

MATPHASE = f"lcgar_{FULL}"
"""The unit that every other row is compared with."""


@dataclass(frozen=True)
class TableRow:
    """A row: its name here, its unit, and its name in the paper's table if it is there."""

    title: str
    unit: str
    paper: str | None = None


@dataclass(frozen=True)
class TableSpec:
    """A table: its rows, and the splits that they are measured on, the one for claims first."""

    name: str
    title: str
    rows: tuple[TableRow, ...]
    splits: tuple[SplitName, ...] = ("blocked",)


def _variant(title: str, variant: str, paper: str | None = None) -> TableRow:
    return TableRow(title, f"lcgar_{variant}", paper)


_FULL = _variant("MatPhase", FULL, "MatPhase")

TABLES = {
    table.name: table
    for table in (
        TableSpec(
            "table1",
            "Effectiveness of HCL (paper table 1)",
            (
                TableRow("UGSM", "ugsm", "UGSM"),
                _variant("MatPhase w/o HCL-USI", "no_curriculum", "MatPhase w/o HCL-USI"),
                _FULL,
            ),
            ("blocked", "paper"),
        ),
        TableSpec(
            "table2",
            "Inputs of LCGAR (paper table 2)",
            (
                _variant("Only-Image", "image", "Only-Image"),
                _variant("Image+UGSM-Y", "image_labels", "Image+UGSM-Y"),
                _variant("Image+UGSM-Emb", "image_logits", "Image+UGSM-Emb"),
                _FULL,
            ),
        ),
        TableSpec(
            "table3",
            "Baselines (paper table 3)",
            (
                TableRow("DeepLabV3", "deeplabv3", "DeepLabV3"),
                TableRow("MANet", "manet", "MANet"),
                TableRow("FCN", "fcn", "FCN"),
                TableRow("SegNet", "segnet", "SegNet"),
                TableRow("U-Net", "unet", "U-Net"),
                TableRow("U-Net++", "unetpp", "U-Net++"),
                TableRow("MCD U-Net", "mcd_unet", "MCD U-Net"),
                TableRow("Local U-Net", "local_unet", "Local U-Net"),
                TableRow("ResNet-18", "resnet18", "ResNet-18"),
                TableRow("ResNet-34", "resnet34"),
                TableRow("ResNet-50", "resnet50"),
                TableRow("Adapted-LCGAR", "adapted_lcgar", "Adapted-LCGAR"),
                _FULL,
            ),
            ("blocked", "paper"),
        ),
        TableSpec(
            "table5",
            "Patch side h of LCGAR (paper table 5)",
            (
                _variant("LCGAR-h17", "h17", "LCGAR-h17"),
                _variant("LCGAR-h25", "h25", "LCGAR-h25"),
                _variant("LCGAR-h11 (MatPhase)", FULL, "LCGAR-h11"),
            ),
        ),
        TableSpec(
            "curriculum",
            "What the curriculum does",
            (
                TableRow("UGSM", "ugsm"),
                _variant("none", "no_curriculum"),
                _variant("random order", "random_order"),
                _variant("anti-curriculum", "anti_curriculum"),
                _variant("HCL-USI, linear pacing (MatPhase)", FULL),
                *(
                    _variant(f"HCL-USI, {name.removeprefix('pacing_')} pacing", name)
                    for name in VARIANTS
                    if name.startswith("pacing_")
                ),
                TableRow("HCL-USI on out-of-fold predictions", "out_of_fold"),
            ),
        ),
        TableSpec(
            "sampling",
            "What subsampling in training changes",
            (
                _variant("MatPhase", FULL),
                _variant("all uncertain pixels of the images learned from", "all_pixels"),
                _variant("all images", "all_images"),
                _variant("twice the steps", "twice_the_steps"),
                TableRow("ResNet-18", "resnet18"),
                TableRow("ResNet-18 on as many pixels as LCGAR", UNTHINNED),
            ),
        ),
    )
}

TRUST_UNITS = ("ugsm", MATPHASE, "out_of_fold")
"""The units behind the page and figures of trust; on the first split only."""
FIGURE_UNITS = ("ugsm", "unet", MATPHASE)
"""The units behind figures 1 to 3 of the paper, of the first seed."""

TRUST, FIGURES = "trust", "figures"
TARGETS = (*TABLES, TRUST, FIGURES)
"""The tables and figures that `matphase reproduce` makes."""


def units_of(targets: Iterable[str], seeds: Sequence[int]) -> list[Unit]:
    """The units that the targets need, each once, row by row."""
    units: dict[Unit, None] = {}
    for target in targets:
        if target in TABLES:
            table = TABLES[target]
            places = [(split, row.unit) for split in table.splits for row in table.rows]
        else:
            names = TRUST_UNITS if target == TRUST else FIGURE_UNITS
            places = [("blocked", name) for name in names]
        chosen = seeds[:1] if target == FIGURES else seeds
        for split, name in places:
            for seed in chosen:
                units[Unit(split, seed, name)] = None
    return list(units)
