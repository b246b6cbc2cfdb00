"""Table of the maps of a prediction: names, files, types and meaning.

Inside MatPhase, maps of phases contain phase indices. Files, and the attributes of a `Prediction`
that users read, contain the values of the user's label map.

Voxels outside of the sample (NaN, or outside of a mask) have the ignore value in maps of phases,
are false in masks, and NaN in maps of numbers.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.tiles import Maps
from matphase.support.files import file_name

Content = Literal["phase", "mask", "number"]
_IN_MEMORY: dict[Content, type[np.generic]] = {
    "phase": np.uint8,
    "mask": np.bool_,
    "number": np.float32,
}


OUTSIDE: dict[Content, np.generic] = {
    "phase": np.uint8(IGNORE_INDEX),
    "mask": np.bool_(False),
    "number": np.float32(np.nan),
}
"""Values in memory of voxels outside of the sample."""


@dataclass(frozen=True)
class MapKind:
    """One row of the table.

    Attributes:
        name: attribute of `Prediction`.
        description: meaning of a voxel.
        content: `phase` (indices in memory, label values in files), `mask` (bool in memory, uint8
            0 or 1 in files) or `number` (float32).
        file: end of its file name: `out_entropy.tif` for `entropy`; empty for the labels, None for
            a map that is never written.
        per: meaning of its first axis, along which each entry has its own file; None: no such axis.
        request: argument of `predict` that requests the map; None: it needs no request.
        optional: whether only some models make it.
        share: name of the share of its voxels where it is printed; None: it is not printed.
    """

    name: str
    description: str
    content: Content
    file: str | None
    per: Literal["phase", "sample"] | None = None
    request: str | None = None
    optional: bool = False
    share: str | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its voxels in memory."""
        return np.dtype(_IN_MEMORY[self.content])

    def stored_dtype(self, phases: PhaseTable) -> np.dtype[Any]:
        """Type of its voxels in a file."""
        if self.content == "phase":
            return phases.dtype
        return np.dtype(np.uint8) if self.content == "mask" else self.dtype

    def to_stored(self, part: NDArray[Any], phases: PhaseTable) -> NDArray[Any]:
        """Convert voxels from memory to the values of a file."""
        if self.content == "phase":
            return phases.decode(part)
        return part.astype(self.stored_dtype(phases), copy=False)

    def from_stored(self, part: NDArray[Any], phases: PhaseTable, where: str) -> NDArray[Any]:
        """Convert voxels from the values of a file to those in memory.

        Raises:
            InputError: a value is not a phase; the message names `where`.
        """
        if self.content == "phase":
            return phases.encode(part, where=where)
        return part != 0 if self.content == "mask" else part.astype(self.dtype, copy=False)


KINDS = {
    kind.name: kind
    for kind in (
        MapKind("labels", "phase of the voxel", "phase", ""),
        MapKind("global_labels", "phase by the global network (UGSM) alone", "phase", "ugsm"),
        MapKind("entropy", "uncertainty of UGSM, in nats", "number", "entropy"),
        MapKind("idk", "HCL-IDK does not trust UGSM here", "mask", "idk", share="uncertain"),
        MapKind(
            "trusted",
            "trusted at the model's risk",
            "mask",
            "trusted",
            optional=True,
            share="trusted",
        ),
        MapKind(
            "deferred",
            "the local network answered",
            "mask",
            "deferred",
            optional=True,
            share="decided by LCGAR",
        ),
        MapKind(
            "mutual_information",
            "part of the uncertainty that comes from the model, in nats",
            "number",
            "mutual_information",
            request="mutual_information",
        ),
        MapKind(
            "probabilities",
            "probability of each phase",
            "number",
            "probability",
            per="phase",
            request="probabilities",
        ),
        MapKind(
            "samples",
            "phase by each dropout sample",
            "phase",
            "sample",
            per="sample",
            request="keep_samples",
        ),
        MapKind("idk_score", "score whose thresholding gives `idk`", "number", None),
        MapKind(
            "global_probabilities", "probability of each phase by UGSM", "number", None, per="phase"
        ),
    )
}
"""All maps by name, in the order in which they are written."""


@dataclass(frozen=True)
class Layer:
    """One array (z, y, x) of a map, and so one file of a prediction.

    Attributes:
        kind: map to which the array belongs.
        name: end of its file name, for example `probability_pore`; empty for labels.
        place: index along the first axis of the map; None if the map is one array.
    """

    kind: MapKind
    name: str
    place: int | None = None

    def of(self, maps: Maps) -> NDArray[Any]:
        """Pick the array (z, y, x) from maps."""
        array = maps[self.kind.name]
        return array if self.place is None else np.asarray(array[self.place])


def layers_of(kind: MapKind, phases: PhaseTable, samples: int) -> list[Layer]:
    """Arrays of one map that are written; empty for a map that stays in memory.

    Args:
        kind: the map.
        phases: phases of the prediction.
        samples: number of dropout samples that are kept.
    """
    if kind.file is None:
        return []
    if kind.per is None:
        return [Layer(kind, kind.file)]
    if kind.per == "phase":
        parts = [file_name(name) for name in phases.names]
    else:
        parts = [f"{number:02d}" for number in range(1, samples + 1)]
    return [Layer(kind, f"{kind.file}_{part}", place) for place, part in enumerate(parts)]


def written_layers(names: Collection[str], phases: PhaseTable, samples: int) -> list[Layer]:
    """Arrays of all maps in `names` that are written, in the order of the table."""
    return [layer for kind in among(names) for layer in layers_of(kind, phases, samples)]


def among(names: Collection[str]) -> Iterator[MapKind]:
    """Rows of the table whose names are in `names`, in the order of the table."""
    return (kind for name, kind in KINDS.items() if name in names)
