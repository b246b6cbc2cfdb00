"""The command line: one module per command.

Heavy libraries are imported inside the commands, so that --help answers at once.
"""

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from matphase.cli import align, demo, evaluate, info, measure, predict, reproduce, simulate, train
from matphase.support import interrupts


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(version("matphase"))
        raise typer.Exit


app = typer.Typer(
    name="matphase",
    help="Segment the phases of battery electrodes in tomography images, with uncertainty.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo", short_help="Run all steps on a virtual electrode.")(demo.demo)
app.command("simulate", short_help="Make a virtual electrode.")(simulate.simulate)
app.command("info", short_help="Show the metadata of a volume.")(info.info)
app.command("train", cls=train.Train, short_help="Train a model on labelled slices.")(train.train)
app.command("align", short_help="Align labels with the image.")(align.align)
app.command("predict", short_help="Predict the phases of a volume.")(predict.predict)
app.command("evaluate", short_help="Score a prediction.")(evaluate.evaluate)
app.command("measure", short_help="Measure properties with error bars.")(measure.measure)
app.command("reproduce", short_help="Reproduce the paper's tables.")(reproduce.reproduce)


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; exit status: 0 success, 1 bad input or failure, 2 wrong call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a character that the terminal cannot show must not stop the program
            stream.reconfigure(errors="backslashreplace")
    interrupts.install()
    app(prog_name="matphase")
