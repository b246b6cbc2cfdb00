"""Folders that the program writes: the record of their files, by which they are known again.

`manifest.json` has the SHA-256 of each file of such a folder, by its path in the folder. A folder
is replaced only if it holds nothing else: each file has one of the names that this kind of folder
can have, is in the manifest, and is as it was written. The manifest is only looked up in, never
followed: whatever it says, nothing outside of the folder is touched.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matphase.support.errors import OutputError, one_line
from matphase.support.records import json_or_none, open_regular

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that the program writes.

    Attributes:
        marker: a file that only this kind has.
        names: regular expression of the paths, relative to the folder, that its files can have.
    """

    marker: str
    names: str

    def __call__(self, folder: Path) -> None:
        """Check that a folder is of this kind and holds nothing else, or is empty.

        Raises:
            OutputError: it holds something else; the message names it.
        """
        content = list(content_of(folder))
        if not content:
            return
        if self.marker not in content:
            raise OutputError(
                f"{folder} is not replaced, since it contains other files (and no {self.marker}); "
                "choose another name"
            )
        sums = json_or_none(folder / MANIFEST)
        sums = sums if isinstance(sums, dict) else {}
        for name in content:
            if name == MANIFEST:
                continue
            own = re.fullmatch(self.names, name) is not None and name in sums
            if not own:
                raise foreign(folder, name)
            try:
                changed = (folder / name).is_symlink() or checksum(folder / name) != sums[name]
            except (OSError, ValueError):
                changed = True
            if changed:
                raise OutputError(
                    f"{folder} is not replaced, since {one_line(name)} in it was changed after it "
                    "was written; move it elsewhere, or choose another name"
                )


_MODEL = (
    r"config\.toml|phases\.json|validation\.json|scaling\.json|(guarantee|promise)\.json"
    r"|[a-z0-9_]+\.safetensors"
)
MODEL = FolderKind("config.toml", _MODEL)
ELECTRODE = FolderKind(
    "electrode.json", r"(images|labels|measured_labels)\.tif|recipe\.toml|electrode\.json"
)
ALIGNMENT = FolderKind("alignment.json", r"(labels|displacement_[yx])\.tif|alignment\.json")
DEMO = FolderKind(
    "metrics.json",
    r"(prediction|entropy|idk)\.tif|overview\.png|metrics\.json"
    rf"|model/(manifest\.json|{_MODEL})",
)
PICTURES = FolderKind("curves.txt", r"[^/]+\.png|curves\.txt")


def write_manifest(folder: Path) -> None:
    """Write the manifest of a folder that is complete; files of folders in it are included."""
    sums = {name: checksum(folder / name) for name in content_of(folder)}
    (folder / MANIFEST).write_text(json.dumps(sums, indent=2) + "\n", "utf-8")


def content_of(folder: Path) -> Iterator[str]:
    """Paths of all files in a folder, relative to it, in order; links and empty folders, too."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        inside = Path(place)
        links = [name for name in folders if (inside / name).is_symlink()]
        for name in sorted((*files, *links)):
            yield (inside / name).relative_to(folder).as_posix()
        if not (files or folders) and inside != Path(folder):
            yield inside.relative_to(folder).as_posix()


def checksum(path: Path) -> str:
    """SHA-256 of a regular file.

    Raises:
        OSError: it cannot be read.
        RecordError: it is a pipe or a device.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def foreign(folder: Path, name: str) -> OutputError:
    """The error that a folder is not replaced because of one file in it."""
    return OutputError(
        f"{folder} is not replaced, since it contains {one_line(name)}, which was not written with "
        "it; move that elsewhere, or choose another name"
    )
