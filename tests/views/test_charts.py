"""Line charts of the report."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ganvas.views.charts import CHART_SIZE, MAX_POINTS, Curve, chart, in_words


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes of each chart, in the order of drawing."""
    axes: list[Axes] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: object, **options: object) -> None:
        axes.extend(figure.axes)
        save(figure, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", keep)
    return axes


def values(axes: Axes) -> list[list[float]]:
    return [list(np.asarray(line.get_ydata(), float)) for line in axes.lines]


def test_curves_are_drawn_over_x_from_0_with_their_names(drawn: list[Axes]) -> None:
    x = [100, 200, 400]
    svg = chart([Curve("loss", x, [1.0, 3.0, 2.0]), Curve("floor", x, [0, 0, 0])], "images seen")
    (axes,) = drawn
    assert values(axes) == [[1, 3, 2], [0, 0, 0]]
    assert [list(line.get_xdata()) for line in axes.lines] == [x, x]
    assert axes.get_xlim()[0] == 0
    styles = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(styles) == len({style for _, style in styles}) == 2
    texts = [text.text for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"loss", "floor", "images seen"} <= set(texts)


@pytest.mark.parametrize("gap", [None, math.nan, math.inf])
def test_a_value_that_is_not_finite_is_a_gap(gap: float | None, drawn: list[Axes]) -> None:
    assert chart([Curve("loss", range(5), [1.0, 2.0, gap, 3.0, 4.0])], "x")
    assert np.isnan(values(drawn[0])[0]).tolist() == [False, False, True, False, False]
    assert chart([Curve("loss", range(2), [gap, gap])], "x") == b""
    assert chart([Curve("loss", [], [])], "x") == b""
    assert chart([Curve("loss", [], []), Curve("other", [1], [2.0])], "x")


def test_a_long_curve_is_averaged_within_a_band_that_hides_no_leap(drawn: list[Axes]) -> None:
    y = [1.0] * 100_001
    y[54_321] = 50.0
    svg = chart([Curve("loss", range(len(y)), y)], "x")
    (line,) = drawn[0].lines
    assert len(line.get_xdata()) <= MAX_POINTS
    assert line.get_xdata()[-1] == 100_000
    assert max(values(drawn[0])[0]) < 2
    (band,) = drawn[0].collections
    assert band.get_datalim(drawn[0].transData).ymax == 50
    assert len(svg) < 40_000


@pytest.mark.parametrize(
    ("y", "scale"),
    [([0.1, 1.0, 10.0], "log"), ([0.0, 1.0, 10.0], "linear"), ([1.0, 2.0, 3.0], "linear")],
)
def test_positive_values_far_apart_get_a_logarithmic_axis(
    y: list[float], scale: str, drawn: list[Axes]
) -> None:
    chart([Curve("FID", [1, 2, 3], y)], "x", log=True)
    chart([Curve("FID", [1, 2, 3], y)], "x")
    assert [axes.get_yscale() for axes in drawn] == [scale, "linear"]


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-30, 1e300])
def test_one_value(value: float, drawn: list[Axes]) -> None:
    svg = ET.fromstring(chart([Curve("loss", [7], [value])], "x"))
    assert svg.get("viewBox") == "0 0 {} {}".format(*CHART_SIZE)
    assert values(drawn[0]) == [[value]]


def test_the_same_chart_is_the_same_file_on_a_transparent_ground() -> None:
    first, second = (chart([Curve("loss", [1, 2], [1.0, 2.0])], "x") for _ in range(2))
    assert first == second
    assert b"fill: #ffffff" not in first
    assert b"<metadata>" not in first  # it holds a date


def test_names_are_text() -> None:
    curves = [Curve("<script>&\"'", [1, 2], [1.0, 2.0]), Curve("none", [1], [None])]
    svg = chart(curves, '<b>"')
    assert b"<script" not in svg
    assert ET.fromstring(svg) is not None
    assert in_words(curves, '<b>"') == (
        'Chart over <b>": <script>&"\' from 1 to 2, between 1 and 2'
    )
