"""What a dataset of an HDF5 file really reads: links to other files, virtual sources, filters.

HDF5 gives zeros for what is missing; here all of it is found, or named in an error.
"""

import glob
import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from matphase.support.errors import FormatError

_FILTERS = {
    305: "lzo",
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32018: "fcidecomp",
    32024: "sz3",
    32026: "blosc2",
    32028: "sperr",
}
"""Names of the filters that HDF5 has registered; all but lzo and lzf come with hdf5plugin."""

_BLOCK = re.compile("%%|%b")


def broken_link(file: h5py.File, dataset: str) -> str | None:
    """Describe the link on the way to a dataset that leads nowhere; None if there is none."""
    group: Any = file
    place = ""
    for part in dataset.strip("/").split("/"):
        if not isinstance(group, h5py.Group):
            return None
        place += f"/{part}"
        link = group.get(part, getlink=True)
        if link is None:
            return None
        try:
            group = group[part]
        except (KeyError, OSError):
            return _link_text(group, place, link)
    return None


def _link_text(group: h5py.Group, place: str, link: Any) -> str:
    if not isinstance(link, h5py.ExternalLink):
        return f"its link {place} leads to {getattr(link, 'path', 'nothing')}, which does not exist"
    there = _located(link.filename, Path(group.file.filename), "HDF5_EXT_PREFIX")
    if there is None:
        return f"its link {place} leads to the file {link.filename}, which is missing"
    if not h5py.is_hdf5(there):
        return f"its link {place} leads to the file {there}, which cannot be read"
    return f"its link {place} leads to {link.path} in {there}, which does not exist"


def datasets_in(file: h5py.File) -> tuple[list[tuple[list[str], h5py.Dataset]], list[str]]:
    """Find all datasets of a file, also behind soft and external links.

    Returns:
        each dataset once, with all the places where it is, real ones first; and a description of
        each link that leads nowhere.

    Raises:
        FormatError: a file that a dataset is put together from cannot be read.
    """
    found: dict[Any, tuple[list[str], h5py.Dataset]] = {}
    groups: set[Any] = set()
    broken: list[str] = []
    links: list[tuple[h5py.Group, str, Any]] = []

    def take(item: Any, place: str) -> None:
        info = h5py.h5o.get_info(item.id)
        identity = info.fileno, info.addr
        if isinstance(item, h5py.Dataset):
            check_shape(item, f"{file.filename}:{place}")
            found.setdefault(identity, ([], item))[0].append(place)
        elif isinstance(item, h5py.Group) and identity not in groups:
            groups.add(identity)
            visit(item, place)

    def visit(group: h5py.Group, place: str) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.HardLink):
                take(group[name], f"{place}/{name}")
            else:
                links.append((group, f"{place}/{name}", link))

    take(file["/"], "")
    while links:
        group, place, link = links.pop(0)
        try:
            item = group[place.rpartition("/")[2]]
        except (KeyError, OSError):
            broken.append(_link_text(group, place, link))
        else:
            take(item, place)
    return list(found.values()), broken


def check_shape(dataset: h5py.Dataset, name: str) -> None:
    """Say what is wrong where HDF5 cannot even tell the shape of a virtual dataset.

    Raises:
        FormatError: a file that the dataset is put together from cannot be read.
    """
    try:
        _ = dataset.shape
    except RuntimeError:
        sources_of(dataset, name)
        raise


def sources_of(dataset: h5py.Dataset, name: str) -> tuple[Path, ...]:
    """Find the files that a dataset is read from, and check that all of them are complete.

    Args:
        dataset: of an open file.
        name: what to call it in messages.

    Raises:
        FormatError: a file or a dataset in it is missing, too small, or cannot be read, or a
            filter is not installed; the message names it.
    """
    files: dict[Path, None] = {}
    _check(dataset, name, files, set())
    return tuple(files)


def _check(
    dataset: h5py.Dataset, name: str, files: dict[Path, None], seen: set[tuple[str, str]]
) -> None:
    own = Path(dataset.file.filename)
    if (str(own), dataset.name) in seen:
        return
    seen.add((str(own), dataset.name))
    files[own] = None
    check_filters(dataset, name)
    for raw, offset, size in dataset.external or ():
        there = _located(raw, own, "HDF5_EXTFILE_PREFIX")
        if there is None:
            raise _missing(name, raw, own)
        needed = offset + size
        if size != h5py.h5f.UNLIMITED and there.stat().st_size < needed:
            raise FormatError(f"{there}, which {name} is read from, is too short; copy it again")
        files[there] = None
    if not dataset.is_virtual:
        return
    for mapping in dataset.virtual_sources():
        source = mapping.src_space
        whole = source.get_select_type() == h5py.h5s.SEL_ALL
        for file_name, inside in _expanded(mapping, own, name):
            there = own if file_name == "." else _located(file_name, own, "HDF5_VDS_PREFIX")
            if there is None:
                raise _missing(name, file_name, own)
            needed = None if whole or h5py.h5s.UNLIMITED in _most(source) else _end(source)
            points = _points(mapping.vspace) if whole else None
            _check_source(there, inside, name, needed, points, files, seen)


