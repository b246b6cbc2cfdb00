"""Options that say how a file is stored where it does not say so itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from matphase.cli.parsing import parse_lengths, parse_voxel_size

if TYPE_CHECKING:
    from matphase.images.volume import Volume

Axes = Annotated[
    str | None,
    typer.Option(
        "--axes",
        help="Axes of the file in the order in which they are stored, such as zyx, xyz, yx or "
        "czyx, whatever the file records. Times that are slices: tyx.",
    ),
]
RawShape = Annotated[
    str | None,
    typer.Option(
        "--shape",
        metavar="Z,Y,X",
        help="Raw data: number of voxels along each axis, the slowest first.",
    ),
]
RawDtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="Raw data: uint8, uint16, float32, ...; uint16be if big-endian.",
    ),
]
LabelAxes = Annotated[
    str | None, typer.Option(help="Axes of the labels, where they are not as --axes.")
]
LabelDtype = Annotated[
    str | None, typer.Option(help="Raw data: type of the labels, where it is not as --dtype.")
]


Source: TypeAlias = str | list[str]
"""A path or pattern, or several files of one slice each."""


@dataclass(frozen=True)
class Layout:
    """How files are stored, as far as the user says so: the texts of the options."""

    axes: str | None = None
    shape: str | None = None
    dtype: str | None = None

    def __bool__(self) -> bool:
        return any((self.axes, self.shape, self.dtype))

    def open(
        self, source: Source, voxel_size: str | None = None, unit: str | None = None
    ) -> "Volume":
        """Open a file, or files, that the options are for; see `matphase.open`."""
        from matphase.images import formats

        return formats.open(
            source,
            axes=self.axes,
            voxel_size=parse_voxel_size(voxel_size),
            unit=unit,
            shape=parse_lengths(self.shape),
            dtype=self.dtype,
        )

    def beside(self, source: Source) -> "Layout":
        """Leave out what is for raw data, unless one of the sources has to be raw data.

        Of several files with one set of options, some may be raw data and others not.
        """
        return Layout(self.axes) if _is_raw(source) else self


def open_pair(
    images: Source,
    labels: Source,
    layout: Layout,
    label_layout: Layout,
    *,
    voxel_size: str | None = None,
    unit: str | None = None,
) -> "tuple[Volume, Volume]":
    """Open images and their labels, of which one or both may be raw data.

    Voxel size and unit are those of the images.
    """
    of_images, of_labels = layout, label_layout
    if not _is_raw(images):
        of_images = layout.beside(labels)
    if not _is_raw(labels):
        of_labels = label_layout.beside(images)
    return of_images.open(images, voxel_size, unit), of_labels.open(labels)


def _is_raw(source: Source) -> bool:
    from matphase.images import formats

    return isinstance(source, str) and formats.is_raw(source)


def label_layout(layout: Layout, axes: str | None, dtype: str | None) -> Layout:
    """How labels are stored: as the images, but for what is said of them alone."""
    return Layout(axes or layout.axes, layout.shape, dtype or layout.dtype)
