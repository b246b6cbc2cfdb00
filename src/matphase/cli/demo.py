"""`matphase demo`: everything on the virtual electrode."""

from pathlib import Path
from typing import Annotated

import typer

from matphase.cli.common import Overwrite, Quiet, Seed, console, progress, reports_errors

_IDK_PARTS = ("recall", "share", "precision")


@reports_errors
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("matphase-demo"),
    seed: Seed = 0,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke", help="Seconds instead of minutes: shows that it runs, scores mean nothing."
        ),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make a virtual electrode, train on part of it, predict the rest, score and draw it.

    Takes a few minutes on two cores and writes DIR/metrics.json, overview.png, prediction.tif,
    entropy.tif, idk.tif and the model.
    """
    from matphase.demo import run_demo
    from matphase.evaluation import rows_table
    from matphase.files import check_output

    check_output(out, overwrite=overwrite)
    with progress(quiet=quiet) as reporter:
        outcome = run_demo(out, seed=seed, smoke=smoke, overwrite=overwrite, reporter=reporter)
    say = console(quiet=quiet)
    say.print(rows_table(outcome.rows, outcome.phases, "Unseen slices of the virtual electrode"))
    found = outcome.uncertainty
    recall, share, precision = (100 * found[f"idk_{part}"] for part in _IDK_PARTS)
    say.print(
        f"AUROC of entropy against error {found['entropy_AUROC']:.3f}; IDK holds {recall:.1f} % "
        f"of the wrong pixels in {share:.1f} % of all (precision {precision:.1f} %)",
        highlight=False,
    )
    say.print(f"written to {out}; look at {out / 'overview.png'}", highlight=False)
