"""Where blocks of a prediction are written: into memory, or into files that survive a kill.

For files, a hidden folder beside the output holds, until the prediction is complete:

```
run.json                  what is predicted: by which model, how large a volume, which settings
maps-TOKEN/               renamed to another token by each process that begins here or goes on
  IMAGE.ome.zarr          an OME-Zarr image for each map; each chunk of it has one writer
  blocks/NUMBER.json      of each finished block: checksums of what it wrote, and counts
record.json               the record, once all files are ready to be published
files/                    files of other formats than OME-Zarr, before they are published
```

Of an OME-Zarr output, the images are the output itself under a temporary name: they are moved to
their places in the end. Other formats are exported from them.

A block is finished when its note is there, which is written last and by renaming; it is kept when
the arrays still have the checksums of the note. A process that was replaced by another, such as a
worker whose own run was stopped, cannot write into the maps any more: they have been renamed.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.formats import ome_zarr_levels
from matphase.images.phases import PhaseTable
from matphase.images.tiles import Maps, Shape, Tile
from matphase.images.volume import Volume
from matphase.prediction.files import EXPORTS, is_zarr, layer_file, working_folder
from matphase.prediction.maps import Layer
from matphase.support.errors import OutputError
from matphase.support.files import remove

RUN = "run.json"
MAPS = "maps-"
NOTES = "blocks"
Note = dict[str, Any]


class Store(Protocol):
    """Takes the maps of blocks."""

    def put(self, block: Tile, maps: Maps, note: Mapping[str, Any]) -> None:
        """Keep the maps of a block's core, with phase indices, and a note for JSON."""


@dataclass(frozen=True)
class MemoryStore:
    """Maps in memory.

    Attributes:
        shape: (z, y, x) of the volume.
        names: of the maps that are kept.
        maps: what has come so far.
    """

    shape: Shape
    names: frozenset[str]
    maps: Maps = field(default_factory=dict)

    def put(self, block: Tile, maps: Maps, note: Mapping[str, Any]) -> None:
        """Copy the maps of a block to their place; the note is not needed."""
        for name in self.names & maps.keys():
            part = maps[name]
            if name not in self.maps:
                self.maps[name] = np.empty((*part.shape[:-3], *self.shape), part.dtype)
            self.maps[name][..., *block.core] = part


@dataclass(frozen=True)
class FileStore:
    """Maps in the working folder of a prediction; can be pickled.

    Attributes:
        folder: that holds the maps.
        labels: path where the labels will lie in the end.
        layers: the arrays that are written.
        phases: whose values the files hold.
    """

    folder: Path
    labels: Path
    layers: tuple[Layer, ...]
    phases: PhaseTable

    @cached_property
    def _arrays(self) -> list[Any]:
        return [ome_zarr_levels.level(self.image(layer), mode="r+") for layer in self.layers]

    def __getstate__(self) -> dict[str, Any]:
        names = ("folder", "labels", "layers", "phases")
        return {name: getattr(self, name) for name in names}

    def put(self, block: Tile, maps: Maps, note: Mapping[str, Any]) -> None:
        """Write the maps of a block's core, and then its note.

        Raises:
            OSError: they cannot be written.
            OutputError: the store was removed, or another process has taken it over.
        """
        try:
            sums = {}
            for layer, array in zip(self.layers, self._arrays, strict=True):
                part = layer.kind.to_stored(layer.of(maps), self.phases)
                array[_place(array, block)] = part.reshape(block.shape[-array.ndim :])
                sums[layer.name] = _checksum(part)
            write_json(self._note(block), {**note, "checksums": sums})
        except OSError as error:
            if self.is_there:
                raise
            raise OutputError(
                f"{self.folder.parent} was removed, or taken over by another prediction of that "
                "name; let one of them finish, or give each an output of its own"
            ) from error

    def note_of(self, block: Tile) -> Note | None:
        """The note of a block that is finished and whose maps are unchanged; else None."""
        try:
            note = json.loads(self._note(block).read_text("utf-8"))
            sums = {}
            for layer in self.layers:
                array = ome_zarr_levels.level(self._found(layer))
                sums[layer.name] = _checksum(np.asarray(array[_place(array, block)]))
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

    @property
    def is_published_in_part(self) -> bool:
        """Whether some images have moved to their places already."""
        return not all(self.image(layer).exists() for layer in self.layers)

    @property
    def room(self) -> Path:
        """The folder of the finished files, from which they are published."""
        return self.folder if is_zarr(self.labels) else self.folder.parent / EXPORTS

    def image(self, layer: Layer) -> Path:
        """The OME-Zarr image of one map, named as the output where that is an OME-Zarr, too."""
        if is_zarr(self.labels):
            return self.folder / layer_file(self.labels, layer).name
        return self.folder / f"{layer.name or 'labels'}.ome.zarr"

    def seal(self) -> "FileStore":
        """Rename the maps, so that no late worker can write into what is being finished."""
        sealed = FileStore(_new_folder(self.folder.parent), self.labels, self.layers, self.phases)
        self.folder.replace(sealed.folder)
        return sealed

    def finish(self) -> None:
        """Write what is left to do when all blocks are there: coarser levels, or other formats.

        Raises:
            OSError: a file cannot be written.
            OutputError: values that the format cannot hold.
        """
        if is_zarr(self.labels):
            for layer in self.layers:
                labels = layer.kind.content != "number"
                ome_zarr_levels.fill_pyramid(self.image(layer), labels=labels)
            return
        remove(self.room)
        self.room.mkdir()
        for layer in self.layers:
            target = self.room / layer_file(self.labels, layer).name
            formats.write(target, formats.open(self.image(layer)))

    def _found(self, layer: Layer) -> Path:
        """The image of one map, whether it has been published or not."""
        image = self.image(layer)
        return image if image.exists() else self.labels.with_name(image.name)

    @property
    def _notes(self) -> Path:
        return self.folder / NOTES

    def _note(self, block: Tile) -> Path:
        return self._notes / f"{block.number:08d}.json"


