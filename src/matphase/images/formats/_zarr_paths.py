"""Paths of Zarr stores, checked without the zarr library, which takes a second to load.

A store is a folder, or a ZIP file. A path may go on behind either: scan.zarr.zip/labels/phases.
"""

import re
import zipfile
from pathlib import Path
from typing import Literal, TypeAlias

from matphase.support.errors import FormatError, OutputError
from matphase.support.files import STORE_FILES
from matphase.support.manifest import content_of, foreign

SUFFIX = ".zarr"

_ZIPPED = (SUFFIX, ".zip", ".ozx")

OmeVersion: TypeAlias = Literal["0.4", "0.5"]
"""Version of OME-Zarr: 0.4 is stored as Zarr v2, 0.5 as Zarr v3."""


def is_store(path: Path) -> bool:
    """Tell whether a folder is a Zarr node, or has the suffix of one."""
    return path.suffix.lower() == SUFFIX or has_metadata(path)


_DESCRIPTIONS = r"zarr\.json|\.zgroup|\.zarray|\.zattrs|\.zmetadata"
_CHUNK = r"c|(c/)?\d+([./]\d+)*"
_OWN = re.compile(rf"(\d+/)?({_DESCRIPTIONS}|{_CHUNK})(\.[0-9a-f]+\.partial)?")
"""Files of an image with its levels, or of an array, and what a kill leaves of them."""


def check_replaceable(path: Path) -> None:
    """Refuse to replace a folder that is no Zarr image or array, or that holds anything else.

    Raises:
        OutputError: it holds other files, or label images; the message names one.
    """
    content = list(content_of(path))
    if content and not has_metadata(path):
        raise OutputError(
            f"{path} is a folder but not a Zarr store, so it is not replaced; choose another name"
        )
    for name in content:
        if _OWN.fullmatch(name) is None or (path / name).is_symlink():
            raise foreign(path, name)


def has_metadata(path: Path) -> bool:
    """Tell whether a path, in a folder or in a ZIP file, is a Zarr array or group."""
    inside = zip_of(path)
    if inside is None:
        return any((path / name).is_file() for name in STORE_FILES)
    names = _names_in(inside[0])
    return any(_joined(inside[1], name) in names for name in STORE_FILES)


def children(path: Path) -> list[Path]:
    """List the Zarr arrays and groups directly inside of one."""
    inside = zip_of(path)
    if inside is None:
        return [one for one in sorted(path.iterdir()) if has_metadata(one)]
    start = f"{inside[1]}/" if inside[1] else ""
    names = {
        name[len(start) :].partition("/")[0]
        for name in _names_in(inside[0])
        if name.startswith(start)
    }
    return [path / name for name in sorted(names) if has_metadata(path / name)]


def is_zipped(path: Path) -> bool:
    """Tell whether a file is a ZIP file with the suffix of a zipped Zarr store."""
    return path.suffix.lower() in _ZIPPED and path.is_file() and zipfile.is_zipfile(path)


def zip_of(path: Path) -> tuple[Path, str] | None:
    """Split a path in a ZIP file into the file and the node in it; None for other paths.

    A ZIP file of a folder, and not of what is in it, has one entry at its root: the folder.
    """
    file = next((one for one in (path, *path.parents) if is_zipped(one)), None)
    if file is None:
        return None
    names = _names_in(file)
    tops = {name.partition("/")[0] for name in names}
    root = "" if len(tops) != 1 or tops & set(STORE_FILES) else tops.pop()
    return file, _joined(root, path.relative_to(file).as_posix())


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part not in ("", "."))


def _names_in(file: Path) -> set[str]:
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


def image_of(path: Path) -> Path | None:
    """Give the image that a label image IMAGE.zarr/labels/NAME belongs to; None for other paths."""
    image = path.parent.parent
    return image if path.parent.name == "labels" and image.suffix.lower() == SUFFIX else None


def missing(path: Path) -> FormatError:
    """Make the error that `path` does not exist; it lists the label images in the same folder."""
    labels = [one for one in sorted(path.parent.glob("*")) if has_metadata(one)]
    if image_of(path) is None or not labels:
        return FormatError(f"{path} does not exist; check the path")
    return FormatError(f"{path} does not exist; choose one of {listed(labels)}")


def listed(paths: list[Path]) -> str:
    """List the first eight paths for a message."""
    more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
    return ", ".join(map(str, paths[:8])) + more
