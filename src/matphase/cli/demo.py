"""`matphase demo`: all steps on a virtual electrode."""

from pathlib import Path
from typing import Annotated

import typer

from matphase.cli.common import Overwrite, Quiet, Seed, progress, reports_errors, say, show


@reports_errors
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("matphase-demo"),
    seed: Seed = 0,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke", help="Check in seconds that everything runs; the scores mean nothing."
        ),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Simulate an electrode, train on part of it, predict the rest, score and plot the result.

    Takes a few minutes on two CPU cores. Writes metrics.json, overview.png, prediction.tif,
    entropy.tif, idk.tif and the model to the folder OUT.
    """
    from matphase.support.files import check_output
    from matphase.support.manifest import DEMO

    check_output(out, overwrite=overwrite, replaces=DEMO)

    from matphase.demo import run_demo
    from matphase.show.tables import rows_table, uncertainty_text

    with progress(quiet=quiet) as reporter:
        outcome = run_demo(out, seed=seed, smoke=smoke, overwrite=overwrite, reporter=reporter)
    title = "Slices of the virtual electrode that were not used in training"
    show(rows_table(outcome.rows, outcome.phases, title), quiet=quiet)
    say(uncertainty_text(outcome.uncertainty), quiet=quiet)
    say(f"written to {out}; see {out / 'overview.png'}", quiet=quiet)
