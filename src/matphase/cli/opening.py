"""Options that say how a file is stored where it does not say so itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

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


@dataclass(frozen=True)
class Layout:
    """How files are stored, as far as the user says so: the texts of the options."""

    axes: str | None = None
    shape: str | None = None
    dtype: str | None = None

    def __bool__(self) -> bool:
        return any((self.axes, self.shape, self.dtype))

    def open(self, source: str, voxel_size: str | None = None, unit: str | None = None) -> "Volume":
        """Open a file that the options are for; see `matphase.open` for what it raises."""
        from matphase.images import formats

        return formats.open(
            source,
            axes=self.axes,
            voxel_size=parse_voxel_size(voxel_size),
            unit=unit,
            shape=parse_lengths(self.shape),
            dtype=self.dtype,
        )

    def beside(self, *sources: str | None) -> "Layout":
        """Leave out what is for raw data, unless one of the sources has to be raw data.

        Of several files with one set of options, some may be raw data and others not.
        """
        from matphase.images import formats

        raw = any(source is not None and formats.is_raw(source) for source in sources)
        return Layout(self.axes) if raw else self


def open_pair(
    images: str, labels: str, layout: Layout, label_layout: Layout
) -> "tuple[Volume, Volume]":
    """Open images and their labels, of which one or both may be raw data."""
    from matphase.images import formats

    of_images, of_labels = layout, label_layout
    if not formats.is_raw(images):
        of_images = layout.beside(labels)
    if not formats.is_raw(labels):
        of_labels = label_layout.beside(images)
    return of_images.open(images), of_labels.open(labels)


def label_layout(layout: Layout, axes: str | None, dtype: str | None) -> Layout:
    """How labels are stored: as the images, but for what is said of them alone."""
    return Layout(axes or layout.axes, layout.shape, dtype or layout.dtype)
