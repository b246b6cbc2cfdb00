"""The command line. Heavy imports stay inside the verbs, so that help comes at once."""

import typer

from matphase.cli import demo, evaluate, info, predict, simulate, train

app = typer.Typer(
    name="matphase",
    help="Name the phase of every voxel of a battery electrode's tomogram, and say how surely.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("simulate")(simulate.simulate)
app.command("info")(info.info)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)


def main() -> None:
    """Run the command line; exit status 0 worked, 1 trouble with input or running, 2 wrong call."""
    app(prog_name="matphase")
