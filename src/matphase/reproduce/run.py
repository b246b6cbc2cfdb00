"""From the name of a table to its files."""

from collections.abc import Sequence
from pathlib import Path

from matphase.networks import zoo
from matphase.reproduce.figures import write_figures
from matphase.reproduce.pages import write_trust
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.rows import FIGURES, TABLES, TRUST, units_of
from matphase.reproduce.runner import Say, claim, default_workers, run_units, source_of
from matphase.reproduce.tables import write_table
from matphase.reproduce.trial import UserSlices, check_source, trial


def reproduce_targets(
    targets: Sequence[str],
    protocol: Protocol,
    slices: UserSlices | None,
    seeds: Sequence[int],
    out: Path,
    *,
    workers: int | None = None,
    say: Say,
) -> list[Path]:
    """Compute what the tables and figures need and is not done yet, and write them.

    Args:
        targets: of `rows.TARGETS`.
        protocol: conditions.
        slices: the user's own; none: virtual electrodes.
        seeds: of electrode and training; on the user's slices of training alone.
        out: folder of all results.
        workers: processes; none: one a core, on a GPU one.
        say: is told a line for every piece that is done.

    Returns:
        the files written.

    Raises:
        InputError: the slices cannot be used, or `out` holds something else.
        Interrupted: the user stopped it; a second call goes on.
        OutputError: `out` cannot be written.
    """
    if slices is not None:
        check_source(slices.read())
    units = units_of(targets, seeds)
    for name in {unit.name for unit in units} & set(zoo.KINDS):
        zoo.check_installed(name)
    claim(out, protocol, slices)
    run_units(
        units,
        protocol,
        slices,
        out,
        workers=workers or default_workers(),
        say=say,
        with_arrays=units_of([FIGURES], seeds) if FIGURES in targets else (),
    )
    return write_targets(targets, protocol, slices, seeds, out)


def write_targets(
    targets: Sequence[str],
    protocol: Protocol,
    slices: UserSlices | None,
    seeds: Sequence[int],
    out: Path,
) -> list[Path]:
    """Write the tables and figures of what is there, and compute nothing.

    Rows without a result say so; figures need the units of the first seed. Arguments are those
    of `reproduce_targets`.

    Returns:
        the files written.

    Raises:
        InputError: a unit that a figure shows is not done.
        OutputError: `out` cannot be written.
    """
    written: list[Path] = []
    for target in targets:
        if target in TABLES:
            written += write_table(TABLES[target], out, seeds)
        elif target == TRUST:
            written += write_trust(out, seeds)
        else:
            source = source_of(protocol, slices, seeds[0], out)
            data = trial(source, "blocked", seeds[0], protocol)
            size = source.images.voxel_size
            written += write_figures(
                out, seeds, data, None if size is None else size[-1], source.images.unit
            )
    return written
