"""The command line. Heavy imports stay inside the verbs, so that help comes at once."""

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from matphase.cli import align, demo, evaluate, info, measure, predict, reproduce, simulate, train


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(version("matphase"))
        raise typer.Exit


app = typer.Typer(
    name="matphase",
    help="Name the phase of every voxel of a battery electrode's tomogram, and say how surely.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo", short_help="Everything on a virtual electrode.")(demo.demo)
app.command("simulate", short_help="A virtual electrode, with exact labels.")(simulate.simulate)
app.command("info", short_help="What a volume is.")(info.info)
app.command("train", short_help="A model from labelled slices.")(train.train)
app.command("align", short_help="Labels moved to where a model sees them.")(align.align)
app.command("predict", short_help="Phases of a volume.")(predict.predict)
app.command("reproduce", short_help="The tables and figures of the paper.")(reproduce.reproduce)
app.command("measure", short_help="Electrode properties with error bars.")(measure.measure)
app.command("evaluate", short_help="Scores against known labels.")(evaluate.evaluate)


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; exit status 0 worked, 1 trouble with input or running, 2 wrong call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a file name or a sign that the terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="matphase")
