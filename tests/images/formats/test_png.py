from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from matphase.images import formats
from matphase.images.volume import Volume
from matphase.support.errors import FormatError, InputError, OutputError

SLICE = np.random.default_rng(0).integers(0, 60_000, (33, 37)).astype(np.uint16)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    array=npst.arrays(
        st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 9), st.integers(1, 9))
    )
)
def test_a_slice_comes_back(tmp_path: Path, array: np.ndarray) -> None:
    formats.save(tmp_path / "a.png", Volume.from_array(array), overwrite=True)
    volume = formats.open(tmp_path / "a.png")
    assert (volume.axes, volume.dtype) == ("yx", array.dtype)
    np.testing.assert_array_equal(volume.to_array(), array)


def test_a_png_has_no_voxel_size_but_can_be_given_one(tmp_path: Path) -> None:
    Image.fromarray(SLICE).save(tmp_path / "a.png", dpi=(300, 300))
    assert formats.open(tmp_path / "a.png").voxel_size is None
    volume = formats.open(tmp_path / "a.png", voxel_size=0.2, unit="um")
    assert volume.voxel_size == (0.2, 0.2)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_pictures_in_colour(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (40, 40)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png .*convert it to grey"):
        formats.open(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png .*convert it to grey"):
        formats.open(tmp_path)


def test_black_and_white_labels(tmp_path: Path) -> None:
    mask = SLICE > 30_000
    Image.fromarray(mask).save(tmp_path / "a.png")
    volume = formats.open(tmp_path / "a.png")
    assert volume.dtype == bool
    np.testing.assert_array_equal(volume.to_array(), mask)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    formats.save(tmp_path / "a.png", Volume.from_array(SLICE))
    whole = (tmp_path / "a.png").read_bytes()
    for length in range(0, len(whole) - 12, 97):  # the last 12 bytes are the end mark
        (tmp_path / "a.png").write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"a\.png"):
            formats.open(tmp_path / "a.png").to_array()


def test_another_format_by_the_name_of_png(tmp_path: Path) -> None:
    Image.fromarray(SLICE).save(tmp_path / "a.png", format="TIFF")
    with pytest.raises(FormatError, match="is not a PNG file"):
        formats.open(tmp_path / "a.png")


def test_what_a_png_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="a PNG holds one slice"):
        formats.save(tmp_path / "a.png", Volume.from_array(np.stack([SLICE] * 5)))
    with pytest.raises(OutputError, match="a PNG holds uint8 or uint16, not float32"):
        formats.save(tmp_path / "a.png", Volume.from_array(SLICE.astype(np.float32)))
    assert not list(tmp_path.iterdir())
