"""Stores for the blocks of a prediction: in memory, or in files that survive a kill.

For files, a hidden folder next to the output contains, until the prediction is complete:

```
run.json                  properties of the prediction: model, shape of the volume, settings
maps-TOKEN/               renamed with a new token by each process that starts or continues it
  IMAGE.ome.zarr          an OME-Zarr image for each map; each chunk has one writer
  blocks/NUMBER.json      note of each finished block: checksums of its arrays, and counts
record.json               the record, once all files are ready to be published
files/                    files in formats other than OME-Zarr, before they are published
```

For OME-Zarr output, the images are the output itself and are moved to their final paths in the end.
Other formats are exported from them.

A block is finished when its note exists, which is written last and by renaming. It is kept if the
arrays still have the checksums of the note. A process that was replaced by another one, for example
a worker of a stopped run, cannot write into the maps any more, since they have been renamed.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
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
from matphase.prediction.files import (
    EXPORTS,
    RUN,
    is_zarr,
    layer_file,
    remove_working_folder,
    working_folder,
)
from matphase.prediction.maps import Layer
from matphase.support import records
from matphase.support.errors import OutputError
from matphase.support.files import nearest_folder, remove
from matphase.support.records import json_or_none, json_text, read_json

MAPS = "maps-"
NOTES = "blocks"
Note = dict[str, Any]


class Store(Protocol):
    """Store for the maps of blocks."""

    def put(self, block: Tile, maps: Maps, note: Mapping[str, Any]) -> None:
        """Store the maps of a block's core, with phase indices, and a note for JSON."""


@dataclass(frozen=True)
class MemoryStore:
    """Store in memory.

    Attributes:
        shape: (z, y, x) of the volume.
        names: names of the maps that are kept.
        maps: maps that have been stored so far.
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
    """Store in the working folder of a prediction; can be pickled.

    Attributes:
        folder: folder of the maps.
        labels: final path of the labels.
        layers: arrays that are written.
        phases: phases whose label values are written.
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
                "name; let one of them finish, or use different output files"
            ) from error

    def note_of(self, block: Tile) -> Note | None:
        """Note of a block that is finished and whose maps are unchanged; else None."""
        try:
            note = read_json(self._note(block))
            sums = {}
            for layer in self.layers:
                array = ome_zarr_levels.level(self._found(layer))
                sums[layer.name] = _checksum(np.asarray(array[_place(array, block)]))
        except Exception:  # decoders raise any kind of error for damaged files
            return None
        return note if isinstance(note, dict) and note.get("checksums") == sums else None

    @property
    def is_empty(self) -> bool:
        """Whether no block is finished."""
        return not any(self._notes.glob("*.json"))

    @property
    def is_there(self) -> bool:
        """Whether this process sees the store, and no other process has taken it over."""
        return self._notes.is_dir()

    @property
    def is_published_in_part(self) -> bool:
        """Whether some images have already been published."""
        return not all(self.image(layer).exists() for layer in self.layers)

    @property
    def room(self) -> Path:
        """Folder of the finished files, from which they are published."""
        return self.folder if is_zarr(self.labels) else self.folder.parent / EXPORTS

    def image(self, layer: Layer) -> Path:
        """OME-Zarr image of one map, with the name of the output if that is an OME-Zarr, too."""
        if is_zarr(self.labels):
            return self.folder / layer_file(self.labels, layer).name
        return self.folder / f"{layer.name or 'labels'}.ome.zarr"

    def seal(self) -> "FileStore":
        """Rename the maps, so that late workers cannot write into them any more."""
        sealed = FileStore(_new_folder(self.folder.parent), self.labels, self.layers, self.phases)
        self.folder.replace(sealed.folder)
        return sealed

    def finish(self) -> None:
        """Complete the files after the last block: coarser levels, or export to other formats.

        Raises:
            OSError: a file cannot be written.
            OutputError: the format cannot store the values.
        """
        if is_zarr(self.labels):
            for layer in self.layers:
                # chunks that a process wrote when it was killed
                for unfinished in self.image(layer).rglob("*.partial"):
                    unfinished.unlink()
                labels = layer.kind.content != "number"
                ome_zarr_levels.fill_pyramid(self.image(layer), labels=labels)
            return
        remove(self.room)
        self.room.mkdir()
        for layer in self.layers:
            target = self.room / layer_file(self.labels, layer).name
            formats.write(target, formats.open(self.image(layer)))

    def _found(self, layer: Layer) -> Path:
        """Image of one map, whether it has been published or not."""
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
    """Open the working folder of the same prediction if there is one; else create it.

    Args:
        labels: final path of the labels.
        run: properties that identify the prediction, for JSON.
        layers: arrays that are written.
        phases: phases whose label values are written.
        volume: volume that is predicted.
        block: shape (z, y, x) of the blocks' cores.

    Raises:
        OutputError: the folder belongs to another prediction, or cannot be written.
    """
    folder = working_folder(labels)
    store = FileStore(_new_folder(folder), labels, tuple(layers), phases)
    run = json.loads(json.dumps(run))
    shape = volume.shape

    def create(path: Path, layer: Layer) -> None:
        ome_zarr_levels.create_image(
            path,
            volume,
            layer.kind.stored_dtype(phases),
            chunks=ome_zarr_levels.chunks_within(shape, tuple(block[-len(shape) :])),
            labels=layer.kind.content != "number",
            pyramid=is_zarr(labels),
        )

    if not folder.is_dir():
        remove(folder)  # a file of that name
    else:
        found = json_or_none(folder / RUN)  # none after a kill at the start
        # folders without notes were made by a process that kept writing after its maps were renamed
        known = [one for one in folder.glob(f"{MAPS}*") if (one / NOTES).is_dir()]
        if found == run and known:
            known[0].replace(store.folder)
            if _described_anew(store, create):
                return store
            found = None
        if found not in (None, run):
            others = found if isinstance(found, dict) else {}
            differs = [name for name in run if others.get(name) != run[name]]
            raise OutputError(
                f"{folder} holds an unfinished prediction with another {' and '.join(differs)}; "
                "repeat the call that started it, or start from the beginning (restart=True)"
            )
        remove_working_folder(labels)
    try:
        (store.folder / NOTES).mkdir(parents=True)
        for layer in layers:
            create(store.image(layer), layer)
        records.write_json(folder / RUN, run)
    except BaseException:
        remove_working_folder(labels)
        raise
    return store


