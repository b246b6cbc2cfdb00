"""Prediction of a volume block by block, in memory or into files."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from matphase.images import formats
from matphase.images.mask import mask_checksum, mask_name, parts_of, unmasked
from matphase.images.phases import PhaseTable
from matphase.images.tiles import Maps, Tile
from matphase.images.volume import Volume
from matphase.method import start
from matphase.method.model import Model
from matphase.method.model_folder import checksum_of, write
from matphase.prediction.blocks import (
    Task,
    block_images,
    block_maps,
    blocks_of,
    map_names,
)
from matphase.prediction.files import (
    READY,
    check_places,
    is_ready,
    is_zarr,
    open_stored,
    publish,
    record_of,
    remove_leftovers,
    remove_working_folder,
    working_folder,
    write_record,
)
from matphase.prediction.maps import KINDS, Layer, written_layers
from matphase.prediction.prediction import Prediction
from matphase.prediction.store import (
    FileStore,
    MemoryStore,
    Note,
    Store,
    check_disk,
    open_store,
)
from matphase.support.device import arithmetic
from matphase.support.durable import sync
from matphase.support.errors import InputError, Interrupted, MatPhaseError, OutputError
from matphase.support.files import reason, remove
from matphase.support.progress import Reporter
from matphase.support.rooms import working_room
from matphase.support.seeds import fingerprint

LAYOUT = 4
"""Version of the layout of working folders; predictions with another version are not continued."""


@dataclass(frozen=True, eq=False)
class Job:
    """Inputs and outputs of a prediction that all its blocks share; can be pickled.

    Attributes:
        volume: grey values; a file if other processes compute blocks.
        task: what to predict.
        store: store for the maps.
    """

    volume: Volume
    task: Task
    store: Store


Crew = Callable[[Job, Sequence[Tile]], Iterator[tuple[Tile, Note]]]
"""Function that computes blocks in any order, and yields each with its note once it is stored."""


def predict(
    model: Model,
    volume: Volume,
    task: Task,
    *,
    probabilities: bool = True,
    reporter: Reporter,
) -> Prediction:
    """Predict a volume into memory.

    Args:
        model: trained model.
        volume: grey values.
        task: what to predict.
        probabilities: keep the probabilities of the phases.
        reporter: receives progress, in voxels.

    Raises:
        InputError: no block fits into the memory, or the volume cannot be used.
    """
    names = map_names(model, task, probabilities=probabilities, in_memory=True)
    store = MemoryStore(volume.stack_shape, names)
    blocks = blocks_of(model, volume, task)
    totals = _Totals()
    _compute(Job(volume, task, store), blocks, totals, one_by_one(model), reporter)
    maps = {
        name: array.reshape(*array.shape[:-3], *volume.shape) for name, array in store.maps.items()
    }
    phases = _phases(model, totals)
    return Prediction(maps, phases, unmasked(volume), validation=model.validation)


def predict_to_files(
    model: Model,
    volume: Volume,
    task: Task,
    out: Path,
    *,
    folder: Path | None = None,
    probabilities: bool = False,
    overwrite: bool = False,
    restart: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    crew: Crew | None = None,
    reporter: Reporter,
) -> Prediction:
    """Predict a volume into files, which are listed in `matphase.prediction.maps`.

    A second call after a kill computes only the blocks that are not finished, or whose network
    input has changed.

    Args:
        model: trained model.
        volume: grey values.
        task: what to predict.
        out: file for the labels, after which the others are named.
        folder: folder of the model; None if it was not saved.
        probabilities: also write the probability of each phase.
        overwrite: replace existing files.
        restart: delete an unfinished prediction and start from the beginning.
        workers: number of processes on this machine that compute the blocks.
        scheduler: address of a Dask scheduler whose workers compute the blocks.
        crew: computes the blocks, instead of these.
        reporter: receives progress, in voxels.

    Returns:
        the prediction on disk.

    Raises:
        InputError: no block fits into the memory, the volume cannot be used, or no scheduler
            answers.
        OutputError: a file exists or cannot be written, or there is an unfinished prediction with
            other inputs.
        Interrupted: the user stopped it; finished blocks are kept.
    """
    if workers is not None and scheduler is not None:
        raise InputError("got both workers= and scheduler=; give one of them")
    names = map_names(model, task, probabilities=probabilities, in_memory=False)
    layers = written_layers(names, model.phases, task.kept)
    work, sources = working_folder(out), formats.files_of(volume)
    # after a kill during publishing, some files may exist already
    going_on = (work / READY).exists() and not restart
    check_places(out, layers, overwrite=overwrite or going_on, sources=sources)
    remove_leftovers(out)
    remote = workers is not None or scheduler is not None
    for part in parts_of(volume) if remote else ():
        if not formats.files_of(part):
            raise InputError(
                f"workers read {part.name} themselves, so it has to be a file; save it (mp.save) "
                "and open the file"
            )
    blocks = blocks_of(model, volume, task)
    with _explained(out, work):
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        if restart:
            remove_working_folder(out)
        check_disk(work, disk_bytes(layers, model, volume.shape, pyramid=is_zarr(out)))
        with (
            _saved(model, folder, out) as saved,
            _crew(model, saved, workers, scheduler, crew, reporter) as chosen,
        ):
            identity = _identity(model, volume, task, saved, layers, blocks[0])

            def opened() -> FileStore:
                phases = model.phases.with_ignore()
                return open_store(out, identity, layers, phases, volume, blocks[0].shape)

            store = opened()
            try:
                kept = _kept(model, Job(volume, task, store), blocks, reporter)
                if len(kept.done) < len(blocks) or not is_ready(out, store.room):
                    if store.is_published_in_part:
                        # published files cannot be changed
                        remove_working_folder(out)
                        store, kept = opened(), _Totals()
                    remove(work / READY)
                    _compute(Job(volume, task, store), blocks, kept, chosen, reporter)
                    store = store.seal()
                    store.finish()
                    # from here on nothing is checked again
                    sync(store.room)
                    write_record(out, _record(model, volume, folder, kept, layers, out))
                publish(out, store.room)
            except BaseException:
                if store.is_there and store.is_empty:
                    remove_working_folder(out)
                raise
        remove_working_folder(out)
    stored = open_stored(out)
    return Prediction({}, stored.phases, unmasked(volume), stored=stored)


def disk_bytes(
    layers: Sequence[Layer], model: Model, shape: Sequence[int], *, pyramid: bool
) -> int:
    """Maximum disk space of a prediction while it is made, in bytes, without compression.

    OME-Zarr has coarser levels; in other formats each map exists twice in the end, as a working
    image and as the file exported from it.

    Args:
        layers: maps that are written.
        model: model whose phases give the type of the labels.
        shape: shape of the volume.
        pyramid: whether the output is OME-Zarr.
    """
    voxel = sum(layer.kind.stored_dtype(model.phases).itemsize for layer in layers)
    copies = 1 / (1 - 2 ** -len(shape)) if pyramid else 2
    return int(copies * voxel * prod(shape))


@dataclass(eq=False)
class _Totals:
    """Sums over the notes of finished blocks, so that memory does not grow with their number.

    Attributes:
        done: numbers of the blocks.
        outside: voxels outside of the sample.
        shares: voxels of each phase and in each mask, by the name that the notes give them.
        seconds: of all blocks.
    """

    done: set[int] = field(default_factory=set)
    outside: int = 0
    shares: dict[str, Counter[str]] = field(
        default_factory=lambda: {"phases": Counter(), "masks": Counter()}
    )
    seconds: float = 0.0

    def add(self, block: Tile, note: Note) -> None:
        """Add the note of one block."""
        self.done.add(block.number)
        self.outside += note["outside"]
        for name, counts in self.shares.items():
            counts.update(note[name])
        self.seconds += note["seconds"]


def _kept(model: Model, job: Job, blocks: Sequence[Tile], reporter: Reporter) -> _Totals:
    """Totals of the finished blocks whose result would be the same."""
    store = job.store
    assert isinstance(store, FileStore)
    totals = _Totals()
    if store.is_empty:
        return totals
    reporter.start("check finished blocks", sum(block.voxels for block in blocks))
    for block in blocks:
        note = store.note_of(block)
        if note is not None:
            seen = block_images(model, job.volume, block, job.task)
            if note.get("seen") == fingerprint(*seen.arrays):
                totals.add(block, note)
        reporter.advance(block.voxels)
    reporter.finish()
    return totals


def _compute(
    job: Job, blocks: Sequence[Tile], totals: _Totals, crew: Crew, reporter: Reporter
) -> None:
    """Predict the blocks that are not finished, and add them to the totals."""
    todo = [block for block in blocks if block.number not in totals.done]
    every = sum(block.voxels for block in blocks)
    reporter.start("predict", every, done=every - sum(block.voxels for block in todo))
    for block, note in crew(job, todo):
        totals.add(block, note)
        reporter.advance(block.voxels)
    reporter.finish()


def one_by_one(model: Model) -> Crew:
    """Crew that computes the blocks in this process."""

    def crew(job: Job, todo: Sequence[Tile]) -> Iterator[tuple[Tile, Note]]:
        return ((block, predict_block(model, job, block)) for block in todo)

    return crew


def predict_block(model: Model, job: Job, block: Tile) -> Note:
    """Predict one block into the store.

    Returns:
        the note of the block: number of voxels outside of the sample, of each phase and in each
        mask, a fingerprint of the network input, and the duration in seconds.
    """
    began = time.monotonic()
    seen = block_images(model, job.volume, block, job.task)
    maps = block_maps(model, seen, block, job.task)
    note = {
        **_counts(maps, model.phases.names),
        "seen": fingerprint(*seen.arrays),
        "seconds": time.monotonic() - began,
    }
    job.store.put(block, maps, note)
    return note


def _counts(maps: Maps, phases: Sequence[str]) -> Note:
    """Number of voxels outside of the sample, of each phase and in each mask."""
    counts = np.bincount(maps["labels"].ravel(), minlength=256)[: len(phases)].tolist()
    masks = {
        name: int(np.count_nonzero(array))
        for name, array in maps.items()
        if KINDS[name].content == "mask"
    }
    named = dict(zip(phases, counts, strict=True))
    return {"outside": maps["labels"].size - sum(counts), "phases": named, "masks": masks}


def _phases(model: Model, totals: _Totals) -> PhaseTable:
    """Phases of a prediction: the model's, with an ignore value where some voxels are outside."""
    return model.phases.with_ignore() if totals.outside else model.phases


