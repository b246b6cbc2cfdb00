"""Scores and properties as tables and sentences for the terminal."""

from collections.abc import Iterable, Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from matphase.images.phases import PhaseTable
from matphase.scores.evaluation import Row


def rows_table(rows: Mapping[str, Row], phases: PhaseTable, title: str) -> Table:
    """Scores of several predictions as a table for the terminal.

    Args:
        rows: results of `score_row` by the name of the prediction.
        phases: whose F1 has a column each.
        title: of the table.
    """
    # names come from the user, and what stands in brackets would be read as a style
    table = Table(title=escape(title), title_justify="left")
    table.add_column("")
    for name in phases.names:
        table.add_column(f"F1 {escape(name)}", justify="right")
    for name in ("ACC %", "best 5", "lowest 5", "mIU", "fIU", "ECE"):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        table.add_row(
            escape(name),
            *(number(row["F1"][phase]) for phase in phases.names),
            number(row["ACC"], 2),
            _spread(row["ACC_best5"]),
            _spread(row["ACC_low5"]),
            number(row["mIU"]),
            number(row["fIU"]),
            number(row["ECE"]),
        )
    return table


def uncertainty_text(found: Row) -> str:
    """Result of `score_uncertainty` in one sentence."""
    auroc = f"AUROC of entropy against error {number(found['entropy_AUROC'])}"
    if found["idk_share"] == 0:
        return f"{auroc}; no pixel is uncertain"
    recall, share, precision = (
        in_per_cent(found[f"idk_{part}"]) for part in ("recall", "share", "precision")
    )
    return (
        f"{auroc}; {share} % of the pixels are uncertain, and these hold {recall} % of UGSM's "
        f"wrong pixels (precision {precision} %)"
    )


def trusted_text(found: Row) -> str:
    """Result of `score_trusted` in one sentence."""
    if found["trusted_share"] == 0:
        return "no pixel is trusted"
    share, error, both = (
        in_per_cent(found[f"trusted_{part}"]) for part in ("share", "error", "wrong_share")
    )
    return f"{share} % of the pixels are trusted and {error} % of these are wrong ({both} % of all)"


def number(value: float | None, digits: int = 3) -> str:
    """Value in fixed decimals, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.{digits}f}"


def in_per_cent(share: float | None) -> str:
    """Share in per cent, or a dash where it is not defined."""
    return number(None if share is None else 100 * share, 1)


def _spread(value: Mapping[str, float | None]) -> str:
    return f"{number(value['mean'], 2)} ± {number(value['sd'], 2)}"


def properties_table(headings: Sequence[str], rows: Iterable[Sequence[str]], title: str) -> Table:
    """Measured properties as a table for the terminal.

    Args:
        headings: names of the columns, with the name of the property, its numbers, its unit and
            its method in this order.
        rows: text of the cells, a row for each property.
        title: of the table.
    """
    table = Table(title=escape(title), title_justify="left")
    numbers = range(1, len(headings) - 2)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place in numbers else "left")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table
