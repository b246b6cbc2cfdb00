import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from matphase.images.volume import Volume
from matphase.support.errors import FormatError

STACK = np.arange(3 * 40 * 50, dtype=np.uint16).reshape(3, 40, 50)


class Closed:
    """An array that cannot be read."""

    shape, dtype, chunks = (500, 1000, 2000), np.dtype(">u2"), (1, 256, 256)

    def __getitem__(self, windows: tuple[slice, ...]) -> np.ndarray:
        raise FormatError("<scan> cannot be read")


def picture(html: str) -> np.ndarray:
    data = re.search(r'src="data:image/png;base64,([^"]+)"', html)
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))))


def test_repr_tells_what_one_asks_first() -> None:
    volume = Volume.from_array(STACK, voxel_size=(None, 0.2, 0.2), unit="um", name="scan.tif")
    assert repr(volume) == (
        "Volume 'scan.tif'\n"
        "  zyx 3 x 40 x 50, uint16, 12 kB\n"
        "  voxel size unknown x 0.2 x 0.2 um\n"
        "  no chunks, in memory"
    )


def test_repr_reads_no_voxel() -> None:
    text = repr(Volume.from_array(Closed(), name="scan"))
    assert "zyx 500 x 1000 x 2000, uint16, 2 GB" in text
    assert "voxel size unknown" in text
    assert "chunks 1 x 256 x 256" in text


def test_the_picture_shows_the_middle_slice() -> None:
    stack = np.zeros((3, 300, 600), np.float32)
    stack[1, 150:] = 5
    stack[1, 0, 0] = np.nan
    shown = picture(Volume.from_array(stack)._repr_html_())
    assert shown.shape == (100, 200)
    assert (shown[:50].max(), shown[50:].min()) == (0, 255)


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf])
def test_a_picture_of_one_value(value: float) -> None:
    assert picture(Volume.from_array(np.full((40, 50), value))._repr_html_()).shape == (40, 50)


def test_the_picture_of_labels_and_masks() -> None:
    mask = STACK[0] > 1000
    shown = picture(Volume.from_array(mask)._repr_html_())
    np.testing.assert_array_equal(shown, np.where(mask, 255, 0))


def test_all_text_is_escaped_and_a_file_that_is_gone_is_said() -> None:
    html = Volume.from_array(Closed(), name="<script>")._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert "&lt;scan&gt; cannot be read" in html
    assert "<img" not in html


def test_the_picture_of_a_large_slice_takes_little_memory() -> None:
    class Large:
        shape, dtype = (4, 20_000, 20_000), np.dtype(np.uint16)

        def __getitem__(self, windows: tuple[slice, ...]) -> np.ndarray:
            shape = [window.stop - window.start for window in windows]
            assert np.prod(shape, dtype=int) * 2 < 2**25
            rows = np.arange(windows[1].start, windows[1].stop, dtype=np.uint16)
            return np.broadcast_to(rows[:, None], shape)

    shown = picture(Volume.from_array(Large())._repr_html_())
    assert shown.shape == (254, 254)
    assert (np.diff(shown[:, 0].astype(int)) >= 0).all()
    assert shown[-1, 0] == 255
