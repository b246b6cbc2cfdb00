import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import matphase as mp
from matphase.images.phases import IGNORE_INDEX
from matphase.show.figures import overview_figure, round_length, slice_figure, thumbnail
from samples import Sample


@pytest.mark.parametrize(
    ("length", "rounded"),
    [(1, 1), (1.99, 1), (2, 2), (4.9, 2), (5, 5), (9.99, 5), (10, 10), (0.03, 0.02), (1e-6, 1e-6)],
)
def test_round_lengths(length: float, rounded: float) -> None:
    assert round_length(length) == pytest.approx(rounded)


@given(st.floats(1e-9, 1e9))
def test_a_round_length_is_never_much_shorter(length: float) -> None:
    assert length / 2.5 * (1 - 1e-6) <= round_length(length) <= length * (1 + 1e-6)


def overview(
    prediction: mp.Prediction, truth: np.ndarray, z: int, labels: np.ndarray | None = None
) -> Figure:
    shown = prediction.indices if labels is None else labels
    return overview_figure(
        prediction.volume.slice(z),
        truth[z],
        shown[z],
        prediction.global_indices[z],
        prediction.entropy[z],
        prediction.idk[z],
        prediction.phases,
        prediction.volume,
        z,
    )


def colors_in(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        return {color for _, color in picture.convert("RGB").getcolors(2**24)}


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written into the panels."""
    seen: list[str] = []
    write = Axes.text

    def noted(self: Axes, x: float, y: float, s: str, *args: object, **kwargs: object) -> object:
        seen.append(s)
        return write(self, x, y, s, *args, **kwargs)

    monkeypatch.setattr(Axes, "text", noted)
    return seen


@pytest.mark.parametrize(
    ("voxel_size", "unit", "bar"),
    [(0.2, "um", "2 µm"), (50, "nm", "500 nm"), (None, None, "10 px")],
)
def test_an_overview_has_phase_colours_and_a_scale_bar(
    tmp_path: Path,
    model: mp.MatPhase,
    sample: Sample,
    texts: list[str],
    voxel_size: float | None,
    unit: str | None,
    bar: str,
) -> None:
    volume = mp.Volume.from_array(sample.images[:2], voxel_size=voxel_size, unit=unit)
    truth = sample.labels[:2].copy()
    truth[:, :4] = IGNORE_INDEX
    path = tmp_path / "overview.png"
    overview(model.predict(volume), truth, 1).savefig(path, dpi=150)
    colors = colors_in(path)
    for phase in model.phases.phases:
        assert tuple(bytes.fromhex(phase.color[1:])) in colors
    assert texts == [bar]


def test_errors_are_shown_and_counted_only_where_the_truth_is_known(
    tmp_path: Path, model: mp.MatPhase, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr(Axes, "set_title", lambda _, title, **__: titles.append(title))
    prediction, labels = model.predict(sample.images[:1]), sample.labels[:1]
    overview(prediction, labels, 0, labels).savefig(tmp_path / "right.png", dpi=150)
    assert "errors of MatPhase (0.0 %)" in titles
    wrong = (sample.labels[:1] + 1) % 3
    wrong[:, : sample.labels.shape[1] // 2] = IGNORE_INDEX
    titles.clear()
    overview(prediction, wrong, 0, labels).savefig(tmp_path / "wrong.png", dpi=150)
    assert "errors of MatPhase (100.0 %)" in titles
    error = (219, 26, 31)

    def is_red(color: tuple[int, ...]) -> bool:
        return bool(np.all(np.abs(np.subtract(color, error)) <= 1))

    assert any(map(is_red, colors_in(tmp_path / "wrong.png")))
    assert not any(map(is_red, colors_in(tmp_path / "right.png")))


def test_a_slice_without_grey_values_and_entropy_shows_phases_alone(sample: Sample) -> None:
    phases = mp.PhaseTable.from_names(["pore", "carbon", "nickel"])
    volume = mp.Volume.from_array(sample.labels[0])
    figure = slice_figure(None, sample.labels[0], None, phases, volume)
    (panel,) = figure.axes
    assert panel.get_title() == "phases"
    np.testing.assert_array_equal(panel.images[0].get_array(), phases.to_rgb(sample.labels[0]))


def test_a_thumbnail_is_small_and_has_phase_colours() -> None:
    phases = mp.PhaseTable.from_names(["pore", "solid"])
    labels = np.zeros((600, 1000), np.uint8)
    labels[:, 500:] = 1
    with Image.open(io.BytesIO(thumbnail(labels, phases))) as picture:
        assert max(picture.size) <= 192
        assert picture.width > picture.height
        left, right = picture.getpixel((0, 0)), picture.getpixel((picture.width - 1, 0))
    assert [left, right] == [tuple(color) for color in phases.to_rgb(np.array([0, 1]))]
