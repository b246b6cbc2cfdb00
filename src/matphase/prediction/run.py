"""From a volume to the files of its prediction, block by block."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.tiles import Tile
from matphase.images.volume import Volume
from matphase.method.folder import checksum_of
from matphase.method.model import Maps, Model
from matphase.prediction import records
from matphase.prediction.store import Store, check_disk, open_store, total
from matphase.prediction.task import Task, block_images, block_maps, blocks_of
from matphase.support.device import arithmetic
from matphase.support.errors import Interrupted, MatPhaseError, OutputError
from matphase.support.files import reason, remove
from matphase.support.progress import Reporter
from matphase.support.seeds import fingerprint

FLAGS = ("idk", "trusted", "deferred")
"""The maps whose set voxels are counted."""


@dataclass(frozen=True)
class Outputs:
    """Which maps are written besides labels, entropy and the IDK mask.

    Attributes:
        probabilities: one for each phase.
        samples: number of samples whose labels are written.
    """

    probabilities: bool = False
    samples: int = 0

    def types(self, model: Model) -> dict[str, np.dtype[Any]]:
        """The maps by name, and the types of their voxels."""
        labels, flags, numbers = model.phases.dtype, np.dtype(np.uint8), np.dtype(np.float32)
        found = {"labels": labels, "ugsm": labels, "entropy": numbers, "idk": flags}
        if model.calibrator.guarantee is not None:
            found["trusted"] = flags
        if model.defers:
            found["deferred"] = flags
        if self.probabilities:
            names = records.probability_names(model.phases)
            found.update(dict.fromkeys(names, numbers))
        found.update(dict.fromkeys(records.sample_names(self.samples), labels))
        return found

    def named(self, model: Model, maps: Maps) -> dict[str, NDArray[Any]]:
        """A block's maps (z, y, x) by these names."""
        found = {
            "labels": maps["labels"],
            "ugsm": maps["global_labels"],
            "entropy": maps["entropy"],
            "idk": maps["idk"].astype(np.uint8),
        }
        for name in ("trusted", "deferred"):
            if name in maps:
                found[name] = maps[name].astype(np.uint8)
        if self.probabilities:
            names = records.probability_names(model.phases)
            found.update(zip(names, maps["probabilities"], strict=True))
        if self.samples:
            found.update(zip(records.sample_names(self.samples), maps["samples"], strict=True))
        return found


@dataclass(frozen=True)
class Job:
    """What there is to know of a prediction to compute any of its blocks; can be pickled.

    Attributes:
        volume: grey values; of a file, unless this process alone computes.
        task: what is asked.
        store: takes the maps.
        outputs: which ones.
    """

    volume: Volume
    task: Task
    store: Store
    outputs: Outputs


Crew = Callable[[Job, Sequence[Tile]], Iterator[tuple[Tile, dict[str, Any]]]]
"""Computes blocks, in any order, and gives each with its note once it is in the store."""


def disk_bytes(model: Model, shape: Sequence[int], outputs: Outputs) -> int:
    """Most that a prediction takes on disk while it is made.

    Every map exists twice, as blocks and as a file, before the blocks are removed; as if nothing
    could be compressed, and as if the file had the coarser levels of an OME-Zarr, too.
    """
    voxel = sum(dtype.itemsize for dtype in outputs.types(model).values())
    levels = 1 / (1 - 2 ** -len(shape))
    return int((1 + levels) * voxel * prod(shape))


def predict_to_files(
    model: Model,
    volume: Volume,
    task: Task,
    out: Path,
    *,
    folder: Path,
    probabilities: bool = False,
    restart: bool = False,
    crew: Crew | None = None,
    reporter: Reporter,
) -> tuple[list[Path], dict[str, Any]]:
    """Predict a volume into files; see `matphase.prediction.records` for which there are.

    A second call after a kill goes on with the blocks that are not finished, or for which the
    networks would not see what they saw.

    Args:
        model: that predicts.
        volume: grey values.
        task: what is asked.
        out: file for the labels; the others are named after it, and those that exist replaced.
        folder: of the model.
        probabilities: also write a map for each phase.
        restart: begin anew, whatever an unfinished prediction left.
        crew: computes the blocks; this process by default.
        reporter: is told of progress, in voxels.

    Returns:
        the files, and the record of the prediction.

    Raises:
        InputError: no block fits into the memory, or the volume cannot be used.
        OutputError: a file cannot be written, or an unfinished prediction of something else is
            there.
        Interrupted: the user stopped it, and finished blocks are kept.
    """
    outputs = Outputs(probabilities, task.kept)
    blocks = blocks_of(model, volume, task)
    types = outputs.types(model)
    work = records.working_folder(out)
    with _told(out, work):
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        if restart:
            remove(work)
        check_disk(work, disk_bytes(model, volume.shape, outputs))
        run = _identity(model, volume, task, folder, types, blocks[0])
        store = open_store(work, run, types, volume.shape, blocks[0].shape)
        try:
            job = Job(volume, task, store, outputs)
            kept = _kept(model, job, blocks, reporter)
            if len(kept) < len(blocks) or not records.is_whole(out):
                notes = _finish(job, blocks, kept, crew or one_by_one(model), reporter)
                maps = {name: store.volume(name, volume) for name in types}
                record = _record(model, volume, folder, notes, types, out)
                records.write_files(out, maps, record)
            done = records.take_places(out)
        except BaseException:
            if store.is_there and store.is_empty:
                remove(work)
            raise
        records.tidy(out)
    return done