def _identity(
    model: Model,
    volume: Volume,
    task: Task,
    folder: Path,
    layers: Sequence[Layer],
    first: Tile,
) -> dict[str, Any]:
    """Properties that an unfinished prediction must share with this one to be continued.

    Grey values and their scale are checked block by block, by the fingerprint in the notes.
    """
    return {
        "version": [version("matphase"), LAYOUT],
        "model": checksum_of(folder),
        "arithmetic": arithmetic(model.settings.precision),
        "volume": [list(volume.shape), str(volume.dtype)],
        "voxel size": [volume.voxel_size and list(volume.voxel_size), volume.unit],
        "mask": mask_checksum(volume),
        "resampling": task.resampling and list(task.resampling.factors),
        "number of samples": task.samples,
        "choice of flips and turns": task.tta,
        "seed": task.seed,
        "set of maps": {layer.name: str(layer.kind.stored_dtype(model.phases)) for layer in layers},
        "memory limit": list(first.shape),
    }


def _record(
    model: Model,
    volume: Volume,
    folder: Path | None,
    totals: _Totals,
    layers: Sequence[Layer],
    out: Path,
) -> dict[str, Any]:
    outside = totals.outside
    inside = prod(volume.shape) - outside

    def share(key: str, name: str) -> float:
        return float(totals.shares[key][name] / inside)

    masks = [layer.kind.name for layer in layers if layer.kind.content == "mask"]
    return record_of(
        layers,
        out,
        model=None if folder is None else start.name_of(folder),
        volume=volume.name,
        mask=mask_name(volume),
        outside_share=outside / prod(volume.shape),
        phases=_phases(model, totals),
        volume_fractions={name: share("phases", name) for name in model.phases.names},
        shares={name: share("masks", name) for name in masks},
        validation=model.validation,
        seconds=totals.seconds,
    )


