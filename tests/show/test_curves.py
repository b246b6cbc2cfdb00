"""Figures of curves from plain arrays."""

import numpy as np
import pytest

from matphase.show.curves import draw_curves


def test_each_line_has_its_values_colour_and_name() -> None:
    x = np.arange(5.0)
    figure = draw_curves(
        x,
        {"pore": x**2, "carbon": x},
        {"pore": "#ff0000", "carbon": "#00ff00", "nickel": "#0000ff"},
        title="a title",
        x_name="length / um",
        y_name="share",
    )
    (panel,) = figure.axes
    first, second = panel.lines
    np.testing.assert_array_equal(first.get_ydata(), x**2)
    assert (first.get_color(), second.get_color()) == ("#ff0000", "#00ff00")
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["pore", "carbon"]
    labels = panel.get_title(), panel.get_xlabel(), panel.get_ylabel()
    assert labels == ("a title", "length / um", "share")


def test_a_line_without_a_colour_is_an_error() -> None:
    with pytest.raises(KeyError, match="carbon"):
        draw_curves([0, 1], {"carbon": [0, 1]}, {}, title="", x_name="", y_name="")
