"""Finished blocks on disk, so that a prediction that was killed goes on where it was.

A hidden folder beside the output holds, until the prediction is complete:

```
run.json                  what is predicted: by which model, how large a volume, which settings
maps-TOKEN/               moved to another token by each process that begins here or goes on
  NAME.zarr               an array for each map, a chunk a block: each has one writer
  blocks/NUMBER.json      of each finished block: checksums of what it wrote, and counts
files/                    the files of the prediction, before they take their places (`records`)
```

A block is finished when its note is there, which comes last and by renaming; it is kept when what
the arrays hold still has the checksums of the note. What a process writes that another has
replaced, such as a worker whose own run was stopped, does not reach the maps: they have moved.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.tiles import Tile
from matphase.images.volume import Volume
from matphase.support.errors import OutputError
from matphase.support.files import remove

RUN = "run.json"
MAPS = "maps-"
NOTES = "blocks"


@dataclass(frozen=True)
class Store:
    """The maps of a prediction that is under way; can be pickled.

    Attributes:
        folder: that holds the maps.
        names: of the maps.
    """

    folder: Path
    names: tuple[str, ...]

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        return {name: zarr.open_array(self._array(name), mode="r+") for name in self.names}

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "names": self.names}

    def put(self, block: Tile, maps: Mapping[str, NDArray[Any]], note: Mapping[str, Any]) -> None:
        """Keep the maps (z, y, x) of a block's core, and a note for JSON.

        Raises:
            OSError: they cannot be written.
            OutputError: the store was removed, or another process has taken it over.
        """
        try:
            for name, array in self._arrays.items():
                array[_place(array, block)] = maps[name].reshape(block.shape[-array.ndim :])
            sums = {name: _checksum(maps[name]) for name in self.names}
            write_json(self._note(block), {**note, "checksums": sums})
        except OSError as error:
            if self.is_there:
                raise
            raise OutputError(
                f"{self.folder.parent} was removed, or taken over by another prediction of that "
                "name; let one of them finish, or give each an output of its own"
            ) from error

    def note_of(self, block: Tile) -> dict[str, Any] | None:
        """The note of a block that is finished, and whose maps are what they were; else None."""
        try:
            note = json.loads(self._note(block).read_text("utf-8"))
            sums = {
                name: _checksum(np.asarray(array[_place(array, block)]))
                for name, array in self._arrays.items()
            }
        except Exception:  # decoders meet damage at any depth
            return None
        return note if isinstance(note, dict) and note.get("checksums") == sums else None

    @property
    def is_empty(self) -> bool:
        """Whether no block is finished."""
        return not any(self._notes.glob("*.json"))

    @property
    def is_there(self) -> bool:
        """Whether it can be seen from here, and no other process has taken it over."""
        return self._notes.is_dir()

    def volume(self, name: str, like: Volume) -> Volume:
        """A map as a volume, at the place of the one that was predicted."""
        stored = formats.open(self._array(name), axes=like.axes)
        return Volume.from_source(stored.data, like.axes, like.voxel_size, like.unit, like.name)

    @property
    def _notes(self) -> Path:
        return self.folder / NOTES

    def _note(self, block: Tile) -> Path:
        return self._notes / f"{block.number:08d}.json"

    def _array(self, name: str) -> Path:
        return self.folder / f"{name}.zarr"


def open_store(
    folder: Path,
    run: Mapping[str, Any],
    types: Mapping[str, np.dtype[Any]],
    shape: Sequence[int],
    block: Sequence[int],
) -> Store:
    """Go on with what `folder` holds, if it is of the same run; else begin.

    Args:
        folder: for the store and the run that it is of; missing, or an earlier one.
        run: what tells this run from others, for JSON.
        types: of the maps, by name.
        shape: of the volume, (z, y, x) or (y, x).
        block: shape (z, y, x) of the blocks' cores.

    Raises:
        OutputError: what is there is of another run, or nothing can be written.
    """
    store = Store(folder / f"{MAPS}{secrets.token_hex(4)}", tuple(types))
    run = json.loads(json.dumps(run))
    if folder.exists():
        try:
            found = json.loads((folder / RUN).read_text("utf-8"))
        except (OSError, ValueError):
            found = None  # killed before it began
        # those that lack notes were made by a process that wrote on when its maps had moved
        known = [one for one in folder.glob(f"{MAPS}*") if (one / NOTES).is_dir()]
        if found == run and known:
            known[0].replace(store.folder)
            return store
        if found not in (None, run):
            others = found if isinstance(found, dict) else {}
            differs = [name for name in run if others.get(name) != run[name]]
            raise OutputError(
                f"{folder} holds an unfinished prediction with another {' and '.join(differs)}; "
                "repeat the command that began it, or pass --restart to begin anew"
            )
        remove(folder)
    try:
        store._notes.mkdir(parents=True)
        for name, dtype in types.items():
            zarr.create_array(
                store._array(name),
                shape=tuple(shape),
                chunks=tuple(block[-len(shape) :]),
                dtype=dtype,
                fill_value=0,
            )
        write_json(folder / RUN, run)
    except BaseException:
        remove(folder)
        raise
    return store


def check_disk(folder: Path, needed: int) -> None:
    """See that a disk has room, before the long work starts.

    Args:
        folder: on the disk.
        needed: bytes, of which an earlier run may have written a part below `folder`.

    Raises:
        OutputError: it has not.
    """
    needed -= sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise OutputError(
            f"the prediction takes up to {needed / 1e9:.3g} GB of disk while it is made, but "
            f"{there} has {free / 1e9:.3g} GB left; make room, or write elsewhere"
        )


def total(notes: Sequence[Mapping[str, Any]], key: str) -> dict[str, int]:
    """The sum of the counts that the notes have under `key`."""
    counts: Counter[str] = Counter()
    for note in notes:
        counts.update(note[key])
    return dict(counts)


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that it is there as a whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    beside.replace(path)


def _place(array: Any, block: Tile) -> tuple[slice, ...]:
    return block.core[-array.ndim :]


def _checksum(array: NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()