@contextmanager
def _saved(model: Model, folder: Path | None, out: Path) -> Iterator[Path]:
    """Folder of the model: its own, or a temporary one next to the output."""
    if folder is not None:
        yield folder
        return
    with working_room(out.absolute().parent) as room:
        write(model, room / "model")
        yield room / "model"


@contextmanager
def _crew(
    model: Model,
    folder: Path,
    workers: int | None,
    scheduler: str | None,
    given: Crew | None,
    reporter: Reporter,
) -> Iterator[Crew]:
    """Crew that computes the blocks: this process, unless workers are requested."""
    if workers is None and scheduler is None:
        yield given or one_by_one(model)
        return
    from matphase.prediction.cluster import Cluster, cluster_at, local_cluster

    chosen = cluster_at(scheduler) if scheduler is not None else local_cluster(workers or 1)
    with chosen as client:
        if not client.nthreads():
            reporter.start(f"wait for a worker to join {scheduler}", 1)
        yield Cluster(client, folder)


@contextmanager
def _explained(out: Path, work: Path) -> Iterator[None]:
    """Complete errors with the output file and what is kept."""

    def kept() -> str:
        if not work.exists():
            return "nothing was written"
        return f"finished blocks are kept in {work}, and the same call continues with them"

    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped; {kept()}") from error
    except MatPhaseError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {out}: {reason(error)}; {kept()}") from error