def open_store(
    labels: Path,
    run: Mapping[str, Any],
    layers: Sequence[Layer],
    phases: PhaseTable,
    volume: Volume,
    block: Sequence[int],
) -> FileStore:
    """Go on with the working folder of a prediction, if it is of the same run; else begin.

    Args:
        labels: path where the labels will lie in the end.
        run: what tells this run from others, for JSON.
        layers: the arrays that are written.
        phases: whose values the files hold.
        volume: that is predicted.
        block: shape (z, y, x) of the blocks' cores.

    Raises:
        OutputError: the folder is of another run, or nothing can be written.
    """
    folder = working_folder(labels)
    store = FileStore(_new_folder(folder), labels, tuple(layers), phases)
    run = json.loads(json.dumps(run))
    if folder.exists():
        try:
            found = json.loads((folder / RUN).read_text("utf-8"))
        except (OSError, ValueError):
            found = None  # killed before it began
        # those that lack notes were made by a process that wrote on after its maps were renamed
        known = [one for one in folder.glob(f"{MAPS}*") if (one / NOTES).is_dir()]
        if found == run and known:
            known[0].replace(store.folder)
            return store
        if found not in (None, run):
            others = found if isinstance(found, dict) else {}
            differs = [name for name in run if others.get(name) != run[name]]
            raise OutputError(
                f"{folder} holds an unfinished prediction with another {' and '.join(differs)}; "
                "repeat the call that began it, or start from the beginning (restart=True; on the "
                "command line --restart)"
            )
        remove(folder)
    shape = volume.shape
    try:
        (store.folder / NOTES).mkdir(parents=True)
        for layer in layers:
            ome_zarr_levels.create_image(
                store.image(layer),
                volume,
                layer.kind.stored_dtype(phases),
                chunks=ome_zarr_levels.chunks_within(shape, tuple(block[-len(shape) :])),
                labels=layer.kind.content != "number",
                pyramid=is_zarr(labels),
            )
        write_json(folder / RUN, run)
    except BaseException:
        remove(folder)
        raise
    return store


def check_disk(folder: Path, needed: int) -> None:
    """Check that a disk has room, before the long work starts.

    Args:
        folder: on the disk.
        needed: bytes, of which an earlier run may have written a part below `folder`.

    Raises:
        OutputError: there is not enough.
    """
    needed -= sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise OutputError(
            f"the prediction needs up to {needed / 1e9:.3g} GB of disk while it is made, but "
            f"{there} has {free / 1e9:.3g} GB left; free some space, or write elsewhere"
        )


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file is there complete or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    beside.replace(path)


def _new_folder(folder: Path) -> Path:
    return folder / f"{MAPS}{secrets.token_hex(4)}"


def _place(array: Any, block: Tile) -> tuple[slice, ...]:
    return block.core[-array.ndim :]


def _checksum(array: NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()
