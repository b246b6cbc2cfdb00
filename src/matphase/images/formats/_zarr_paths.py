"""What can be said of Zarr stores without the library, which takes a second to load."""

from pathlib import Path
from typing import Literal, TypeAlias

from matphase.support.errors import FormatError, OutputError

SUFFIX = ".zarr"

OmeVersion: TypeAlias = Literal["0.4", "0.5"]
"""Version of OME-Zarr: 0.4 is stored as Zarr v2, 0.5 as Zarr v3."""


def is_store(path: Path) -> bool:
    """Whether a folder is a node of Zarr, or called one."""
    return path.suffix.lower() == SUFFIX or has_metadata(path)


def check_replaceable(path: Path) -> None:
    """Refuse to write where a folder stands that is no Zarr store.

    Raises:
        OutputError: it is somebody's own.
    """
    if path.is_dir() and any(path.iterdir()) and not has_metadata(path):
        raise OutputError(f"{path} is not replaced, since it is no Zarr store; choose another name")


def has_metadata(path: Path) -> bool:
    """Whether a folder is an array or a group of Zarr."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def image_of(path: Path) -> Path | None:
    """The image that a path of a label image belongs to: IMAGE.zarr/labels/NAME; else None."""
    image = path.parent.parent
    return image if path.parent.name == "labels" and image.suffix.lower() == SUFFIX else None


def missing(path: Path) -> FormatError:
    """Say that nothing is at `path`, and which label images are beside it."""
    labels = [one for one in sorted(path.parent.glob("*")) if has_metadata(one)]
    if image_of(path) is None or not labels:
        return FormatError(f"{path} does not exist; check the path")
    return FormatError(f"{path} does not exist; choose one of {listed(labels)}")


def listed(paths: list[Path]) -> str:
    """Name the first of some paths."""
    more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
    return ", ".join(map(str, paths[:8])) + more