def _kept(
    model: Model, job: Job, blocks: Sequence[Tile], reporter: Reporter
) -> dict[int, dict[str, Any]]:
    """The notes by number of blocks that are finished, and would come out the same."""
    if job.store.is_empty:
        return {}
    notes = {}
    reporter.start("check what is finished", sum(block.voxels for block in blocks))
    for block in blocks:
        note = job.store.note_of(block)
        if note is not None:
            seen = fingerprint(block_images(model, job.volume, block, job.task))
            if note.get("seen") == seen:
                notes[block.number] = note
        reporter.advance(block.voxels)
    reporter.finish()
    return notes


def _finish(
    job: Job,
    blocks: Sequence[Tile],
    kept: Mapping[int, dict[str, Any]],
    crew: Crew,
    reporter: Reporter,
) -> list[dict[str, Any]]:
    """Predict what is not kept, and give the notes of all blocks."""
    notes = dict(kept)
    todo = [block for block in blocks if block.number not in notes]
    every = sum(block.voxels for block in blocks)
    reporter.start("predict", every, done=every - sum(block.voxels for block in todo))
    for block, note in crew(job, todo):
        notes[block.number] = note
        reporter.advance(block.voxels)
    reporter.finish()
    return [notes[block.number] for block in blocks]


def one_by_one(model: Model) -> Crew:
    """A crew of this process alone."""

    def crew(job: Job, todo: Sequence[Tile]) -> Iterator[tuple[Tile, dict[str, Any]]]:
        return ((block, predict_block(model, job, block)) for block in todo)

    return crew


def predict_block(model: Model, job: Job, block: Tile) -> dict[str, Any]:
    """Predict one block into the store; a function of what can be pickled.

    Returns:
        the note of the block: voxels of each phase, those with flags, a fingerprint of what the
        networks saw, seconds.
    """
    began = time.monotonic()
    images = block_images(model, job.volume, block, job.task)
    maps = job.outputs.named(model, block_maps(model, images, block, job.task))
    codes = model.phases.encode(maps["labels"]).ravel()
    counts = np.bincount(codes, minlength=len(model.phases)).tolist()
    flags = {name: int(maps[name].sum()) for name in FLAGS if name in maps}
    note = {
        "phases": dict(zip(model.phases.names, counts, strict=True)),
        "flags": flags,
        "seen": fingerprint(images),
        "seconds": {"all": time.monotonic() - began},
    }
    job.store.put(block, maps, note)
    return note


def _identity(
    model: Model,
    volume: Volume,
    task: Task,
    folder: Path,
    types: Mapping[str, Any],
    first: Tile,
) -> dict[str, Any]:
    """What an unfinished prediction must have in common with this one to be gone on with.

    Grey values and their scale are not among it: each block's note tells what its networks saw.
    """
    return {
        "version": version("matphase"),
        "model": checksum_of(folder),
        "arithmetic": arithmetic(model.settings.precision),
        "volume": [list(volume.shape), str(volume.dtype)],
        "voxel size": [volume.voxel_size and list(volume.voxel_size), volume.unit],
        "number of samples": task.samples,
        "seed": task.seed,
        "set of maps": {name: str(dtype) for name, dtype in types.items()},
        "memory limit": list(first.shape),
    }


def _record(
    model: Model,
    volume: Volume,
    folder: Path,
    notes: Sequence[Mapping[str, Any]],
    types: Mapping[str, Any],
    out: Path,
) -> dict[str, Any]:
    voxels = prod(volume.shape)
    shares = {name: n / voxels for name, n in total(notes, "flags").items()}
    return records.record(
        model=folder,
        volume=volume.name,
        phases=model.phases,
        volume_fractions={name: n / voxels for name, n in total(notes, "phases").items()},
        idk_share=shares["idk"],
        trusted_share=shares.get("trusted"),
        deferred_share=shares.get("deferred"),
        validation=model.validation,
        files=[records.map_file(out, name) for name in types],
        seconds=sum(note["seconds"]["all"] for note in notes),
    )


@contextmanager
def _told(out: Path, work: Path) -> Iterator[None]:
    """Say of what goes wrong where it does, and what is kept."""

    def kept() -> str:
        if not work.exists():
            return "nothing was written"
        return f"finished blocks are kept in {work}, and the same command goes on with them"

    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped; {kept()}") from error
    except MatPhaseError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {out}: {reason(error)}; {kept()}") from error