def _described_anew(store: FileStore, create: Callable[[Path, Layer], None]) -> bool:
    """Write the descriptions of all images again, since only chunks have checksums.

    Returns:
        False: something else lies where a description belongs.
    """
    fresh = _new_folder(store.folder.parent)
    try:
        for layer in store.layers:
            image = store.image(layer)
            if not image.exists():
                continue  # published already
            create(fresh / image.name, layer)
            for path in (fresh / image.name).rglob("*.json"):
                place = image / path.relative_to(fresh / image.name)
                place.parent.mkdir(exist_ok=True)
                path.replace(place)
    except OSError:
        return False
    finally:
        remove(fresh)
    return True


def check_disk(folder: Path, needed: int) -> None:
    """Check that the disk has enough space, before the long work starts.

    Args:
        folder: folder on the disk.
        needed: bytes, of which an earlier run may have written a part into `folder`.

    Raises:
        OutputError: the disk does not have enough space.
    """
    needed -= sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    there = nearest_folder(folder)
    free = shutil.disk_usage(there).free
    if free < needed:
        raise OutputError(
            f"the prediction needs up to {needed / 1e9:.3g} GB of disk while it is made, but "
            f"{there} has {free / 1e9:.3g} GB left; free some space, or write to another disk"
        )


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that a process which is killed leaves complete or not at all.

    After a power cut it may be empty, or say of other files what never reached the disk; notes are
    therefore trusted only after the arrays that they stand for have been summed.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(json_text(content), "utf-8")
    beside.replace(path)


def _new_folder(folder: Path) -> Path:
    return folder / f"{MAPS}{secrets.token_hex(4)}"


def _place(array: Any, block: Tile) -> tuple[slice, ...]:
    return block.core[-array.ndim :]


def _checksum(array: NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()
