from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from PIL import Image

import matphase as mp
from matphase.images.phases import IGNORE_INDEX
from matphase.show.figures import draw_overview, round_length
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
    draw_overview(model.predict(volume), truth, 1, path)
    colors = colors_in(path)
    for phase in model.phases.phases:
        assert tuple(bytes.fromhex(phase.color[1:])) in colors
    assert texts == [bar]


def test_errors_are_shown_and_counted_only_where_the_truth_is_known(
    tmp_path: Path, model: mp.MatPhase, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr(Axes, "set_title", lambda _, title, **__: titles.append(title))
    prediction = model.predict(sample.images[:1])
    perfect = replace(prediction, labels=sample.labels[:1])
    draw_overview(perfect, sample.labels[:1], 0, tmp_path / "right.png")
    assert "errors of MatPhase (0.0 %)" in titles
    wrong = (sample.labels[:1] + 1) % 3
    wrong[:, : sample.labels.shape[1] // 2] = IGNORE_INDEX
    titles.clear()
    draw_overview(perfect, wrong, 0, tmp_path / "wrong.png")
    assert "errors of MatPhase (100.0 %)" in titles
    error = (219, 26, 31)

    def is_red(color: tuple[int, ...]) -> bool:
        return bool(np.all(np.abs(np.subtract(color, error)) <= 1))

    assert any(map(is_red, colors_in(tmp_path / "wrong.png")))
    assert not any(map(is_red, colors_in(tmp_path / "right.png")))
