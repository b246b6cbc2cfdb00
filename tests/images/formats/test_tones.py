"""Stored values that stand for others: white as zero, and palettes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from matphase.images import formats
from matphase.support.errors import InputError

STACK = np.random.default_rng(0).integers(0, 250, (4, 33, 37)).astype(np.uint8)
SOLID = STACK > 90
RAMP = np.arange(256)


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"compression": "packbits", "rowsperstrip": 5}]
)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "uint32"])
def test_white_as_zero_is_turned(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    expected = SOLID if dtype == "bool" else STACK.astype(dtype)
    turned = ~expected if dtype == "bool" else np.iinfo(dtype).max - expected
    (tmp_path / "slices").mkdir()
    for path, array in ((tmp_path / "a.tif", turned), (tmp_path / "slices" / "0.tif", turned[0])):
        tifffile.imwrite(path, array, photometric="miniswhite", **options)
    volume = formats.open(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume, expected)
    window = slice(1, 3), slice(4, 20), slice(30, 37)
    np.testing.assert_array_equal(volume[window], expected[window])
    np.testing.assert_array_equal(formats.open(tmp_path / "slices")[0], expected[0])


def test_pillow_and_viewers_see_the_same_as_is_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", SOLID[0])  # its default for bools is white as zero
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(formats.open(tmp_path / "a.tif"), np.array(image))
    Image.fromarray(SOLID[0]).save(tmp_path / "b.tif", compression="group4")
    np.testing.assert_array_equal(formats.open(tmp_path / "b.tif"), SOLID[0])


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_white_as_zero_needs_a_largest_value(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0].astype(dtype), photometric="miniswhite")
    for path in (tmp_path / "a.tif", tmp_path):
        with pytest.raises(InputError, match=f"white as zero in {dtype}, which has no largest"):
            formats.open(path)


def palette_png(path: Path, colors: np.ndarray, bits: int = 8) -> None:
    image = Image.fromarray(STACK[0] % (2**bits if bits < 8 else 3), mode="P")
    image.putpalette(colors.astype(np.uint8).tobytes())
    image.save(path, bits=bits)


@pytest.mark.filterwarnings("ignore:.*mode.*:DeprecationWarning")
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_labels_in_a_palette_are_its_indices(tmp_path: Path, bits: int) -> None:
    colors = np.random.default_rng(1).integers(0, 255, (2**bits, 3))
    palette_png(tmp_path / "a.png", colors, bits)
    expected = STACK[0] % (2**bits if bits < 8 else 3)
    np.testing.assert_array_equal(formats.open(tmp_path / "a.png"), expected)
    np.testing.assert_array_equal(formats.open(tmp_path)[0], expected)


@pytest.mark.filterwarnings("ignore:.*mode.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("greys", "shown"),
    [
        (RAMP, True),  # the grey values themselves
        (255 - RAMP, True),  # ImageJ's inverting table
        (np.r_[0, 128, 255, RAMP[3:]], False),  # labels with a grey each
        (np.zeros(256), False),
    ],
)
def test_only_a_ramp_of_greys_is_applied(tmp_path: Path, greys: np.ndarray, shown: bool) -> None:
    expected = greys[STACK[0]] if shown else STACK[0]
    image = Image.fromarray(STACK[0], mode="P")
    image.putpalette(np.repeat(greys[:, None], 3, 1).astype(np.uint8).tobytes())
    image.save(tmp_path / "a.png")
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK[0],
        photometric="palette",
        colormap=np.stack([greys * 257] * 3).astype(np.uint16),
        compression="zlib",
    )
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(formats.open(tmp_path / name), expected)


def test_labels_in_a_palette_of_tiff(tmp_path: Path) -> None:
    colors = np.zeros((3, 256), np.uint16)
    colors[0, 1] = colors[1, 2] = 65535
    labels = STACK % 3
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="palette", colormap=colors)
    np.testing.assert_array_equal(formats.open(tmp_path / "a.tif"), labels)


def test_bits_of_png_are_true_and_false(tmp_path: Path) -> None:
    Image.fromarray(SOLID[0]).save(tmp_path / "a.png")
    assert set(formats.open(tmp_path / "a.png").to_array().view(np.uint8).ravel()) == {0, 1}
