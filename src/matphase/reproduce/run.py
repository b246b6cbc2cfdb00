"""From the name of a table to its files."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from matphase.networks import registry
from matphase.reproduce import engine
from matphase.reproduce.compute import compute
from matphase.reproduce.conditions import claim, source_of
from matphase.reproduce.data import UserSlices, check_source, split_data
from matphase.reproduce.figures import write_figures
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.table_rows import FIGURES, TABLES, TRUST, units_of
from matphase.reproduce.tables import write_table
from matphase.reproduce.trust_page import write_trust
from matphase.reproduce.units import Unit
from matphase.reproduce.workers import default_workers


def reproduce_targets(
    targets: Sequence[str],
    protocol: Protocol,
    slices: UserSlices | None,
    seeds: Sequence[int],
    out: Path,
    *,
    workers: int | None = None,
    say: Callable[[str], None],
) -> list[Path]:
    """Compute what the tables and figures still need, and write them.

    Args:
        targets: of `rows.TARGETS`.
        protocol: conditions.
        slices: the user's own; none: virtual electrodes.
        seeds: of electrode and training; on the user's slices of training alone.
        out: folder of all results.
        workers: processes; none: one per core, on a GPU one.
        say: is called with a line for every unit that is done.

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
    for name in {unit.name for unit in units} & set(registry.MODELS):
        registry.check_installed(name)
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


def run_units(
    units: Sequence[Unit],
    protocol: Protocol,
    slices: UserSlices | None,
    out: Path,
    *,
    workers: int,
    say: Callable[[str], None],
    with_arrays: Collection[Unit] = (),
) -> None:
    """Compute the units that are not done yet, and those that they need: see `engine.run`."""

    def simulate(todo: Sequence[Unit]) -> None:
        """Make the electrodes once, before several processes want them."""
        if slices is None:
            for seed in sorted({unit.seed for unit in todo}):
                source_of(protocol, None, seed, out, say)

    engine.run(
        units,
        partial(compute, protocol, slices, out),
        out,
        workers=workers,
        say=say,
        with_arrays=with_arrays,
        prepare=simulate,
    )


def write_targets(
    targets: Sequence[str],
    protocol: Protocol,
    slices: UserSlices | None,
    seeds: Sequence[int],
    out: Path,
) -> list[Path]:
    """Write the tables and figures of the results that are there, and compute nothing.

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
            data = split_data(source, "blocked", seeds[0], protocol)
            size = source.images.voxel_size
            written += write_figures(
                out, seeds, data, None if size is None else size[-1], source.images.unit
            )
    return written