def _check_source(
    path: Path,
    inside: str,
    name: str,
    needed: tuple[int, ...] | None,
    points: int | None,
    files: dict[Path, None],
    seen: set[tuple[str, str]],
) -> None:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FormatError(
            f"{path}, which {name} is put together from, cannot be read; copy it again"
        ) from error
    with file:
        try:
            source = file[inside]
        except (KeyError, OSError):
            source = None
        if not isinstance(source, h5py.Dataset):
            raise FormatError(
                f"{path} has no dataset {inside}, which {name} is put together from; copy it again"
            )
        small = needed is not None and (
            len(needed) != source.ndim
            or any(a > b for a, b in zip(needed, source.shape, strict=True))
        )
        if small or (points is not None and source.size < points):
            raise FormatError(
                f"{path}:{source.name} of shape {source.shape} is smaller than what {name} reads "
                "from it; copy it again"
            )
        _check(source, name, files, seen)


def _expanded(mapping: Any, own: Path, name: str) -> Iterator[tuple[str, str]]:
    """Give the files and datasets of a mapping; a pattern with %b counts them from 0.

    Raises:
        FormatError: one of those that a pattern counts is missing.
    """
    patterns = mapping.file_name, mapping.dset_name
    if not any("%b" in _BLOCK.findall(one) for one in patterns):
        yield mapping.file_name.replace("%%", "%"), mapping.dset_name.replace("%%", "%")
        return
    numbers = _numbers(patterns, own)
    if not numbers:
        raise _missing(name, _numbered(patterns[0], 0), own)
    for number in range(max(numbers) + 1):
        source, inside = (_numbered(one, number) for one in patterns)
        if number not in numbers:
            raise _missing(name, source if source != "." else f"{own}:{inside}", own)
        yield source, inside


def _numbers(patterns: tuple[str, str], own: Path) -> set[int]:
    """Find the numbers for which the file, or the dataset, of two patterns exists."""
    file_pattern, inside = patterns
    if "%b" in _BLOCK.findall(file_pattern):
        name = _as_regex(Path(file_pattern).name)
        for folder in _folders(own, "HDF5_VDS_PREFIX"):
            parent = folder / Path(file_pattern).parent
            listed = glob.glob("*", root_dir=parent)  # noqa: PTH207 - of a folder that may be gone
            found = {int(match[1]) for one in listed if (match := name.fullmatch(one))}
            if found:
                return found
        return set()
    there = own if file_pattern == "." else _located(file_pattern, own, "HDF5_VDS_PREFIX")
    if there is None:
        return set()
    above, _, last = inside.rpartition("/")
    with h5py.File(there, "r") as file:
        group = file.get(above or "/")
        keys = list(group) if isinstance(group, h5py.Group) else []
    return {int(match[1]) for one in keys if (match := _as_regex(last).fullmatch(one))}


def _numbered(pattern: str, number: int) -> str:
    return _BLOCK.sub(lambda found: "%" if found[0] == "%%" else str(number), pattern)


def _as_regex(pattern: str) -> re.Pattern[str]:
    """A regular expression of a pattern, of which the first group is the number."""
    text, at, first = "", 0, True
    for found in _BLOCK.finditer(pattern):
        text += re.escape(pattern[at : found.start()])
        if found[0] == "%%":
            text += "%"
        else:
            text += r"(0|[1-9]\d*)" if first else r"\1"
            first = False
        at = found.end()
    return re.compile(text + re.escape(pattern[at:]))


def _located(name: str, own: Path, variable: str) -> Path | None:
    """Find a file by the name that the file `own` gives, where HDF5 looks for it."""
    given = Path(name)
    if given.is_absolute() and given.is_file():
        return given
    short = Path(given.name) if given.is_absolute() else given
    for folder in _folders(own, variable):
        if (folder / short).is_file():
            return folder / short
    return None


def _folders(own: Path, variable: str) -> Iterator[Path]:
    """Give the folders in which HDF5 looks for the files that the file `own` needs, in order."""
    for prefix in filter(None, os.environ.get(variable, "").split(os.pathsep)):
        yield Path(prefix.replace("${ORIGIN}", str(own.parent)))
    yield own.parent
    yield Path()
    yield own.resolve().parent


def _missing(name: str, what: str, own: Path) -> FormatError:
    return FormatError(
        f"{name} is put together from other files, of which {what} is missing; copy it to where "
        f"{own.name} expects it"
    )


def _most(space: Any) -> tuple[int, ...]:
    return tuple(space.get_simple_extent_dims(True)) if space.shape else ()


def _points(space: Any) -> int:
    """How many voxels are selected; where there is no limit, those of one block."""
    if h5py.h5s.UNLIMITED not in _most(space):
        return int(space.get_select_npoints())
    _, _, counts, sides = space.get_regular_hyperslab()
    return math.prod(int(one) for one in (*counts, *sides) if one != h5py.h5s.UNLIMITED)


def _end(space: Any) -> tuple[int, ...]:
    """One behind the last place that is selected, along each axis."""
    return tuple(int(one) + 1 for one in np.atleast_1d(space.get_select_bounds()[1]))


def check_filters(dataset: h5py.Dataset, name: str) -> None:
    """Check that HDF5 can decode a dataset; it loads the filters of hdf5plugin where needed.

    Raises:
        FormatError: a filter is not installed; the message names it.
    """
    settings = dataset.id.get_create_plist()
    codes = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    missing = [code for code in codes if not h5py.h5z.filter_avail(code)]
    if missing:
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401 - registers its filters
        missing = [code for code in missing if not h5py.h5z.filter_avail(code)]
    if missing:
        code = missing[0]
        known = _FILTERS.get(code)
        text = f"{name} is compressed by the HDF5 filter {known or 'number'} ({code})"
        if known is None:
            raise FormatError(f"{text}, which is not known here; save it with gzip")
        raise FormatError(
            f"{text}, which is not installed; pip install 'matphase[hdf5plugin]', or save it with "
            "gzip"
        )
