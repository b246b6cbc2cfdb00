"""Pages of results: their cells and tables in Markdown, and the files they are written to."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matphase.reproduce.spread import Spread
from matphase.scores.bootstrap import Interval
from matphase.support.files import atomic_write

SHORT, LONG = 100, 2000
"""Characters up to which JSON stays on one line, and beyond which an object is always split."""

# --- cells ----------------------------------------------------------------------------------------


def cell(value: Spread, digits: int, factor: float = 1) -> str:
    """Mean ± SD in fixed decimals; the mean alone for one seed, a dash where nothing is known."""
    if value.mean is None:
        return "-"
    text = f"{factor * value.mean:.{digits}f}"
    return text if value.sd is None else f"{text} ± {factor * value.sd:.{digits}f}"


def mean_sd(values: Iterable[float | None], digits: int = 3) -> str:
    """Mean ± SD of one value a seed; see `cell`."""
    return cell(Spread.of(values), digits)


def difference_cell(found: Interval | None, *, bold: bool = False) -> str:
    """A difference with its interval; a dash where there is none.

    Args:
        found: the difference.
        bold: print the difference in bold where the interval excludes 0.
    """
    if found is None:
        return "-"
    difference = f"{found.difference:+.4f}"
    if bold and found.excludes_zero:
        difference = f"**{difference}**"
    return f"{difference} [{found.low:+.4f}, {found.high:+.4f}]"


def count(number: int, what: str) -> str:
    """A number with its noun, such as "1 seed" and "3 seeds"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table: the first `words` columns to the left, numbers to the right."""
    lines = [header, [*["---"] * words, *["---:"] * (len(header) - words)], *rows]
    # names come from the user, and a bar would end the cell
    return "\n".join(
        "| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines
    )


# --- files ----------------------------------------------------------------------------------------


def write_page(
    stem: Path,
    text: str,
    content: dict[str, Any],
    table: tuple[Sequence[str], Iterable[Sequence[Any]]] | None = None,
) -> list[Path]:
    """Write `stem`.md and .json, and .csv where there is a table, in place of older ones.

    Args:
        stem: path without its ending.
        text: Markdown.
        content: of the JSON file, without NaN.
        table: header and lines of the CSV file; None is an empty field.

    Returns:
        The files.

    Raises:
        OutputError: they cannot be written.
    """
    contents = {"md": text.rstrip() + "\n"}
    if table is not None:
        contents["csv"] = _csv(*table)
    contents["json"] = json_by_rows(content) + "\n"
    paths = []
    for ending, written in contents.items():
        path = stem.with_name(f"{stem.name}.{ending}")
        with atomic_write(path, overwrite=True) as beside:
            beside.write_text(written, "utf-8")
        paths.append(path)
    return paths


def json_by_rows(content: Any) -> str:
    """JSON in which each entry of a list of objects, such as the result of a seed, is one line.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    return _split(content, "", in_row=False)


def _split(value: Any, indent: str, *, in_row: bool) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ": "))
    long = isinstance(value, dict) and not in_row and len(text) > LONG
    if len(text) <= SHORT or not (long or _holds_rows(value)):
        return text
    deeper = indent + " "
    if isinstance(value, dict):
        entries = [
            f"{json.dumps(str(name), ensure_ascii=False)}: {_split(part, deeper, in_row=in_row)}"
            for name, part in value.items()
        ]
        opening, closing = "{", "}"
    else:
        entries = [_split(part, deeper, in_row=True) for part in value]
        opening, closing = "[", "]"
    lines = ",\n".join(deeper + entry for entry in entries)
    return f"{opening}\n{lines}\n{indent}{closing}"


def _holds_rows(value: Any) -> bool:
    """Whether there is a list of objects in it."""
    if isinstance(value, dict):
        return any(_holds_rows(part) for part in value.values())
    if isinstance(value, list | tuple):
        return any(isinstance(part, dict) or _holds_rows(part) for part in value)
    return False


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return table.getvalue()
