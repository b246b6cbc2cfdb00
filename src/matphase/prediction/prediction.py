"""The `Prediction` that `MatPhase.predict` and `open_prediction` return."""

import math
import warnings
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.formats import OmeVersion
from matphase.images.phases import IGNORE_INDEX, Phases, PhaseTable, as_phase_table
from matphase.images.tiles import Maps
from matphase.images.volume import Volume
from matphase.images.voxel_size import voxel_size_text
from matphase.prediction.files import (
    EXPORTS,
    RUN,
    Stored,
    check_places,
    layer_file,
    open_stored,
    publish,
    record_file,
    record_of,
    remove_working_folder,
    working_folder,
    write_record,
)
from matphase.prediction.maps import KINDS, Layer, MapKind, written_layers
from matphase.prediction.stored_map import StoredMap
from matphase.scores.validation import Validation
from matphase.support.errors import InputError, MatPhaseError, OutputError
from matphase.support.files import reason
from matphase.support.records import number_of, text_of
from matphase.support.text import times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Map: TypeAlias = Any
"""A numpy array for predictions in memory, a `StoredMap` for those on disk."""

QUICK_VOXELS = 2**27
"""Maximum number of voxels that a `repr` counts, which is fast enough not to be noticed."""


class Prediction:
    """The phases of a volume and how certain they are, in memory or on disk.

    Maps have the shape of the predicted volume. In memory they are numpy arrays. On disk they are
    read when needed: `result.labels[3]` reads one slice, `np.asarray(result.labels)` all of them.
    A map that was not requested raises an error that names the argument of `predict`; maps that
    only some models make (`trusted`, `deferred`) are None for the others.

    Voxels outside of the sample (NaN, or outside of the mask) have the ignore value of `phases` in
    labels, are false in masks, and NaN in maps of numbers.

    Attributes:
        phases: names, label values and colours of the phases.
        path: file of the labels; None for a prediction in memory.
    """

    def __init__(
        self,
        maps: Maps,
        phases: PhaseTable,
        volume: Volume | None,
        *,
        validation: Validation | None = None,
        stored: Stored | None = None,
    ) -> None:
        """Make a prediction; users get one from `MatPhase.predict` or `open_prediction`.

        Args:
            maps: maps in memory, by the names of `matphase.prediction.maps`, with phase indices.
            phases: phases of the labels.
            volume: the grey volume that was predicted; needed if `maps` are given.
            validation: scores of the model on its validation slices, if it has any.
            stored: the prediction on disk, instead of `maps`.
        """
        self.phases = phases
        self.path = None if stored is None else stored.path
        self._maps, self._given, self._stored = maps, volume, stored
        self._validation = validation

    # --- maps -------------------------------------------------------------------------------------

    @property
    def maps(self) -> tuple[str, ...]:
        """The names of the maps that this prediction has."""
        if self._stored is None:
            return tuple(name for name in KINDS if name in self._maps)
        return tuple(name for name, kind in KINDS.items() if self._stored.is_there(kind))

    @cached_property
    def labels(self) -> Map:
        """Phase of each voxel, by the values of the user's label map."""
        return self._values("labels")

    @property
    def indices(self) -> Map:
        """Phase of each voxel, by its index in `phases`; uint8."""
        return self._map("labels")

    @property
    def probabilities(self) -> Map:
        """Probability of each phase, (phases, *shape) float32; calibrated if the model is."""
        return self._map("probabilities")

    @property
    def entropy(self) -> Map:
        """Uncertainty of the global network (UGSM), float32 in nats."""
        return self._map("entropy")

    @property
    def idk(self) -> Map:
        """Mask of the uncertain voxels, where HCL-IDK does not trust UGSM; bool."""
        return self._map("idk")

    @property
    def idk_score(self) -> Map:
        """Score whose thresholding gives `idk`, float32 in [0, 1]; in memory only."""
        return self._map("idk_score")

    @cached_property
    def global_labels(self) -> Map:
        """Phase of each voxel by UGSM alone, with the values of `labels`."""
        return self._values("global_labels")

    @property
    def global_indices(self) -> Map:
        """Phase of each voxel by UGSM alone, by its index in `phases`; uint8."""
        return self._map("global_labels")

    @property
    def global_probabilities(self) -> Map:
        """Probability of each phase by UGSM alone, (phases, *shape) float32; in memory only."""
        return self._map("global_probabilities")

    @property
    def mutual_information(self) -> Map:
        """Part of the uncertainty that more training data would remove, float32 in nats."""
        return self._map("mutual_information")

    @cached_property
    def samples(self) -> Map:
        """Labels of each dropout sample, (samples, *shape), with the values of `labels`."""
        return self._values("samples")

    @property
    def trusted(self) -> Map | None:
        """Mask of the voxels that are trusted at the model's `calibration.risk`; bool."""
        return self._map("trusted")

    @property
    def deferred(self) -> Map | None:
        """Mask of the voxels that take LCGAR's prediction, if it differs from `idk`; bool."""
        return self._map("deferred")

    # --- metadata ---------------------------------------------------------------------------------

    @property
    def volume(self) -> Volume:
        """The grey volume that was predicted.

        Raises:
            InputError: the file of the volume cannot be opened any more.
        """
        if self._grey is None:
            name = self.record.get("volume", "the predicted volume")
            raise InputError(f"{name} cannot be opened any more; open its new path (mp.open)")
        return self._grey

    @cached_property
    def _grey(self) -> Volume | None:
        if self._given is not None or self._stored is None:
            return self._given
        try:
            found = formats.open(text_of(self._stored.record, "volume") or "")
        except (OSError, MatPhaseError):
            return None
        return found if found.shape == self.shape else None

    @property
    def validation(self) -> Validation | None:
        """Scores of the model on its validation slices; None without any."""
        return self._validation if self._stored is None else self._stored.validation

    @property
    def record(self) -> Mapping[str, Any]:
        """Content of the record on disk, which says how the prediction was made; else empty."""
        return {} if self._stored is None else self._stored.record

    @property
    def missing(self) -> tuple[Path, ...]:
        """Files that the record lists and that do not exist any more."""
        return () if self._stored is None else tuple(self._stored.missing)

    @property
    def missing_text(self) -> str:
        """One sentence on the missing files; empty if there are none."""
        if self.path is None or not self.missing:
            return ""
        names = ", ".join(path.name for path in self.missing)
        are = "is" if len(self.missing) == 1 else "are"
        return (
            f"{names} {are} missing, which {record_file(self.path).name} lists; copy the whole "
            "prediction again, or predict again"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """(z, y, x), or (y, x) of a slice."""
        return self._grid.shape

    @property
    def voxel_size(self) -> tuple[float | None, ...] | None:
        """Length of a voxel along each axis, in `unit`; None if unknown."""
        return self._grid.voxel_size

    @property
    def unit(self) -> str | None:
        """Unit of `voxel_size`."""
        return self._grid.unit

    @property
    def n_samples(self) -> int:
        """Number of kept dropout samples."""
        if self._stored is None:
            return len(self._maps.get("samples", ()))
        return len(self._stored.layers(KINDS["samples"]))

    def volumes(self, name: str) -> tuple[Volume, ...]:
        """Map as volumes with the voxel size, one per phase or sample if the map has several.

        Labels have the values of the user's label map; masks are uint8.

        Raises:
            InputError: the map was not kept, or its file is missing.
        """
        kind = KINDS[name]
        if self._stored is not None and kind.file is not None:
            self._check_kept(kind)
            return tuple(self._stored.open(layer) for layer in self._stored.layers(kind))
        array = self._map(name)
        parts = [array] if kind.per is None else list(array)
        return tuple(self._grid.with_array(kind.to_stored(one, self.phases)) for one in parts)

    def volume_fractions(self) -> dict[str, float]:
        """Share of the voxels in each phase, by name; those outside of the sample do not count."""
        return dict(self._fractions)

    @cached_property
    def _fractions(self) -> dict[str, float]:
        recorded = self.record.get("volume_fractions")
        if isinstance(recorded, dict):
            shares = {name: number_of(recorded, name) for name in self.phases.names}
            known = {name: share for name, share in shares.items() if share is not None}
            if len(known) == len(shares) == len(recorded):
                return known
        counts = self._counts
        inside = max(1, int(counts.sum()))
        return {
            name: int(count) / inside for name, count in zip(self.phases.names, counts, strict=True)
        }

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Number of voxels of each phase, (phases,)."""
        counts = np.zeros(256, np.int64)
        indices = self.indices
        for plane in indices if indices.ndim == 3 else [indices[...]]:
            counts += np.bincount(plane.ravel(), minlength=256)
        return counts[: len(self.phases)]

    # --- output -----------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> "Prediction":
        """Write all maps that can be written, and a record, into one folder.

        Args:
            path: file of the labels (.tif, .h5 or .ome.zarr), after which the others are named.
            overwrite: replace existing files.

        Returns:
            the prediction on disk.

        Raises:
            OutputError: a file exists or cannot be written, or a prediction of this name is
                unfinished.
        """
        labels = Path(path)
        kinds = {name for name in self.maps if KINDS[name].file is not None}
        layers = written_layers(kinds, self.phases, self.n_samples)
        own = [] if self.path is None else [layer_file(self.path, layer) for layer in layers]
        if self._given is not None:
            own += formats.files_of(self._given)
        check_places(labels, layers, overwrite=overwrite, sources=own)
        work = working_folder(labels)
        if work.exists() and not (work / RUN).exists():
            remove_working_folder(labels)  # an earlier call of this was killed
        if work.exists():
            raise OutputError(
                f"{work} holds an unfinished prediction; finish it, or choose another name"
            )
        try:
            room = work / EXPORTS
            room.mkdir(parents=True)
            for layer in layers:
                target = room / layer_file(labels, layer).name
                labelled = layer.kind.content != "number"
                formats.write(target, self._layer(layer), labels=labelled)
            write_record(labels, self._record(labels, layers))
            publish(labels, room)
        except OSError as error:
            raise OutputError(f"cannot write {labels}: {reason(error)}") from error
        finally:
            remove_working_folder(labels)
        return Prediction({}, self.phases, self._given, stored=open_stored(labels))

    def plot(self, z: int | None = None) -> "Figure":
        """Draw one slice: grey values, phases over them, entropy, with legend and scale bar.

        Args:
            z: slice to draw; the middle one by default.

        Raises:
            InputError: there is no slice `z`.
        """
        from matphase.show.figures import slice_figure

        grid, grey = self._grid, self._grey
        z = grid.n_slices // 2 if z is None else z
        if not 0 <= z < grid.n_slices:
            raise InputError(
                f"got slice {z}, but the prediction has slices 0 to {grid.n_slices - 1}"
            )
        at = z if grid.ndim == 3 else Ellipsis
        return slice_figure(
            None if grey is None else grey.slice(z),
            np.asarray(self.indices[at]),
            np.asarray(self.entropy[at]) if "entropy" in self.maps else None,
            self.phases,
            grid,
            title=f"slice {z}" if grid.ndim == 3 else "",
        )

    def __repr__(self) -> str:
        lines = [f"Prediction, {self._size_text()}", f"  {self._shares_text()}"]
        lines += [f"  maps: {', '.join(self.maps)}", f"  {self._place_text()}"]
        lines += [f"  {self.missing_text}"] if self.missing else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from matphase.show.figures import thumbnail

        middle = self._grid.n_slices // 2 if self._grid.ndim == 3 else Ellipsis
        png = thumbnail(np.asarray(self.indices[middle]), self.phases)
        quick = self._fractions if self._is_quick else {}
        rows = "".join(
            f'<tr><td style="background:{phase.color}">&emsp;</td><td>{escape(phase.name)}</td>'
            f"<td>{phase.value}</td>"
            f"<td>{f'{100 * quick[phase.name]:.1f} %' if quick else ''}</td></tr>"
            for phase in self.phases.phases
        )
        maps = (
            f'<span title="{escape(KINDS[name].description)}">{escape(name)}</span>'
            for name in self.maps
        )
        return (
            f"<div><b>Prediction</b>, {escape(self._size_text())}, {escape(self._place_text())}"
            f'<br><img alt="phases" src="data:image/png;base64,{b64encode(png).decode()}">'
            "<table><tr><th></th><th>phase</th><th>label</th><th>volume fraction</th></tr>"
            f"{rows}</table>maps: {', '.join(maps)}</div>"
        )

    def _size_text(self) -> str:
        return f"{times(self.shape)} voxels, {voxel_size_text(self.voxel_size, self.unit)}"

    def _shares_text(self) -> str:
        if not self._is_quick:
            return f"phases: {', '.join(self.phases.names)}"
        return ", ".join(f"{name} {100 * share:.1f} %" for name, share in self._fractions.items())

    def _place_text(self) -> str:
        if self.path is not None:
            return f"in {self.path}"
        return f"in memory, {sum(one.nbytes for one in self._maps.values()) / 1e6:.1f} MB"

    # --- inside -----------------------------------------------------------------------------------

    @property
    def _is_quick(self) -> bool:
        return "volume_fractions" in self.record or math.prod(self.shape) <= QUICK_VOXELS

    @property
    def _grid(self) -> Volume:
        """A volume of the same shape, axes and voxel size."""
        if self._stored is not None:
            return self._stored.labels
        assert self._given is not None, "a prediction in memory knows its volume"
        return self._given

    def _map(self, name: str) -> Map:
        """A map with phase indices; None if the model does not make it."""
        kind = KINDS[name]
        if self._stored is None:
            if name in self._maps:
                return self._maps[name]
        elif self._stored.layers(kind):
            return StoredMap(self._stored, kind)
        if kind.optional:
            return None
        self._check_kept(kind)
        return self._maps[name]

    def _values(self, name: str) -> Map:
        """A map of phases with the values of the user's label map."""
        if self._stored is not None and self._stored.layers(KINDS[name]):
            return StoredMap(self._stored, KINDS[name], values=True)
        indices = self._map(name)
        table = self.phases
        own = [phase.value for phase in table.phases] == list(range(len(table)))
        own &= table.ignore in (None, IGNORE_INDEX)
        return indices if own and table.dtype == indices.dtype else table.decode(indices)

    def _check_kept(self, kind: MapKind) -> None:
        kept = bool(self._stored.layers(kind)) if self._stored else kind.name in self._maps
        if kept:
            return
        if kind.file is None:
            how = "it is kept in memory only, so predict without out="
        elif kind.request is None:
            how = "open what `matphase predict` wrote"
        else:
            how = f"predict with {kind.request}=True"
        raise InputError(f"this prediction has no {kind.name}; {how}")

    def _layer(self, layer: Layer) -> Volume:
        """One array of a map as a file holds it."""
        if self._stored is not None:
            return self._stored.open(layer)
        part = layer.kind.to_stored(layer.of(self._maps), self.phases)
        return self._grid.with_array(part)

    def _record(self, labels: Path, layers: Sequence[Layer]) -> dict[str, Any]:
        recorded, voxels, inside = self.record, math.prod(self.shape), int(self._counts.sum())
        shares = {
            name: float(np.count_nonzero(self._map(name)) / max(1, inside))
            for name in self.maps
            if KINDS[name].content == "mask"
        }
        return record_of(
            layers,
            labels,
            model=text_of(recorded, "model"),
            volume=text_of(recorded, "volume") or self._grid.name,
            mask=text_of(recorded, "mask"),
            outside_share=1 - inside / voxels,
            phases=self.phases,
            volume_fractions=self._fractions,
            shares=shares,
            validation=self.validation,
            seconds=number_of(recorded, "seconds") or 0.0,
        )


def open_prediction(path: str | PathLike[str], phases: Phases | None = None) -> Prediction:
    """Open a prediction on disk, whose voxels are read when needed.

    A warning names the maps that the record lists and that are gone.

    Args:
        path: file of the labels that `matphase predict`, `MatPhase.predict` or `save` wrote.
        phases: phases of labels without a record; with a record, they give the order of its
            phases.

    Raises:
        InputError: neither a record nor `phases` name the phases, both name different phases, or
            the record is damaged.
        FormatError: the labels cannot be read.
    """
    opened = prediction_at(path, phases)
    if opened.missing:
        warnings.warn(opened.missing_text, stacklevel=2)
    return opened


def prediction_at(path: str | PathLike[str], phases: Phases | None = None) -> Prediction:
    """Open a prediction as `open_prediction` does, for callers that name what is missing."""
    table = None if phases is None else as_phase_table(phases)
    stored = open_stored(Path(path), table)
    return Prediction({}, stored.phases, None, stored=stored)


def save(
    path: str | PathLike[str],
    volume: Volume | Prediction,
    *,
    overwrite: bool = False,
    compress: bool = True,
    labels: bool = False,
    ome_version: OmeVersion = "0.5",
) -> None:
    """Write a volume or a prediction to files; see `matphase.images.formats.save`.

    A prediction is written as one file for each map, named after `path`, and a record; the
    arguments after `overwrite` are for volumes only.

    Args:
        path: output file, whose suffix gives the format.
        volume: a volume, or a prediction.
        overwrite: replace existing files.
        compress: compress TIFF, HDF5 and OME-Zarr without loss.
        labels: the volume contains labels, which OME-Zarr's coarser levels must not average.
        ome_version: version of OME-Zarr.

    Raises:
        OutputError: the suffix is unknown, the path exists or cannot be written, the format cannot
            store the values, or labels do not match their image.
    """
    if isinstance(volume, Prediction):
        volume.save(path, overwrite=overwrite)
        return
    formats.save(
        *(path, volume),
        overwrite=overwrite,
        compress=compress,
        labels=labels,
        ome_version=ome_version,
    )


def prediction_bytes(shape: tuple[int, ...], n_phases: int, samples: int = 0) -> int:
    """Memory of a `Prediction` in memory of a volume of this shape, in bytes.

    Its maps take 13 bytes per voxel, plus 8 for each phase and 1 for each kept sample.
    """
    return math.prod(shape) * (13 + 8 * n_phases + samples)
